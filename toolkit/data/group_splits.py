"""Assign whole groups of items to the splits: no group is divided.

Groups are taken in the order of a hash of their names, so their split depends on no seed, and a new item of a known
group, in a class where the group was before, moves nothing. Shares are therefore counted in groups and not in items: a
large group counts as a small one.

Groups of one class are taken class by class, and those of several classes together, by largest remainder; items
without a group are taken in the same way among themselves, in the order of their content. A class that has no test
group afterwards gets its first one that can be spared. No class loses its last group for training.

Identical content is never in two splits, so groups with copies of each other are one.

Items of multi-label data are divided here, too, each content a group of its own unless they have groups. A group of
several labels is then taken with those of the label that the fewest groups have, because that label is the hardest one
to spread (K. Sechidis, G. Tsoumakas, I. Vlahavas, "On the stratification of multi-label data", ECML PKDD 2011, whose
method starts from it, too); groups without a label are taken together.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt

from edgepress.toolkit.data.splits import SHARES, Ints, Names, keep_together, quotas
from edgepress.toolkit.truth import is_multilabel, labels_by_item

Flags = npt.NDArray[np.bool_]


def unite(hashes: npt.NDArray[np.bytes_], groups: Sequence[str]) -> Ints:
    """The number of each item's group, shape (N,): 63 bits of the hash by which groups are ordered.

    An item without a group has that of its content. Groups with equal content are one, of the least of their numbers.

    Args:
        hashes: Content hash of each item, hexadecimal, shape (N,).
        groups: Name of the group of each item; "" for none.
    """
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    contents, content = np.unique(hashes, return_inverse=True)
    names = sorted({*groups} - {""})
    places = {name: len(contents) + i for i, name in enumerate(names)}
    nodes = np.array([places.get(name, -1) for name in groups], np.int64)
    rows = np.flatnonzero(nodes >= 0)
    count = len(contents) + len(names)
    edges = coo_array((np.ones(len(rows), np.bool_), (content[rows], nodes[rows])), shape=(count, count))
    _, component = connected_components(edges, directed=False)
    digests = [*contents.astype(str).tolist(), *(hashlib.sha256(_bytes(name)).hexdigest() for name in names)]
    keys = np.array([int(digest[:16], 16) >> 1 for digest in digests], np.int64)
    order = np.lexsort((keys, np.arange(count) < len(contents), component))  # a name comes before contents
    _, first = np.unique(component[order], return_index=True)
    numbers: Ints = keys[order][first][component[content]]
    return numbers


def _bytes(name: str) -> bytes:
    """A name as bytes, whatever a file system or a table has in it."""
    return name.encode(errors="surrogatepass")


def hold_out(numbers: Ints, y: Ints, named: Flags, free: Flags, *, share: float, least: int) -> Flags:
    """Mark the items of the groups that are held out for testing or validation.

    Args:
        numbers: Number of each item's group, shape (N,), by whose order groups are taken.
        y: Class of each item, shape (N,), or its labels, 0 and 1, shape (N, labels).
        named: Whether its group has a name, shape (N,).
        free: Whether its group may be taken, shape (N,).
        share: Share of the groups to take, rounded up.
        least: Groups to take of a class at least, if they can be spared: 0 or 1.
    """
    units, unit = np.unique(numbers, return_inverse=True)
    rows, labels = labels_by_item(y)
    count = int(np.max(labels, initial=-1)) + 1
    of, classes = np.unique(np.stack([unit[rows], labels], axis=1), axis=0).T  # which group is in which classes
    starts = np.searchsorted(of, np.arange(len(units) + 1))
    is_free = np.zeros(len(units), np.bool_)
    is_free[unit[free]] = True
    is_named = np.zeros(len(units), np.bool_)
    is_named[unit[named]] = True
    pool = 2 * _classes_of_units(starts, classes, count, rarest=is_multilabel(y)) + is_named
    wanted = quotas(pool, share, least=0)
    left = np.bincount(classes[is_free[of]], minlength=count)
    taken = np.zeros(len(units), np.bool_)

    def take(group: int) -> bool:
        own = classes[starts[group] : starts[group + 1]]
        if taken[group] or not is_free[group] or (left[own] < 2).any():  # each class keeps one
            return False
        left[own] -= 1
        taken[group] = True
        return True

    for group in range(len(units)):
        if wanted[pool[group]] and take(group):
            wanted[pool[group]] -= 1
    by_class = of[np.argsort(classes, kind="stable")]
    for groups in np.split(by_class, np.cumsum(np.bincount(classes))[:-1]) if least else ():
        if not taken[groups].any():
            any(take(group) for group in groups.tolist())  # the first that can be spared
    if not taken.any():
        any(take(group) for group in range(len(units)))
    return taken[unit]


def _classes_of_units(starts: Ints, classes: Ints, count: int, *, rarest: bool) -> Ints:
    """The class with which each group is taken: its only one; of several the rarest, or `count` unless `rarest`.

    Args:
        starts: Where the classes of each group start, and where the last ones end, shape (groups + 1,).
        classes: The classes of all groups, one group after the other.
        count: Number of classes; stands for a group without one, too.
        rarest: Whether groups of several classes are taken with the class that the fewest groups have.
    """
    sizes = np.diff(starts)
    counts = np.bincount(classes, minlength=count)
    order = np.lexsort((classes, counts[classes], np.repeat(np.arange(len(sizes)), sizes)))
    result = np.full(len(sizes), count, np.int64)
    some = sizes > 0 if rarest else sizes == 1
    result[some] = classes[order][starts[:-1][some]]
    return result


def assign_groups(
    numbers: Ints, y: Ints, named: Flags, stored_split: Names, *, shares: Mapping[str, float] = SHARES
) -> Names:
    """Decide the split of every item, as `edgepress.toolkit.data.splits.assign` without groups.

    Args:
        numbers: Number of each item's group, from `unite`, shape (N,).
        y: Class of each item, shape (N,), or its labels, 0 and 1, shape (N, labels).
        named: Whether the item has a group with a name, shape (N,).
        stored_split: Its split in the data, shape (N,).
        shares: The splits to take from the training items if the data lack them.

    Returns:
        Its split, shape (N,).
    """
    split = keep_together(numbers, stored_split)
    pool = np.flatnonzero(split == "train")
    for name, share in shares.items():
        if len(pool) and not np.any(stored_split == name):
            least = 1 if name == "test" else 0
            free = split[pool] == "train"
            marked = hold_out(numbers[pool], y[pool], named[pool], free, share=share, least=least)
            split[pool[marked]] = name
    return split
