"""Read CSV files: a row is an item, or windows of consecutive rows are (`--window`).

    time,acc_x,acc_y,acc_z,subject,activity
    0.00,0.1,-9.7,0.3,anna,walk

A stretch is a run of rows of one file with the same label and the same values in all columns of groups; windows lie in
one stretch. They overlap, and those of one recording are alike, so they are split by groups: by the first usual column
of groups that has three values or more, else by the file. If there are fewer than three recordings, stretches are cut
into pieces that no window crosses, and these are the groups.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import numpy.typing as npt

from edgepress.converters.files import require_memory
from edgepress.runtime.data_record import TableRecord
from edgepress.runtime.image import IMAGE_SUFFIXES
from edgepress.runtime.input_spec import InputSpec
from edgepress.toolkit import text
from edgepress.toolkit.data.items import Items, ReadOptions, in_order
from edgepress.toolkit.data.readers.csv_rows import Rows, read_rows
from edgepress.toolkit.data.readers.csv_stretches import (
    FILE,
    PIECE,
    cut_into_pieces,
    find_stretches,
    numbered,
    require_windows,
    usual_rule,
)
from edgepress.toolkit.data.splits import Ints
from edgepress.toolkit.errors import DataError, InputError

SUFFIX = ".csv"
NOT_ROWS = "metadata.csv"
"""A table about the files of a folder of images."""
PARTS = ("train", "val", "test")
MOST_FILES = 10_000
LONG = 16
"""Median number of rows of a stretch from which rows are probably samples of a sensor."""
ROW_BYTES = 200
"""Memory of an item apart from its values: its hash, its names and its numbers."""


def is_csv(path: Path) -> bool:
    """Whether a path is a CSV file, or a folder with some or with `train/`, `val/` and `test/` that have some."""
    if not path.is_dir():
        return path.suffix.lower() == SUFFIX and path.is_file()
    folders = [path, *(path / part for part in PARTS if (path / part).is_dir())]
    entries = [entry for folder in folders for entry in _visible(folder) if entry not in folders]
    # Tables may lie beside images, too, which are the items then.
    others = any(entry.is_dir() or entry.suffix.lower() in IMAGE_SUFFIXES for entry in entries)
    return not others and any(map(_has_rows, entries))


def _visible(folder: Path) -> list[Path]:
    return sorted(entry for entry in folder.iterdir() if not entry.name.startswith("."))


def _has_rows(path: Path) -> bool:
    return path.suffix.lower() == SUFFIX and path.name != NOT_ROWS and path.is_file()


def _files(root: Path) -> list[tuple[Path, str]]:
    """The CSV files of a folder with their splits, in the order of their names."""
    files = [
        (path, part or "train")
        for part in ("", *PARTS)
        if (root / part).is_dir()
        for path in _visible(root / part)
        if _has_rows(path)
    ]
    if len(files) > MOST_FILES:
        raise DataError(f"{root} has {len(files)} CSV files; accepted: up to {MOST_FILES}.", "Join some.")
    return files


@dataclass(frozen=True)
class WindowSource:
    """Windows of rows that are held once, however much windows overlap.

    Attributes:
        values: The rows, float32, shape (rows, channels).
        starts: The first row of each item, shape (N,).
        window: Rows of an item; 0: one, whose shape is that of its channels alone.
        lines: The line of each row in its file, shape (rows,).
        file_of: The number of the file of each item, shape (N,).
        files: The names of the files.
        spec: The model's input.
    """

    values: npt.NDArray[np.float32]
    starts: Ints
    window: int
    lines: Ints
    file_of: Ints
    files: tuple[str, ...]
    spec: InputSpec

    def __len__(self) -> int:
        return len(self.starts)

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of an item as the rows give it."""
        return (self.window, self.values.shape[1]) if self.window else self.values.shape[1:]

    def read(self, indices: Ints) -> npt.NDArray[np.generic]:
        """See `Source`."""
        x = self.values[self._rows(self.starts[indices])].reshape(-1, *self.spec.shape)
        return x.astype(self.spec.dtype, copy=False)

    def _rows(self, starts: Ints) -> Ints:
        """The rows of items, shape (n, window)."""
        return starts[:, None] + np.arange(max(self.window, 1))

    def name(self, index: int) -> str:
        """The file and the lines of an item: "walk.csv, lines 2-129"."""
        first, last = self.lines[[self.starts[index], self.starts[index] + max(self.window, 1) - 1]].tolist()
        place = f"line {first}" if first == last else f"lines {first}-{last}"
        return f"{self.files[self.file_of[index]]}, {place}"

    def stored_size(self, index: int) -> None:
        """See `Source`."""

    def part(self, indices: Ints) -> WindowSource:
        """A source of only these items, with the rows that they need."""
        starts = self.starts[indices]
        rows = np.unique(self._rows(starts))
        new = np.searchsorted(rows, starts)
        return WindowSource(
            self.values[rows], new, self.window, self.lines[rows], self.file_of[indices], self.files, self.spec
        )

    def hashes(self) -> Iterator[str]:
        """The content hash of each item, that of the same array in an `.npz`."""
        size = max(self.window, 1)
        return (hashlib.sha256(self.values[start : start + size]).hexdigest() for start in self.starts.tolist())


