"""Read `metadata.csv`, a table beside class folders with a row for each file and columns that say more of it.

    file,object
    cup/0001.jpg,cup-3
    cup/0002.jpg,cup-3

The first line names the columns. That of the files has one of the names in `FILE_COLUMNS` and holds paths from the
folder of the table, with `/` between folders. The file may be somebody else's, so all that it claims is limited.

Where images lie in no class folders, the column `labels` has the labels of each, any number with `;` between them:

    file,labels
    0001.jpg,cat;dog
    0002.jpg,
"""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath, PureWindowsPath

import numpy as np
import numpy.typing as npt

from edgepress.toolkit import text
from edgepress.toolkit.documents import read_limited
from edgepress.toolkit.errors import DataError

NAME = "metadata.csv"
FILE_COLUMNS = ("file", "file_name", "filename", "path")
"""Names of the column of the files, the second one as in Hugging Face's ImageFolder."""
MOST_BYTES = 64 << 20
"""Most bytes of the table."""
MOST_COLUMNS = 1000
LONGEST = 1000
"""Most characters of the name of a file or a group."""
LABELS = "labels"
"""Name of the column of labels."""
BETWEEN = ";"
"""What stands between the labels of a file."""
MOST_CELLS = 1 << 26
"""Most labels times files: 512 MiB of rows."""
NAMED = 3
"""Number of files that a message names."""
ACCEPTED = "Accepted: a first line that names the columns, such as file,group, and then a line for each file, in UTF-8."


@dataclass(frozen=True)
class MetadataTable:
    """The table in a data folder, which is read when a column is asked for.

    Attributes:
        root: The data folder.
        files: Path of each item below it, as the system writes it.
    """

    root: Path
    files: Sequence[str]

    def names(self) -> list[str]:
        """The names of its columns but that of the files; none if there is no table.

        Raises:
            DataError: It can't be read.
        """
        if not (self.root / NAME).is_file():
            return []
        rows = self._rows()
        return [name for i, name in enumerate(rows[0]) if i != self._file_column(rows[0])]

    def read(self, name: str) -> tuple[list[str], list[str]]:
        """The value of a column of each item, "" for none, and notes on files of the table that are no items.

        Raises:
            DataError: The table can't be read or has no such column, a path leads out of the folder, or a file has two
                values.
        """
        values = self._values(name)
        items = [Path(file).as_posix() for file in self.files]
        unknown = self._unknown(values, items)
        notes = [f"{NAME} names {unknown}."] if unknown else []
        return [values.get(item, "") for item in items], notes

    def read_labels(self) -> tuple[list[str], npt.NDArray[np.int64]]:
        """The labels in the column `labels`, in alphabetical order, and rows of 0 and 1 for each file.

        Raises:
            DataError: As `read`; or a file has no row, a row no file, or there are too many labels.
        """
        values = self._values(LABELS)
        items = [Path(file).as_posix() for file in self.files]
        if unknown := self._unknown(values, items):
            raise DataError(f"{self.root / NAME} names {unknown}.", "Remove their rows, or add the files.")
        if missing := [item for item in items if item not in values]:
            some = ", ".join(missing[:NAMED])
            hint = "Add a row for each; that of a file without labels is empty."
            raise DataError(f"{self.root / NAME} has no row of {text.plural(len(missing), 'file')}: {some}.", hint)
        labels_of = [[name.strip() for name in values[item].split(BETWEEN) if name.strip()] for item in items]
        names = sorted({name for labels in labels_of for name in labels})
        if len(names) * len(items) > MOST_CELLS:
            raise self._error(f"it has {len(names)} labels for {len(items)} files, too many to hold")
        places = {name: place for place, name in enumerate(names)}
        y = np.zeros((len(items), len(names)), np.int64)
        for row, labels in zip(y, labels_of, strict=True):
            row[[places[name] for name in labels]] = 1
        return names, y

    def _unknown(self, values: dict[str, str], items: Sequence[str]) -> str:
        """The files of the table that are no items, in words; "" if there are none."""
        unknown = sorted(values.keys() - set(items))
        some = ", ".join(unknown[:NAMED]) + (", ..." if len(unknown) > NAMED else "")
        return f"{text.plural(len(unknown), 'file')} that {self.root} does not have: {some}" if unknown else ""

    def _values(self, name: str) -> dict[str, str]:
        """The value of a column by file."""
        rows = self._rows()
        files = self._file_column(rows[0])
        column = rows[0].index(name)
        values: dict[str, str] = {}
        for number, row in enumerate(rows[1:], 2):
            if not row:
                continue
            if len(row) != len(rows[0]):
                raise self._error(f"row {number} has {len(row)} fields, and the first line {len(rows[0])}")
            if max(len(row[files]), len(row[column])) > LONGEST:
                raise self._error(f"row {number} has a field of more than {LONGEST} characters")
            file = self._below(row[files], number)
            value = row[column].strip()
            if values.setdefault(file, value) != value:
                raise self._error(f"{file} has two values of {name}: {values[file]} and {value}")
        return values

    def _rows(self) -> list[list[str]]:
        path = self.root / NAME
        try:
            content = read_limited(path, MOST_BYTES).decode("utf-8-sig")
            rows = list(csv.reader(io.StringIO(content, newline=""), strict=True))
        except (OSError, ValueError, csv.Error) as e:
            raise DataError(f"{path} can't be read: {e}.", ACCEPTED) from e
        if not rows or not rows[0]:
            raise self._error("it is empty")
        rows[0] = [name.strip() for name in rows[0]]
        if len(rows[0]) > MOST_COLUMNS or len({*rows[0]}) < len(rows[0]):
            raise self._error(f"it names {len(rows[0])} columns, some twice, or more than {MOST_COLUMNS}")
        return rows

    def _file_column(self, names: list[str]) -> int:
        """The place of the column of the files."""
        places = [i for i, name in enumerate(names) if name.lower() in FILE_COLUMNS]
        if len(places) != 1:
            some = ", ".join(name[:LONGEST] for name in names[:NAMED])
            raise self._error(f"one column must be named {' or '.join(FILE_COLUMNS)}; it has {some}")
        return places[0]

    def _below(self, file: str, number: int) -> str:
        """The path of a file, without what means the folder itself."""
        path = PurePosixPath(file.strip())
        if path.is_absolute() or PureWindowsPath(file).drive or ".." in path.parts or not path.parts:
            raise self._error(f"row {number} has the path {file!r}, which does not lie below {self.root}")
        return str(path)

    def _error(self, problem: str) -> DataError:
        return DataError(f"{self.root / NAME} can't be used: {problem}.", ACCEPTED)


def has_labels(root: Path) -> bool:
    """Whether a data folder has a table with the column `labels`; a table that can't be read has none."""
    try:
        return LABELS in MetadataTable(root, ()).names()
    except DataError:
        return False
