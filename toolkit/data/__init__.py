"""Open a data set and split it into training, validation and test items.

    >>> from edgepress.toolkit.data import open_data
    >>> data = open_data("digits")
    >>> len(data.train), len(data.val), len(data.test), data.input.shape
    (1257, 180, 360, (28, 28, 1))

Each kind of data set is a row of `KINDS`, a module with its reader, and a row in docs/data.md, the guide. Nothing here
knows of training or conversion.
"""

from __future__ import annotations

import difflib
import hashlib
import heapq
import json
import os
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, Unpack

import numpy as np

from edgepress.converters.contract.metadata import are_text
from edgepress.toolkit.data.conflicts import find_conflicts
from edgepress.toolkit.data.groups import Grouping, assign_groups, find_groups, unite
from edgepress.toolkit.data.items import TO_NPZ, Items, ReadOptions
from edgepress.toolkit.data.options import OpeningArguments
from edgepress.toolkit.data.readers.csv_windows import is_csv, read_csv
from edgepress.toolkit.data.readers.folder import read_folder
from edgepress.toolkit.data.readers.idx import BUILTIN, NAMES, is_builtin, is_idx_folder, read_builtin, read_idx_folder
from edgepress.toolkit.data.readers.npz import is_npz, read_npz
from edgepress.toolkit.data.readers.shards import expand, is_shards, read_shards
from edgepress.toolkit.data.readers.sound import is_sound, read_sound
from edgepress.toolkit.data.splits import (
    SHARES,
    Ints,
    Names,
    assign,
    calibration_rows,
    require_all_classes,
    require_items,
)
from edgepress.toolkit.data.types import COPY, GROUPED, SPLITS, DataSet, Purpose, Source, Split
from edgepress.toolkit.errors import DataError, InputError
from edgepress.toolkit.truth import is_multilabel, numbered_sets

__all__ = [
    "ACCEPTED",
    "BUILTIN",
    "KINDS",
    "NAMES",
    "SPLITS",
    "DataSet",
    "Source",
    "Split",
    "calibration_rows",
    "how_all_test",
    "open_data",
    "paths_of",
]

MOST_NAMES = 2 << 20
"""Bytes of the names of all classes at most, as JSON: half of a contract (`edgepress.runtime.contract.MAX_BYTES`)."""
KINDS: dict[str, tuple[Callable[[Any], bool], Callable[[Any, ReadOptions], Items]]] = {
    ", ".join(NAMES): (is_builtin, read_builtin),
    "a folder of IDX files": (is_idx_folder, read_idx_folder),
    "tar shards": (is_shards, read_shards),
    "a .csv file or a folder of these": (is_csv, read_csv),
    "a folder of class folders with recordings": (is_sound, read_sound),
    "a folder of class folders": (Path.is_dir, read_folder),
    "an .npz": (is_npz, read_npz),
}
"""What help texts call a kind of data, a test for it, and its reader; the first kind that matches is read.

Both functions get a name of `NAMES` as a string, and anything else as a path.
"""
ALL_TEST = {
    "a folder of IDX files": "name its files t10k-images-idx3-ubyte and t10k-labels-idx1-ubyte",
    "tar shards": "name them test-000.tar, test-001.tar, ...",
    "a .csv file or a folder of these": "put the files into a folder, below test/",
    "a folder of class folders with recordings": "put them below test/",
    "a folder of class folders": "put them below test/",
    "an .npz": "name its arrays x_test and y_test",
}
"""How all items of a kind of data become test items; those of built-in data can't."""
ARCHIVES = frozenset({".7z", ".rar", ".zip"})
"""Suffixes of archives that may hold one of these; a packed `.tar` is refused as a shard."""
ACCEPTED = ", ".join([*KINDS][:-1]) + f", or {[*KINDS][-1]}"
"""What `--data` accepts, for help texts and error messages."""


