"""The rows of one CSV file as arrays, with the line of each, so that messages name the cell that can't be used.

Files may be somebody else's: the length of a line, the number of columns and the memory of the values are limited.
"""

from __future__ import annotations

import csv
import math
from array import array
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

import numpy as np
import numpy.typing as npt

from edgepress.converters.files import require_memory
from edgepress.runtime.errors import parsing
from edgepress.runtime.filetypes import open_regular
from edgepress.toolkit.data.items import ReadOptions
from edgepress.toolkit.data.readers.csv_columns import Roles, roles_of
from edgepress.toolkit.errors import DataError

LONGEST_LINE = 1 << 20
"""Characters of a line at most."""
MOST_COLUMNS = 1024
MEMORY_OF_BYTE = 12
"""Bytes of memory that one byte of a file takes at most: values of one digit, as float64 and as float32."""
SEPARATORS = (",", ";", "\t")
MOST = float(np.finfo(np.float32).max)
LONGEST_CELL = 100
"""Characters of a label or of a group's name at most."""
SHOWN = 40


@dataclass
class Rows:
    """The rows of a file that can be used, in its order.

    Attributes:
        path: The file, as the user would name it.
        roles: What its columns are.
        values: The channels, float32, shape (N, channels).
        lines: The line of each row in the file, from 1, int64, shape (N,).
        labels: The label of each; empty if there are none.
        groups: The value of each column of groups in each row.
        broken: Whether a row that can't be used stands before it, shape (N,), bool.
        left_out: The first such row, with the reason, and how many there are.
    """

    path: str
    roles: Roles
    values: npt.NDArray[np.float32]
    lines: npt.NDArray[np.int64]
    labels: list[str]
    groups: dict[str, list[str]]
    broken: npt.NDArray[np.bool_]
    left_out: tuple[str, int] = ("", 0)


@dataclass
class _Reading:
    """What is read so far: `values` row after row, and the lines that were left out as (line, reason)."""

    values: array[float] = field(default_factory=lambda: array("d"))
    lines: array[int] = field(default_factory=lambda: array("q"))
    labels: list[str] = field(default_factory=list)
    left_out: list[tuple[int, str]] = field(default_factory=list)


def read_rows(path: Path, options: ReadOptions) -> Rows:
    """Read a CSV file.

    Raises:
        DataError: It has no first line with names, no rows, a row of another length, a cell that is no finite number or
            an empty label, or takes more memory than is free. With `skip_unreadable`, such rows are left out.
    """
    with parsing(path, "Save it as CSV in UTF-8.", failed="can't be read", error=DataError):
        file = open_regular(path)
    with file:
        require_memory(path, MEMORY_OF_BYTE * path.stat().st_size, "Give fewer rows.", error=DataError)
        lines = _lines(path, file)
        head = next(lines, "")
        separator = max(SEPARATORS, key=head.count)
        names = [name.strip() for name in next(csv.reader([head], delimiter=separator), [])]
        _check_names(path, names)
        roles = roles_of(str(path), names, options)
        reader = csv.reader(lines, delimiter=separator, strict=True)
        reading = _Reading()
        groups: dict[str, list[str]] = {name: [] for name in roles.groups}
        try:
            for cells in reader:
                if cells:
                    _add(path, cells, reader.line_num + 1, names, roles, reading, groups, options)
        except csv.Error as e:
            hint = "Quotation marks must be closed; save it again."
            raise DataError(f"{path}, line {reader.line_num + 1}: {e}.", hint) from e
    return _finished(path, names, roles, reading, groups, options)


def _lines(path: Path, file: IO[bytes]) -> Iterator[str]:
    """The lines of a file as text, none of which is longer than `LONGEST_LINE`."""
    number = 0
    while line := file.readline(LONGEST_LINE + 1):
        number += 1
        if len(line) > LONGEST_LINE:
            raise DataError(f"{path}, line {number} is longer than {LONGEST_LINE} bytes.", "Is it a CSV file?")
        try:
            yield line.decode("utf-8-sig" if number == 1 else "utf-8")
        except UnicodeDecodeError as e:
            raise DataError(f"{path}, line {number} is not text in UTF-8: {e.reason}.", "Save it in UTF-8.") from e


