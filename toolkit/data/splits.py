"""Which items are for training, which for choosing, which for testing: a function of their content alone.

Every item has a content hash (SHA-256 of its file's bytes or of its array's). Within each class, items are ranked by
that hash; the first fifth is for testing, the next tenth for choosing, the rest for training. So no seed is involved:
whatever command opens the same data, under whatever file names, holds the same items back. Data that come with a test
or a validation part keep it, and only what is missing is carved from the training part.

Identical content never lands in two splits: copies move together, also across classes, and what repeats an item of a
given test part is left out of training. Near-copies (the same picture encoded twice) are not noticed.
"""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

from edgepress.toolkit.data.types import SPLITS, Split
from edgepress.toolkit.errors import DataError

SHARES = {"test": 0.2, "val": 0.1}
"""Share of the items given for training that is carved for a split which the data do not bring, rounded up."""

Names = npt.NDArray[np.str_]
Ints = npt.NDArray[np.int64]


def assign(hashes: npt.NDArray[np.bytes_], y: Ints, given: Names) -> Names:
    """Decide every item's split.

    Args:
        hashes: Content hash of each item, shape (N,).
        y: Its class, shape (N,).
        given: The part it came in, shape (N,): "train", "val", "test", or "" for an item that is out.

    Returns:
        Its split, shape (N,): as `given`, but "val" and "test" carved from "train" where no item was given for them,
        and "" for items whose content is already in a split nearer to the final figure.
    """
    content = np.unique(hashes, return_inverse=True)[1]  # equal for copies, and in the order of the hashes
    split = given.astype("<U5")
    for kept, other in (("test", "val"), ("test", "train"), ("val", "train")):
        split[(split == other) & np.isin(content, content[split == kept])] = ""
    pool = np.flatnonzero(split == "train")
    for name, share in SHARES.items():
        if not np.any(given == name):
            quotas = _quotas(y[pool], share, least=1 if name == "test" else 0)
            rows = np.flatnonzero(split == "train")
            split[rows[_first(content[rows], y[rows], quotas)]] = name
    return split


def _quotas(y: Ints, share: float, *, least: int) -> Ints:
    """How many items each class gives: a share of the total, by largest remainder; at least `least`, never all."""
    counts = np.bincount(y)
    exact = counts * (math.ceil(share * len(y)) / max(len(y), 1))
    quotas = np.floor(exact).astype(np.int64)
    missing = round(exact.sum()) - int(quotas.sum())
    quotas[np.argsort(quotas - exact, kind="stable")[:missing]] += 1
    result: Ints = np.minimum(np.maximum(quotas, least), np.maximum(counts - 1, 0))
    return result


def _first(content: Ints, y: Ints, quotas: Ints) -> npt.NDArray[np.bool_]:
    """Mark the first items of each class by content, up to its quota; copies are marked all or none."""
    order = np.lexsort((y, content))
    _, starts, sizes = np.unique(content[order], return_index=True, return_counts=True)
    left = np.minimum(quotas, np.maximum(np.bincount(y, minlength=len(quotas)) - 1, 0))  # one stays behind for training
    marked = np.zeros(len(content), np.bool_)
    for start, size in zip(starts, sizes, strict=True):
        owner = y[order[start]]  # copies with different labels count for the first of them
        if size <= left[owner]:
            left[owner] -= size
            marked[order[start : start + size]] = True
    return marked


def require_all_classes(split: Names, y: Ints, labels: tuple[str, ...], source: str) -> None:
    """Refuse data that can't be both trained on and tested.

    Raises:
        DataError: There is one class only, or a class has no item in "train" or none in "test", or "val" is empty.
    """
    if len(labels) < 2:
        raise DataError(f"{source} holds one class only: {', '.join(labels)}.", "Give at least two classes.")
    counts = {name: np.bincount(y[split == name], minlength=len(labels)) for name in SPLITS}
    for i, label in enumerate(labels):
        if not counts["train"][i] or not counts["test"][i]:
            found = ", ".join(f"{n[i]} to {name}" for name, n in counts.items())
            raise DataError(
                f"{source}: class {label!r} has too few different items ({found}); every class needs at least one to "
                "train and one to test.",
                "Add items to this class, or remove it.",
            )
    if not counts["val"].any():
        raise DataError(
            f"{source}: {len(y)} items in {len(labels)} classes are too few to hold some back for validation.",
            "Give at least three items a class.",
        )


def calibration_rows(split: Split, n: int) -> Ints:
    """Rows of a split for calibration, spread evenly over its classes; the same for the same content.

    Args:
        split: What to take them from; rows of a split are in the order of their content hashes.
        n: How many; all rows where the split has fewer.

    Returns:
        Rows in ascending order, int64, shape (min(n, len(split)),).
    """
    by_class = np.argsort(split.y, kind="stable")
    counts = np.bincount(split.y)
    turn = np.empty(len(split), np.int64)  # a row's place within its class
    turn[by_class] = np.concatenate([np.arange(count) for count in counts]) if len(split) else []
    return np.sort(np.argsort(turn, kind="stable")[: max(n, 0)])
