"""The table in a data folder: `metadata.csv` or `metadata.jsonl`, with a row for each file and what is said of it.

    file,object                     {"file_name": "cup/0001.jpg", "object": "cup-3"}
    cup/0001.jpg,cup-3              {"file_name": "cup/0002.jpg", "object": "cup-3"}
    cup/0002.jpg,cup-3

The first line of a CSV names the columns; each line of a JSONL is an object of JSON. The column of the files has one of
the names in `FILE_COLUMNS` and holds paths from the folder of the table, with `/` between folders. If the data folder
has no table, those in its folders of splits are read. A table may be somebody else's, so all that it claims is limited.

Where images lie in no class folders, the table has their labels: the column `label` has one for each file, and `labels`
any number, with `;` between them in a CSV:

    file,labels
    0001.jpg,cat;dog
    0002.jpg,

Both forms are those of Hugging Face's ImageFolder (https://huggingface.co/docs/datasets/image_dataset).
"""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import Any

import numpy as np
import numpy.typing as npt

from edgepress.toolkit import text
from edgepress.toolkit.data.items import in_order
from edgepress.toolkit.data.readers.folder_layout import PARTS, subfolders
from edgepress.toolkit.documents import read_limited
from edgepress.toolkit.errors import DataError

NAMES = ("metadata.csv", "metadata.jsonl")
"""Names of a table."""
FILE_COLUMNS = ("file", "file_name", "filename", "path")
"""Names of the column of the files, the second one as in Hugging Face's ImageFolder."""
MOST_BYTES = 64 << 20
"""Most bytes of a table."""
MOST_ROWS = 1 << 21
MOST_COLUMNS = 1000
MOST_FIELDS = 1 << 24
"""Most rows times columns of a JSONL, whose rows need not hold what they lack."""
LONGEST = 1000
"""Most characters of the name of a file, a label or a group."""
LABEL = "label"
"""Name of the column with the one label of each file."""
LABELS = "labels"
"""Name of the column with any number of labels."""
BETWEEN = ";"
"""What stands between the labels of a file."""
MOST_CELLS = 1 << 26
"""Most labels times files: 512 MiB of rows."""
NAMED_FILES = 3
"""Number of files that a message names."""
ACCEPTED = (
    "Accepted, in UTF-8: a CSV whose first line names the columns, such as file,group, with a line for each file; or "
    'a JSONL of objects such as {"file": "cup/1.jpg", "group": "cup-3"}, with texts, numbers or lists of them.'
)


@dataclass(frozen=True)
class Rows:
    """The rows of one table.

    Attributes:
        path: The file.
        columns: The names of its columns, that of the files among them.
        rows: The fields of each row, and the number of its line.
    """

    path: Path
    columns: Sequence[str]
    rows: Sequence[tuple[int, Sequence[str]]]

    @property
    def file_column(self) -> int:
        """The place of the column of the files.

        Raises:
            DataError: There is none, or there are several.
        """
        places = [i for i, name in enumerate(self.columns) if name.lower() in FILE_COLUMNS]
        if len(places) != 1:
            some = ", ".join(name[:LONGEST] for name in self.columns[:NAMED_FILES])
            raise self.error(f"one column must be named {' or '.join(FILE_COLUMNS)}; it has {some}")
        return places[0]

    def error(self, problem: str) -> DataError:
        """What is wrong with this table."""
        return DataError(f"{self.path} can't be used: {problem}.", ACCEPTED)


