"""The folders of splits in a data folder.

A folder of a split has one of the names in `PARTS`. Any other folder is a class, or lies beside the splits and is not
read. So `Training/` and `Testing/` would be two classes, and a `Test/` beside `train/` would be left out: neither can
be meant.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

from edgepress.runtime.image import IMAGE_SUFFIXES
from edgepress.toolkit.data.items import ReadOptions
from edgepress.toolkit.data.splits import OTHER_ITEMS
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
