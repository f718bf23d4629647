"""Tune a classifier for quantization: `tune`, which the command of the same name calls."""

from __future__ import annotations

from collections.abc import Callable
from typing import Unpack

from edgepress.converters.contract.hints import Hints
from edgepress.toolkit.arguments import call_with
from edgepress.toolkit.data.objects import Data, Model, source_of
from edgepress.toolkit.results.run_files import model_in
from edgepress.toolkit.training.graphs.job import TuneJob
from edgepress.toolkit.training.graphs.options import TuneArguments, TuneOptions
from edgepress.toolkit.training.graphs.run import GraphResult, Run, carry_out
from edgepress.toolkit.training.graphs.tune_trainer import RANGES, START, tune_here

REPORT = "tuning.json"


def tune(
    model: Model,
    data: Data | None = None,
    *,
    hints: Hints | None = None,
    on_note: Callable[[str], None] | None = None,
    on_progress: Callable[[float, str], None] | None = None,
    **training: Unpack[TuneArguments],
) -> GraphResult:
    """Quantization-aware training of a model's constants and ranges.

    The model may be of any format; the result is a float `.tflite` that `convert` makes every scheme of. If nothing is
    better than what `convert` makes without, on validation items, the result is that.

    Args:
        model: A `.keras`, `.h5`, `.hdf5`, `.tflite` or `.onnx` file, a SavedModel folder, or a run's folder.
        data: Data like those it was trained on; None opens those that the model's contract names. Labels are used
            where there are some.
        hints: What you know of a model that edgepress did not train.
        on_note: Called with each guess about the model.
        on_progress: Called with the share of the training that is done, 0-1, and a line of figures.

    Returns:
        The tuned float `.tflite`, with its contract inside, and figures: "kept" is "distillation", or "start" if
        nothing was better than the repaired graph; "before" and "after" are those of the quantized file on validation
        items: "accuracy" and "agreement" with the float model, 0-1, and "snr_db"; "steps" and "bits".

    Raises:
        EdgepressError: The model, the data or an option can't be used, or `out` holds another run.
        KeyboardInterrupt: Ctrl-C; the message says how to resume.

    Example:
        >>> from edgepress.toolkit import tune
        >>> tune("edgepress-demo/model.keras", bits=4, minutes=1).model.name
        'model-tuned.tflite'
    """
    data = source_of(data)
    options = TuneOptions(**training)
    run = call_with(Run, locals(), verb="tuned", report=REPORT, scratch=(START, RANGES))
    return carry_out(model_in(model), run, tune_here, TuneJob)