@dataclass(frozen=True)
class MetadataTable:
    """The tables of a data folder, which are read when a column is asked for.

    Attributes:
        root: The data folder.
        files: Path of each item below it, as the system writes it.
    """

    root: Path
    files: Sequence[str]

    def names(self) -> list[str]:
        """The names of the columns but that of the files, which all tables have; none if there is no table.

        Raises:
            DataError: A table can't be read.
        """
        tables = self._tables()
        columns = [name for i, name in enumerate(tables[0].columns) if i != tables[0].file_column] if tables else []
        return [name for name in columns if all(name in table.columns for table in tables[1:])]

    def read(self, name: str) -> tuple[list[str], list[str]]:
        """The value of a column of each item, "" for none, and notes on files of the tables that are no items.

        Raises:
            DataError: A table can't be read or has no such column, a path leads out of the folder, or a file has two
                values.
        """
        values = self._values(name)
        items = [Path(file).as_posix() for file in self.files]
        unknown = self._unknown(values, items)
        notes = [f"{self._called()} names {unknown}."] if unknown else []
        return [values.get(item, "") for item in items], notes

    def read_labels(self) -> tuple[list[str], npt.NDArray[np.int64]]:
        """The labels in alphabetical order, and the `y` of each file: a class, or a row of 0 and 1 (`toolkit.truth`).

        Raises:
            DataError: As `read`; or a file has no row, a row no file, a file no class, or there are too many labels.
        """
        single = LABELS not in self.names()
        values = self._values(LABEL if single else LABELS)
        items = [Path(file).as_posix() for file in self.files]
        where = self.root / self._called()
        if unknown := self._unknown(values, items):
            raise DataError(f"{where} names {unknown}.", "Remove their rows, or add the files.")
        if missing := [item for item in items if item not in values or (single and not values[item])]:
            some = ", ".join(missing[:NAMED_FILES])
            files = text.plural(len(missing), "file")
            hint = "Add a label for each." if single else "Add a row for each; that of a file without labels is empty."
            raise DataError(f"{where} has no {'label' if single else 'row'} of {files}: {some}.", hint)
        if single:
            classes = in_order(sorted({values[item] for item in items}))
            numbers = {name: number for number, name in enumerate(classes)}
            return classes, np.array([numbers[values[item]] for item in items], np.int64)
        labels_of = [[name.strip() for name in values[item].split(BETWEEN) if name.strip()] for item in items]
        names = sorted({name for labels in labels_of for name in labels})
        if len(names) * len(items) > MOST_CELLS:
            problem = f"it has {len(names)} labels for {len(items)} files, too many to hold"
            raise DataError(f"{where} can't be used: {problem}.", ACCEPTED)
        places = {name: place for place, name in enumerate(names)}
        y = np.zeros((len(items), len(names)), np.int64)
        for row, labels in zip(y, labels_of, strict=True):
            row[[places[name] for name in labels]] = 1
        return names, y

    def _called(self) -> str:
        """The names of the tables, from the data folder."""
        return " and ".join(path.relative_to(self.root).as_posix() for path in self._paths())

    def _paths(self) -> list[Path]:
        """The tables of the data folder, or else those of its folders of splits."""
        folders = [self.root, *(folder for folder in subfolders(self.root) if folder.name in PARTS)]
        paths = [folder / name for folder in folders for name in NAMES if (folder / name).is_file()]
        own = [path for path in paths if path.parent == self.root]
        if len({path.parent for path in own or paths}) < len(own or paths):
            hint = f"Keep one of them in a folder: {' or '.join(NAMES)}."
            raise DataError(f"{self.root} has two tables of the same files: {' and '.join(NAMES)}.", hint)
        return own or paths

    def _tables(self) -> list[Rows]:
        return [_read_rows(path) for path in self._paths()]

    def _unknown(self, values: dict[str, str], items: Sequence[str]) -> str:
        """The files of the tables that are no items, in words; "" if there are none."""
        unknown = sorted(values.keys() - set(items))
        some = ", ".join(unknown[:NAMED_FILES]) + (", ..." if len(unknown) > NAMED_FILES else "")
        return f"{text.plural(len(unknown), 'file')} that {self.root} does not have: {some}" if unknown else ""

    def _values(self, name: str) -> dict[str, str]:
        """The value of a column by file."""
        values: dict[str, str] = {}
        for table in self._tables():
            file_column = table.file_column
            column = table.columns.index(name)
            folder = table.path.parent.relative_to(self.root)
            for number, row in table.rows:
                if max(len(row[file_column]), len(row[column])) > LONGEST:
                    raise table.error(f"row {number} has a field of more than {LONGEST} characters")
                file = (folder / self._below(row[file_column], number, table)).as_posix()
                value = row[column].strip()
                if values.setdefault(file, value) != value:
                    raise table.error(f"{file} has two values of {name}: {values[file]} and {value}")
        return values

    def _below(self, file: str, number: int, table: Rows) -> PurePosixPath:
        """The path of a file, without what means the folder itself."""
        path = PurePosixPath(file.strip())
        if path.is_absolute() or PureWindowsPath(file).drive or ".." in path.parts or not path.parts:
            raise table.error(f"row {number} has the path {file!r}, which does not lie below {table.path.parent}")
        return path


