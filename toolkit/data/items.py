"""The items of a data set before they are split: the return type of all readers, and the options they take.

A reader (`folder.py`, `idx.py`, `npz.py`, `builtin.py`) takes a path and `ReadOptions` and returns `Items`; `open_data`
splits them.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Annotated, Any, Protocol, get_args

import numpy as np
import numpy.typing as npt

from edgepress.converters.options.records import record
from edgepress.runtime.data_record import TableRecord
from edgepress.runtime.image import resize_array
from edgepress.runtime.input_record import inputs_of
from edgepress.runtime.input_spec import Color, InputSpec
from edgepress.runtime.sound.features import FrameFeatures
from edgepress.toolkit.data.options import DataOptions, OpeningArguments, PythonAlone
from edgepress.toolkit.data.splits import Ints, Names
from edgepress.toolkit.data.types import Purpose, Source
from edgepress.toolkit.errors import DataError, unknown

SMALL = 64
"""Colour images whose shorter sides have a smaller median than this are no photos, pixels."""
EXACT = 1 << 24
"""Whole numbers up to this one are exact in float32, in which tensors are stored and hashed."""
UNLABELLED = "Items without labels are enough for convert, and for benchmark of files with --task none."
"""Added to the hints of errors about missing labels."""

TO_NPZ = 'Sounds become WAV or FLAC files, and arrays an .npz: docs/data.md, "Sounds".'
"""Added to the hints of errors about other data."""
PHOTO_SIZE = PythonAlone(
    f"Side to resize photos to without `size`: colour images of a median of {SMALL} pixels or more"
)
MULTILABEL = PythonAlone(
    "Read one-hot rows of an `.npz` as rows of labels that an item has or not, for a model whose labels do not exclude "
    "each other; otherwise rows that all have a single 1 are classes"
)
SAMPLE = PythonAlone("How many training and validation items are enough for calibration; `sha256` is then of these")


@record(OpeningArguments)
@dataclass(frozen=True, kw_only=True)
class ReadOptions(DataOptions):
    """How to prepare the items for a model.

    Every image is decoded for training or `skip_unreadable`; otherwise, images are decoded when they are read.
    """

    photo_size: Annotated[int | None, PHOTO_SIZE] = None
    input: Annotated[InputSpec | None, PythonAlone("A model's input; overrides `size`, `color` and `resize`")] = None
    multilabel: Annotated[bool, MULTILABEL] = False
    purpose: Annotated[Purpose, PythonAlone("What it is opened for, which says what it must have")] = "training"
    sample: Annotated[tuple[int, int] | None, SAMPLE] = None
    columns: Annotated[tuple[str, ...] | None, PythonAlone("Columns of CSV files that are the channels, in order")] = (
        None
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.color not in (None, *get_args(Color)):
            raise unknown("color", str(self.color), get_args(Color))

    @property
    def unlabelled(self) -> bool:
        """Whether items without labels are accepted."""
        return self.purpose == "calibration"

    def lacks_training(self, parts: Collection[str]) -> bool:
        """Whether data of these parts lack training items that their purpose needs."""
        return "train" not in parts and not (self.purpose == "evaluation" and "test" in parts)

    def image(self, height: int, width: int, color: Color, *, shorter: float | None = None) -> InputSpec:
        """The input for images whose own size and colour are these, and whose shorter sides have this median."""
        self._require_one("images")
        if self.input is None:
            chosen = self.color or color
            size = self.sides or (height, width)
            if self.size is None and self.photo_size is not None and chosen == "rgb":
                is_small = (min(height, width) if shorter is None else shorter) < SMALL
                size = size if is_small else (self.photo_size, self.photo_size)
            return InputSpec.image(*size, chosen, self.resize)
        if not self.input.is_image or self.input.dtype != "uint8":
            images = {1: "; if they are flattened images, give --color", 2: "; if they are images, give --color grey"}
            raise DataError(
                f"The data are images, but the model takes {self.input.dtype} tensors of shape {self.input.shape}.",
                "Give an .npz of float32 arrays, prepared as the model expects them"
                f"{images.get(len(self.input.shape), '')}.",
            )
        return self.input

    def tensor(self, shape: tuple[int, ...]) -> InputSpec:
        """The input for float32 tensors of this shape."""
        description = f"The data are float32 tensors of shape {shape}"
        self._require_one("tensors")
        if self.input is None:
            if self.size or self.color:
                raise DataError(
                    f"{description}; only images have a size and a colour.", "Leave out --size and --color."
                )
            return InputSpec(shape=shape, dtype="float32")
        if self.input.is_image:
            hint = "In an .npz, images are uint8 arrays of shape (N, height, width[, 1 or 3])."
            raise DataError(f"{description}, but the model takes images of {self.input.shape}.", hint)
        if (self.input.dtype != "float32" and not self.input.is_integer) or _core(self.input.shape) != _core(shape):
            raise DataError(
                f"{description}, but the model takes {self.input.dtype} tensors of shape {self.input.shape}."
            )
        return self.input

    def array(self, x: npt.NDArray[Any]) -> InputSpec:
        """The input for arrays: images of uint8, tensors of float32, or records of both (N,).

        Raises:
            DataError: The model takes others.
        """
        if inputs := inputs_of(self.input) if x.dtype.names else ():
            for each in inputs:
                try:
                    replace(self, input=each).array(x[each.name])
                except DataError as e:
                    raise DataError(f"Input {each.name}: {e.message}", e.hint) from e
            assert self.input is not None
            return self.input
        if x.dtype == np.uint8:
            return self.image(x.shape[1], x.shape[2], "rgb" if x.shape[3:] == (3,) else "grey")
        return self.tensor(x.shape[1:])

    def _require_one(self, kind: str) -> None:
        """Raise an error if the model has several inputs, and the data one array."""
        if inputs := inputs_of(self.input):
            names = ", ".join(each.name for each in inputs)
            hint = 'Give an .npz with an array for each: docs/data.md, "Several inputs".'
            raise DataError(f"The data are {kind}, but the model takes several inputs: {names}.", hint)

    def whole_numbers(self, x: npt.NDArray[Any]) -> bool:
        """Whether the model takes these items as integers.

        Raises:
            DataError: It does, and they are not whole numbers of its type that float32 holds exactly.
        """
        if self.input is None or not self.input.is_integer:
            return False
        limits = np.iinfo(self.input.dtype)
        low = max(limits.min, -EXACT)
        high = min(limits.max, EXACT)
        if not ((x >= low) & (x <= high) & (x == np.trunc(x))).all():
            raise DataError(
                f"The model takes {self.input.dtype}; the data hold other numbers than whole ones, {low} to {high}."
            )
        return True


@dataclass(frozen=True)
class ArraySource:
    """Items held in memory in their original form, and resized when they are read.

    Attributes:
        x: The items, uint8 images or float32 tensors, shape (N, ...).
        names: The name of each.
        spec: The model's input.
    """

    x: npt.NDArray[Any]
    names: Sequence[str]
    spec: InputSpec

    def __len__(self) -> int:
        return len(self.x)

    def read(self, indices: Ints) -> npt.NDArray[Any]:
        """The items as one array, shape (len(indices), *spec.shape)."""
        x = self.x[indices]
        if not (inputs := inputs_of(self.spec)):
            return _prepared(x, self.spec)
        records = np.empty(len(x), self.spec.item)
        for each in inputs:
            records[each.name] = _prepared(x[each.name], each)
        return records

    def stored_size(self, index: int) -> tuple[int, int] | None:
        """See `Source`."""
        return self.x.shape[1:3] if self.spec.is_image else None

    def name(self, index: int) -> str:
        """An item's number, with its given split if there is more than one: "item 17", "test 17"."""
        return self.names[index]

    def part(self, indices: Ints) -> ArraySource:
        """A source of only these items."""
        return ArraySource(self.x[indices], [self.names[i] for i in indices], self.spec)


