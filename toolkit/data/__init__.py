"""Data sets: a name, a folder of images, a folder of IDX files, or an `.npz`, all brought to one `DataSet`.

    >>> from edgepress.toolkit.data import open_data
    >>> data = open_data("digits")
    >>> len(data.train), len(data.val), len(data.test), data.input.shape
    (1257, 180, 360, (28, 28, 1))

The kinds and their rules are described in docs/data.md.
"""

from __future__ import annotations

import difflib
import hashlib
from pathlib import Path

import numpy as np

from edgepress.runtime.contract import Color, InputSpec, Resize
from edgepress.toolkit.data.builtin import NAMES, read_builtin
from edgepress.toolkit.data.folder import read_folder
from edgepress.toolkit.data.idx import is_idx_folder, read_idx_folder
from edgepress.toolkit.data.items import Items, Wish
from edgepress.toolkit.data.npz import read_npz
from edgepress.toolkit.data.splits import assign, calibration_rows, require_all_classes
from edgepress.toolkit.data.types import SPLITS, DataSet, Source, Split
from edgepress.toolkit.errors import DataError

__all__ = ["NAMES", "SPLITS", "DataSet", "Source", "Split", "calibration_rows", "open_data"]


def open_data(
    source: str | Path,
    *,
    size: int | tuple[int, int] | None = None,
    color: Color | None = None,
    resize: Resize = "stretch",
    input: InputSpec | None = None,
    labels: tuple[str, ...] | None = None,
    skip_unreadable: bool = False,
) -> DataSet:
    """Open a data set and split it.

    Args:
        source: One of `NAMES`, or a path: a folder of class folders, a folder of IDX files, or an `.npz`. A name
            given as a string wins over a path; `./mnist` or a `Path` is always a path.
        size: Height and width to bring images to, or one number for both; None for the data's own.
        color: "grey" or "rgb"; None for the data's own.
        resize: How an image of another size is brought there.
        input: A model's input to bring the items to; `size`, `color` and `resize` then do not count.
        labels: A model's labels; the data must have the same, in any order, and take the model's order.
        skip_unreadable: List unreadable images in `DataSet.skipped` and leave them out, instead of an error.

    Returns:
        The data set. Rows of every split are in the order of their content hashes.

    Raises:
        DataError: The data can't be used; the message names the item and the remedy.
        InputError: `size`, `color` or `resize` can't be used.
        MissingExtraError: A package is needed that is not installed.
    """
    wish = Wish(
        size=(size, size) if isinstance(size, int) else size,
        color=color,
        resize=resize,
        input=input,
        skip_unreadable=skip_unreadable,
    )
    items = _read(source, wish)
    split = assign(items.hashes, items.y, items.given)
    require_all_classes(split, items.y, items.labels, str(source))
    y, order = items.y, np.lexsort((items.y, items.hashes))
    if labels is not None:
        if set(labels) != set(items.labels):
            raise DataError(
                f"The labels do not match: the model has {_shown(labels)}; {source} has {_shown(items.labels)}.",
                "Give the data that the model was made for, or rename the class folders.",
            )
        y = np.array([labels.index(label) for label in items.labels], np.int64)[y]
    copies = tuple(
        (items.source.name(i), "the same content is in a split nearer to the final figure")
        for i in np.flatnonzero((split == "") & (items.given != "")).tolist()
    )
    rows = {name: order[split[order] == name] for name in SPLITS}
    return DataSet(
        source=str(source),
        labels=labels or items.labels,
        input=items.spec,
        **{name: Split(items.source, rows[name], y[rows[name]]) for name in SPLITS},
        sha256=_fingerprint(items, split),
        skipped=items.skipped + copies,
    )


def _read(source: str | Path, wish: Wish) -> Items:
    if isinstance(source, str) and source in NAMES:
        return read_builtin(source, wish)
    path = Path(source).expanduser()
    if path.is_dir():
        try:
            return read_idx_folder(path, wish) if is_idx_folder(path) else read_folder(path, wish)
        except PermissionError as e:
            raise DataError(f"{e.filename} can't be read: {e.strerror}.", "Check who may read it.") from e
    accepted = f"{', '.join(NAMES)}, a folder of class folders, a folder of IDX files, or an .npz"
    if path.suffix == ".npz" and path.exists():
        return read_npz(path, wish)
    if path.exists():
        raise DataError(f"The file {source} is of an unknown kind.", f"Accepted: {accepted}.")
    beside = [str(p) for p in path.parent.iterdir()] if path.parent.is_dir() else []
    near = difflib.get_close_matches(str(source), [*NAMES, *beside], n=1)
    hint = f"Did you mean {near[0]!r}?" if near else "Check the path."
    raise DataError(f"There is no data set or path {str(source)!r}. Accepted: {accepted}.", hint)


def _shown(labels: tuple[str, ...]) -> str:
    more = f", ... ({len(labels)} in all)" if len(labels) > 12 else ""
    return ", ".join(labels[:12]) + more


def _fingerprint(items: Items, split: np.typing.NDArray[np.str_]) -> str:
    """Hash over every item's content hash, label and split, whatever the order of the files."""
    lines = sorted(
        f"{name} {items.labels[y]} {digest.decode()}\n"
        for name, y, digest in zip(split, items.y, items.hashes, strict=True)
        if name
    )
    return hashlib.sha256("".join(lines).encode()).hexdigest()
