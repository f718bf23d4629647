"""The types of an opened data set, the same for all kinds of data; and which tensors are probably images.

A `Source` reads items by index; a `Split` is the part of a source for training, validation or testing; a `DataSet` is
three splits, the labels and the format of an item. Images are decoded when a batch is read, so memory does not grow
with their number. All can be pickled, so that a child process can read them without TensorFlow.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal, Protocol

import numpy as np
import numpy.typing as npt

from edgepress.runtime.data_record import DataRecord, TableRecord
from edgepress.runtime.input_spec import InputSpec
from edgepress.runtime.sound.features import FrameFeatures
from edgepress.toolkit.text import short_repr
from edgepress.toolkit.truth import is_multilabel

SPLITS = ("train", "val", "test")
COPY = "a copy is in the test or validation split"
"""Why an item that can be read is left out."""
GROUPED = "its group, or a copy, is in the test or validation split"
"""The same of data that are split by groups."""
UNDECODED = "edgepress does not decode them; save them as JPEG or PNG"
"""Why pictures of some formats are left out."""
UNSORTED = "in no class folder"
"""Why images beside class folders are left out."""
ALWAYS_LEFT_OUT = (COPY, GROUPED, UNDECODED, UNSORTED)
"""Reasons for which items are left out without `--skip-unreadable`, too."""
SHOWN = 20
"""Number of items left out that are named."""
Purpose = Literal["training", "evaluation", "calibration"]
"""What data are opened for: training needs all classes in the training and test splits; evaluation needs test items;
calibration needs training items, with labels or without."""


class Source(Protocol):
    """Items by index, prepared for the model's input."""

    def __len__(self) -> int: ...

    def read(self, indices: npt.NDArray[np.int64]) -> npt.NDArray[Any]:
        """Read items as one array: uint8 or float32, shape (len(indices), *item shape)."""
        ...

    def name(self, index: int) -> str:
        """A name for this item in messages: its file name or its number."""
        ...

    def stored_size(self, index: int) -> tuple[int, int] | None:
        """Height and width of an image before it is resized; None of a tensor, or of a file that can't be read."""
        ...

    def part(self, indices: npt.NDArray[np.int64]) -> Source:
        """A source of only these items, numbered from 0."""
        ...


@dataclass(frozen=True)
class Split:
    """A part of a source. When pickled, it contains only its own items.

    Attributes:
        source: The items.
        indices: Indices of the items in this split, int64, shape (N,), in an order that depends only on content.
        y: Their classes, int64, shape (N,), indices into the data set's labels; of multi-label data 0 and 1 for each
            label, int64, shape (N, labels) (`edgepress.toolkit.truth`).
        groups: Number of the group of each, int64, shape (N,), equal in all data for groups of one name; None if they
            are not split by groups.
    """

    source: Source
    indices: npt.NDArray[np.int64]
    y: npt.NDArray[np.int64]
    groups: npt.NDArray[np.int64] | None = None

    def __repr__(self) -> str:
        return f"Split({len(self)} items)"

    def __len__(self) -> int:
        return len(self.indices)

    def read(self, rows: Sequence[int] | npt.NDArray[np.int64] | slice) -> npt.NDArray[Any]:
        """Read items by their row in this split: uint8 or float32, shape (n, *item shape)."""
        return self.source.read(self.indices[rows])

    def take(self, rows: npt.NDArray[Any]) -> Split:
        """The items in these rows, numbers or a flag for each row, in their order; a row may occur several times."""
        groups = None if self.groups is None else self.groups[rows]
        return Split(self.source, self.indices[rows], self.y[rows], groups)

    def batches(self, size: int) -> Iterator[tuple[npt.NDArray[Any], npt.NDArray[np.int64]]]:
        """Read all items in order, as (x, y) of up to `size` items."""
        for start in range(0, len(self), size):
            rows = slice(start, start + size)
            yield self.read(rows), self.y[rows]

    def name(self, row: int) -> str:
        """A name for this item in messages."""
        return self.source.name(int(self.indices[row]))

    def __reduce__(self) -> tuple[Any, ...]:
        return Split, (self.source.part(self.indices), np.arange(len(self)), self.y, self.groups)


@dataclass(frozen=True)
class Conflicts:
    """Items of the same content in different classes.

    Attributes:
        items: Number of items whose content is in several classes.
        wrong: How many of them any model must classify wrongly, as it answers the same for the same content.
        total: Number of items of the data.
        groups: Number of such contents.
        examples: The first of them: the name and class of one item a class.
    """

    items: int
    wrong: int
    total: int
    groups: int
    examples: tuple[tuple[tuple[str, str], ...], ...]


def notes_of_skipped(skipped: Sequence[tuple[str, str]]) -> list[str]:
    """A sentence for each of the first items left out, given with their reasons, and the number of the others."""
    notes = [f"Left out: {name} ({reason})" for name, reason in skipped[:SHOWN]]
    more = len(skipped) - SHOWN
    return notes if more <= 0 else [*notes, f"Left out: {more} more."]