def _prepared(x: npt.NDArray[Any], spec: InputSpec) -> npt.NDArray[Any]:
    """Items as an input takes them, shape (N, *spec.shape)."""
    if not spec.is_image or _core(x.shape[1:]) == _core(spec.shape):
        return x.reshape(-1, *spec.shape).astype(spec.dtype, copy=False)
    out = np.empty((len(x), *spec.shape), np.uint8)
    for i, item in enumerate(x):
        out[i] = resize_array(item, spec)
    return out


class Columns(Protocol):
    """What data say of each item besides its class, by name."""

    def names(self) -> list[str]:
        """The names of the columns."""
        ...

    def read(self, name: str) -> tuple[list[str], list[str]]:
        """The values of a column, one an item and "" for none; and notes on it."""
        ...


@dataclass(frozen=True)
class Items:
    """The return value of a reader.

    Attributes:
        source: The items.
        hashes: Content hash of each, SHA-256 as hexadecimal, shape (N,); independent of the requested size and colour.
        y: Class of each, indices into `labels`, shape (N,); of multi-label data 0 and 1 for each label, (N, labels).
        labels: Class names; empty if the items have no labels.
        stored_split: Split in the data, shape (N,): "train" if they have no splits, "val", "test"; "" if left out.
        spec: The input that the source prepares items for.
        skipped: Unreadable files, with the reason.
        paths: The path of each item's file below its class folder, with "/" between folders; None if they have none.
        columns: What the data say of each item besides its class.
        whole: Whether these are all items; otherwise `stored_split` are their splits, and none is computed.
        table: How they are made of rows of CSV files, or of frames of sound.
        usual_group: The column by which they are split if no rule is given; "" for none.
        notes: What a user should know of them.
        sound: The front end that they were made with; None of other data than sounds.
    """

    source: Source
    hashes: npt.NDArray[np.bytes_]
    y: Ints
    labels: tuple[str, ...]
    stored_split: Names
    spec: InputSpec
    skipped: tuple[tuple[str, str], ...] = ()
    paths: Callable[[], list[str]] | None = None
    columns: Columns | None = None
    whole: bool = True
    table: TableRecord | None = None
    usual_group: str = ""
    notes: tuple[str, ...] = ()
    sound: FrameFeatures | None = None


