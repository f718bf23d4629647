"""Choose calibration items from many files without reading all of them, and without touching the test split.

Which items of a class are test items depends on all their hashes (`splits`): they are those with the smallest ones.
Hashes are uniform, so an item is not among them if its hash, as a share of the largest possible one, is well above the
test split's share of the class. How far above depends on the size of the class, so that the chance of an error is below
`CHANCE`.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Sequence
from itertools import chain, zip_longest

import numpy as np

from edgepress.toolkit.data.splits import SHARES, quotas

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
