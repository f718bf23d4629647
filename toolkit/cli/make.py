"""The commands that make model files: `train` and `convert`. Most of each is its options."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from edgepress.toolkit.cli import screen
from edgepress.toolkit.cli.app import DATA_HELP, Data, Json, SkipUnreadable, app, command
from edgepress.toolkit.errors import InputError, unknown

IMAGES, NET, FIT, THEIRS = "Images", "Network", "Fitting", "Of a model that edgepress did not train"
ARCH_HELP = "dense, lenet, alexnet, vgg, resnet8, ds-cnn, mobilenet-v1, mobilenet-v2 or mobilenet-v3-small."
AUGMENTATION_HELP = "auto, none, affine or photo (images), noise (tensors)."


@app.command()
@command
def train(
    data: Annotated[str, typer.Option(help=DATA_HELP)] = "digits",
    arch: Annotated[str, typer.Option(help=ARCH_HELP)] = "lenet",
    out: Annotated[Path | None, typer.Option(help="Folder of the run.", show_default="runs/DATA-ARCH")] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on with the run that the folder holds.")] = False,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Start anew whatever the folder holds.")] = False,
    size: Annotated[
        str | None,
        typer.Option(
            help="Bring images to SIDE or HEIGHTxWIDTH.", show_default="the data's own", rich_help_panel=IMAGES
        ),
    ] = None,
    color: Annotated[
        str | None, typer.Option(help="grey or rgb.", show_default="the data's own", rich_help_panel=IMAGES)
    ] = None,
    resize: Annotated[
        str, typer.Option(help="stretch, crop or pad an image of another shape.", rich_help_panel=IMAGES)
    ] = "stretch",
    augmentation: Annotated[str, typer.Option(help=AUGMENTATION_HELP, rich_help_panel=IMAGES)] = "auto",
    skip_unreadable: SkipUnreadable = False,
    width: Annotated[
        float | None,
        typer.Option(
            help="Factor on the channels, where the net has one.", show_default="the net's own", rich_help_panel=NET
        ),
    ] = None,
    depth: Annotated[int | None, typer.Option(help="11 or 16 for vgg.", rich_help_panel=NET)] = None,
    dropout: Annotated[
        float | None,
        typer.Option(
            help="Share of features dropped before the classifier.", show_default="the net's own", rich_help_panel=NET
        ),
    ] = None,
    weights: Annotated[
        str | None, typer.Option(help="Begin with imagenet or a .keras file's weights.", rich_help_panel=NET)
    ] = None,
    freeze: Annotated[
        bool, typer.Option("--freeze", help="Train the classifier alone, on the weights given.", rich_help_panel=NET)
    ] = False,
    epochs: Annotated[
        int | None,
        typer.Option(min=1, help="Passes over the training items.", show_default="the net's own", rich_help_panel=FIT),
    ] = None,
    batch_size: Annotated[
        int | None, typer.Option(min=1, help="Items in a step.", show_default="the net's own", rich_help_panel=FIT)
    ] = None,
    learning_rate: Annotated[
        float | None,
        typer.Option(
            help="Adam's, at first; it decays as a cosine.", show_default="the net's own", rich_help_panel=FIT
        ),
    ] = None,
    patience: Annotated[
        int,
        typer.Option(min=0, help="Stop after so many epochs without improvement; 0 never does.", rich_help_panel=FIT),
    ] = 15,
    class_weights: Annotated[
        bool, typer.Option("--class-weights", help="Weigh rare classes more.", rich_help_panel=FIT)
    ] = False,
    seed: Annotated[
        int, typer.Option(min=0, help="Same seed, same machine: the same weights.", rich_help_panel=FIT)
    ] = 0,
    json_output: Json = False,
) -> None:
    """Train a classifier and leave model.keras, its figures and plots in a folder."""
    from edgepress.toolkit.cli.tables import evaluation_table
    from edgepress.toolkit.data import open_data
    from edgepress.toolkit.training.loop import train as work

    if color not in (None, "grey", "rgb"):
        raise unknown("color", color, ("grey", "rgb"))
    if resize not in ("stretch", "crop", "pad"):
        raise unknown("resize rule", resize, ("stretch", "crop", "pad"))
    opened = open_data(
        data,
        size=_size(size),
        color=color,  # type: ignore[arg-type]  # mypy does not narrow str to a Literal
        resize=resize,  # type: ignore[arg-type]
        skip_unreadable=skip_unreadable,
    )
    for name, reason in opened.skipped:
        screen.note(f"Left out as unreadable: {name} ({reason})")
    folder = out or Path("runs") / f"{Path(data).stem}-{arch}"
    result = work(
        opened,
        arch,
        out=folder,
        epochs=epochs,
        batch_size=batch_size,
        learning_rate=learning_rate,
        patience=patience or None,
        class_weights=class_weights,
        augmentation=augmentation,
        width=width,
        depth=depth,
        dropout=dropout,
        weights=weights,
        freeze=freeze,
        seed=seed,
        resume=resume,
        overwrite=overwrite,
    )
    if json_output:
        screen.document({"model": str(result.model), **result.metrics})
        return
    screen.show(evaluation_table(result.metrics))
    screen.say(f"Test accuracy {100 * result.metrics['accuracy']:.2f} %: {result.model}", style="bold")
    screen.say(f"Next: edgepress convert {result.model}")


@app.command()
@command
def convert(
    model: Annotated[Path, typer.Argument(help="A .keras, .h5, .tflite or .onnx file, or a SavedModel's folder.")],
    to: Annotated[str, typer.Option(help="all, tflite, onnx, or schemes such as tflite-int8,onnx-int8.")] = "all",
    data: Data = None,
    out: Annotated[
        Path | None, typer.Option(help="Folder for the files.", show_default="variants, beside MODEL")
    ] = None,
    calibration_images: Annotated[
        int, typer.Option(min=1, help="Training images that the ranges of activations are taken from.")
    ] = 200,
    verify: Annotated[
        bool, typer.Option("--verify/--no-verify", help="Refuse files that answer too unlike the model.")
    ] = True,
    skip_unreadable: SkipUnreadable = False,
    labels: Annotated[
        Path | None,
        typer.Option(help="File with one label a line, in the order of the outputs.", rich_help_panel=THEIRS),
    ] = None,
    input_range: Annotated[
        str | None,
        typer.Option(help="What the model takes for pixels 0 and 255: 0,1 or -1,1.", rich_help_panel=THEIRS),
    ] = None,
    mean: Annotated[
        str | None, typer.Option(help="Subtracted from pixels; one number or one a channel.", rich_help_panel=THEIRS)
    ] = None,
    std: Annotated[str | None, typer.Option(help="What is divided by then.", rich_help_panel=THEIRS)] = None,
    color: Annotated[
        str | None, typer.Option(help="grey, rgb or bgr images; none: inputs are tensors.", rich_help_panel=THEIRS)
    ] = None,
    resize: Annotated[
        str | None, typer.Option(help="stretch, crop or pad images of another shape.", rich_help_panel=THEIRS)
    ] = None,
    channels_first: Annotated[
        bool | None,
        typer.Option("--channels-first/--channels-last", help="Order of the model's input.", rich_help_panel=THEIRS),
    ] = None,
    task: Annotated[
        str | None, typer.Option(help="softmax, logits, sigmoid or multilabel.", rich_help_panel=THEIRS)
    ] = None,
    threshold: Annotated[
        float | None,
        typer.Option(min=0, max=1, help="Probability from which a label counts.", rich_help_panel=THEIRS),
    ] = None,
    softmax: Annotated[
        bool,
        typer.Option(
            "--softmax", help="Put softmax (a sigmoid, if one) behind outputs that are logits.", rich_help_panel=THEIRS
        ),
    ] = False,
    custom: Annotated[
        list[str] | None, typer.Option(help="MODULE:CLASS of a custom Keras layer.", rich_help_panel=THEIRS)
    ] = None,
    trust: Annotated[
        bool, typer.Option("--trust", help="Run Lambda layers, which are code in the file.", rich_help_panel=THEIRS)
    ] = False,
    json_output: Json = False,
) -> int:
    """Convert a model, one's own or anybody's, to quantized TFLite and ONNX files, each compared with it."""
    from edgepress.toolkit.cli.tables import variants_table
    from edgepress.toolkit.conversion import Hints, notes_by_text, summary
    from edgepress.toolkit.conversion import convert as work

    notes: list[str] = []

    def note(text: str) -> None:
        notes.append(text)
        screen.note(text)

    variants = work(
        model,
        to,
        data=data,
        out=out,
        hints=Hints(
            labels=labels,
            task=task,  # type: ignore[arg-type]  # mypy does not narrow str to a Literal
            threshold=threshold,
            input_range=input_range,
            mean=mean,
            std=std,
            color=color,  # type: ignore[arg-type]  # mypy does not narrow str to a Literal
            resize=resize,  # type: ignore[arg-type]  # mypy does not narrow str to a Literal
            channels_first=channels_first,
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
        screen.document(summary(variants, notes))
    else:
        screen.show(variants_table(variants))
        for text, schemes in notes_by_text(variants).items():
            screen.note(f"{', '.join(schemes)}: {text}")
        if done := [v.path for v in variants if v.path is not None]:
            screen.say(f"In {done[0].parent}. Next: edgepress benchmark {done[0].parent}")
    return int(any(v.path is None for v in variants))


def _size(text: str | None) -> int | tuple[int, int] | None:
    """The option --size: "64" or "48x64"."""
    try:
        sides = [int(part) for part in text.lower().split("x")] if text is not None else None
    except ValueError:
        sides = []
    if sides is None:
        return None
    if len(sides) not in (1, 2):
        raise InputError(f"--size is {text!r}; accepted: SIDE or HEIGHTxWIDTH in pixels, such as 64 or 48x64.")
    return sides[0] if len(sides) == 1 else (sides[0], sides[1])
