"""The command `train`."""

from __future__ import annotations

from dataclasses import fields, replace
from functools import partial
from pathlib import Path
from typing import Annotated, Any

from typer import Option

from edgepress.converters.contract.hints import Hints, parse_size
from edgepress.converters.contract.metadata import ChannelOrder
from edgepress.runtime.sound.features import SoundFeatures
from edgepress.toolkit.arguments import call_with
from edgepress.toolkit.cli import options, screen, settings
from edgepress.toolkit.columns import quality
from edgepress.toolkit.data import ACCEPTED
from edgepress.toolkit.data.readers.csv_columns import LABELS
from edgepress.toolkit.data.reading import STRICT, Reading
from edgepress.toolkit.errors import InputError
from edgepress.toolkit.escaping import shell_line
from edgepress.toolkit.training.nets.architectures import ARCHITECTURES

Images = partial(Option, rich_help_panel="Images")
Rows = partial(Option, rich_help_panel="CSV files and recordings")
Net = partial(Option, rich_help_panel="Network")
Fit = partial(Option, rich_help_panel="Training")
WIDTH_HELP = f"Multiplier of the number of channels ({', '.join(r.name for r in ARCHITECTURES.values() if r.width)})"
DEPTH_HELP = "Number of layers (" + ", ".join(
    f"{r.name}: {' or '.join(map(str, r.depths))}" for r in ARCHITECTURES.values() if r.depths
)
GROUP_HELP = (
    "Which items are of one group (photos of one object, one speaker) and never divided between training and test: "
    "searched in the path of a file below its class folder, or a column of a .csv or metadata.csv, or array of an .npz"
)
BY_NAMES = "groups that are seen in the names of files or in a column, such as group"
WINDOW_HELP = "Consecutive rows of one recording and label, or frames of sound, that make an item, such as 128"
SOUND_HELP = (
    f"Front end of recordings, such as rate=8000,channels=32: {', '.join(f.name for f in fields(SoundFeatures))}"
)
BY_ARCH = "set by the architecture"
BY_DATA = "as in the data"
BY_SIZE = "auto: as in the data; 160 for photos and EfficientNet-Lite with its weights"


