"""The command `convert`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from typer import Argument, Option

from edgepress.converters.contract.hints import Hints
from edgepress.converters.statistics import RANGINGS
from edgepress.converters.targets import TARGETS
from edgepress.toolkit.cli import screen
from edgepress.toolkit.cli.options import (
    DATA_HELP,
    MANY_SCHEMES,
    SCHEMES_HELP,
    TRAINED_ON,
    Json,
    Offline,
    SkipUnreadable,
    list_of,
    with_source_hints,
)


@with_source_hints
def convert(
    model: Annotated[Path, Argument(help="A .keras, .h5, .tflite or .onnx file, or a SavedModel folder")],
    hints: Hints,
    to: Annotated[
        str,
        Option(help=f"Schemes, separated by commas: {SCHEMES_HELP}", autocompletion=list_of(MANY_SCHEMES)),
    ] = "all",
    data: Annotated[
        str | None,
        Option(help=f"{DATA_HELP}; labels are not needed, so a folder of images will do", show_default=TRAINED_ON),
    ] = None,
    out: Annotated[Path | None, Option(help="Folder for the files", show_default="variants, next to the model")] = None,
    calibration: Annotated[
        str,
        Option(
            help="How ranges of integers follow from calibration items; auto tries the others on validation items",
            metavar=f"<{'|'.join(RANGINGS)}>",
            autocompletion=list_of(RANGINGS),
        ),
    ] = "auto",
    samples: Annotated[int, Option("--samples", min=1, help="Number of training items in the calibration set")] = 200,
    calibration_images: Annotated[int | None, Option(min=1, hidden=True, help="Earlier name of --samples")] = None,
    verify: Annotated[bool, Option(help="Reject files whose answers differ too much from the model's")] = True,
    skip_unreadable: SkipUnreadable = False,
    offline: Offline = False,
    target: Annotated[
        str,
        Option(
            help="What the files are for: cpu, or integer-only (no float operation), for microcontrollers and NPUs",
            metavar=f"<{'|'.join(TARGETS)}>",
            autocompletion=list_of(TARGETS),
        ),
    ] = TARGETS[0],
    repairs: Annotated[bool, Option(help="Equalize channels and correct biases where that keeps accuracy")] = True,
    rewrites: Annotated[bool, Option(help="Rewrite graphs so that the engines run them faster")] = True,
    max_drop: Annotated[
        float | None,
        Option(
            min=0,
            max=100,
            help="tflite-mixed, onnx-mixed: accuracy that may be lost on validation items, percentage points",
            show_default="0.5, or no limit with --keep-float",
        ),
    ] = None,
    keep_float: Annotated[
        str, Option(help="tflite-mixed, onnx-mixed: layers to keep in float, such as 'conv1|head'", show_default=False)
    ] = "",
    json_output: Json = False,
) -> int:
    """Convert any Keras, TFLite or ONNX classifier to quantized files, each verified against the source model."""
    from edgepress.toolkit import conversion
    from edgepress.toolkit.cli.tables import repairs_table, rewrites_table, variants_table

    notes: list[str] = []

    def note(text: str) -> None:
        notes.append(text)
        screen.note(text)

    variants = conversion.convert(
        model,
        to,
        data=data,
        out=out,
        hints=hints,
        repairs=repairs,
        calibration=calibration,
        samples=calibration_images or samples,
        verify=verify,
        skip_unreadable=skip_unreadable,
        install=not offline,
        target=target,
        rewrite=rewrites,
        keep_float=keep_float,
        max_drop=max_drop,
        on_note=note,
        on_step=screen.step,
        on_start=lambda scheme: screen.step(f"Converting to {scheme}"),
    )
    if json_output:
        screen.document(conversion.summary(variants, notes))
    else:
        screen.show(variants_table(variants))
        for made in filter(None, (rewrites_table(variants), repairs_table(variants))):
            screen.say()
            screen.show(made)
        screen.say()
        screen.note(*(f"{', '.join(names)}: {text}" for text, names in conversion.notes_by_text(variants).items()))
        if done := [v.path for v in variants if v.path is not None]:
            screen.say(f"Written to {done[0].parent}. Next: edgepress benchmark {done[0].parent}")
    return int(any(v.path is None for v in variants))
