"""Intervals of an accuracy on items that come in groups, such as photos of one object.

Items of one group are right or wrong together, so twenty photos of one object tell less than photos of twenty. What
counts is the number of groups and how far their accuracies differ.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from edgepress.toolkit.stats.intervals import Interval
from edgepress.toolkit.stats.samples import wilson

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
