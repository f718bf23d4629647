"""The two types that every data set is brought to, whatever it came from.

A `Source` gives items by index; a `Split` is the part of a source that is for training, for choosing, or for testing;
a `DataSet` is three splits, the labels and what one item looks like. Sources are streamed: images are decoded when a
batch is asked for, so memory does not grow with their number. All three can be pickled, so that a child process
opens them without TensorFlow.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from edgepress.runtime.contract import DataRecord, InputSpec

SPLITS = ("train", "val", "test")


class Source(Protocol):
    """Items by index, already brought to what the model takes."""

    def __len__(self) -> int: ...

    def read(self, indices: npt.NDArray[np.int64]) -> npt.NDArray[Any]:
        """The items as one array: uint8 or float32, shape (len(indices), *item shape)."""
        ...

    def name(self, index: int) -> str:
        """What a user would call this item: its file name, or its number."""
        ...

    def part(self, indices: npt.NDArray[np.int64]) -> Source:
        """A source of these items alone, numbered anew from 0."""
        ...


@dataclass(frozen=True)
class Split:
    """A part of a source. Pickled, it takes along its own items and none of the other splits'.

    Attributes:
        source: Where the items are.
        indices: Which of them belong to this split, int64, shape (N,), in an order that depends on content alone.
        y: Their classes, int64, shape (N,), indices into the data set's labels.
    """

    source: Source
    indices: npt.NDArray[np.int64]
    y: npt.NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.indices)

    def read(self, rows: Sequence[int] | npt.NDArray[np.int64] | slice) -> npt.NDArray[Any]:
        """Some items of this split by their row in it, uint8 or float32, shape (n, *item shape)."""
        return self.source.read(self.indices[rows])

    def batches(self, size: int) -> Iterator[tuple[npt.NDArray[Any], npt.NDArray[np.int64]]]:
        """All items in order, as (x, y) of up to `size` items."""
        for start in range(0, len(self), size):
            rows = slice(start, start + size)
            yield self.read(rows), self.y[rows]

    def name(self, row: int) -> str:
        """What a user would call this item."""
        return self.source.name(int(self.indices[row]))

    def __reduce__(self) -> tuple[Any, ...]:
        return Split, (self.source.part(self.indices), np.arange(len(self)), self.y)


@dataclass(frozen=True)
class DataSet:
    """Three splits, the labels, and what one item looks like.

    Attributes:
        source: What `--data` was, as the user gave it.
        labels: Class names in the order of `y`.
        input: Shape, dtype, colour, resize rule and value range of one item.
        train: For fitting and for calibration.
        val: For choosing: early stopping, search. May be empty only in a data set that is only evaluated.
        test: For the final figure; never trained on, calibrated on or chosen by.
        sha256: Hash over every item's content hash, label and split.
        skipped: Items that were left out, with the reason: unreadable files (`--skip-unreadable`), and items for
            training whose content is also in a given test or validation part.
    """

    source: str
    labels: tuple[str, ...]
    input: InputSpec
    train: Split
    val: Split
    test: Split
    sha256: str
    skipped: tuple[tuple[str, str], ...] = ()

    @property
    def record(self) -> DataRecord:
        """What a contract keeps of this data set."""
        counts = {name: len(getattr(self, name)) for name in SPLITS}
        return DataRecord(source=self.source, sha256=self.sha256, counts=counts)
