"""Read tar shards in WebDataset's layout: `shards/train-{000000..000009}.tar`, or a folder that holds `.tar` files.

An item is an image and a label: `0001.jpg` with `0001.cls`, a number or a name, or with `0001.json`, its `label`. A
`classes.txt` beside the shards names the classes, one a line; numbers are then its lines, from 0. A shard with train,
val or test among the words of its name, or in a folder of that name, belongs to this split.

Images are read from the shards and decoded whenever a batch needs them, and none is kept: what is held of an item are
its place, label and hash in arrays (`shard_index`), some 90 bytes. Batches read at random places, as folders do, so an
order depends on the seed alone and a resumed training reads the same batches.
"""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np

from edgepress.converters.process.imports import safe_children
from edgepress.runtime.input_spec import InputSpec
from edgepress.toolkit.data.items import UNLABELLED, Items, ReadOptions, in_order
from edgepress.toolkit.data.readers.folder import DEFAULT_SIZE, NATURAL_SIDES
from edgepress.toolkit.data.readers.folder_layout import PARTS
from edgepress.toolkit.data.readers.shard_scan import index_of, kept_at
from edgepress.toolkit.data.readers.shard_source import FIX, Index, Shard, ShardSource
from edgepress.toolkit.data.splits import Ints
from edgepress.toolkit.documents import read_limited
from edgepress.toolkit.errors import DataError

PACKED = (".tar.gz", ".tgz", ".tar.bz2", ".tar.xz", ".tar.zst")
CLASSES = "classes.txt"
LARGE_SHARDS = 32 << 20
"""Size of all shards without an index, bytes, from which they are indexed in several processes."""
MAX_NAMES = 4 << 20
"""Bytes of `classes.txt`, as of a contract, which holds all names."""
MOST_SHARDS = 100_000
"""Shards that a pattern may name: more are a mistake."""
MOST_BRACES = 8
"""Opening braces in a pattern."""


def is_shards(path: Path) -> bool:
    """Whether a path is a tar file, a pattern of tar files, or a folder with tar files and no other folders."""
    if _is_tar(path.name):
        return path.is_file() or "{" in str(path)
    return bool(_in_folder(path)) if path.is_dir() else False


def read_shards(path: Path, options: ReadOptions) -> Items:
    """Read tar shards.

    Raises:
        DataError: A shard is missing, packed or damaged, an item can't be used, or a label is unknown.
    """
    paths = _paths(path)
    parts = _parts(paths, path, options)
    shards = [Shard.of(shard) for shard in paths]
    problems: list[tuple[str, str]] = []
    indices = []
    for shard, index in zip(shards, _indices(shards), strict=True):
        _note(shard.path, index, options, problems)
        indices.append(index)
    if not sum(map(len, indices)):
        raise DataError(f"{path} holds no images.", "Accepted: members like 0001.jpg with 0001.cls in each tar file.")
    y, labels = _classes(indices, paths, options, problems)
    spec = _natural(indices, options)
    left_out = y < 0
    names = np.repeat(parts, [len(index) for index in indices])
    names[left_out] = ""
    y[left_out] = 0
    return Items(
        source=ShardSource(
            shards,
            np.repeat(np.arange(len(shards), dtype=np.int32), [len(index) for index in indices]),
            np.concatenate([index.offset for index in indices]),
            np.concatenate([index.length for index in indices]),
            spec=spec,
        ),
        hashes=np.concatenate([index.hashes for index in indices]),
        y=y,
        labels=labels,
        stored_split=names,
        spec=spec,
        skipped=tuple(problems),
    )


def _is_tar(name: str) -> bool:
    return name.lower().endswith((".tar", *PACKED))


def _in_folder(folder: Path) -> list[str]:
    """The tar files of a folder, or of its folders of splits; none if it has other folders."""
    inside = sorted(folder.iterdir())
    folders = [path for path in inside if path.is_dir() and not path.name.startswith(".")]
    files = [str(path) for path in inside if _is_tar(path.name) and not path.name.startswith(".") and path.is_file()]
    if not folders:
        return files
    below = [_in_folder(path) if path.name in PARTS else [] for path in folders]
    return sum(below, files) if all(below) else []


def _paths(path: Path) -> list[str]:
    """The shards that a path or pattern names, in order.

    Raises:
        DataError: One is packed, or the pattern is none, or names too many.
    """
    if path.is_dir():
        paths = _in_folder(path)
    elif path.is_file():
        paths = [str(path)]
    else:
        paths = expand(str(path))
    for name in paths:
        if name.lower().endswith(PACKED):
            raise DataError(
                f"The shard {name} is packed, so single images can't be read from it.",
                "Unpack it to a .tar; the images in it are compressed already.",
            )
    return paths


def expand(pattern: str) -> list[str]:
    """The shards that a pattern names.

    Raises:
        DataError: It is no pattern, or names too many.
    """
    from webdataset.shardlists import expand_urls

    count = math.prod(_length(first, last) for first, last in re.findall(r"\{(-?\w+)\.\.(-?\w+)", pattern))
    count *= math.prod(words.count(",") + 1 for words in re.findall(r"\{([^{}]*,[^{}]*)\}", pattern))
    if pattern.count("{") > MOST_BRACES:
        raise DataError(f"The pattern {pattern} has more than {MOST_BRACES} braces.", "Name fewer shards.")
    if count > MOST_SHARDS:
        raise DataError(f"{pattern} names {count} shards; accepted: up to {MOST_SHARDS}.", "Check its numbers.")
    try:
        return [*dict.fromkeys(expand_urls(pattern))]
    except (ValueError, AssertionError) as e:  # the latter of webdataset, about variables of the environment
        raise DataError(f"The pattern {pattern} can't be read: {e}.", "Write train-{000..009}.tar.") from e


