"""Intervals of single shares, on items alone or in groups, and how many items prove a small accuracy drop.

`intervals` holds what two files on the same items need; here are the shares themselves, shares of different items, and
the planning of tests.

Intervals of an accuracy on items that come in groups, such as photos of one object.

Items of one group are right or wrong together, so twenty photos of one object tell less than photos of twenty. What
counts is the number of groups and how far their accuracies differ.
"""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt

from edgepress.toolkit.stats.choice import Evidence, least_items_for, probability_within
from edgepress.toolkit.stats.intervals import Z95, Interval, score_interval

Z80 = 0.841621
"""Quantile of the normal distribution for a power of 80 %: four tests in five of that size succeed."""
MOST_PLANNED = 10_000_000
"""More items than this are not worth planning."""


def share_interval(count: int, total: int) -> Interval:
    """A share with its 95 % Wilson score interval, 0-1.

    Source: E. B. Wilson, "Probable inference, the law of succession, and statistical inference", Journal of the
    American Statistical Association 22 (1927), 209-212.

    Args:
        count: Number of items that have a property, 0 to `total`.
        total: Number of items, at least 1.
    """
    return wilson(count / total, total, quantile=Z95)


def wilson(share: float, total: float, *, quantile: float) -> Interval:
    """Wilson's interval of a share of `total` items, for a quantile of the distribution of its error."""
    z2 = quantile**2
    middle = (share + z2 / (2 * total)) / (1 + z2 / total)
    half = quantile / (1 + z2 / total) * math.sqrt(share * (1 - share) / total + z2 / (4 * total**2))
    return Interval(share, max(0.0, middle - half), min(1.0, middle + half))


def difference_interval(first: tuple[int, int], second: tuple[int, int]) -> Interval:
    """Difference of two shares of different items, with its 95 % interval, -1 to 1.

    Source: R. G. Newcombe, "Interval estimation for the difference between independent proportions", Statistics in
    Medicine 17 (1998), 873-890, method 10.

    Args:
        first: Number of items with the property, and number of items, as for `share_interval`.
        second: The same of the other items.
    """
    a = share_interval(*first)
    b = share_interval(*second)
    assert a.low is not None and a.high is not None and b.low is not None and b.high is not None  # noqa: PT018
    difference = a.estimate - b.estimate
    down = math.hypot(a.estimate - a.low, b.high - b.estimate)
    up = math.hypot(a.high - a.estimate, b.estimate - b.low)
    return Interval(difference, difference - down, difference + up)


def least_items(drop: float) -> int:
    """Number of items below which a drop can't be ruled out, even if two files answer all of them alike.

    With fewer, the upper end of `score_interval(0, 0, n)` is above the drop.

    Args:
        drop: The drop, above 0 and below 1.
    """
    low = 1
    high = math.ceil(4 / drop) + 10
    while low < high:
        middle = (low + high) // 2
        if float(score_interval(0, 0, middle)[1]) <= drop:
            high = middle
        else:
            low = middle + 1
    return low


def items_to_rule_out(lost: int, gained: int, total: int, *, drop: float) -> int | None:
    """How many items show with a chance of 80 % that the accuracy drop is below a limit.

    The planning of a score test of non-inferiority of two proportions on the same items (McNemar's test with the limit
    in the place of zero): n = ((z0.975 s0 + z0.8 s1) / (limit - d))^2, with the true drop d, the variance
    s1^2 = p - d^2 of one item's difference for the share p of items that only one of two files gets right, and s0^2,
    the same if the drop were the limit. p is measured, with half an item added so that no difference among few items
    is not taken for none at all; d is the observed drop, but not below 0, as a gain is luck until it is proven. At
    least `least_items` are needed. `tests/unit/test_remarks_items.py` simulates how often so many items succeed.
    Sources: J.-m. Nam, "Establishing equivalence of two treatments and sample size requirements in matched-pairs
    design", Biometrics 53 (1997), 1422-1430; for p in general R. J. Connor, "Sample size for testing differences in
    proportions for the paired-sample design", Biometrics 43 (1987), 207-211.

    Args:
        lost: Number of items that only the first file classifies correctly.
        gained: Number of items that only the second does.
        total: Number of all items, at least 1.
        drop: The limit, above 0 and below 1.

    Returns:
        The number; None if the observed drop is not below the limit, so that more items would not help.
    """
    needed = _plan(lost, gained, total, drop)
    return None if needed is None else max(needed, least_items(drop))


def items_to_prove_gain(lost: int, gained: int, total: int) -> int | None:
    """How many items show with a chance of 80 % that the second file is better, if all are as these.

    As `items_to_rule_out` with the limit 0 and the observed gain in the place of the true one.

    Args:
        lost: Number of items that only the first file classifies correctly.
        gained: Number of items that only the second does.
        total: Number of all items, at least 1.

    Returns:
        The number; None if no gain is observed.
    """
    gain = (gained - lost) / total
    share = (lost + gained + 0.5) / total
    if gain <= 0:
        return None
    spread = Z95 * math.sqrt(share) + Z80 * math.sqrt(max(share - gain**2, 0))
    return math.ceil((spread / gain) ** 2)


