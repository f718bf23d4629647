"""Features of a frozen net and a classifier on them, the first step of a transfer; how good it is with few test items.

Photos of a few hundred items are classified from features in seconds, while a net that is trained from nothing needs
thousands. Recipe and figures: docs/training.md.

How good a classifier on frozen features is where test items are few, and what more items would bring.

A test split of forty items says little. Cross-validation tests on every item, each time with a classifier that has not
seen it; it is repeated because the division into folds is chance. The same folds give the learning curve: the accuracy
with fewer items of each class, from which that with more is estimated.

All of it is about the classifier on the features of a frozen net, whose training takes milliseconds.
"""

from __future__ import annotations

import dataclasses
import warnings
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from edgepress.toolkit.data.decoding import in_threads
from edgepress.toolkit.data.types import Split
from edgepress.toolkit.stats.intervals import Interval
from edgepress.toolkit.stats.metrics import forecast
from edgepress.toolkit.stats.samples import group_interval
from edgepress.toolkit.truth import is_multilabel, strata

Floats = npt.NDArray[np.float32]
INVERSE_PENALTY = 0.01
"""Inverse of the weight of the squared coefficients, for standardized features."""
LEAST_DEVIATION = 0.05
"""What is added to the standard deviation of a feature, so that one that hardly varies stays small."""
ITERATIONS = 100
"""Most iterations of the solver."""
HEAD_ITEMS = 20_000
"""Most training items that the classifier is fitted to, so that features and time stay bounded."""
SURE = 4.0
"""Logit of a label that all training items have; its probability is 0.98."""
BATCH = 32
"""Items whose features are computed at once."""
WORKERS = 4
"""Threads that read items."""


@dataclasses.dataclass(frozen=True)
class Body:
    """A net from its input to the features before its classifier, in inference mode.

    Attributes:
        run: From float32 items, shape (n, *item shape), to features, shape (n, f): operations of TensorFlow.
        variables: What the second step trains, variables of TensorFlow in order from the input to the features.
    """

    run: Callable[[Any], Any]
    variables: Sequence[Any]


def keras_body(model: Any) -> tuple[Body, list[Any]]:
    """The body of a Keras model whose last layer is its classifier, and that layer's kernel and bias.

    Batch normalization uses its moving statistics also while the body is trained; only its scale and shift are learned.
    """
    import keras

    head = model.layers[-1]
    inner = keras.Model(model.inputs[0], head.input)
    variables, head_variables = ([v.value for v in layer.trainable_variables] for layer in (inner, head))
    return Body(lambda items: inner(items, training=False), variables), head_variables


def frozen_features(body: Body, split: Split, *, flipped: bool = False, rows: npt.ArrayLike | None = None) -> Floats:
    """The features of items of a split, in order: float32, shape (n, f).

    Args:
        body: The net.
        split: The items, images if they are to be flipped.
        flipped: Mirror each image from left to right.
        rows: The items by row of the split, int64, shape (n,); None for all.
    """
    import tensorflow as tf

    shape = split.read(slice(0, 1)).shape[1:]
    run = tf.function(body.run, input_signature=[tf.TensorSpec((None, *shape), tf.float32)], autograph=False)

    def read(part: npt.NDArray[np.int64]) -> Floats:
        x = split.read(part).astype(np.float32)
        return np.ascontiguousarray(x[:, :, ::-1]) if flipped else x

    chosen = np.arange(len(split)) if rows is None else np.asarray(rows)
    parts = [chosen[start : start + BATCH] for start in range(0, len(chosen), BATCH)]
    return np.concatenate([run(x).numpy() for x in in_threads(read, parts, most=WORKERS)])


def spread_rows(y: npt.NDArray[np.int64], most: int = HEAD_ITEMS) -> npt.NDArray[np.int64]:
    """Rows of at most so many items, as evenly over the classes or labels as these allow, in order."""
    if len(y) <= most:
        return np.arange(len(y))
    y = strata(y)
    place = np.empty(len(y), np.int64)  # of each item in its class
    for label in np.unique(y):
        rows = np.flatnonzero(y == label)
        place[rows] = np.arange(len(rows))
    return np.sort(np.argsort(place, kind="stable")[:most])


def fit_head(
    features: Floats, y: npt.NDArray[np.int64], *, classes: int, weights: Floats | None = None
) -> tuple[Floats, Floats]:
    """Fit logistic regression to standardized features; returns it for the features as they are.

    Labels that do not exclude each other have one of their own each.

    Args:
        features: Shape (n, f).
        y: Classes, shape (n,), every one of which occurs; or rows of 0 and 1 for each label, shape (n, classes).
        classes: Number of classes, >= 2.
        weights: Weight of each class, shape (classes,); None if all weigh the same.

    Returns:
        Kernel (f, classes) and bias (classes,) of a dense layer before softmax, or before sigmoids.
    """
    if is_multilabel(y):
        return _fit_labels(features, y)
    from sklearn.linear_model import LogisticRegression

    mean = features.mean(axis=0)
    deviation = features.std(axis=0) + LEAST_DEVIATION
    model = LogisticRegression(C=INVERSE_PENALTY, max_iter=ITERATIONS)
    with warnings.catch_warnings(action="ignore"):  # it need not converge: more iterations change no answer
        model.fit((features - mean) / deviation, y, None if weights is None else weights[y])
    kernel = model.coef_ / deviation
    bias = model.intercept_ - kernel @ mean
    if classes == 2:  # one row of coefficients, which is the difference of both classes
        kernel, bias = (np.concatenate([-a / 2, a / 2]) for a in (kernel, bias))
    return kernel.T.astype(np.float32), bias.astype(np.float32)


def _fit_labels(features: Floats, y: npt.NDArray[np.int64]) -> tuple[Floats, Floats]:
    """Kernel and bias of a dense layer before sigmoids; a label that all items have, or none, depends on no feature.

    Args:
        features: Shape (n, f).
        y: Rows of 0 and 1 for each label, shape (n, labels).
    """
    kernel = np.zeros((features.shape[1], y.shape[1]), np.float32)
    bias = np.where(y[0] == 1, SURE, -SURE).astype(np.float32)
    for label in np.flatnonzero(y.min(axis=0) != y.max(axis=0)).tolist():
        absent_and_present, biases = fit_head(features, y[:, label], classes=2)
        kernel[:, label] = absent_and_present[:, 1] - absent_and_present[:, 0]
        bias[label] = biases[1] - biases[0]
    return kernel, bias


Ints = npt.NDArray[np.int64]
Fit = Callable[[Floats, Ints], tuple[Floats, Floats]]
"""From features (n, f) and classes (n,), with each below the largest, to kernel (f, classes) and bias (classes,)."""

FEW = 100
"""Number of test items below which cross-validation says more."""
MOST = 1000
"""Items that are cross-validated at most: hundreds of classifiers are fitted, which takes seconds with so many."""
MIN_CLASS_ITEMS = 5
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
        What it says; None if a class has fewer than `MIN_CLASS_ITEMS` items or groups.
    """
    units = np.arange(len(y)) if groups is None else groups
    labels, y = np.unique(y, return_inverse=True)
    cells = np.unique(np.stack([y, units], axis=1), axis=0)
    if len(labels) < 2 or np.min(np.bincount(cells[:, 0])) < MIN_CLASS_ITEMS:
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
