"""95 % confidence intervals of an accuracy drop and of a speed-up.

Both are paired, because both files see the same images and the same rounds: what makes an image hard or a round slow
affects both and cancels. A file compared with itself shows no difference.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Z95 = 1.959964
MIN_ROUNDS = 6
"""Least number of rounds of a bootstrap, which underestimates the uncertainty with fewer."""
RESAMPLES = 4000
"""Number of resamples of a bootstrap."""
BISECTIONS = 50
"""Enough to find an end of an interval to within 1e-15."""
SMALLEST = 1e-100
"""Replaces a variance of 0."""

Flags = npt.NDArray[np.bool_]
Counts = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Interval:
    """An estimate with its 95 % confidence interval; `low` and `high` are None if there are too few measurements."""

    estimate: float
    low: float | None
    high: float | None


def paired_drop(reference: Flags, candidate: Flags) -> Interval:
    """Drop in accuracy from `reference` to `candidate` over the same images, in percentage points.

    Args:
        reference: Whether the reference classified each image correctly, bool, shape (N,), N > 0.
        candidate: The same for the candidate, with the same images in the same order.

    Returns:
        The observed drop (positive: the candidate is worse) and its interval, that of `score_interval`.
    """
    (drop,) = _drops(*_discordant(reference, candidate), np.array([len(reference)]))
    assert drop is not None
    return drop


def class_drops(reference: Flags, candidate: Flags, y: npt.NDArray[np.int64], *, classes: int) -> list[Interval | None]:
    """Drop in recall of each class, that is `paired_drop` over its items; None for a class without items.

    Each interval holds for its class alone: among many classes, one in twenty misses.

    Args:
        reference: Whether the reference classified each item correctly, bool, shape (N,).
        candidate: The same for the candidate.
        y: True classes, int64, shape (N,), in [0, classes).
        classes: Number of classes.
    """
    counts = np.bincount(y, minlength=classes)
    return _drops(*_discordant(reference, candidate, y, classes=classes), counts)


def score_interval(lost: npt.ArrayLike, gained: npt.ArrayLike, n: npt.ArrayLike) -> tuple[Floats, Floats]:
    """95 % interval of the difference of two proportions on the same items: the union of two score intervals.

    It contains the differences that either of two score tests does not reject at 5 %: Tango's, and the same with a term
    for the skewness of the difference; both with the variance of n - 1. Chosen by
    `benchmarks/proof/interval_coverage.py`: from 100 items on, and for any number of items that differ, a file's true
    loss lies above the interval in at most 2.7 % of cases. Alone, the test with the term for skewness misses there in
    5.0 % if three items are expected to be lost, Tango's misses on the other side in 5.4 %, the interval of Agresti and
    Min in 14 %, the bootstrap in more, and exact conditional intervals treat the number of such items as known.
    Sources: T. Tango, "Equivalence test and confidence interval for the difference in proportions for the paired-sample
    design", Statistics in Medicine 17 (1998), 891-908; P. J. Laud, "Equal-tailed confidence intervals for comparison of
    rates", Pharmaceutical Statistics 16 (2017), 334-348, and for pairs his R package ratesci.

    Args:
        lost: Numbers of items that only the first classifies correctly, any shape.
        gained: Numbers of items that only the second classifies correctly.
        n: Numbers of all items, at least 1.

    Returns:
        Lower and upper ends of (first - second), -1 to 1, of the common shape.
    """
    b, c, total = np.broadcast_arrays(*(np.asarray(v, np.float64) for v in (lost, gained, n)))
    ends = []
    for far in (-1.0, 1.0):
        inside = (b - c) / total
        outside = np.full(total.shape, far)
        for _ in range(BISECTIONS):
            middle = (inside + outside) / 2
            kept = _accept(middle, b, c, total)
            inside = np.where(kept, middle, inside)
            outside = np.where(kept, outside, middle)
        ends.append(inside)
    return ends[0], ends[1]


def _accept(d: Floats, b: Floats, c: Floats, n: Floats) -> Flags:
    """Whether a score test accepts that the shares of lost and gained items differ by `d`."""
    # The most likely share of gained items, q, solves 2n q^2 + linear q - c d (1 - d) = 0; that of lost ones is q + d.
    linear = (2 * n - b + c) * d - b - c
    q = (np.sqrt(np.maximum(linear**2 + 8 * n * c * d * (1 - d), 0)) - linear) / (4 * n)
    variance = np.maximum(2 * q + d * (1 - d), SMALLEST)
    third = (q + d) * (1 - d) ** 3 - q * (1 + d) ** 3 - (1 - 2 * q - d) * d**3
    scale = np.sqrt(n * variance * n / np.maximum(n - 1, 1))
    skewness = n * third / scale**3
    score = (b - c - n * d) / scale
    corrected = score - skewness * (Z95**2 - 1) / 6
    return np.asarray(np.minimum(np.abs(score), np.abs(corrected)) < Z95, np.bool_)


def _drops(lost: Counts, gained: Counts, n: Counts) -> list[Interval | None]:
    """Observed drops and their intervals in percentage points; None where n is 0."""
    some = np.maximum(n, 1)
    columns = (lost - gained) / some, *score_interval(lost, gained, some)
    rows = zip(n.tolist(), *((100 * column).tolist() for column in columns), strict=True)
    return [Interval(estimate, low, high) if count else None for count, estimate, low, high in rows]


def _discordant(
    reference: Flags, candidate: Flags, y: npt.NDArray[np.int64] | None = None, *, classes: int = 1
) -> tuple[Counts, Counts]:
    """Numbers of items of each class that only the reference, or only the candidate, gets right."""
    of = np.zeros(len(reference), np.int64) if y is None else y
    lost = reference & ~candidate
    gained = ~reference & candidate
    return np.bincount(of[lost], minlength=classes), np.bincount(of[gained], minlength=classes)


def mcnemar(reference: Flags, candidate: Flags) -> float:
    """Two-sided p-value of the exact McNemar test.

    Under the null hypothesis, each item on which exactly one is right is equally likely to be lost or gained.
    Source: Q. McNemar, Psychometrika 12 (1947), 153-157; exact as in A. Agresti, Categorical Data Analysis, 3rd ed.
    (2013), section 11.1.

    Args:
        reference: Whether the reference classified each item correctly, bool, shape (N,).
        candidate: The same for the candidate.
    """
    from scipy.stats import binomtest

    (lost,), (gained,) = _discordant(reference, candidate)
    return float(binomtest(int(lost), int(lost + gained)).pvalue) if lost + gained else 1.0


def paired_ratio(reference: npt.ArrayLike, candidate: npt.ArrayLike) -> Interval:
    """How many times faster `candidate` is than `reference`: the median over rounds of their ratio.

    The interval is a bootstrap over rounds, which keeps the pairs of a round together: percentiles of the resampled
    median of the ratio's logarithm, expanded as Student's t requires for a small sample. Of the sign test and
    bootstraps of the median and of a trimmed mean, with and without expansion, it came closest to 95 % for files
    compared with themselves (`benchmarks/speed/aa.py` repeats that test). The mean is unsuitable: single rounds on a
    shared machine are off by half.
    Source: T. Hesterberg, "What teachers should know about the bootstrap", The American Statistician 69 (2015),
    371-386, section 3.3 (expanded percentile interval).

    Args:
        reference: The reference's median latency in each round, shape (R,), any unit, above 0.
        candidate: The candidate's; rounds that only one of the two has are ignored.

    Returns:
        The ratio and its interval (deterministic); no interval with fewer than 6 rounds.
    """
    from scipy.stats import norm, t

    first = np.asarray(reference, np.float64)
    second = np.asarray(candidate, np.float64)
    n = min(len(first), len(second))
    logs = np.log(first[:n] / second[:n])
    estimate = float(np.exp(np.median(logs)))
    if n < MIN_ROUNDS:
        return Interval(estimate, None, None)
    rows = np.random.default_rng(0).integers(0, n, (RESAMPLES, n))
    tail = norm.cdf(t.ppf(0.025, n - 1) * math.sqrt(n / (n - 1)))
    low, high = np.exp(np.quantile(np.median(logs[rows], axis=1), (tail, 1 - tail)))
    return Interval(estimate, float(low), float(high))
