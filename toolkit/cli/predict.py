"""The command `predict`."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from typer import Argument, Option

from edgepress.converters.contract.hints import Hints
from edgepress.toolkit.cli import options, screen
from edgepress.toolkit.cli.frame import code_of

if TYPE_CHECKING:
    from edgepress.toolkit.measurement.prediction import ImageResult


@options.with_model_hints
def predict(
    file: Annotated[
        Path, Argument(help="A .tflite or .onnx classifier, or a .keras file or run's folder of edgepress train")
    ],
    images: Annotated[list[Path], Argument(help="Images, .npy arrays, or folders of them")],
    hints: Hints,
    engine: Annotated[options.Engine | None, options.engine_option("Engine that runs the file")] = None,
    top: Annotated[int, Option(min=1, help="Number of classes to print for each image")] = 3,
    json_output: options.Json = False,
) -> int:
    """Classify images with one file and print the classes with their scores."""
    from edgepress.toolkit.measurement.prediction import as_dicts
    from edgepress.toolkit.measurement.prediction import predict as work

    results = work(file, images, engine=engine, top=top, hints=hints, on_note=screen.note)
    if json_output:
        screen.document(as_dicts(results))
    else:
        show_predictions(results)
    return code_of(r.error is None for r in results)


def show_predictions(results: Sequence[ImageResult]) -> None:
    """Print a table of predictions, and the error of each image that could not be classified."""
    from edgepress.toolkit.cli.tables import predictions_table

    if any(r.error is None for r in results):
        screen.show(predictions_table(results))
    for r in results:
        if r.error is not None:
            screen.error(r.error, as_json=False)
