"""What lies in a data folder beside class folders: folders of splits, and `metadata.csv`, a table about the files.

A folder of a split has one of the names in `PARTS`. Any other folder is a class, or lies beside the splits and is not
read. So `Training/` and `Testing/` would be two classes, and a `Test/` beside `train/` would be left out: neither can
be meant.

Read `metadata.csv`, a table beside class folders with a row for each file and columns that say more of it.

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
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath, PureWindowsPath

import numpy as np
import numpy.typing as npt

from edgepress.runtime.image import IMAGE_SUFFIXES
from edgepress.toolkit import text
from edgepress.toolkit.data.items import ReadOptions
from edgepress.toolkit.data.splits import OTHER_ITEMS
from edgepress.toolkit.documents import read_limited
from edgepress.toolkit.errors import DataError
from edgepress.toolkit.escaping import shell_line

PARTS = {"train": "train", "val": "val", "valid": "val", "validation": "val", "test": "test"}
"""Splits by folder name."""
LIKE_PARTS = {**PARTS, "training": "train", "testing": "test", "dev": "val", "eval": "val", "evaluation": "val"}
"""Splits by words that names of folders have for them."""
FILLING = ("", "data", "dataset", "images", "set", "split")
"""Words that add nothing to such a name."""
NAMED = 3
"""Number of folders that a text names."""


def folders_of_splits(root: Path, options: ReadOptions, *, loose: bool) -> dict[str, Path]:
    """The folders that contain class folders, by split; also those that contain images, if these may be `loose`.

    Raises:
        DataError: Training items are missing, or a folder seems to be that of a split, but is not named so.
    """
    folders = subfolders(root)
    named = [path for path in folders if path.name in PARTS]
    evaluated = ("test",) if options.purpose == "evaluation" else ()
    flat = loose and any(path.name in ("train", *evaluated) for path in named) and len(named) == len(folders)
    if not any(subfolders(path) for path in named) and not flat:
        _refuse_splits_as_classes(root, folders)
        if options.purpose == "training":
            _refuse_a_folder_around(root, folders, shell_line("give", "--data", *folders[:1]))
        return {"train": root}  # "train" and "test" may be names of classes
    if options.purpose == "training" and (root / "train") in named:
        _refuse_a_folder_around(root / "train", subfolders(root / "train"), "move them into train/")
    parts = {PARTS[path.name]: path for path in named}
    _refuse_splits_left_out(root, named, [path for path in folders if path not in named])
    if options.lacks_training(parts):
        hint = f"Add train/, or {OTHER_ITEMS}" if options.unlabelled else "Add train/."
        raise DataError(f"{root} has {', '.join(p.name + '/' for p in named)} but no train/.", hint)
    if len(parts) < len(named):
        raise DataError(f"{root} has two folders for validation.", "Keep one of val, valid, validation.")
    return parts


def subfolders(path: Path) -> list[Path]:
    """Subfolders, without hidden ones and links to a parent folder."""
    here = path.resolve()
    return [
        entry
        for entry in sorted(path.iterdir())
        if entry.is_dir() and not is_ignored(entry.name) and not here.is_relative_to(entry.resolve())
    ]


def is_image(path: Path) -> bool:
    """Whether a path is that of a file whose suffix says that it is decoded."""
    return path.suffix.lower() in IMAGE_SUFFIXES and not is_ignored(path.name) and path.is_file()


def is_ignored(name: str) -> bool:
    """Whether a file or folder is hidden, or was added to a zip by macOS."""
    return name.startswith(".") or name == "__MACOSX"


def _refuse_splits_as_classes(root: Path, folders: Sequence[Path]) -> None:
    """Refuse several folders that are all named after splits, like `seg_train`, and have classes in common."""
    meant = {path.name: _split_in(path.name) for path in folders}
    if len(folders) < 2 or not all(meant.values()):
        return
    common = set.intersection(*({inner.name for inner in subfolders(path)} for path in folders))
    if common:
        raise DataError(
            f"{root} would have the classes {_some(meant)}, but these seem to be splits: each has the folders "
            f"{_some(sorted(common))}.",
            _rename(meant),
        )


def _refuse_splits_left_out(root: Path, named: Sequence[Path], others: Sequence[Path]) -> None:
    """Refuse a folder that is called nearly as a split and has its classes, such as `Test` beside `train`."""
    classes = {inner.name for path in named for inner in subfolders(path)}
    for path in others:
        split = _split_in(path.name, alone=True)
        if split and any(inner.name in classes for inner in subfolders(path)):
            read = ", ".join(f"{one.name}/" for one in named)
            raise DataError(
                f"{root} has {path.name}/ beside {read}: it seems to be a split, but no split has this name.",
                f"{_rename({path.name: split})} If it is none, move it elsewhere.",
            )


def _refuse_a_folder_around(root: Path, folders: Sequence[Path], then: str) -> None:
    """Refuse a single class whose folder has the classes or splits in it, as archives have when they are unpacked.

    Args:
        root: The folder of data or of a split.
        folders: Those in it.
        then: What to do if the folders in the only one are meant.
    """
    inner = [path.name for path in subfolders(folders[0])] if len(folders) == 1 else []
    if len(inner) > 1:
        raise DataError(
            f"{root} has only one class: {folders[0].name}.",
            f"Give at least two classes. If they are the folders in it ({_some(inner)}), {then}.",
        )


def _split_in(name: str, *, alone: bool = False) -> str:
    """The split of which a folder's name speaks; "" if it speaks of none, or with `alone` of something else, too."""
    words = [word for word in re.split(r"[^a-z]+", name.lower()) if word not in FILLING]
    splits = {LIKE_PARTS.get(re.sub("(set|data)$", "", word), "") for word in words}
    if alone and "" in splits:
        return ""
    return "".join(splits - {""}) if len(splits - {""}) == 1 else ""


def _rename(meant: dict[str, str]) -> str:
    if len({*meant.values()}) < len(meant):
        return "Name the folders of splits train, val and test."
    return f"Rename {', '.join(f'{name} to {split}' for name, split in meant.items())}."


def _some(names: Sequence[str] | dict[str, str]) -> str:
    return ", ".join([*names][:NAMED]) + (", ..." if len(names) > NAMED else "")


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
NAMED_FILES = 3
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
            some = ", ".join(missing[:NAMED_FILES])
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
        some = ", ".join(unknown[:NAMED_FILES]) + (", ..." if len(unknown) > NAMED_FILES else "")
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
            some = ", ".join(name[:LONGEST] for name in names[:NAMED_FILES])
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
