"""Intervals of rates of events in time, of their difference, of a share of events, and of a median delay."""

from __future__ import annotations

import math
from collections.abc import Sequence

from edgepress.toolkit.stats.intervals import Interval


def rate_interval(count: float, time: float) -> Interval:
    """A rate of independent events with its exact 95 % interval: none in 3.7 hours means at most 1 an hour.

    Source: F. Garwood, "Fiducial limits for the Poisson distribution", Biometrika 28 (1936), 437-442.

    Args:
        count: Number of events; for planning it may be an expected one.
        time: How long was counted, above 0; the rate is per its unit.
    """
    from scipy.stats import chi2

    low = float(chi2.ppf(0.025, 2 * count)) / 2 if count else 0.0
    high = float(chi2.ppf(0.975, 2 * count + 2)) / 2
    return Interval(count / time, low / time, high / time)


def exact_share(count: float, total: float) -> Interval:
    """A share with its exact 95 % interval, of counts that may be expected ones.

    Source: C. J. Clopper and E. S. Pearson, Biometrika 26 (1934), 404-413.
    """
    from scipy.stats import beta

    low = float(beta.ppf(0.025, count, total - count + 1)) if count else 0.0
    high = float(beta.ppf(0.975, count + 1, total - count)) if count < total else 1.0
    return Interval(count / total, low, high)


def rate_difference(first: tuple[float, float], second: tuple[float, float]) -> Interval:
    """Difference of two rates of independent events, with its 95 % interval: MOVER of the exact intervals of both.

    It holds in at least 95 % of cases, and each end in at least 97.5 % (`tests/unit/test_rates.py` computes both).
    Sources: G. Y. Zou, A. Donner, "Construction of confidence limits about effect measures: a general approach",
    Statistics in Medicine 27 (2008), 1693-1702 (the method), with the intervals of `rate_interval`.

    Args:
        first: Number of events and time, as for `rate_interval`.
        second: The same, whose rate is subtracted.
    """
    a, b = rate_interval(*first), rate_interval(*second)
    assert a.low is not None and a.high is not None and b.low is not None and b.high is not None  # noqa: PT018
    difference = a.estimate - b.estimate
    down = math.hypot(a.estimate - a.low, b.high - b.estimate)
    up = math.hypot(a.high - a.estimate, b.estimate - b.low)
    return Interval(difference, difference - down, difference + up)


def median_interval(values: Sequence[float]) -> Interval:
    """The median with the exact interval of at least 95 % between two of the values; none of fewer than 6 values.

    Source: H. A. David and H. N. Nagaraja, Order Statistics, 3rd ed. (2003), section 7.1.

    Args:
        values: Independent values, at least one.
    """
    from scipy.stats import binom

    ordered = sorted(values)
    count = len(ordered)
    middle = (ordered[(count - 1) // 2] + ordered[count // 2]) / 2
    below = int(binom.ppf(0.025, count, 0.5))  # at most 2.5 % of samples have fewer values below the median
    if below < 1:
        return Interval(middle, None, None)
    return Interval(middle, ordered[below - 1], ordered[count - below])
