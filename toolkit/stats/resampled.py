"""Means over classes or labels, such as the macro F1, on resampled items: intervals of one file, and of two files.

The bootstrap draws items with a fixed seed, and an item keeps all of its labels (B. Efron, "Bootstrap methods: another
look at the jackknife", The Annals of Statistics 7 (1979), 1-26). Results keep the means of a file, not the items, so
two files that answered the same items are paired by resample, also from two runs: same number of items, same resamples.
Another release of NumPy may draw others; then the pairing is lost, and the interval is wider instead of too narrow.

Every resample averages the same labels: one that happens to have no item in a resample keeps its figure of all items
there, because a mean without a rare and difficult label is another quantity, and its interval may not contain the
estimate.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Iterator
from functools import lru_cache

import numpy as np
import numpy.typing as npt

from edgepress.toolkit.stats.intervals import Z95, Interval
from edgepress.toolkit.stats.samples import wilson

RESAMPLES = 500
"""Number of resamples of the bootstrap."""
LEAST_RESAMPLES = 100
"""The same of very many items and labels."""
WORK = 200_000_000
"""Items times labels times resamples that a bootstrap may take, about ten seconds."""
BLOCK = 4_000_000
"""Numbers that are resampled at once, which bounds the memory."""
PERCENTILES = (2.5, 97.5)
"""Those that are the ends of an interval."""

NO_SPREAD = 1e-6
"""Width of the percentiles of resamples below which all of them are alike: their means are stored in 32 bits."""

Ints = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]


def weights_of_items(count: int, labels: int = 1) -> Iterator[Floats]:
    """How often each item is drawn in each resample, in blocks of shape (resamples, N).

    Args:
        count: Number of items, N.
        labels: Number of labels that each item is read for, which limits the number of resamples.
    """
    resamples = max(LEAST_RESAMPLES, min(RESAMPLES, WORK // (count * labels)))
    for block in _drawn(count, resamples):
        yield block.astype(np.float64)


@lru_cache(maxsize=1)
def _drawn(count: int, resamples: int) -> tuple[npt.NDArray[np.uint8], ...]:
    """The blocks, kept because all files of a benchmark need them; no item is drawn 256 times."""
    rng = np.random.default_rng(0)
    each = max(1, min(resamples, BLOCK // count))
    sizes = [min(each, resamples - start) for start in range(0, resamples, each)]
    return tuple(rng.multinomial(count, np.full(count, 1 / count), size).astype(np.uint8) for size in sizes)


def f1_of_classes(y: Ints, predicted: Ints, *, classes: int) -> tuple[Floats, Floats]:
    """F1 of each class of answers with one class an item, shape (classes,), and on resamples, (resamples, classes).

    NaN of a class that no item has and none is answered.

    Args:
        y: True classes, shape (N,), N > 0.
        predicted: Answered classes, shape (N,).
        classes: Number of classes.
    """
    once = np.ones((1, len(y)))
    groups = (y, predicted, np.where(y == predicted, y, classes))
    first, *others = (
        f1_of_counts(*(_sums(weights, group, classes) for group in groups))
        for weights in (once, *weights_of_items(len(y)))
    )
    return first[0], np.concatenate(others)


def _sums(weights: Floats, group: Ints, classes: int) -> Floats:
    """Sums of the weights of each group's items, shape (resamples, classes); group number `classes` is left out."""
    order = np.argsort(group, kind="stable")
    present, starts = np.unique(group[order], return_index=True)
    result = np.zeros((len(weights), classes + 1))
    result[:, present] = np.add.reduceat(weights[:, order], starts, axis=1)
    return result[:, :classes]


def f1_of_counts(true: Floats, answered: Floats, both: Floats) -> Floats:
    """F1 from the numbers of items that have a label, that it is answered for, and both; NaN where there are none."""
    return quotient(2 * both, true + answered, none=np.nan)


def quotient(a: Floats, b: Floats, *, none: float) -> Floats:
    """Quotients, and `none` where the divisor is 0."""
    return np.where(b > 0, a / np.maximum(b, 1), none)


def means_of_resamples(figures: Floats, resampled: Floats) -> Floats | None:
    """The mean over the same labels in each resample, shape (resamples,); None if no label has a figure.

    Args:
        figures: The figure of each label on all items, shape (labels,), NaN where it has none.
        resampled: The same on each resample, shape (resamples, labels).
    """
    if np.isnan(figures).all():
        return None
    means: Floats = np.nanmean(np.where(np.isnan(resampled), figures, resampled), axis=1)
    return means


def interval_of_mean(mean: float, resampled: Floats, count: int) -> Interval:
    """A mean with its 95 % interval, 0-1: the percentiles of its resamples.

    Resamples of items that are all answered rightly have no spread, which would claim that no other item can be
    answered wrongly. Then the interval is Wilson's of a share of the items.

    Args:
        mean: The mean.
        resampled: The same on resamples, shape (resamples,).
        count: Number of items.
    """
    low, high = np.percentile(resampled, PERCENTILES).tolist()
    if high - low < NO_SPREAD:
        return wilson(mean, count, quantile=Z95)
    return Interval(mean, low, high)


def paired_fall(before: tuple[float, Floats], after: tuple[float, Floats], accuracy: Interval | None) -> Interval:
    """How far a mean fell from one file to another on the same items, in percentage points, with its 95 % interval.

    Few items that are answered differently have few resamples, and none have no spread, which would claim that the
    files never differ. So the interval reaches at least as far from its estimate as the accuracy's, which is exact.

    Args:
        before: The first file's mean, 0-1, and its means on resamples of the items, shape (resamples,).
        after: The second file's, on the same resamples.
        accuracy: How far the accuracy fell, percentage points; None if that is not known.
    """
    fall = 100 * (before[0] - after[0])
    low, high = np.percentile(100 * (before[1] - after[1]), PERCENTILES).tolist()
    if accuracy is not None and accuracy.low is not None and accuracy.high is not None:
        low = min(low, fall - (accuracy.estimate - accuracy.low))
        high = max(high, fall + (accuracy.high - accuracy.estimate))
    return Interval(fall, low, high)


def pack_means(means: Floats) -> str:
    """Base64 of means, 0-1, as numbers of 32 bits, the first byte the least."""
    return base64.b64encode(means.astype("<f4").tobytes()).decode()


def unpack_means(text: str) -> Floats:
    """The reverse of `pack_means`, shape (resamples,).

    Raises:
        ValueError: The text is damaged.
    """
    try:
        data = base64.b64decode(text, validate=True)
    except binascii.Error as e:
        raise ValueError(f"means of resamples are not Base64 ({e})") from e
    if len(data) % 4 or not LEAST_RESAMPLES <= len(data) // 4 <= RESAMPLES:
        raise ValueError(f"means of resamples hold {len(data)} bytes; {LEAST_RESAMPLES} to {RESAMPLES} take 4 each")
    means = np.frombuffer(data, "<f4").astype(np.float64)
    if not ((means >= 0) & (means <= 1)).all():
        raise ValueError("means of resamples are not from 0 to 1")
    return means
