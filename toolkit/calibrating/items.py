"""Which items fit and which measure, and what is to be promised."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from edgepress.runtime.acceptance import Promise
from edgepress.toolkit.errors import InputError

LEAST_ITEMS = 8
"""Fewer items can't be divided."""
FIT_SHARE = 0.25
"""Share of the items that chooses thresholds and references; the rest measures the promise."""
MOST_FIT = 1000
"""Most items that choose them."""
ROUNDING = 1e-6
"""By how much thresholds are lowered, because boards round logarithms in other ways."""
SEED = 0
"""The seed by which items are divided, so that each command divides them alike."""

Ints = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Wish:
    """What shall be promised.

    Attributes:
        promise: On the error of accepted answers, or on the share of rejected items.
        limit: The promised share, above 0 and below 1.
        confidence: Probability that the promise holds, 0-1.
    """

    promise: Promise
    limit: float
    confidence: float


def divide_items(items: int, share: float = FIT_SHARE, what: str = "items") -> tuple[Ints, Ints]:
    """Rows of items that fit, and of those that measure, int64, always the same.

    Raises:
        InputError: There are fewer than eight.
    """
    if items < LEAST_ITEMS:
        raise InputError(f"There are {items} {what}; at least {LEAST_ITEMS} are needed.", "Give more images.")
    rows = np.random.default_rng(SEED).permutation(items)
    count = min(MOST_FIT, int(share * items))
    return rows[:count], rows[count:]