def array_items(
    parts: Mapping[str, tuple[npt.NDArray[Any], Ints]],
    *,
    labels: tuple[str, ...],
    options: ReadOptions,
    columns: Columns | None = None,
) -> Items:
    """Make items of arrays.

    Args:
        parts: By "train", "val" or "test": x and y. x: uint8 images (N, H, W), (N, H, W, 1 or 3), or float32 tensors
            (N, ...), the same but for N in all parts; y: as of `Items`.
        labels: Class names.
        options: How to prepare them.
        columns: See `Items`.
    """
    x = np.concatenate([np.ascontiguousarray(x) for x, _ in parts.values()])
    if options.whole_numbers(x):
        x = x.astype(np.float32)  # as if they were floats, so that hashes do not depend on the type
    spec = options.array(x)
    one = len(parts) == 1  # "train 17" would mislead if there is no official split
    names = [f"item {i}" if one else f"{part} {i}" for part, (_, y) in parts.items() for i in range(len(y))]
    return Items(
        source=ArraySource(x, names, spec),
        hashes=np.array([hashlib.sha256(row).hexdigest() for row in _rows(x)], np.bytes_),
        y=np.concatenate([y for _, y in parts.values()]).astype(np.int64),
        labels=labels,
        stored_split=np.repeat(list(parts), [len(y) for _, y in parts.values()]),
        spec=spec,
        columns=columns,
    )


def _rows(x: npt.NDArray[Any]) -> Iterator[Any]:
    """What is hashed of each item; of records the inputs in the order of their names, whatever that of a model is."""
    if x.dtype.names is None:
        return iter(x)
    fields = [np.ascontiguousarray(x[name]) for name in sorted(x.dtype.names)]
    return (b"".join(field[i].tobytes() for field in fields) for i in range(len(x)))


def in_order(labels: Sequence[str]) -> list[str]:
    """Distinct class names, sorted by value if all are whole numbers, else alphabetically."""
    numeric = all(label.isdecimal() for label in labels)
    return sorted(set(labels), key=lambda label: (int(label) if numeric else 0, label))


def _core(shape: tuple[int, ...]) -> tuple[int, ...]:
    """A shape without the last axis if that is a single channel, which may be left out."""
    return shape[:-1] if len(shape) > 1 and shape[-1] == 1 else shape