def open_data(
    source: str | Path,
    *,
    labels: tuple[str, ...] | None = None,
    **opening: Unpack[OpeningArguments],
) -> DataSet:
    """Open a data set and split it.

    Args:
        source: One of `NAMES`, or a path: a folder of class folders, a folder of IDX files, tar shards
            (`shards/train-{000..009}.tar` or a folder of them), or an `.npz`. A name given as a string wins over a
            path; `./mnist` or a `Path` is always a path.
        labels: A model's labels, which must be those of the data in any order; classes are numbered in this order. For
            evaluation, data of one label an item may lack some of them. Columns without names have these in order.

    Returns:
        The data set. Each split is sorted by the items' content hashes.

    Raises:
        DataError: The data can't be used; the message names the item and the fix.
        InputError: `size`, `color` or `resize` can't be used; or `window`, `step`, `label_column` or `columns` are
            given for other data than CSV files and recordings.
        MissingExtraError: A required package is not installed.

    Example:
        >>> from edgepress.toolkit import open_data
        >>> open_data("digits", size=32).input.shape
        (32, 32, 1)
    """
    if not str(source).strip():
        raise DataError("The name of the data (--data) is empty.", f"Accepted: {ACCEPTED}.")
    options = ReadOptions(**opening)
    items = _read(source, options)
    of_tables = (options.window, options.step, options.label_column, options.columns)
    if items.table is None and any(each is not None for each in of_tables):
        raise InputError(
            f"{source} has no CSV files or recordings; --window, --step and --label-column say how these are read.",
            "Leave them out, or name a .csv, or a folder of these or of recordings, with --data.",
        )
    if items.sound is None and options.sound is not None:
        raise InputError(f"{source} has no recordings, and --sound is for these.", "Leave it out.")
    _require_names(items.labels, source)
    purpose, group = options.purpose, options.group
    grouping = find_groups(items, group, str(source), training=purpose == "training")
    split, computed = _split(items, purpose, str(source), grouping)
    copies = [items.source.name(i) for i in np.flatnonzero((split == "") & (items.stored_split != "")).tolist()]
    order = np.lexsort((numbered_sets(items.y), items.hashes))
    rows = {name: order[split[order] == name] for name in SPLITS}
    every = Split(items.source, np.arange(len(order)), items.y, None if grouping is None else grouping.numbers)
    train, val, test = (every.take(rows[name]) for name in SPLITS)
    opened = DataSet(
        source=str(source) if is_builtin(source) or str(source) not in NAMES else f"./{source}",
        labels=items.labels,
        input=items.spec,
        train=train,
        val=val,
        test=test,
        sha256=_fingerprint(items, rows),
        skipped=(*items.skipped, *((name, COPY if grouping is None else GROUPED) for name in copies)),
        computed=computed,
        conflicts=find_conflicts(items, order),
        group=(group or "") if grouping is None else grouping.rule,
        group_notes=(*items.notes, *(() if grouping is None else grouping.notes_on(split, items.stored_split))),
        table=items.table,
        sound=items.sound,
    )
    if labels is None:
        return opened
    opened = opened.named_columns(labels)
    _compare_labels(opened.labels, labels, source, some=purpose == "evaluation" and not opened.multilabel)
    return opened.relabelled(labels)


def paths_of(source: str) -> list[str]:
    """The paths that a source may mean: itself, and as tar shards each part of a list and each shard of a pattern."""
    if "::" not in source and "{" not in source:
        return [source]
    try:
        shards = expand(source)
    except DataError:  # it is no pattern, so no shard of it is ever read
        shards = []
    return [source, *source.split("::"), *shards]


def how_all_test(source: str) -> str:
    """How all items of a data set become test items, in words; "" if they can't."""
    place = _place_of(source)
    return ALL_TEST.get(next((kind for kind, (matches, _) in KINDS.items() if matches(place)), ""), "")


def _place_of(source: str | Path) -> str | Path:
    return source if is_builtin(source) else Path(os.path.expanduser(source))


def _read(source: str | Path, options: ReadOptions) -> Items:
    """Read a data set with the reader of its kind."""
    place = _place_of(source)
    try:
        for matches, read in KINDS.values():
            if matches(place):
                return read(place, options)
    except PermissionError as e:
        raise DataError(f"{e.filename} can't be read: {e.strerror}.", "Check its permissions.") from e
    path = Path(place)
    if path.exists():
        hint = f"Accepted: {ACCEPTED}. {'Unpack the archive.' if path.suffix.lower() in ARCHIVES else TO_NPZ}"
        raise DataError(f"{source} is not a data set that edgepress reads.", hint)
    beside = [str(p) for p in path.parent.iterdir()] if path.parent.is_dir() else []
    near = difflib.get_close_matches(str(source), [*NAMES, *beside], n=1)
    hint = f"Did you mean {near[0]!r}?" if near else "Check the path."
    raise DataError(f"There is no data set or path {str(source)!r}. Accepted: {ACCEPTED}.", hint)


