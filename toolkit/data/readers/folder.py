"""Read a folder of class folders with images, optionally below `train/`, `val/` and `test/`.

Images in no class folders may have their labels in a table beside them (`metadata`).

Images are decoded in threads when a batch is read, so memory does not grow with their number; up to `CACHE_BYTES` of
decoded images are kept, because every epoch reads each image again. Opening a folder reads every file once, to compute
its content hash; for training, and to skip unreadable images, it decodes them, too. Of a folder with many files, only a
sample is read if that is enough (`sample`).

Hidden files and other file types are ignored; images may lie in subfolders of a class folder.
"""

from __future__ import annotations

import dataclasses
import hashlib
import os
from collections import Counter
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from edgepress.runtime.filetypes import open_regular
from edgepress.runtime.image import IMAGE_SUFFIXES, MOST_FILE_BYTES, Pixels, peek
from edgepress.runtime.input_spec import Color, InputSpec
from edgepress.toolkit import text
from edgepress.toolkit.data.decoding import in_threads, load_file
from edgepress.toolkit.data.items import TO_NPZ, UNLABELLED, Items, ReadOptions, in_order
from edgepress.toolkit.data.readers.folder_layout import (
    NAMED,
    folders_of_splits,
    is_ignored,
    is_image,
    subfolders,
)
from edgepress.toolkit.data.readers.idx import IDX_NAMES
from edgepress.toolkit.data.readers.metadata import NAMES, MetadataTable, has_labels
from edgepress.toolkit.data.splits import LARGE, Ints, sample
from edgepress.toolkit.data.types import UNDECODED, UNSORTED
from edgepress.toolkit.errors import DataError, InputError

CACHE_BYTES = 256 << 20
"""Limit on the decoded images kept in memory."""
DEEPEST = 64
"""Most levels of folders in a class folder."""
DEFAULT_SIZE = (96, 96)
"""Height and width if a folder's images have no common size within `NATURAL_SIDES`."""
OTHER_IMAGES = frozenset({".avif", ".heic", ".heif", ".jxl", ".tif", ".tiff"})
"""Suffixes of pictures that are not decoded; other files beside images need no word."""
NATURAL_SIDES = range(28, 225)


def read_folder(root: Path, options: ReadOptions) -> Items:
    """Read a folder of class folders.

    Raises:
        DataError: There are no class folders, a class folder has no images, or an image can't be read.
    """
    in_table = has_labels(root, required=not options.unlabelled)
    parts = folders_of_splits(root, options, loose=in_table or options.unlabelled)
    others: Counter[str] = Counter()
    files_by_part = {
        part: _class_files(folder, root, others, loose=in_table or options.unlabelled) for part, folder in parts.items()
    }
    left_out = [
        (text.plural(others[suffix], f"{suffix} file"), UNDECODED) for suffix in sorted(OTHER_IMAGES & others.keys())
    ]
    left_out += [
        (f"{text.plural(count, 'image')} in {folder}", UNSORTED)
        for part, folder in parts.items()
        if "" not in files_by_part[part] and (count := sum(map(is_image, folder.iterdir())))
    ]
    names = [label for classes in files_by_part.values() for label in classes]
    labels = () if "" in names else tuple(in_order(names))
    numbers = {label: i for i, label in enumerate(labels)}
    rows = [
        (file, numbers.get(label, 0), part)
        for part, classes in files_by_part.items()
        for label, files in sorted(classes.items())
        for file in files
    ]
    files = [file for file, _, _ in rows]
    table = MetadataTable(root, files)
    y = np.array([y for _, y, _ in rows], np.int64)
    if by_table := in_table and not labels:
        named, y = table.read_labels()
        labels = tuple(named)
    problems: dict[str, str] = {}
    spec = _natural(root, files, options, problems)
    source = FolderSource(str(root), files, spec)
    if options.sample is not None and len(files) > LARGE and not by_table:
        enough = _sample(source, rows, options, problems)
        if enough is not None:
            return dataclasses.replace(enough, labels=labels, skipped=(*problems.items(), *left_out))
        problems.clear()
    hashes = []
    decode = options.purpose == "training" or options.skip_unreadable
    for file, digest in zip(files, source.hashes(decode=decode), strict=True):
        hashes.append("" if isinstance(digest, InputError) else digest)
        if isinstance(digest, InputError):
            _note(file, digest, options, problems)
    split_names = np.array(["" if file in problems else part for file, _, part in rows])
    return Items(
        source=source,
        hashes=np.array(hashes, np.bytes_),
        y=y,
        labels=labels,
        stored_split=split_names,
        spec=spec,
        skipped=(*problems.items(), *left_out),
        paths=None if by_table else partial(_paths_in_classes, rows, parts, root, below=bool(labels)),
        columns=table,
    )


