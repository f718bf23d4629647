"""Metrics of multi-label answers: exact match, F1 and average precision of each label, with 95 % intervals.

Exact match is a share of items, so its interval is Wilson's (`share_interval`). F1 and average precision are no shares
of items; theirs are percentiles of a bootstrap over items, drawn with a fixed seed, in which an item keeps all of its
labels (B. Efron, "Bootstrap methods: another look at the jackknife", The Annals of Statistics 7 (1979), 1-26).

Labels without a test item have no average precision, and those that are never answered either have no F1: means leave
them out, as they leave out classes elsewhere (`metrics`). The figures of a label are those of scikit-learn. Every
resample averages the same labels: one that happens to have no item in a resample keeps its figure of all items there,
because a mean without a rare and difficult label is another quantity, and its interval may not contain the estimate.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from edgepress.runtime.decisions import same_answers
from edgepress.toolkit.stats.samples import share_interval

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

Ints = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]


def multilabel_metrics(
    y_true: Ints, predicted: Ints, scores: npt.NDArray[np.float32], *, labels: Sequence[str]
) -> dict[str, Any]:
    """Exact match, mean F1 and mean average precision, and the figures of each label, ready for JSON.

    Args:
        y_true: Whether items have labels, 0 and 1, shape (N, labels), N > 0.
        predicted: Which labels are answered, 0 and 1, of the same shape.
        scores: The scores of all labels, of the same shape.
        labels: The names of the labels.

    Returns:
        The keys of `metrics.classification_metrics`: "accuracy" is the exact match, the share of items whose labels are
        all answered and no others; "confusion_matrix" is empty; "per_class" has "average_precision" as well. Beside
        them "exact_match", "macro_f1" and "mean_average_precision" with the ends of their intervals, such as
        "exact_match_low" and "exact_match_high"; None where no label has the figure.
    """
    right = same_answers(y_true, predicted)
    exact = share_interval(int(right.sum()), len(right))
    once = np.ones((1, len(y_true)))
    true, answered, both = (counts[0] for counts in _counts(y_true, predicted, once))
    precision = _quotient(both, answered, none=0.0)
    recall = _quotient(both, true, none=0.0)
    f1 = _f1(true, answered, both)
    averages = _average_precisions(y_true, scores, once)[0]
    seen = ~np.isnan(f1)
    resampled = [
        (_f1(*_counts(y_true, predicted, weights)), _average_precisions(y_true, scores, weights))
        for weights in _resamples(y_true)
    ]
    f1_of_resamples, averages_of_resamples = (np.concatenate(figures) for figures in zip(*resampled, strict=True))
    rows = zip(labels, precision, recall, np.nan_to_num(f1), true.astype(int).tolist(), averages, strict=True)
    return {
        "count": len(y_true),
        "accuracy": exact.estimate,
        "macro_precision": _mean(precision[seen]),
        "macro_recall": _mean(recall[seen]),
        "per_class": [
            {
                "label": label,
                "precision": float(p),
                "recall": float(r),
                "f1": float(f),
                "support": n,
                "average_precision": None if np.isnan(average) else float(average),
            }
            for label, p, r, f, n, average in rows
        ],
        "confusion_matrix": [],
        "exact_match": exact.estimate,
        "exact_match_low": exact.low,
        "exact_match_high": exact.high,
        **_with_ends("macro_f1", f1, f1_of_resamples),
        **_with_ends("mean_average_precision", averages, averages_of_resamples),
    }


def _with_ends(name: str, figures: Floats, resampled: Floats) -> dict[str, float | None]:
    """The mean of the labels' figures, (labels,), and its interval by those of resamples, (resamples, labels)."""
    estimate = _mean(figures)
    if estimate is None:
        return {name: None, f"{name}_low": None, f"{name}_high": None}
    of_same_labels = np.where(np.isnan(resampled), figures, resampled)
    low, high = np.percentile(np.nanmean(of_same_labels, axis=1), PERCENTILES).tolist()
    return {name: estimate, f"{name}_low": low, f"{name}_high": high}


def _mean(figures: Floats) -> float | None:
    """The mean of the figures that are known; None if none is."""
    known = figures[~np.isnan(figures)]
    return float(known.mean()) if len(known) else None


def _resamples(y: Ints) -> list[Floats]:
    """How often each item is drawn in each resample, in blocks of shape (resamples, N)."""
    rng = np.random.default_rng(0)
    count = len(y)
    resamples = max(LEAST_RESAMPLES, min(RESAMPLES, WORK // y.size))
    each = max(1, min(resamples, BLOCK // count))
    sizes = [min(each, resamples - start) for start in range(0, resamples, each)]
    return [rng.multinomial(count, np.full(count, 1 / count), size).astype(np.float64) for size in sizes]


def _counts(y: Ints, predicted: Ints, weights: Floats) -> tuple[Floats, Floats, Floats]:
    """Numbers of items that have each label, that it is answered for, and both, each of shape (resamples, labels)."""
    return weights @ y, weights @ predicted, weights @ (y * predicted)


def _f1(true: Floats, answered: Floats, both: Floats) -> Floats:
    """F1 from `_counts`; NaN of a label that no item has and none is answered."""
    return _quotient(2 * both, true + answered, none=np.nan)


def _quotient(a: Floats, b: Floats, *, none: float) -> Floats:
    return np.where(b > 0, a / np.maximum(b, 1), none)


def _average_precisions(y: Ints, scores: npt.NDArray[np.float32], weights: Floats) -> Floats:
    """The average precision of each label, shape (resamples, labels); NaN of a label that no drawn item has.

    The mean over a label's items of the precision among the items whose scores are at least the item's: with weights,
    that of scikit-learn's `average_precision_score`, in which items of equal scores count together.
    """
    result = np.full((len(weights), y.shape[1]), np.nan)
    for label in range(y.shape[1]):
        order = np.argsort(-scores[:, label], kind="stable")
        sorted_scores = scores[order, label]
        last = np.flatnonzero(np.append(sorted_scores[1:] != sorted_scores[:-1], True))  # of each score's items
        drawn = weights[:, order]
        found = np.cumsum(drawn * y[order, label], axis=1)[:, last]
        precision = _quotient(found, np.cumsum(drawn, axis=1)[:, last], none=0.0)
        total = found[:, -1]
        gained = np.diff(found, axis=1, prepend=0.0)
        result[:, label] = _quotient((gained * precision).sum(axis=1), total, none=np.nan)
    return result