def _length(first: str, last: str) -> int:
    """The number of names in a range of a pattern, of numbers or of letters."""
    numbers = [int(end) if re.fullmatch(r"-?\d{1,18}", end) else ord(end[-1]) for end in (first, last)]
    return abs(numbers[1] - numbers[0]) + 1


def _parts(paths: Sequence[str], path: Path, options: ReadOptions) -> list[str]:
    """The split of each shard by the words of its name, or by its folder's name."""
    parts = []
    for name in map(Path, paths):
        words = {*re.split(r"[^a-z]+", name.name.lower()), name.parent.name if path.is_dir() else ""}
        named = {PARTS[word] for word in words if word in PARTS}
        if len(named) > 1:
            raise DataError(f"The shard {name} is named after two splits.", "Name it after one of them.")
        parts.append(next(iter(named), ""))
    if any(parts) and not all(parts):
        other = paths[parts.index("")]
        raise DataError(
            f"{path} has shards named after a split, but {other} is not.", "Name every shard, or none: train-000.tar."
        )
    parts = [part or "train" for part in parts]
    if options.lacks_training(parts):
        raise DataError(f"{path} has shards of {', '.join(sorted({*parts}))}, but none of train.", "Add train-*.tar.")
    return parts


def _indices(shards: Sequence[Shard]) -> Iterable[Index]:
    """The index of each shard; many that must be made are made in several processes."""
    missing = [shard.size for shard in shards if not kept_at(shard).exists()]
    if len(missing) < 2 or sum(missing) < LARGE_SHARDS:
        return map(index_of, shards)
    import joblib

    with safe_children():
        indices: Iterable[Index] = joblib.Parallel(n_jobs=-1)(joblib.delayed(index_of)(shard) for shard in shards)
    return indices


def _note(path: str, index: Index, options: ReadOptions, problems: list[tuple[str, str]]) -> None:
    """List what can't be used in a shard, or raise an error for the first."""
    for name, reason in index.problems:
        if not options.skip_unreadable:
            where = f"{path}: {name}" if name else f"The shard {path}"
            raise DataError(f"{where} {reason.rstrip('.')}.", FIX)
        problems.append((f"{path}: {name}" if name else path, reason))


def _classes(
    indices: Sequence[Index], paths: Sequence[str], options: ReadOptions, problems: list[tuple[str, str]]
) -> tuple[Ints, tuple[str, ...]]:
    """The class of each item, -1 if it is left out, and the labels; no labels if no item has one and none is needed."""
    bare = [int((index.label < 0).sum()) for index in indices]
    count = sum(map(len, indices))
    if options.unlabelled and sum(bare) == count:
        return np.zeros(count, np.int64), ()
    for path, missing in zip(paths, bare, strict=True):
        if missing and not options.skip_unreadable:
            hint = "Add a .cls to each, or skip them. If its folders are the classes, unpack the archive."
            raise DataError(f"{missing} images in {path} have no label.", f"{hint} {UNLABELLED}")
        if missing:
            problems.append((path, f"{missing} images have no label"))
    file = Path(paths[0]).parent / CLASSES
    named = _class_names(file) if file.is_file() else None
    labels = named or in_order([label for index in indices for label in index.labels])
    numbers = {label: number for number, label in enumerate(labels)}
    if named:
        numbers |= {str(number): number for number in range(len(named))}
    columns = []
    for path, index in zip(paths, indices, strict=True):
        for label in index.labels:
            if label not in numbers:
                reason = f"has items of the class {label}; {file} has {len(labels)} classes, numbered from 0"
                if not options.skip_unreadable:
                    raise DataError(f"The shard {path} {reason}.", f"Correct {CLASSES}, or skip these items.")
                problems.append((path, reason))
        columns.append(np.array([*(numbers.get(label, -1) for label in index.labels), -1], np.int64)[index.label])
    return np.concatenate(columns), tuple(labels)


def _class_names(file: Path) -> list[str]:
    """The lines of `classes.txt`.

    Raises:
        DataError: It is not a text, or names a class twice or not at all.
    """
    try:
        names = [line.strip() for line in read_limited(file, MAX_NAMES).decode("utf-8-sig").rstrip().split("\n")]
    except (OSError, ValueError) as e:
        raise DataError(f"{file} can't be read: {e}.", "It names a class on each line, in UTF-8.") from e
    twice = [name for name, count in Counter(names).items() if count > 1 or not name]
    if twice:
        raise DataError(f"{file} has the class {twice[0]!r} more than once, or empty.", "Name each class on one line.")
    return names


def _natural(indices: Sequence[Index], options: ReadOptions) -> InputSpec:
    """The input for the images: their most frequent size and their colour, by the rule of folders."""
    sizes: Counter[tuple[int, int]] = Counter()
    grey = True
    for index in indices:
        for height, width, is_grey, count in index.sizes:
            sizes[height, width] += count
            grey = grey and is_grey
    size, count = max(sizes.items(), key=lambda found: (found[1], found[0]))
    if 2 * count < sizes.total() or not all(side in NATURAL_SIDES for side in size):
        size = DEFAULT_SIZE
    shorter = np.repeat([min(each) for each in sizes], list(sizes.values()))
    return options.image(*size, "grey" if grey else "rgb", shorter=float(np.median(shorter)))