def _sample(
    source: FolderSource, rows: Sequence[tuple[str, int, str]], options: ReadOptions, problems: dict[str, str]
) -> Items | None:
    """As many items as are wanted, the first for calibration, the others to verify on; None if all must be read."""
    calibration, verification = options.sample or (0, 0)

    def digest(i: int) -> str | None:
        digest = source.hash(i, decode=options.skip_unreadable)
        if isinstance(digest, InputError):
            _note(rows[i][0], digest, options, problems)
            return None
        return digest

    def size(i: int) -> int:
        return os.stat(os.path.join(source.root, rows[i][0])).st_size

    chosen = sample(rows, calibration + verification, digest=digest, size=size)
    if chosen is None:
        return None
    return Items(
        source=source.part(np.array([*chosen], np.int64)),
        hashes=np.array([*chosen.values()], np.bytes_),
        y=np.array([rows[i][1] for i in chosen], np.int64),
        labels=(),
        stored_split=np.array(["train" if place < calibration else "val" for place in range(len(chosen))]),
        spec=source.spec,
        whole=False,
    )


def _paths_in_classes(
    rows: Sequence[tuple[str, int, str]], parts: dict[str, Path], root: Path, *, below: bool
) -> list[str]:
    """The path of each file, `below` its class folder if it has one."""
    return ["/".join(file.split(os.sep)[below + (parts[part] != root) :]) for file, _, part in rows]


def _class_files(folder: Path, root: Path, others: Counter[str], *, loose: bool) -> dict[str, list[str]]:
    """Image files by class, relative to the root; those in no class folder have the class ""; counts others by suffix.

    Args:
        folder: The folder of a split.
        root: The data folder.
        others: Number of other files by suffix.
        loose: Whether images may lie in no class folder.
    """
    classes: dict[str, list[str]] = {}
    others_of: dict[str, Counter[str]] = {}
    for path in subfolders(folder):
        others_of[path.name] = Counter()
        classes[path.name] = sorted(_images(path, root, others_of[path.name]))
        others.update(others_of[path.name])
    if not classes:
        images = sorted(_images(folder, root, others))
        if images and loose:
            return {"": images}
        problem = (
            f"{text.plural(len(images), 'image')} but no class folders"
            if images
            else "neither class folders nor images"
        )
        other_files = "" if images else _most_common(others)
        hint = f"Accepted: one folder per class, named after it, with its images inside; or labels in a {NAMES[0]}."
        if any("idx" in path.name for path in folder.iterdir()):
            hint += f" {IDX_NAMES}"
        elif other_files:
            hint += f" {TO_NPZ}"
        if other_files:
            problem += f", but {other_files}"
        raise DataError(f"{folder} contains {problem}.", f"{hint} {UNLABELLED}")
    for label, files in classes.items():
        if not files:
            found = others_of[label]
            hint = f"Add some ({', '.join(sorted(IMAGE_SUFFIXES))}) or remove it."
            if found and found.keys() <= OTHER_IMAGES:
                hint = "Save them as JPEG or PNG."
            elif found:
                hint += f" {TO_NPZ}"
            problem = f"no images, but {_most_common(found)}" if found else "no images"
            raise DataError(f"The class folder {folder / label} has {problem}.", hint)
    return classes


def _most_common(others: Counter[str]) -> str:
    return ", ".join(
        text.plural(n, f"{suffix} file" if suffix else "file") + ("" if suffix else " without a suffix")
        for suffix, n in others.most_common(NAMED)
    )


def _images(folder: Path, root: Path, others: Counter[str]) -> Iterator[str]:
    """Image files below a folder, relative to the root; counts other files by their suffix."""

    def fail(error: OSError) -> None:  # `os.walk` would leave the folder out
        raise error

    for parent, folders, files in os.walk(folder, onerror=fail):  # does not follow links to folders
        folders[:] = [name for name in folders if not is_ignored(name)]
        if folders and len(Path(parent).relative_to(folder).parts) >= DEEPEST:
            problem = f"The class folder {folder} has more than {DEEPEST} levels of folders."
            raise DataError(problem, "Move its images up, and remove the folders.")
        for name in files:
            suffix = os.path.splitext(name)[1].lower()
            if suffix in IMAGE_SUFFIXES and not is_ignored(name):
                yield os.path.relpath(os.path.join(parent, name), root)
            elif not is_ignored(name):
                others[suffix] += 1


