"""Stretches of consecutive rows in which windows may lie, and the groups by which windows are split."""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from edgepress.toolkit.data.groups import COLUMN
from edgepress.toolkit.data.items import ReadOptions
from edgepress.toolkit.data.readers.csv_rows import Rows
from edgepress.toolkit.errors import DataError

LEAST_GROUPS = 3
"""Groups of a column, or files, from which data are split by these: for training, validation and testing."""
PIECES = 10
"""Pieces of the stretches of each label at least, where they are long enough."""
PIECE = "piece"
"""The column that is computed where there are too few recordings."""
FILE = "file"


@dataclass(frozen=True)
class Stretch:
    """Rows from `start` to before `stop` of all files together, of one file, label and row of groups."""

    start: int
    stop: int
    file: int
    label: str
    groups: tuple[str, ...]


def find_stretches(tables: Sequence[Rows]) -> list[Stretch]:
    """The stretches of all files, in the order of the rows."""
    stretches = []
    offset = 0
    for number, table in enumerate(tables):
        count = len(table.lines)
        labels = table.labels or [""] * count
        groups = list(zip(*table.groups.values(), strict=True)) or [()] * count
        changes = np.array([True, *(labels[i] != labels[i - 1] or groups[i] != groups[i - 1] for i in range(1, count))])
        borders = [*np.flatnonzero(changes | table.broken).tolist(), count]
        for start, stop in itertools.pairwise(borders):
            stretches.append(Stretch(offset + start, offset + stop, number, labels[start], groups[start]))
        offset += count
    return stretches


def usual_rule(tables: Sequence[Rows], options: ReadOptions, window: int) -> tuple[str, str]:
    """The column of groups that is used if none is named, with a note if it is computed; "" for none."""
    asked = options.group or ""
    if asked not in ("", f"{COLUMN}{PIECE}"):
        return "", ""
    if not asked:
        for name in tables[0].roles.groups:
            if len({value for table in tables for value in table.groups[name]}) >= LEAST_GROUPS:
                return name, ""
        if len(tables) >= LEAST_GROUPS:
            return FILE, ""
    if not window:
        return "", ""
    return PIECE, (
        f"There are fewer than {LEAST_GROUPS} recordings, so stretches of one label were cut into pieces, and windows "
        "of a piece are in one split. The accuracy on other people and days may be lower: add recordings, and a column "
        "that names them."
    )


def cut_into_pieces(stretches: Sequence[Stretch], window: int) -> list[Stretch]:
    """The same cut into pieces of a window or more, `PIECES` of each label where they are long enough."""
    of_label = Counter(s.label for s in stretches if s.stop - s.start >= window)
    pieces = []
    for s in stretches:
        wanted = -(-PIECES // max(of_label[s.label], 1))
        count = max(min(wanted, (s.stop - s.start) // window), 1)
        borders = np.linspace(s.start, s.stop, count + 1).astype(np.int64).tolist()
        pieces += [Stretch(a, b, s.file, s.label, s.groups) for a, b in itertools.pairwise(borders)]
    return pieces


def numbered(pieces: Sequence[Stretch], files: Sequence[str]) -> list[str]:
    """A name for each piece: its file, its label, and its number among those."""
    seen: Counter[tuple[int, str]] = Counter()
    names = []
    for piece in pieces:
        seen[piece.file, piece.label] += 1
        names.append(f"{files[piece.file]} {piece.label} {seen[piece.file, piece.label]}")
    return names


def require_windows(path: Path, stretches: Sequence[Stretch], counts: npt.NDArray[np.int64], window: int) -> None:
    """Raise an error if a label has no window."""
    hint = "Give a smaller --window; or sort the rows, if those of a recording are not one after another."
    have = {s.label for s, count in zip(stretches, counts.tolist(), strict=True) if count}
    for label in sorted({s.label for s in stretches} - have):
        longest = max(s.stop - s.start for s in stretches if s.label == label)
        of = f" of label {label!r}" if label else ""
        raise DataError(
            f"{path}: the longest stretch{of} has {longest} rows, and a window {window}. A stretch ends where the "
            "label, the recording or the file changes.",
            hint,
        )
