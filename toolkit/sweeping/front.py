"""The results of a sweep that no other beats in everything."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt


def front(costs: npt.ArrayLike) -> list[int]:
    """The rows that are not dominated: no other row is as good in every column and better in one.

    Args:
        costs: Shape (N, goals); lower is better.

    Returns:
        Their indices in ascending order; of equal rows the first.
    """
    rows = np.asarray(costs, np.float64)
    kept = []
    for n, row in enumerate(rows):
        as_good = (rows <= row).all(axis=1)
        better = as_good & (rows < row).any(axis=1)
        if not better.any() and not as_good[:n].any():
            kept.append(n)
    return kept
