"""Which items go where, by their content alone: splits, and calibration items without those of the test split.

Every item has a content hash (SHA-256 of the bytes of its file or array). Within each class, items are sorted by this
hash; the first fifth is the test split, the next tenth the validation split, the rest the training split. No seed or
file name is involved, so every command holds out the same items. Data with their own test or validation split keep it;
a missing one is taken from the training items.

Identical content is never in two splits: copies stay together, also across classes, and a training item that repeats a
given test item is left out. A class of a single item can't be trained, so that item is a test item. Near-copies
(the same picture encoded twice) are not detected.

Items of multi-label data are spread by the rarest of their labels (`group_splits`).

Choose calibration items from many files without reading all of them, and without touching the test split.

Which items of a class are test items depends on all their hashes (`splits`): they are those with the smallest ones.
Hashes are uniform, so an item is not among them if its hash, as a share of the largest possible one, is well above the
test split's share of the class. How far above depends on the size of the class, so that the chance of an error is below
`CHANCE`.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Mapping, Sequence
from itertools import chain, zip_longest

import numpy as np
import numpy.typing as npt

from edgepress.toolkit.data.types import SPLITS, Purpose, Split
from edgepress.toolkit.errors import DataError
from edgepress.toolkit.truth import is_multilabel, label_counts, strata

SHARES = {"test": 0.2, "val": 0.1}
"""Share of the training items that is taken for a split missing from the data, rounded up."""

OTHER_ITEMS = "give other items: a folder of images without labels will do."
"""The end of a hint for calibration."""

UNGROUPED = "Or split by content alone, which divides groups: --group none."
"""The end of a hint for training."""

Names = npt.NDArray[np.str_]
Ints = npt.NDArray[np.int64]


def assign(
    hashes: npt.NDArray[np.bytes_], y: Ints, stored_split: Names, *, shares: Mapping[str, float] = SHARES
) -> Names:
    """Decide the split of every item.

    Args:
        hashes: Content hash of each item, shape (N,).
        y: Its class, shape (N,).
        stored_split: Its split in the data, shape (N,): "train", "val", "test", or "" for an item that is left out.
        shares: The splits to take from the training items if the data lack them.

    Returns:
        Its split, shape (N,): as `stored_split`, but those of `shares` may be taken from "train", and
        copies of an item are "" in "val" if it is in "test", and in "train" if it is in either.
    """
    content = np.unique(hashes, return_inverse=True)[1]  # equal for copies, and in the order of the hashes
    split = keep_together(content, stored_split)
    pool = np.flatnonzero(split == "train")
    for name, share in shares.items():
        if not np.any(stored_split == name):
            least = 1 if name == "test" else 0
            most = quotas(y[pool], share, least=least)
            rows = np.flatnonzero(split == "train")
            split[rows[_mark_first(content[rows], y[rows], most, least=least)]] = name
    return split


def keep_together(numbers: Ints, stored_split: Names) -> Names:
    """The splits in the data, where items that are in "test" or "val" with the same number leave the others.

    Args:
        numbers: Equal for items that must not be divided, shape (N,).
        stored_split: As for `assign`.

    Returns:
        As `stored_split`, but with "" in "val" for a number that is in "test", and in "train" for one in either.
    """
    split = stored_split.astype("<U5")
    for kept, other in (("test", "val"), ("test", "train"), ("val", "train")):
        split[(split == other) & np.isin(numbers, numbers[split == kept])] = ""
    return split


def quotas(y: Ints, share: float, *, least: int) -> Ints:
    """Number of items to take of each class: a share of the total by largest remainder, at least `least`.

    At least one item of a class is left, unless it is the only one and `least` is 1.

    Args:
        y: Class of each item, shape (N,).
        share: Share of all items to take, rounded up.
        least: 0 or 1.
    """
    counts = np.bincount(y)
    exact = counts * (math.ceil(share * len(y)) / max(len(y), 1))
    whole_counts = np.floor(exact).astype(np.int64)
    missing = round(exact.sum()) - int(whole_counts.sum())
    whole_counts[np.argsort(whole_counts - exact, kind="stable")[:missing]] += 1
    result: Ints = np.minimum(np.maximum(whole_counts, least), np.maximum(counts - 1, np.minimum(counts, least)))
    return result


def _mark_first(content: Ints, y: Ints, most: Ints, *, least: int) -> npt.NDArray[np.bool_]:
    """Mark the first items of each class by content, up to its quota; copies are all marked or none."""
    order = np.lexsort((y, content))
    _, starts, sizes = np.unique(content[order], return_index=True, return_counts=True)
    # One stays for training.
    left = np.minimum(most, np.maximum(np.bincount(y, minlength=len(most)) - 1, least))
    marked = np.zeros(len(content), np.bool_)
    for start, size in zip(starts, sizes, strict=True):
        owner = y[order[start]]  # copies with different labels count for the first label
        if size <= left[owner]:
            left[owner] -= size
            marked[order[start : start + size]] = True
    return marked


def require_all_classes(split: Names, y: Ints, labels: tuple[str, ...], source: str, *, grouped: bool = False) -> None:
    """Check that the splits allow training and testing, where `grouped` says whether they keep groups together.

    Raises:
        DataError: There is only one class or none, a class has no item in "train" or in "test", "val" is empty, or all
            training items have a label of multi-label data.
    """
    if not labels:
        raise DataError(f"{source} has no item with a label.", "Label its items.")
    if len(labels) < 2:
        raise DataError(f"{source} has only one class: {', '.join(labels)}.", "Give at least two classes.")
    counts = {name: label_counts(y[split == name], len(labels)) for name in SPLITS}
    for i, label in enumerate(labels):
        if not counts["train"][i] or not counts["test"][i]:
            counted = ", ".join(f"{n[i]} in {name}" for name, n in counts.items())
            few = "groups" if grouped else "different items"
            hint = f"Add {'groups' if grouped else 'items'} to this class, or remove it."
            raise DataError(
                f"{source}: class {label!r} has too few {few} ({counted}); every class needs at least one for training "
                "and one for testing.",
                f"{hint} {UNGROUPED}" if grouped else hint,
            )
    everywhere = np.flatnonzero(counts["train"] == np.count_nonzero(split == "train")).tolist()
    if everywhere and is_multilabel(y):
        raise DataError(
            f"{source}: every training item has the label {labels[everywhere[0]]!r}, so there is nothing to learn.",
            "Remove its column, or add items without it.",
        )
    if not counts["val"].any():
        hint = (
            f"Give at least three groups per class. {UNGROUPED}" if grouped else "Give at least three items per class."
        )
        raise DataError(f"{source}: {len(y)} items in {len(labels)} classes are too few for a validation split.", hint)


def require_items(split: Names, purpose: Purpose, source: str) -> None:
    """Check that there are items for evaluation or calibration.

    Raises:
        DataError: There are none.
    """
    if purpose == "evaluation" and not np.any(split == "test"):
        raise DataError(f"{source} has no test items.", "Give data with a test split with --data.")
    if purpose == "calibration" and not np.any(split == "train"):
        raise DataError(
            f"{source} has test items only, which are never used for calibration.", f"For calibration, {OTHER_ITEMS}"
        )


def calibration_rows(split: Split, n: int) -> Ints:
    """Choose calibration items from a split, spread evenly over its classes; the same for the same content.

    Args:
        split: The split, sorted by content hash.
        n: Number of items; if the split has fewer, all are used.

    Returns:
        Rows in ascending order, int64, shape (min(n, len(split)),).
    """
    y = strata(split.y)
    by_class = np.argsort(y, kind="stable")
    counts = np.bincount(y)
    turn = np.empty(len(split), np.int64)  # a row's rank within its class
    turn[by_class] = np.concatenate([np.arange(count) for count in counts]) if len(split) else []
    return np.sort(np.argsort(turn, kind="stable")[: max(n, 0)])


LARGE = 5000
"""Number of files above which a sample is taken; fewer are all read, which takes a second at most."""
CHANCE = 1e-12
"""Largest chance that an item taken for calibration is a test item."""
COPIES = 0.1
"""Share of a class that may be copies of other files in it, which take part in no split of their own."""


def sample(
    rows: Sequence[tuple[str, int, str]], count: int, *, digest: Callable[[int], str | None], size: Callable[[int], int]
) -> dict[int, str] | None:
    """Choose training items, spread over the classes, in an order that depends on the names of the files.

    Args:
        rows: The name of each file, its class, and its split in the data.
        count: Number of items wanted.
        digest: Reads the file of a row for its hash; None if the file is left out.
        size: Size of a row's file, bytes.

    Returns:
        The hash of each chosen row; None if there are too few, or copies among those read, so that all must be read.
    """
    held_out = [i for i, (_, _, part) in enumerate(rows) if part != "train"]
    train = np.array([i for i, (_, _, part) in enumerate(rows) if part == "train"])
    y = np.array([rows[i][1] for i in train])
    least = np.zeros(y.max() + 1)
    if computed := not any(rows[i][2] == "test" for i in held_out):
        counts = np.bincount(y).tolist()
        least = np.array(list(map(_lowest_hash, counts, quotas(y, SHARES["test"], least=1).tolist())))
    ranks: list[list[int]] = [[] for _ in least]
    for i in sorted(train.tolist(), key=lambda i: hashlib.sha256(rows[i][0].encode()).digest()):
        ranks[rows[i][1]].append(i)
    seen = set[str]()
    chosen = dict[int, str]()
    for i in chain.from_iterable(zip_longest(*ranks)):
        if len(chosen) == count:
            break
        if i is None or least[rows[i][1]] >= 1 or (sha256 := digest(i)) is None:
            continue
        if sha256 in seen and computed:
            return None
        if sha256 not in seen and int(sha256, 16) / 16 ** len(sha256) >= least[rows[i][1]]:
            chosen[i] = sha256
        seen.add(sha256)
    sizes = {size(i) for i in chosen}
    copied = {digest(i) for i in held_out if size(i) in sizes}  # equal content has equal size
    chosen = {i: sha256 for i, sha256 in chosen.items() if sha256 not in copied}
    return chosen if len(chosen) >= count / 2 else None


def _lowest_hash(count: int, quota: int) -> float:
    """The hash, as a share of the largest, above which an item is not among the `quota` smallest of its class.

    By Chernoff's bound: of n uniform numbers, at most k are below t with a chance of at most exp(-n KL(k/n || t)).
    """
    others = (1 - COPIES) * (count - 1)
    share = quota / others if others else 1.0
    for step in range(100):
        t = step / 100
        if t > share:
            divergence = share * math.log(share / t) + (1 - share) * math.log((1 - share) / (1 - t))
            if others * divergence >= -math.log(CHANCE):
                return t
    return 1.0
