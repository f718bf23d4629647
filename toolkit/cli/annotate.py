"""The command `annotate`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from typer import Argument, Option

from edgepress.converters.contract.hints import Hints
from edgepress.toolkit.cli import screen
from edgepress.toolkit.cli.options import Json, with_model_hints
from edgepress.toolkit.escaping import shell_line


@with_model_hints
def annotate(
    file: Annotated[Path, Argument(help="A .tflite or .onnx classifier, quantized or not")],
    hints: Hints,
    out: Annotated[Path, Option(help="The copy; a name that ends in .json gets the description alone")],
    json_output: Json = False,
) -> None:
    """Write labels, input and meaning of a classifier made elsewhere into a copy, for every command and board."""
    from edgepress.toolkit.conversion.inspection import annotate as work

    annotated = work(file, out, hints=hints)
    screen.note(*annotated.notes)
    if json_output:
        screen.document(annotated.to_dict())
        return
    about = annotated.contract
    item = " x ".join(map(str, about.input.shape)) + (f" {about.input.color} pixels" if about.input.is_image else "")
    meaning = f"{len(about.labels)} labels, {about.task}"
    if about.task == "none":
        meaning = f"no labels, {' x '.join(map(str, about.output_shape))} outputs"
    screen.say(f"{annotated.path}: {about.scheme}, {item}, {meaning}.", style="bold")
    if annotated.path.suffix == ".json":
        call: list[str | Path] = (
            ["bench", Path(file.name)] if about.task == "none" else ["classify", Path(file.name), "IMAGE"]
        )
        words = ["python", "-m", "edgepress.runtime", *call, "--contract", Path(annotated.path.name)]
        screen.shell_command(f"On a board: {shell_line(*words)}")
    else:
        screen.say(f"Weights and answers are those of {file}.")
        samples = [] if about.task == "none" else ["--data", "DATA"]  # which the file does not name
        screen.next_command(shell_line("edgepress", "bundle", annotated.path, *samples))