@dataclass(frozen=True)
class GroupColumns:
    """The groups of the items by column."""

    values: dict[str, list[str]]

    def names(self) -> list[str]:
        """The names of the columns."""
        return list(self.values)

    def read(self, name: str) -> tuple[list[str], list[str]]:
        """The value of a column for each item, and no notes."""
        return self.values[name], []


def read_csv(path: Path, options: ReadOptions) -> Items:
    """Read a CSV file, or those of a folder.

    Raises:
        DataError: A file can't be used, files have different columns, or no stretch is as long as a window.
        InputError: `window` or `step` is none.
    """
    files = [(path, "train")] if path.is_file() else _files(path)
    tables = _read_all(path, files, options)
    roles = tables[0].roles
    window, step = _window(options, len(roles.channels))
    stretches = find_stretches(tables)
    rule, why = usual_rule(tables, options, window)
    if rule == PIECE:
        stretches = cut_into_pieces(stretches, window)
    values = np.concatenate([table.values for table in tables])
    lengths = np.array([stretch.stop - stretch.start for stretch in stretches])
    counts = np.maximum((lengths - max(window, 1)) // step + 1, 0)
    require_windows(path, stretches, counts, window)
    require_memory(path, int(counts.sum()) * ROW_BYTES, "Give a larger --step.", error=DataError)
    starts = [s.start + step * np.arange(count) for s, count in zip(stretches, counts.tolist(), strict=True)]
    of = np.repeat(np.arange(len(stretches)), counts)
    file_of = np.array([s.file for s in stretches])[of]
    options.whole_numbers(values)
    lines = np.concatenate([table.lines for table in tables])
    shape = (window, values.shape[1]) if window else values.shape[1:]
    names = tuple(file.name if file == path else file.relative_to(path).as_posix() for file, _ in files)
    source = WindowSource(values, np.concatenate(starts), window, lines, file_of, names, options.tensor(shape))
    labels = tuple(in_order([s.label for s in stretches])) if roles.label else ()
    numbers = {label: i for i, label in enumerate(labels)}
    y = np.array([numbers.get(s.label, 0) for s in stretches], np.int64)
    parts = np.array([part for _, part in files])
    columns = {name: [s.groups[i] for s in stretches] for i, name in enumerate(roles.groups)}
    if len(files) > 1:
        columns.setdefault(FILE, [names[s.file] for s in stretches])
    if rule == PIECE:
        columns[PIECE] = numbered(stretches, names)
    return Items(
        source=source,
        hashes=np.array(list(source.hashes()), np.bytes_),
        y=y[of],
        labels=labels,
        stored_split=parts[file_of],
        spec=source.spec,
        skipped=tuple(
            (f"{text.plural(count, 'row')} of {table.path}", first)
            for table in tables
            for first, count in [table.left_out]
            if count
        ),
        columns=GroupColumns({name: [each[i] for i in of.tolist()] for name, each in columns.items()}),
        table=TableRecord(columns=roles.channels, label=roles.label, window=window, step=step if window else 0),
        usual_group=rule,
        notes=(*_notes(path, tables, lengths, window), *([why] if why else [])),
    )


def _read_all(path: Path, files: Sequence[tuple[Path, str]], options: ReadOptions) -> list[Rows]:
    """The rows of all files, with the channels of the first one."""
    tables: list[Rows] = []
    for file, _ in files:
        same = replace(options, columns=tables[0].roles.channels) if tables else options
        table = read_rows(file, same)
        for what in ("label", "groups") if tables else ():
            first = getattr(tables[0].roles, what)
            if (other := getattr(table.roles, what)) != first:
                raise DataError(
                    f"{file} has other columns than {tables[0].path}: of its {what} {other!r}, and not {first!r}.",
                    "Give all files the same columns.",
                )
        tables.append(table)
    if not any(part == "train" for _, part in files) and options.lacks_training({part for _, part in files}):
        raise DataError(f"{path} has no training items.", "Put CSV files into it, or into train/.")
    return tables


def _window(options: ReadOptions, channels: int) -> tuple[int, int]:
    """Rows of an item, 0 for rows, and the step: as given, or as the model's input says."""
    shape = options.input.shape if options.input is not None else ()
    shape = shape[:-1] if len(shape) == 3 and shape[-1] == 1 else shape
    window = options.window
    if window is None:
        window = shape[0] if len(shape) == 2 and shape[1] == channels else 0
    if options.step is not None and not window:
        raise InputError("A step is that of windows, and there is none.", "Give --window, too.")
    step = options.step if options.step is not None else max(window // 2, 1)
    if window < 0 or step < 1:
        raise InputError(f"The window is {window} and the step {step}; accepted: 1 or more.")
    return window, step if window else 1


def _notes(path: Path, tables: Sequence[Rows], lengths: npt.NDArray[np.int64], window: int) -> list[str]:
    roles = tables[0].roles
    notes = []
    if roles.ignored:
        notes.append(f"Columns of {path} that are no values: {', '.join(roles.ignored)}.")
    if window and (short := int((lengths < window).sum())):
        notes.append(f"{short} of {len(lengths)} stretches of one label are shorter than a window and left out.")
    if not window and roles.label and np.median(lengths) >= LONG:
        notes.append(
            f"Rows of one label follow each other in {path}, {int(np.median(lengths))} in the median. If they are "
            "samples of sensors, make windows of them: --window 128, for example."
        )
    return notes