@options.with_options(scaling=options.pixel_scaling)
def train(
    *,
    data: Annotated[
        str | None,
        Option(help=f"{options.DATA_HELP} (required)", show_default=False, autocompletion=options.complete_data),
    ] = None,
    arch: Annotated[
        options.ChosenArchitecture,
        Option(metavar="NAME", help=f"Architecture: auto (by the data: docs/training.md), {', '.join(ARCHITECTURES)}"),
    ] = "auto",
    out: Annotated[Path | None, Option(help="Folder of the run", show_default="runs/DATA-ARCH")] = None,
    resume: options.Resume = False,
    overwrite: options.Overwrite = False,
    size: Annotated[
        str | None, Images(help="Resize images to SIDE or HEIGHTxWIDTH, or auto", show_default=BY_SIZE)
    ] = None,
    color: Annotated[
        ChannelOrder | None, Images(help="Color mode to convert images to; bgr: for --from", show_default=BY_DATA)
    ] = None,
    resize: Annotated[str, options.resize_option(Images)] = "stretch",
    augmentation: Annotated[
        options.Augmentation, Images(help="Augmentation of the training items; auto chooses by the kind of data")
    ] = "auto",
    reading: Reading = STRICT,
    group: Annotated[
        str | None, Option(metavar="REGEX|column:NAME|none", help=GROUP_HELP, show_default=BY_NAMES)
    ] = None,
    window: Annotated[
        int | None, Rows(min=1, help=WINDOW_HELP, show_default="each row is an item; of recordings, a second")
    ] = None,
    step: Annotated[
        int | None, Rows(min=1, help="Rows or frames from one window to the next", show_default="half a window")
    ] = None,
    label_column: Annotated[
        str | None, Rows(metavar="NAME", help="Column of the classes", show_default=", ".join(LABELS))
    ] = None,
    sound: Annotated[
        str | None, Rows(metavar="NAME=VALUE,...", help=SOUND_HELP, show_default="that of microWakeWord")
    ] = None,
    width: Annotated[float | None, Net(help=WIDTH_HELP, show_default=BY_ARCH)] = None,
    depth: Annotated[int | None, Net(help=f"{DEPTH_HELP})", show_default=BY_ARCH)] = None,
    dropout: Annotated[float | None, Net(help="Dropout rate before the classifier", show_default=BY_ARCH)] = None,
    weights: Annotated[
        str, Net(help="Initial weights: auto (those that come with edgepress), none, imagenet, or a .keras or .h5 file")
    ] = "auto",
    base: Annotated[
        str | None,
        Net(
            "--from", metavar="MODEL", help="Begin with this classifier of any format, instead of --arch and --weights"
        ),
    ] = None,
    features: Annotated[
        str, Net(help="Tensor of the features of --from; default: what its last layer reads", show_default=False)
    ] = "",
    freeze: Annotated[bool, Net("--freeze", help="Train only the classifier; needs weights")] = False,
    teacher: Annotated[
        str | None, Fit(metavar="MODEL", help="Learn from the answers of this classifier, too (distillation)")
    ] = None,
    trust: Annotated[bool, Fit("--trust", help=f"{options.TRUST_HELP}; for --from and --teacher")] = False,
    epochs: Annotated[int | None, Fit(min=1, help="Passes over the training split", show_default=BY_ARCH)] = None,
    batch_size: Annotated[int | None, Fit(min=1, help="Items in a training step", show_default=BY_ARCH)] = None,
    learning_rate: Annotated[
        float | None, Fit(help="Initial learning rate of Adam, with cosine decay to 0", show_default=BY_ARCH)
    ] = None,
    patience: Annotated[
        int, Fit(min=0, help="Stop after this many epochs without better validation accuracy; 0: never stop early")
    ] = 15,
    minutes: Annotated[
        float | None, Fit(help="Time for training: fewer epochs, or only the last layers of a pre-trained net")
    ] = None,
    class_weights: Annotated[bool, Fit("--class-weights", help="Give rare classes more weight")] = False,
    seed: Annotated[int, Fit(min=0, help="Random seed; on one machine, the same seed gives the same weights")] = 0,
    scaling: dict[str, Any],
    channels_first: options.ChannelsFirst = None,
    custom: options.Custom = None,
    json_output: options.Json = False,
) -> None:
    """Train a classifier; writes model.keras, its metrics and plots to a folder."""
    if data is None:
        raise InputError("There is no training data.", f"Name them with --data: {ACCEPTED}.")
    from edgepress.toolkit.cli.tables import evaluation_table, group_line
    from edgepress.toolkit.data import open_data
    from edgepress.toolkit.data.types import notes_of_skipped, pixel_notes
    from edgepress.toolkit.training.choosing import photo_size
    from edgepress.toolkit.training.loop import train as work
    from edgepress.toolkit.training.nets.base_net import find_base

    if base is not None and not settings.is_from_file("base"):  # what the file says of a net is about another one
        arch = "auto" if settings.is_from_file("arch") else arch
        weights = "auto" if settings.is_from_file("weights") else weights
        size = None if settings.is_from_file("size") else size
    hints = Hints(**scaling, color=color, channels_first=channels_first, trust=trust, custom=tuple(custom or ()))
    if base is None:
        _refuse_hints(hints)
    else:
        hints = replace(hints, size=None if size == "auto" else size, resize=None if resize == "stretch" else resize)
    net = call_with(find_base, locals(), on_note=screen.note)
    how: dict[str, Any] = (
        {"photo_size": photo_size(arch, weights)} if net is None else {"input": net.input, "color": None}
    )
    opened = call_with(open_data, locals(), source=data, size=_size(size), sound=_sound(sound), **how)
    screen.note(*notes_of_skipped(opened.skipped), *opened.group_notes, *pixel_notes(opened))
    result = call_with(work, locals(), data=opened, base=net, patience=patience or None, on_note=screen.note)
    if json_output:
        screen.document({"model": str(result.model), **result.metrics})
        return
    screen.show(evaluation_table(result.metrics))
    screen.remarks(result.metrics.get("remarks", ()))  # runs of an older edgepress have none
    if line := group_line(result.metrics):
        screen.say(line)
    screen.say(f"Test {quality(result.metrics)}: {result.model}", style="bold")
    screen.next_command(shell_line("edgepress", "convert", result.model, *reading.words))


def _sound(text: str | None) -> SoundFeatures | None:
    """The option --sound."""
    try:
        return None if text is None else SoundFeatures.parse(text)
    except ValueError as e:
        raise InputError(f"--sound: {e}.", "docs/sound.md lists the parameters.") from e


def _refuse_hints(hints: Hints) -> None:
    """Refuse what only a model made elsewhere has."""
    if words := [*replace(hints, color=hints.color if hints.color == "bgr" else None, trust=False).words]:
        raise InputError(f"{words[0]} describes a model, and none is given.", "Name it with --from.")


def _size(text: str | None) -> int | tuple[int, int] | None:
    """The option --size: "64" or "48x64"."""
    match parse_size(text) if text not in (None, "auto") else ():
        case ():
            return None
        case (side,):
            return side
        case (height, width):
            return height, width
    raise InputError(f"--size is {text!r}; accepted: auto, or SIDE or HEIGHTxWIDTH in pixels, such as 64 or 48x64.")