def _read_rows(path: Path) -> Rows:
    """The rows of a table."""
    read = _csv_rows if path.suffix == ".csv" else _jsonl_rows
    try:
        content = read_limited(path, MOST_BYTES).decode("utf-8-sig")
        if max(content.count("\n"), content.count("\r")) > MOST_ROWS:
            raise ValueError(f"it has more than {MOST_ROWS} lines")
        columns, rows = read(content)
    except (OSError, ValueError, RecursionError, csv.Error) as e:
        raise DataError(f"{path} can't be read: {e}.", ACCEPTED) from e
    table = Rows(path, columns, rows)
    if not columns:
        raise table.error("it is empty")
    if len(columns) > MOST_COLUMNS or len({*columns}) < len(columns):
        raise table.error(f"it names {len(columns)} columns, some twice, or more than {MOST_COLUMNS}")
    if wrong := next((place for place in rows if len(place[1]) != len(columns)), None):
        raise table.error(f"row {wrong[0]} has {len(wrong[1])} fields, and the first line {len(columns)}")
    return table


def _csv_rows(content: str) -> tuple[list[str], list[tuple[int, list[str]]]]:
    """The names of the columns, and the rows with their numbers."""
    rows = list(csv.reader(io.StringIO(content, newline=""), strict=True))
    columns = [name.strip() for name in rows[0]] if rows else []
    return columns, [(number, row) for number, row in enumerate(rows[1:], 2) if row]


def _jsonl_rows(content: str) -> tuple[list[str], list[tuple[int, list[str]]]]:
    """The same of a JSONL: a row has "" for what its object lacks; ValueError if a line is no object of texts."""
    objects = [(number, json.loads(line)) for number, line in enumerate(content.split("\n"), 1) if line.strip()]
    for number, each in objects:
        if not isinstance(each, dict):
            raise ValueError(f"line {number} is no object")
    columns = list(dict.fromkeys(name for _, each in objects for name in each))
    if len(columns) > MOST_COLUMNS or len(columns) * len(objects) > MOST_FIELDS:
        raise ValueError(f"it has {len(objects)} rows of {len(columns)} columns")
    return columns, [(number, [_as_text(each.get(name), number, name) for name in columns]) for number, each in objects]


def _as_text(value: Any, number: int, name: str) -> str:
    """A value of JSON as the field of a CSV."""
    if value is None:
        return ""
    if isinstance(value, list):
        parts = [_as_text(each, number, name) for each in value if not isinstance(each, list)]
        if len(parts) < len(value) or any(BETWEEN in part for part in parts):
            raise ValueError(f"line {number} has a list in {name!r} of other lists, or of texts with {BETWEEN!r}")
        return BETWEEN.join(parts)
    if isinstance(value, dict):
        raise ValueError(f"line {number} has an object in {name!r}")
    return str(value)


def has_labels(root: Path, *, required: bool) -> bool:
    """Whether a data folder has a table with labels, for images in no class folders.

    Raises:
        DataError: Labels are required, the table can't be read, and no class folders name them.
    """
    try:
        return not {LABEL, LABELS}.isdisjoint(MetadataTable(root, ()).names())
    except DataError:
        if required and all(folder.name in PARTS and not subfolders(folder) for folder in subfolders(root)):
            raise
        return False