@dataclass(frozen=True)
class DataSet:
    """Three splits, the labels, and the format of an item.

    Attributes:
        source: The name or path, as the user gave it.
        labels: Class names; `y` are indices into them, or have a column for each. Empty if the items have no labels.
        input: Shape, dtype, colour, resize rule and value range of an item.
        train: Items for training and calibration.
        val: Items for early stopping and search; may be empty except for training.
        test: Items for the final evaluation; never used for training, calibration or selection.
        sha256: Hash of every item's content hash, label and split.
        skipped: Items left out, with the reason: unreadable files (`--skip-unreadable`), pictures of formats that are
            not decoded, images beside class folders, and copies of items in a given test or validation split.
        computed: Splits that the data did not have, so that their items were taken from the training items.
        conflicts: Items of the same content in different classes; None if there are none.
        tested: The split that `test` holds.
        group: The rule of the groups by which it is split; "" for none, "none" if that was asked for.
        group_notes: What a user should know of them.
        table: How items are made of rows of CSV files, or of frames of sound; None of other data.
        recorded: What a contract stores instead of this data set's own record: that of old data to which others were
            joined, so that they are recognized when they are opened by their name.
        sound: The front end that made the items; None of other data than sounds.
    """

    source: str
    labels: tuple[str, ...]
    input: InputSpec
    train: Split
    val: Split
    test: Split
    sha256: str
    skipped: tuple[tuple[str, str], ...] = ()
    computed: tuple[str, ...] = ()
    conflicts: Conflicts | None = None
    tested: str = "test"
    group: str = ""
    group_notes: tuple[str, ...] = ()
    table: TableRecord | None = None
    recorded: DataRecord | None = None
    sound: FrameFeatures | None = None

    __repr__ = short_repr

    def tested_on(self, name: str) -> DataSet:
        """The same with another split in place of the test items, for what works on these."""
        return replace(self, test=getattr(self, name), tested=name)

    def relabelled(self, labels: tuple[str, ...]) -> DataSet:
        """The same with classes numbered in the order of these labels, which include all of its own."""
        numbers = np.array([labels.index(label) for label in self.labels], np.int64)

        def renumbered(y: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
            if not is_multilabel(y):
                return numbers[y]
            rows = np.zeros((len(y), len(labels)), np.int64)
            rows[:, numbers] = y
            return rows

        splits = {name: getattr(self, name) for name in SPLITS}
        return replace(self, labels=labels, **{name: replace(s, y=renumbered(s.y)) for name, s in splits.items()})

    def named_columns(self, labels: tuple[str, ...]) -> DataSet:
        """The same with a model's labels in the place of the numbers of as many columns of rows of labels."""
        unnamed = self.multilabel and self.labels == tuple(map(str, range(len(labels))))
        return replace(self, labels=labels) if unnamed else self

    @property
    def multilabel(self) -> bool:
        """Whether an item has any number of labels instead of one."""
        return is_multilabel(self.test.y)

    @property
    def record(self) -> DataRecord:
        """The record of this data set that a contract stores."""
        if self.recorded is not None:
            return self.recorded
        counts = {name: len(getattr(self, name)) for name in SPLITS}
        return DataRecord(source=self.source, sha256=self.sha256, counts=counts, group=self.group, table=self.table)


LEAST_SIDE = 8
"""Height and width of an image at least, in pixels."""
LOOKED_AT = 64
"""Items that are looked at."""
NEAR = 0.1
"""How far a pixel may be from a whole number: half precision has eleven bits."""


def pixel_notes(data: DataSet) -> tuple[str, ...]:
    """What to say of tensors that have the shape and the numbers of images; nothing of all others."""
    shape = data.input.shape
    first = len(shape) == 3 and shape[0] in (1, 3) and shape[2] not in (1, 3)
    sides = shape[1:] if first else shape[:2]
    channels = shape[0] if first else (*shape, 1, 1)[2]
    if data.input.is_image or len(shape) not in (2, 3) or min(sides) < LEAST_SIDE or channels not in (1, 3):
        return ()
    x = data.train.read(slice(0, LOOKED_AT))
    most = float(x.max(initial=0))
    pixels = 255 * x if most <= 1 else x
    if x.min(initial=0) < 0 or most > 255 or len(np.unique(x)) < 3 or np.abs(pixels - np.rint(pixels)).max() > NEAR:
        return ()
    new = f"np.rint({'255 * ' if most <= 1 else ''}{'x.transpose(0, 2, 3, 1)' if first else 'x'}).astype(np.uint8)"
    return (
        f"The items are tensors of shape {'x'.join(map(str, shape))}, but their numbers are those of pixels. Files "
        f"made of this model take arrays and no images. If they are images, save x as {new}.",
    )
