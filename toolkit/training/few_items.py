"""How good a classifier on frozen features is where test items are few, and what more items would bring.

A test split of forty items says little. Cross-validation tests on every item, each time with a classifier that has not
seen it; it is repeated because the division into folds is chance. The same folds give the learning curve: the accuracy
with fewer items of each class, from which that with more is estimated.

All of it is about the classifier on the features of a frozen net, whose training takes milliseconds.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import numpy.typing as npt

from edgepress.toolkit.stats.clusters import group_interval
from edgepress.toolkit.stats.intervals import Interval
from edgepress.toolkit.stats.learning_curve import forecast

Floats = npt.NDArray[np.float32]
Ints = npt.NDArray[np.int64]
Fit = Callable[[Floats, Ints], tuple[Floats, Floats]]
"""From features (n, f) and classes (n,), with each below the largest, to kernel (f, classes) and bias (classes,)."""

FEW = 100
"""Number of test items below which cross-validation says more."""
MOST = 1000
"""Items that are cross-validated at most: hundreds of classifiers are fitted, which takes seconds with so many."""
LEAST = 5
"""Items of each class, or groups that have it, at least."""
FOLDS = 5
REPEATS = 10
SIZES = (5, 10, 20, 50)
"""Items of each class on the learning curve."""
CLEAR = 0.15
"""Widest interval of a forecast that says something."""


@dataclasses.dataclass(frozen=True)
class Point:
    """A point of the learning curve: the items of each class that were learned from, and the accuracy, 0-1."""

    items: float
    accuracy: float


@dataclasses.dataclass(frozen=True)
class FewItems:
    """What cross-validation says.

    Attributes:
        accuracy: Mean over the items, with its 95 % interval, 0-1.
        items: Number of items.
        folds, repeats: How often they were divided.
        curve: The learning curve; its last point is the mean of the folds.
        more: Items of each class, twice those there are, for which `expected` is.
        expected: The accuracy then, with its 95 % interval; None if the curve has too few points.
    """

    accuracy: Interval
    items: int
    folds: int
    repeats: int
    curve: tuple[Point, ...]
    more: int
    expected: Interval | None

    def to_dict(self) -> dict[str, Any]:
        """The same, ready for JSON."""
        return dataclasses.asdict(self)

    @property
    def sentences(self) -> tuple[str, str]:
        """What it says of the classifier, and of more items."""
        curve = ", ".join(f"{100 * point.accuracy:.1f} % from {point.items:.0f}" for point in self.curve)
        first = (
            f"The classifier on features has a cross-validated accuracy of {_shown(self.accuracy)} "
            f"({self.items} items, {self.folds} folds, {self.repeats} times)."
        )
        start = f"By the training items of each class: {curve}"
        expected = self.expected
        if expected is None or expected.low is None or expected.high is None or expected.high - expected.low > CLEAR:
            return first, f"{start}. The curve does not show what more items would bring."
        return first, f"{start}, and {_shown(expected)} expected from {self.more}."


def _shown(interval: Interval) -> str:
    low, high = (100 * (end if end is not None else interval.estimate) for end in (interval.low, interval.high))
    return f"{100 * interval.estimate:.1f} % [{low:.1f}, {high:.1f}]"


def judge_few_items(
    features: Floats, y: Ints, fit: Fit, *, groups: Ints | None = None, mirrored: Floats | None = None, seed: int = 0
) -> FewItems | None:
    """Cross-validate a classifier on features, and estimate what more items would bring.

    The interval is that of the mean over items of how often each was right, `group_interval`, whose effective number of
    items is at most theirs; without groups, it is Wilson's for so many items. It is for the accuracy of the classifier
    that learns from all items; those of the folds learn from four fifths, so the mean is a little low.
    `benchmarks/proof/few_items_coverage.py` prints how often it holds, beside the corrected resampled t interval of
    C. Nadeau and Y. Bengio, "Inference for the generalization error", Machine Learning 52 (2003), 239-281.

    Args:
        features: Features of the items, shape (N, f).
        y: Their classes, shape (N,).
        fit: Fits the classifier, such as `edgepress.toolkit.training.features.fit_head`.
        groups: Number of the group of each item, shape (N,); no group is divided. None: each is one.
        mirrored: Features of the mirrored images, shape (N, f), which are learned from, too.
        seed: Seed of the folds and of the items that are left out for the curve.

    Returns:
        What it says; None if a class has fewer than `LEAST` items or groups.
    """
    units = np.arange(len(y)) if groups is None else groups
    labels, y = np.unique(y, return_inverse=True)
    cells = np.unique(np.stack([y, units], axis=1), axis=0)
    if len(labels) < 2 or np.min(np.bincount(cells[:, 0])) < LEAST:
        return None
    rows = _rounds(y, units, seed=seed)
    reachable = float(np.median(np.bincount(y))) * (FOLDS - 1) / FOLDS
    sizes: list[int | None] = [*(size for size in SIZES if size < 0.9 * reachable), None]
    rates = [_rates(features, y, fit, rows, size=size, mirrored=mirrored, seed=seed) for size in sizes]
    items = np.array([reachable if size is None else size for size in sizes])
    more = 2 * round(float(np.mean(np.bincount(y))))
    return FewItems(
        accuracy=group_interval(rates[-1], units),
        items=len(y),
        folds=FOLDS,
        repeats=REPEATS,
        curve=tuple(Point(float(n), float(rate.mean())) for n, rate in zip(items, rates, strict=True)),
        more=more,
        expected=forecast(items, np.stack(rates), units, at=more),
    )


def _rounds(y: Ints, units: Ints, *, seed: int) -> list[tuple[Ints, Ints]]:
    """The rows to learn from and those to test, fold by fold; each repetition tests every row once."""
    from sklearn.model_selection import RepeatedStratifiedKFold, StratifiedGroupKFold

    if len(np.unique(units)) == len(units):
        return [*RepeatedStratifiedKFold(n_splits=FOLDS, n_repeats=REPEATS, random_state=seed).split(y, y)]
    splitters = (StratifiedGroupKFold(FOLDS, shuffle=True, random_state=seed + i) for i in range(REPEATS))
    return [pair for splitter in splitters for pair in splitter.split(y, y, units)]


def _rates(
    features: Floats,
    y: Ints,
    fit: Fit,
    rounds: list[tuple[Ints, Ints]],
    *,
    size: int | None,
    mirrored: Floats | None,
    seed: int,
) -> npt.NDArray[np.float64]:
    """How often each item was classified correctly, 0-1, with `size` items of each class to learn from; None: all."""
    right = np.zeros(len(y))
    rng = np.random.default_rng(seed)
    for learned, tested in rounds:
        rows = learned if size is None else np.concatenate([*_some_of_each(learned, y, size, rng)])
        labels, compact = np.unique(y[rows], return_inverse=True)  # of groups, a class may be in one fold alone
        x, targets = features[rows], compact
        if mirrored is not None:
            x, targets = np.concatenate([x, mirrored[rows]]), np.concatenate([compact, compact])
        if len(labels) < 2:
            right[tested] += y[tested] == labels[0]
            continue
        kernel, bias = fit(x, targets)
        right[tested] += labels[np.argmax(features[tested] @ kernel + bias, axis=1)] == y[tested]
    return right / REPEATS


def _some_of_each(rows: Ints, y: Ints, size: int, rng: np.random.Generator) -> Iterator[Ints]:
    for label in np.unique(y[rows]):
        own = rows[y[rows] == label]
        yield rng.permutation(own)[:size]
