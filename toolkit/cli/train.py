"""The command `train`."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Annotated

from typer import Option

from edgepress.converters.contract.size import parse_size
from edgepress.runtime.input_spec import Color
from edgepress.toolkit.cli import screen
from edgepress.toolkit.cli.options import DATA_HELP, Architecture, Augmentation, Json, SkipUnreadable, resize_option
from edgepress.toolkit.errors import InputError
from edgepress.toolkit.training.architectures import ARCHITECTURES

Images, Net, Fit = (partial(Option, rich_help_panel=name) for name in ("Images", "Network", "Training"))
WIDTH_HELP = f"Multiplier of the number of channels ({', '.join(r.name for r in ARCHITECTURES.values() if r.width)})"
DEPTH_HELP = "Number of layers (" + ", ".join(
    f"{r.name}: {' or '.join(map(str, r.depths))}" for r in ARCHITECTURES.values() if r.depths
)
BY_ARCH = "set by the architecture"
BY_DATA = "as in the data"


def train(
    data: Annotated[str, Option(help=DATA_HELP)] = "digits",
    arch: Annotated[Architecture, Option(metavar="NAME", help=f"Architecture: {', '.join(ARCHITECTURES)}")] = "lenet",
    out: Annotated[Path | None, Option(help="Folder of the run", show_default="runs/DATA-ARCH")] = None,
    resume: Annotated[bool, Option("--resume", help="Resume an interrupted run")] = False,
    overwrite: Annotated[bool, Option("--overwrite", help="Replace a run that the folder holds")] = False,
    size: Annotated[str | None, Images(help="Resize images to SIDE or HEIGHTxWIDTH", show_default=BY_DATA)] = None,
    color: Annotated[Color | None, Images(help="Convert images to this color mode", show_default=BY_DATA)] = None,
    resize: Annotated[str, resize_option(Images)] = "stretch",
    augmentation: Annotated[
        Augmentation, Images(help="Augmentation of the training items; auto chooses by the kind of data")
    ] = "auto",
    skip_unreadable: SkipUnreadable = False,
    width: Annotated[float | None, Net(help=WIDTH_HELP, show_default=BY_ARCH)] = None,
    depth: Annotated[int | None, Net(help=f"{DEPTH_HELP})", show_default=BY_ARCH)] = None,
    dropout: Annotated[float | None, Net(help="Dropout rate before the classifier", show_default=BY_ARCH)] = None,
    weights: Annotated[str | None, Net(help="Initial weights: imagenet, or a .keras or .h5 file")] = None,
    freeze: Annotated[bool, Net("--freeze", help="Train only the classifier; needs --weights")] = False,
    teacher: Annotated[
        str | None, Fit(metavar="MODEL", help="Learn from the answers of this classifier, too (distillation)")
    ] = None,
    epochs: Annotated[int | None, Fit(min=1, help="Passes over the training split", show_default=BY_ARCH)] = None,
    batch_size: Annotated[int | None, Fit(min=1, help="Items in a training step", show_default=BY_ARCH)] = None,
    learning_rate: Annotated[
        float | None, Fit(help="Initial learning rate of Adam, with cosine decay to 0", show_default=BY_ARCH)
    ] = None,
    patience: Annotated[
        int, Fit(min=0, help="Stop after this many epochs without better validation accuracy; 0: never stop early")
    ] = 15,
    class_weights: Annotated[bool, Fit("--class-weights", help="Give rare classes more weight")] = False,
    seed: Annotated[int, Fit(min=0, help="Random seed; on one machine, the same seed gives the same weights")] = 0,
    json_output: Json = False,
) -> None:
    """Train a classifier; writes model.keras, its metrics and plots to a folder."""
    from edgepress.toolkit.cli.tables import evaluation_table
    from edgepress.toolkit.data import open_data
    from edgepress.toolkit.training.loop import train as work

    opened = open_data(data, size=_size(size), color=color, resize=resize, skip_unreadable=skip_unreadable)
    screen.note(*(f"Left out: {name} ({reason})" for name, reason in opened.skipped))
    result = work(
        opened,
        arch,
        out=out,
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
        teacher=teacher,
        on_note=lambda text: screen.note(f"Guessed of the teacher: {text}"),
        seed=seed,
        resume=resume,
        overwrite=overwrite,
    )
    if json_output:
        screen.document({"model": str(result.model), **result.metrics})
        return
    screen.show(evaluation_table(result.metrics))
    screen.remarks(result.metrics.get("remarks", ()))  # runs of an older edgepress have none
    screen.say(f"Test accuracy {100 * result.metrics['accuracy']:.2f} %: {result.model}", style="bold")
    screen.say(f"Next: edgepress convert {result.model}")


def _size(text: str | None) -> int | tuple[int, int] | None:
    """The option --size: "64" or "48x64"."""
    match parse_size(text) if text is not None else ():
        case ():
            return None
        case (side,):
            return side
        case (height, width):
            return height, width
    raise InputError(f"--size is {text!r}; accepted: SIDE or HEIGHTxWIDTH in pixels, such as 64 or 48x64.")