def _check_names(path: Path, names: Sequence[str]) -> None:
    if len(names) < 2 or all(_is_number(name) for name in names):
        found = f"its first line is {', '.join(names)[:SHOWN]!r}"
        raise DataError(
            f"{path} has no first line with the names of columns; {found}.",
            "Add one, such as time,acc_x,acc_y,acc_z,label; accepted between columns: a comma, a semicolon, a tab.",
        )
    if len(names) > MOST_COLUMNS:
        raise DataError(f"{path} has {len(names)} columns; accepted: up to {MOST_COLUMNS}.", "Remove some.")


def _is_number(cell: str) -> bool:
    try:
        return math.isfinite(float(cell)) and "_" not in cell
    except ValueError:
        return False


def _add(
    path: Path,
    cells: list[str],
    line: int,
    names: Sequence[str],
    roles: Roles,
    reading: _Reading,
    groups: dict[str, list[str]],
    options: ReadOptions,
) -> None:
    """Add a row, or leave it out."""
    values = _fast_values(cells, names, roles)
    row = dict(zip(names, cells, strict=False))
    problem = _problem(row, cells, names, roles, numbers=values is None)
    if problem:
        if not options.skip_unreadable:
            raise DataError(f"{path}, line {line}: {problem[0]}.", problem[1])
        reading.left_out.append((line, problem[0]))
        return
    reading.values.extend(values or [])
    reading.lines.append(line)
    if roles.label:
        reading.labels.append(row[roles.label].strip())
    for name, of_rows in groups.items():
        of_rows.append(row[name].strip())


def _fast_values(cells: Sequence[str], names: Sequence[str], roles: Roles) -> list[float] | None:
    """The numbers of a row; None if it has not as many cells as names, or one is no finite number of float32."""
    if len(cells) != len(names):
        return None
    row = dict(zip(names, cells, strict=True))
    texts = [row[name] for name in roles.channels]
    try:
        values = list(map(float, texts))
    except ValueError:
        return None
    if not math.isfinite(sum(values)) or max(map(abs, values)) > MOST or "_" in "".join(texts):
        return None
    return values


def _problem(
    row: dict[str, str], cells: Sequence[str], names: Sequence[str], roles: Roles, *, numbers: bool
) -> tuple[str, str] | None:
    """What is wrong with a row, or `numbers` of it, and what to do; None if it can be used."""
    skip = "--skip-unreadable leaves such rows out."
    if len(cells) != len(names):
        return f"it has {len(cells)} cells, and the first line names {len(names)} columns", f"Complete it; {skip}"
    for name in (roles.label, *roles.groups) if roles.label else roles.groups:
        if not row[name].strip():
            return f"the column {name!r} is empty", f"Fill it in; {skip}"
        if len(row[name]) > LONGEST_CELL:
            return f"the column {name!r} has more than {LONGEST_CELL} characters", "Use shorter names."
    for name in roles.channels if numbers else ():
        cell = row[name].strip()
        if _is_number(cell) and abs(float(cell)) <= MOST:
            continue
        if not cell or cell.casefold() in ("nan", "na", "n/a", "null", "none"):
            return f"the column {name!r} has no value ({cell!r})", f"Fill it in; {skip}"
        hint = "If it is no value of a sensor, remove the column, or name it: --label-column, --group column:NAME."
        if _is_number(cell.replace(",", ".")):
            hint = "Write numbers with a decimal point."
        return f"the column {name!r} has {cell[:SHOWN]!r}, which is no finite number of float32", f"{hint} {skip}"
    if numbers:  # each is finite, and their sum is not
        return "its numbers are too large", "Use smaller units."
    return None


def _finished(
    path: Path,
    names: Sequence[str],
    roles: Roles,
    reading: _Reading,
    groups: dict[str, list[str]],
    options: ReadOptions,
) -> Rows:
    lines = np.array(reading.lines, np.int64)
    if not len(lines):
        raise DataError(f"{path} has no row that can be used.", "Add rows below the names of the columns.")
    bad = np.array([line for line, _ in reading.left_out], np.int64)
    before = np.searchsorted(bad, lines)
    values: Any = np.frombuffer(reading.values, np.float64).reshape(-1, len(roles.channels)).astype(np.float32)
    line, reason = reading.left_out[0] if reading.left_out else (0, "")
    return Rows(
        path=str(path),
        roles=roles,
        values=values,
        lines=lines,
        labels=reading.labels,
        groups=groups,
        broken=np.diff(before, prepend=before[:1]) > 0,
        left_out=(f"line {line}: {reason}" if reason else "", len(bad)),
    )