def _natural(root: Path, files: Sequence[str], options: ReadOptions, problems: dict[str, str]) -> InputSpec:
    """The images' target: from the options, else the size of at least half of them, and grey if all are grey."""
    if options.input is not None or (options.size and options.color):
        return options.image(*DEFAULT_SIZE, "rgb")

    def header(file: str) -> tuple[int, int, Color] | InputError:
        try:
            return peek(root / file)
        except InputError as e:
            return e

    sizes: Counter[tuple[int, int]] = Counter()
    colors: set[Color] = set()
    for file, seen in zip(files, in_threads(header, files), strict=True):
        if isinstance(seen, InputError):
            _note(file, seen, options, problems)
        else:
            sizes[seen[:2]] += 1
            colors.add(seen[2])
    size, count = sizes.most_common(1)[0] if sizes else (DEFAULT_SIZE, 0)
    if 2 * count < len(files) or not all(side in NATURAL_SIDES for side in size):
        size = DEFAULT_SIZE
    shorter = float(np.median([min(side) for side in sizes.elements()])) if sizes else None
    return options.image(*size, "grey" if colors == {"grey"} else "rgb", shorter=shorter)


_FIX = "Replace or remove it, or skip unreadable files with --skip-unreadable."


def _note(file: str, error: InputError, options: ReadOptions, problems: dict[str, str]) -> None:
    if not options.skip_unreadable:
        raise DataError(error.message, _FIX) from error
    problems[file] = error.message


class FolderSource:
    """Image files in a folder, decoded when they are read."""

    def __init__(self, root: str, files: Sequence[str], spec: InputSpec) -> None:
        self.root = root
        self.files = files
        self.spec = spec
        self._kept: dict[int, Pixels] = {}
        self._room = CACHE_BYTES // int(np.prod(spec.shape))

    def __len__(self) -> int:
        return len(self.files)

    def read(self, indices: Ints) -> Pixels:
        """The images as one array, uint8, shape (len(indices), *spec.shape).

        Raises:
            DataError: An image can't be read.
        """
        places = indices.tolist()
        missing = [i for i in dict.fromkeys(places) if i not in self._kept]
        try:
            fresh = dict(zip(missing, in_threads(self._item, missing), strict=True))
        except InputError as e:
            raise DataError(e.message, _FIX) from e
        out = np.empty((len(places), *self.spec.shape), np.uint8)
        for row, i in enumerate(places):
            out[row] = fresh[i] if i in fresh else self._kept[i]
        return out

    def name(self, index: int) -> str:
        """The file's path, relative to the folder."""
        return self.files[index]

    def part(self, indices: Ints) -> FolderSource:
        """A source of only these images."""
        return FolderSource(self.root, [self.files[i] for i in indices], self.spec)

    def stored_size(self, index: int) -> tuple[int, int] | None:
        """See `Source`."""
        try:
            return peek(os.path.join(self.root, self.files[index]))[:2]
        except InputError:  # reading it says why, if it is needed
            return None

    def hashes(self, *, decode: bool) -> Iterator[str | InputError]:
        """The SHA-256 of each file, or why it can't be read or, with `decode`, decoded."""
        return in_threads(partial(self.hash, decode=decode), range(len(self)))

    def hash(self, index: int, *, decode: bool) -> str | InputError:
        """The SHA-256 of a file, or why it can't be read or, with `decode`, decoded."""
        try:
            if decode:
                self._item(index)
            with open_regular(os.path.join(self.root, self.files[index]), MOST_FILE_BYTES) as file:
                return hashlib.file_digest(file, "sha256").hexdigest()
        except InputError as e:
            return e
        except OSError as e:
            return InputError(f"The image {self.files[index]} can't be read: {e.strerror}.")

    def _item(self, index: int) -> Pixels:
        item = load_file(os.path.join(self.root, self.files[index]), self.spec)
        if len(self._kept) < self._room:  # never evicted: each epoch reads all items once, so all are equally useful
            self._kept[index] = item
        return item

    def __reduce__(self) -> tuple[Any, ...]:
        return FolderSource, (self.root, self.files, self.spec)
