"""Uncertainty of a comparison: 95 % intervals of an accuracy drop and of a speed-up.

Both are paired, because both files see the same images and the same rounds: what makes an image hard or a round slow
hits both alike and cancels. A file against itself comes out as no difference.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

Z95 = 1.959964


@dataclass(frozen=True)
class Interval:
    """An estimate with its 95 % interval; `low` and `high` are None where too little was measured to give one."""

    estimate: float
    low: float | None
    high: float | None


def paired_drop(reference: npt.NDArray[np.bool_], candidate: npt.NDArray[np.bool_]) -> Interval:
    """Drop in accuracy from `reference` to `candidate` over the same images, in percentage points.

    The interval is the adjusted Wald interval for matched proportions: half an image is added to each cell of the
    2 x 2 table, which keeps its coverage near 95 % in small samples and when hardly any image changes sides.
    Source: A. Agresti, Y. Min, "Simple improved confidence intervals for comparing matched proportions", Statistics
    in Medicine 24 (2005), 729-740.

    Args:
        reference: Whether the reference classified each image rightly, bool, shape (N,).
        candidate: The same of the candidate; the same images in the same order.

    Returns:
        The observed drop (positive: the candidate is worse) and its interval.
    """
    lost = int(np.sum(reference & ~candidate))
    gained = int(np.sum(~reference & candidate))
    n = len(reference)
    total, b, c = n + 2, lost + 0.5, gained + 0.5
    centre = (b - c) / total
    half = Z95 * math.sqrt(b + c - (b - c) ** 2 / total) / total
    return Interval(100 * (lost - gained) / n, 100 * (centre - half), 100 * (centre + half))


def paired_ratio(reference: npt.NDArray[Any], candidate: npt.NDArray[Any]) -> Interval:
    """How many times faster `candidate` is than `reference`: the median over rounds of their ratio.

    The interval holds between two order statistics of the ratios chosen by the binomial distribution (the sign test
    turned round), so it assumes nothing of how latencies are spread.
    Source: W. J. Conover, Practical Nonparametric Statistics, 3rd ed. (1999), section 3.2.

    Args:
        reference: The reference's median latency in each round, shape (R,), any unit.
        candidate: The candidate's; rounds beyond the shorter of the two are left out.
    """
    rounds = min(len(reference), len(candidate))
    ratios = np.sort(np.asarray(reference[:rounds], float) / np.asarray(candidate[:rounds], float))
    k = _rank(rounds)
    if k < 0:
        return Interval(float(np.median(ratios)), None, None)
    return Interval(float(np.median(ratios)), float(ratios[k]), float(ratios[rounds - 1 - k]))


def _rank(n: int) -> int:
    """Largest k with P(Binomial(n, 1/2) <= k) <= 2.5 %, or -1 if n is below 6 and there is none."""
    k, tail = -1, 0.0
    while k < n and (tail := tail + math.comb(n, k + 1) * 0.5**n) <= 0.025:
        k += 1
    return k