def _split(items: Items, purpose: Purpose, source: str, grouping: Grouping | None) -> tuple[Names, tuple[str, ...]]:
    """The split of each item, and the splits that the data did not have; raises an error if one lacks items."""
    # Items without labels can't be tested on, so none are held out for that.
    shares = {name: share for name, share in SHARES.items() if items.whole and (items.labels or name != "test")}
    if grouping is not None:
        split = grouping.assign(items.y, items.stored_split, shares)
    elif is_multilabel(items.y):
        numbers = unite(items.hashes, [""] * len(items.hashes))
        unnamed = np.zeros(len(numbers), np.bool_)
        split = assign_groups(numbers, items.y, unnamed, items.stored_split, shares=shares)
    else:
        split = assign(items.hashes, items.y, items.stored_split, shares=shares)
    if purpose == "training":
        require_all_classes(split, items.y, items.labels, source, grouped=grouping is not None)
    require_items(split, purpose, source)
    return split, tuple(name for name in shares if name not in items.stored_split)


def _compare_labels(own: tuple[str, ...], labels: tuple[str, ...], source: str | Path, *, some: bool) -> None:
    """Raise an error unless data have all of a model's labels, or `some` and no others."""
    if set(labels) != set(own) and not (some and set(own) < set(labels)):
        hint = "Give data with the model's classes with --data, or rename the classes of the data."
        if labels == tuple(map(str, range(len(own)))):  # it was converted without labels
            hint = "If the outputs are these classes, name them in a copy of the file: edgepress annotate --labels."
        raise DataError(
            f"The labels do not match: the model has {_show_labels(labels)}; {source} has {_show_labels(own)}.",
            hint,
        )


def _require_names(labels: tuple[str, ...], source: str | Path) -> None:
    """Raise an error unless a contract can hold the names of the classes; after a training it would be too late."""
    for label in labels:
        if not are_text([label]):
            hint = "Rename its folder, or write the label in UTF-8."
            raise DataError(f"A class of {source} has a name that is not text in UTF-8: {label!r}.", hint)
    size = len(json.dumps(labels, ensure_ascii=False).encode())
    if size > MOST_NAMES:
        problem = f"The names of the {len(labels)} classes of {source} take {size} bytes; accepted: up to {MOST_NAMES}."
        raise DataError(problem, "Use shorter names, or fewer classes.")


def _show_labels(labels: tuple[str, ...]) -> str:
    more = f", ... ({len(labels)} in total)" if len(labels) > 12 else ""
    return ", ".join(labels[:12]) + more


def _fingerprint(items: Items, rows: Mapping[str, Ints]) -> str:
    """Hash every item's content hash, label and split, independent of the order of the files.

    The lines are hashed in their order without holding all of them: those of a class of a split are in order already.

    Args:
        items: The items.
        rows: The items of each split, in the order of their content hashes.
    """

    def lines(name: str, same: Ints) -> Iterator[bytes]:
        start = f"{name} {_hashed_label(items, same[0])} ".encode()
        return (start + items.hashes[i] + b"\n" for i in same)

    classes = []
    y = numbered_sets(items.y)
    for name, some in rows.items():
        by_class = some[np.argsort(y[some], kind="stable")]
        borders = np.flatnonzero(np.diff(y[by_class])) + 1
        classes += [lines(name, same) for same in np.split(by_class, borders) if len(same)]
    digest = hashlib.sha256()
    for line in heapq.merge(*classes):
        digest.update(line)
    return digest.hexdigest()


def _hashed_label(items: Items, index: int) -> str:
    """What stands for an item's label in the hash of a data set: its name, or the names of all as JSON."""
    label = items.y[index]
    if not items.labels or not is_multilabel(items.y):
        return items.labels[label] if items.labels else ""
    return json.dumps([items.labels[i] for i in np.flatnonzero(label).tolist()])
