"""Pictures that boards have kept: what is known of them, and new ones joined with old ones as one data set.

Old and new items as one data set, to train on with both: new items are repeated, old ones are rehearsed.

A net that is trained on with new items alone forgets the old ones (A. Robins, "Catastrophic forgetting, rehearsal and
pseudorehearsal", Connection Science 7 (1995), 123-146).
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from edgepress.converters.contract.metadata import are_text
from edgepress.runtime.keeping import ABOUT
from edgepress.toolkit.data.readers.sound import SoundSource
from edgepress.toolkit.data.splits import calibration_rows
from edgepress.toolkit.data.types import SPLITS, DataSet, Source, Split
from edgepress.toolkit.documents import parse_json, read_limited
from edgepress.toolkit.errors import DataError

MOST_BYTES = 1 << 20
"""Most bytes of the file."""


@dataclass(frozen=True)
class KeptAbout:
    """Of which model pictures are.

    Attributes:
        labels: Its labels, whose numbers are in the names of the pictures.
        model: Its name.
    """

    labels: tuple[str, ...]
    model: str


def read_about(folder: Path) -> KeptAbout:
    """Read the file in a folder of pictures; DataError if it is missing or damaged."""
    try:
        content = read_limited(folder / ABOUT, MOST_BYTES)
    except (OSError, ValueError) as e:
        raise DataError(f"{folder / ABOUT} can't be read: {e}.", "Collect the pictures again.") from e
    return parse_about(content, str(folder / ABOUT))


def parse_about(content: bytes, where: str) -> KeptAbout:
    """Check what others may have written; `where` is for the message of the DataError."""
    try:
        document = parse_json(content)
        labels = document.get("labels")
        model = document.get("model")
        if not isinstance(labels, list) or not all(isinstance(label, str) and label for label in labels):
            raise ValueError("its labels are not a list of texts")
        if not labels or len({*labels}) < len(labels) or not are_text(tuple(labels)):
            raise ValueError("its labels are not different texts in UTF-8")
        if not isinstance(model, str) or not are_text((model,)):
            raise ValueError("its model is not a text")
    except ValueError as e:
        raise DataError(f"{where} is damaged: {e}.", "Collect the pictures again.") from e
    return KeptAbout(tuple(labels), model)


REHEARSED = 10
"""Most old training items for each new one."""
LEAST_REHEARSED = 2000
"""Old training items that are rehearsed however few new ones there are, if there are so many."""
SHARE = 1 / 3
"""Share of the training and validation items that new ones have, by repetition."""

Ints = npt.NDArray[np.int64]


class JoinedSource:
    """Items of several sources.

    Args:
        sources: The sources, which prepare items alike.
        of: The number of the source of each item, int64, shape (N,).
        at: Its index there, int64, shape (N,).
    """

    def __init__(self, sources: Sequence[Source], of: Ints, at: Ints) -> None:
        self._sources = tuple(sources)
        self._of = of
        self._at = at

    def __len__(self) -> int:
        return len(self._of)

    def read(self, indices: Ints) -> npt.NDArray[Any]:
        """See `Source`."""
        of = self._of[indices]
        at = self._at[indices]
        first = self._sources[0].read(at[of == 0])
        out = np.empty((len(indices), *first.shape[1:]), first.dtype)
        out[of == 0] = first
        for number, source in enumerate(self._sources[1:], 1):
            if (rows := of == number).any():
                out[rows] = source.read(at[rows])
        return out

    def name(self, index: int) -> str:
        """See `Source`."""
        name: str = self._sources[self._of[index]].name(int(self._at[index]))
        return name

    def stored_size(self, index: int) -> tuple[int, int] | None:
        """See `Source`."""
        size: tuple[int, int] | None = self._sources[self._of[index]].stored_size(int(self._at[index]))
        return size

    def part(self, indices: Ints) -> JoinedSource:
        """See `Source`."""
        of = self._of[indices]
        at = np.empty(len(indices), np.int64)
        sources = [source.part(self._at[indices][of == number]) for number, source in enumerate(self._sources)]
        for number in range(len(sources)):
            at[of == number] = np.arange(np.count_nonzero(of == number))
        return JoinedSource(sources, of, at)


def join(old: DataSet, new: DataSet) -> DataSet:
    """Old and new items, of the same labels and input; each test item is there once.

    Training and validation items are in a random order that depends only on their number, because what takes some of
    them takes the first ones. It is called by the name of the old data, and a contract stores their record.
    """
    few = calibration_rows(old.train, max(LEAST_REHEARSED, REHEARSED * len(new.train)))
    rehearsed = old.train.take(few)
    one, other = old.train.source, new.train.source
    both = one.joined(other) if isinstance(one, SoundSource) and isinstance(other, SoundSource) else None
    digest = hashlib.sha256(f"{old.sha256} {new.sha256} {len(few)} {SHARE}".encode()).hexdigest()
    return replace(
        old,
        train=_join_splits(rehearsed, _repeat(new.train, len(rehearsed)), shuffle=True, both=both),
        val=_join_splits(old.val, _repeat(new.val, len(old.val)), shuffle=True, both=both),
        test=_join_splits(old.test, new.test, shuffle=False, both=both),
        sha256=digest,
        skipped=(*old.skipped, *new.skipped),
        computed=tuple(dict.fromkeys((*old.computed, *new.computed))),
        conflicts=None,
        recorded=old.record,
    )


def follow(old: DataSet, new: DataSet) -> DataSet:
    """The new data with the items of each group that the old data have in the split that it has there."""
    splits = [getattr(new, name) for name in SPLITS]
    if any(split.groups is None for split in splits):
        return new
    columns = (np.concatenate([getattr(split, name) for split in splits]) for name in ("indices", "y", "groups"))
    every = Split(new.train.source, *columns)
    assert every.groups is not None
    place = np.repeat(np.arange(len(SPLITS)), [len(split) for split in splits])
    for number, name in enumerate(SPLITS):
        known = getattr(old, name).groups
        if known is not None:
            place[np.isin(every.groups, known)] = number
    train, val, test = (every.take(place == number) for number in range(len(SPLITS)))
    return replace(new, train=train, val=val, test=test)


def _repeat(split: Split, beside: int) -> Split:
    """A split repeated until it has its share beside the other items."""
    times = max(1, round(SHARE / (1 - SHARE) * beside / max(len(split), 1)))
    return split.take(np.tile(np.arange(len(split)), times))


def _join_splits(old: Split, new: Split, *, shuffle: bool, both: SoundSource | None) -> Split:
    """Items of two splits; of recordings, as items of one source, whose samples can be mixed when they are learned."""
    of = np.repeat(np.arange(2), [len(old), len(new)])
    order = np.random.default_rng(0).permutation(len(of)) if shuffle else np.arange(len(of))
    y = np.concatenate([old.y, new.y])[order]
    groups = None
    if old.groups is not None and new.groups is not None:
        groups = np.concatenate([old.groups, new.groups])[order]
    if both is not None:
        return Split(both, np.concatenate([old.indices, len(old.source) + new.indices])[order], y, groups)
    source = JoinedSource((old.source, new.source), of[order], np.concatenate([old.indices, new.indices])[order])
    return Split(source, np.arange(len(of)), y, groups)
