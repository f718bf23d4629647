"""The options of `open_data`, declared once for it, for readers and for the command line of `train`."""

from __future__ import annotations

from dataclasses import dataclass, fields
from functools import partial
from typing import Annotated, Any, TypedDict

from edgepress.converters.contract.hints import parse_size
from edgepress.converters.contract.metadata import ChannelOrder
from edgepress.converters.options.records import Setting, record
from edgepress.runtime.input_spec import Color, InputSpec
from edgepress.runtime.resize import RESIZES, Resize, resize_rule
from edgepress.runtime.sound.features import FrameFeatures, SoundFeatures, parse_features
from edgepress.toolkit.data.reading import Reading
from edgepress.toolkit.data.types import Purpose
from edgepress.toolkit.errors import InputError

MAX_SIDE = 4096
"""Longest side of images, pixels."""
LABELS = ("label", "labels", "class", "activity", "target")
"""Names of the column of the classes, the first one first."""
Sides = int | tuple[int, int]
"""Height and width of images, or one number for both."""


class OpeningArguments(TypedDict, total=False):
    """The arguments of `open_data` that make `ReadOptions`."""

    size: Sides | None
    color: Color | None
    resize: Resize
    group: str | None
    window: int | None
    step: int | None
    label_column: str | None
    sound: FrameFeatures | None
    photo_size: int | None
    input: InputSpec | None
    multilabel: bool
    purpose: Purpose
    sample: tuple[int, int] | None
    columns: tuple[str, ...] | None
    skip_unreadable: bool


def _sides(text: str | None) -> Sides | None:
    """The option --size: "64" or "48x64"."""
    match parse_size(text) if text not in (None, "auto") else ():
        case ():
            return None
        case (side,):
            return side
        case (height, width):
            return height, width
    raise InputError(f"--size is {text!r}; accepted: auto, or SIDE or HEIGHTxWIDTH in pixels, such as 64 or 48x64.")


def _sound(text: str | None) -> FrameFeatures | None:
    """The option --sound."""
    try:
        return None if text is None else parse_features(text)
    except ValueError as e:
        raise InputError(f"--sound: {e}.", "docs/sound.md lists the parameters.") from e


Images = partial(Setting, panel="Images")
Rows = partial(Setting, panel="CSV files and recordings")
SIZE = Images(
    "Resize images to SIDE or HEIGHTxWIDTH, or auto",
    more="In Python: one number, or (height, width)",
    show_default="auto: as in the data; 160 for photos and EfficientNet-Lite with its weights",
    typed=str | None,
    read=_sides,
)
COLOR = Images(
    "Color mode to convert images to; bgr: for --from", show_default="as in the data", typed=ChannelOrder | None
)
RESIZE = Images(
    "How to fit images of another size; crop:F keeps the central share F of each side, such as crop:0.875",
    metavar=f"<{'|'.join(RESIZES)}>",
    choices=("stretch", "crop", "crop:0.875", "pad"),
    typed=str,
    check=resize_rule,
)
GROUP = Setting(
    "Which items are of one group (photos of one object, one speaker) and never divided between training and test: "
    "searched in the path of a file below its class folder, or a column of a .csv or metadata.csv, or array of an .npz",
    more="They are looked for if the purpose is training, and in CSV files always",
    metavar="REGEX|column:NAME|none",
    show_default="groups that are seen in the names of files or in a column, such as group",
)
WINDOW = Rows(
    "Consecutive rows of one recording and label, or frames of sound, that make an item, such as 128",
    more="0: each row is an item",
    min=0,
    show_default="each row is an item; of recordings, a second",
)
STEP = Rows("Rows or frames from one window to the next", min=1, show_default="half a window")
LABEL = Rows("Column of the classes", metavar="NAME", show_default=", ".join(LABELS))
SOUND = Rows(
    "Front end of recordings, such as rate=8000,channels=32, or kind=log-mel: "
    + ", ".join(field.name for field in fields(SoundFeatures)),
    metavar="NAME=VALUE,...",
    show_default="that of microWakeWord",
    typed=str | None,
    read=_sound,
)
PythonAlone: Any = partial(Setting, command_line=False)
"""A setting that no command has."""


@record()
@dataclass(frozen=True, kw_only=True)
class DataOptions(Reading):
    """How data are opened for a training."""

    size: Annotated[Sides | None, SIZE] = None
    color: Annotated[Color | None, COLOR] = None
    resize: Annotated[Resize, RESIZE] = "stretch"
    group: Annotated[str | None, GROUP] = None
    window: Annotated[int | None, WINDOW] = None
    step: Annotated[int | None, STEP] = None
    label_column: Annotated[str | None, LABEL] = None
    sound: Annotated[FrameFeatures | None, SOUND] = None

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.sides and not all(1 <= side <= MAX_SIDE for side in self.sides):
            raise InputError(
                f"Images of {self.sides[0]} x {self.sides[1]} pixels can't be made; accepted: 1 to {MAX_SIDE} per side."
            )
        try:
            resize_rule(self.resize)
        except ValueError as e:
            raise InputError(f"The resize rule {e}.") from e

    @property
    def sides(self) -> tuple[int, int] | None:
        """Height and width of images."""
        return (self.size, self.size) if isinstance(self.size, int) else self.size