def items_to_be_sure(evidence: Evidence, *, drop: float, confidence: float) -> int | None:
    """How many items with labels make it so probable that the accuracy drop is below a limit, if all are as these.

    Args:
        evidence: The items so far, without further ones, at least 1.
        drop: The limit, above 0 and below 1.
        confidence: The wanted probability (`edgepress.toolkit.stats.choice`), 0.5 to 1.

    Returns:
        The number, within a hundredth; None if the observed drop is not below the limit, so that more items would not
        help, or if so many as `MOST_PLANNED` would not.
    """
    total = evidence.items
    if (evidence.lost - evidence.gained) / total >= drop:
        return None

    def enough(items: int) -> bool:
        lost = math.ceil(evidence.lost * items / total)
        gained = evidence.gained * items // total
        return probability_within(replace(evidence, items=items, lost=lost, gained=gained), drop) >= confidence

    low = 0
    high = least_items_for(drop, confidence)
    while not enough(high):
        low = high
        high = 2 * high
        if high > MOST_PLANNED:
            return None
    while high - low > max(1, high // 100):
        middle = (low + high) // 2
        low, high = (low, middle) if enough(middle) else (middle, high)
    return high


def _plan(lost: int, gained: int, total: int, drop: float) -> int | None:
    """The items that a test at 2.5 % needs; None if the observed drop is not below the limit."""
    assumed = max(0.0, (lost - gained) / total)
    if assumed >= drop:
        return None
    share = (lost + gained + 0.5) / (total + 1)
    one = (share + assumed) / 2
    other = (share - assumed) / 2  # shares of lost and gained items
    linear = (2 - assumed) * drop - share  # the most likely shares if the drop is the limit, as in `intervals._accept`
    q = (math.sqrt(linear**2 + 8 * other * drop * (1 - drop)) - linear) / 4
    at_limit = math.sqrt(2 * q + drop * (1 - drop))
    true = math.sqrt(one + other - assumed**2)
    return math.ceil(((Z95 * at_limit + Z80 * true) / (drop - assumed)) ** 2)


def items_without_labels(differing: int, total: int, *, drop: float) -> int | None:
    """How many items without labels show with a chance of 80 % that the accuracy drop is below a limit.

    A file can lose no more items than those that it answers differently, so a share of different answers below the
    limit proves the drop, whatever the labels are. The planning of a test of one proportion against the limit:
    n = ((z0.975 sqrt(limit (1 - limit)) + z0.8 sqrt(q (1 - q))) / (limit - q))^2, with the measured share q of
    different answers, half an item added.
    Source: J. L. Fleiss, B. Levin, M. C. Paik, Statistical Methods for Rates and Proportions, 3rd ed. (2003), section
    2.5.

    Args:
        differing: Number of items that two files put in different classes.
        total: Number of all items, at least 1.
        drop: The limit, above 0 and below 1.

    Returns:
        The number; None if the share is not below the limit, so that only labels can prove it.
    """
    share = (differing + 0.5) / (total + 1)
    if share >= drop:
        return None
    root = (Z95 * math.sqrt(drop * (1 - drop)) + Z80 * math.sqrt(share * (1 - share))) / (drop - share)
    return math.ceil(root**2)


LEVEL = 0.95


def group_interval(values: npt.ArrayLike, groups: npt.ArrayLike, *, equal: bool = False) -> Interval:
    """The mean of values of items in groups, with its 95 % interval, 0-1.

    It is Wilson's interval for the effective number of items: as many independent items as would have the variance of
    the mean, which is estimated between groups, with the quantile of Student's t for their number. The effective number
    is at most that of the items. If all groups have the same mean, it is the number of groups.
    Sources: E. L. Korn and B. I. Graubard, "Confidence intervals for proportions with small expected number of positive
    counts estimated from survey data", Survey Methodology 24 (1998), 193-201 (effective number of items); C. Franco et
    al., "Comparative study of confidence intervals for proportions in complex sample surveys", Journal of Survey
    Statistics and Methodology 7 (2019), 334-364 (Wilson's interval with it). `benchmarks/proof/group_coverage.py`
    prints how often it holds.

    Args:
        values: The value of each item, such as whether its answer is right, 0-1, shape (N,), N > 0.
        groups: Number of the group of each, shape (N,).
        equal: Whether each group has the same weight, however many items it has.

    Returns:
        The mean over items, or over groups if they are `equal`; without an interval for a single group.
    """
    from scipy.stats import t

    value = np.asarray(values, np.float64)
    _, group, sizes = np.unique(np.asarray(groups), return_inverse=True, return_counts=True)
    count = len(sizes)
    means = np.bincount(group, value) / sizes
    weights = np.full(count, 1 / count) if equal else sizes / len(value)
    mean = float(np.sum(weights * means))
    if count < 2:
        return Interval(mean, None, None)
    variance = float(count / (count - 1) * np.sum((weights * (means - mean)) ** 2))
    effective = count if variance < 1e-12 else min(mean * (1 - mean) / variance, len(value))
    return wilson(mean, max(effective, 1.0), quantile=float(t.ppf((1 + LEVEL) / 2, count - 1)))


def group_figures(correct: npt.ArrayLike, groups: npt.ArrayLike, rule: str) -> dict[str, Any]:
    """The accuracy by item and by group, ready for JSON.

    Args:
        correct: Whether each item was classified correctly, shape (N,), N > 0.
        groups: Number of the group of each, shape (N,).
        rule: What finds the groups.

    Returns:
        "rule", "count" of the groups, and "by_item" and "by_group", each with "estimate", "low" and "high".
    """
    figures = {"by_item": group_interval(correct, groups), "by_group": group_interval(correct, groups, equal=True)}
    count = len(np.unique(np.asarray(groups)))
    return {"rule": rule, "count": count, **{name: vars(figure) for name, figure in figures.items()}}
