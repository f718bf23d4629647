"""The command `convert`."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Annotated, Literal

from typer import Argument, Option

from edgepress.converters.contract.metadata import ChannelOrder
from edgepress.runtime.contract import Resize, Task
from edgepress.toolkit.cli import screen
from edgepress.toolkit.cli.options import MANY_SCHEMES, SIZE_HELP, Data, Json, SkipUnreadable, list_of

Foreign = partial(Option, rich_help_panel="Models that edgepress did not train")


def convert(
    model: Annotated[Path, Argument(help="A .keras, .h5, .tflite or .onnx file, or a SavedModel folder")],
    to: Annotated[
        str,
        Option(help=f"Schemes, separated by commas: {', '.join(MANY_SCHEMES)}", autocompletion=list_of(MANY_SCHEMES)),
    ] = "all",
    data: Data = None,
    out: Annotated[Path | None, Option(help="Folder for the files", show_default="variants, next to the model")] = None,
    calibration_images: Annotated[int, Option(min=1, help="Number of training items in the calibration set")] = 200,
    verify: Annotated[bool, Option(help="Reject files whose answers differ too much from the model's")] = True,
    skip_unreadable: SkipUnreadable = False,
    labels: Annotated[
        Path | None, Foreign(help="Text file with one label per line, in the order of the outputs")
    ] = None,
    input_range: Annotated[
        str | None, Foreign(help="Values that the model expects for pixels 0 and 255, such as 0,1 or -1,1")
    ] = None,
    mean: Annotated[
        str | None, Foreign(help="Per-channel mean, subtracted from the pixels; or one number for all")
    ] = None,
    std: Annotated[str | None, Foreign(help="Per-channel standard deviation, applied after --mean")] = None,
    color: Annotated[
        Literal[ChannelOrder, "none"] | None, Foreign(help="Channel order of the images; none: inputs are not images")
    ] = None,
    resize: Annotated[Resize | None, Foreign(help="How to fit images of another aspect ratio")] = None,
    channels_first: Annotated[
        bool | None, Foreign("--channels-first/--channels-last", help="Layout of the model's input")
    ] = None,
    size: Annotated[str | None, Foreign(help=SIZE_HELP)] = None,
    task: Annotated[Task | None, Foreign(help="Meaning of the outputs")] = None,
    threshold: Annotated[
        float | None, Foreign(min=0, max=1, help="Probability from which a label counts as present")
    ] = None,
    softmax: Annotated[
        bool, Foreign("--softmax", help="Append a softmax (a sigmoid for one output) to outputs that are logits")
    ] = False,
    custom: Annotated[list[str] | None, Foreign(help="MODULE:CLASS of a custom Keras layer; may be repeated")] = None,
    trust: Annotated[bool, Foreign("--trust", help="Run Lambda layers, which are code inside the model file")] = False,
    json_output: Json = False,
) -> int:
    """Convert any Keras, TFLite or ONNX classifier to quantized files, each verified against the source model."""
    from edgepress.toolkit import conversion
    from edgepress.toolkit.cli.tables import variants_table

    notes: list[str] = []

    def note(text: str) -> None:
        notes.append(text)
        screen.note(text)

    variants = conversion.convert(
        model,
        to,
        data=data,
        out=out,
        hints=conversion.Hints(
            labels=labels,
            task=task,
            threshold=threshold,
            input_range=input_range,
            mean=mean,
            std=std,
            color=color,
            resize=resize,
            channels_first=channels_first,
            size=size,
            softmax=softmax,
            custom=tuple(custom or ()),
            trust=trust,
        ),
        calibration_images=calibration_images,
        verify=verify,
        skip_unreadable=skip_unreadable,
        on_note=note,
        on_start=lambda scheme: screen.step(f"Converting to {scheme}"),
    )
    if json_output:
        screen.document(conversion.summary(variants, notes))
    else:
        screen.show(variants_table(variants))
        screen.note(*(f"{', '.join(names)}: {text}" for text, names in conversion.notes_by_text(variants).items()))
        if done := [v.path for v in variants if v.path is not None]:
            screen.say(f"Written to {done[0].parent}. Next: edgepress benchmark {done[0].parent}")
    return int(any(v.path is None for v in variants))
