"""Find items of the same content in different classes, or of different labels: these contradict each other.

Content is equal if its hash is, that is byte by byte; the same picture encoded twice is not found.
"""

from __future__ import annotations

import numpy as np

from edgepress.toolkit.data.items import Items
from edgepress.toolkit.data.splits import Ints
from edgepress.toolkit.data.types import Conflicts
from edgepress.toolkit.truth import label_text, numbered_sets

EXAMPLES = 8
"""Largest number of contents whose items are named."""
CLASSES = 4
"""Largest number of items that are named of one content."""


def find_conflicts(items: Items, order: Ints) -> Conflicts | None:
    """Find contents that are in several classes.

    Args:
        items: The items. Those that were left out because they can't be read or have no label are ignored.
        order: Their indices, sorted by content hash, and by class among equals.
    """
    if not items.labels:
        return None
    order = order[(items.stored_split != "")[order]]
    hashes = items.hashes[order]
    y = numbered_sets(items.y)[order]
    if not len(order):
        return None
    starts = np.flatnonzero(np.append(True, hashes[1:] != hashes[:-1]))
    ends = np.append(starts[1:], len(order))
    several = np.flatnonzero(y[starts] != y[ends - 1])  # sorted by class, so that the first and the last differ
    if not len(several):
        return None
    examples = []
    wrong = 0
    for n, (start, end) in enumerate(zip(starts[several].tolist(), ends[several].tolist(), strict=True)):
        _, first, counts = np.unique(y[start:end], return_index=True, return_counts=True)
        wrong += end - start - int(np.max(counts))
        if n < EXAMPLES:
            rows = [int(order[start + i]) for i in first[:CLASSES]]
            examples.append(tuple((items.source.name(i), label_text(items.y[i], items.labels)) for i in rows))
    return Conflicts(
        items=int((ends - starts)[several].sum()),
        wrong=wrong,
        total=len(order),
        groups=len(several),
        examples=tuple(examples),
    )
