"""Metrics of multi-label answers: exact match, F1 and average precision of each label, with 95 % intervals.

Exact match is a share of items, so its interval is Wilson's (`share_interval`). F1 and average precision are no shares
of items; theirs are percentiles of a bootstrap over items (`resampled`).

Labels without a test item have no average precision, and those that are never answered either have no F1: means leave
them out, as they leave out classes elsewhere (`metrics`). The figures of a label are those of scikit-learn.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from edgepress.runtime.decisions import same_answers
from edgepress.toolkit.stats.resampled import (
    f1_of_counts,
    interval_of_mean,
    means_of_resamples,
    quotient,
    weights_of_items,
)
from edgepress.toolkit.stats.samples import share_interval

Ints = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]


def multilabel_metrics(
    y_true: Ints,
    predicted: Ints,
    scores: npt.NDArray[np.float32],
    *,
    labels: Sequence[str],
    resampled: Mapping[str, Floats] | None = None,
) -> dict[str, Any]:
    """Exact match, mean F1 and mean average precision, and the figures of each label, ready for JSON.

    Args:
        y_true: Whether items have labels, 0 and 1, shape (N, labels), N > 0.
        predicted: Which labels are answered, 0 and 1, of the same shape.
        scores: The scores of all labels, of the same shape.
        labels: The names of the labels.
        resampled: What `resampled_means` returns for the same answers, if it is known.

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
    precision = quotient(both, answered, none=0.0)
    recall = quotient(both, true, none=0.0)
    f1 = f1_of_counts(true, answered, both)
    averages = _average_precisions(y_true, scores, once)[0]
    seen = ~np.isnan(f1)
    means = resampled_means(y_true, predicted, scores) if resampled is None else resampled
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
        **_with_ends("macro_f1", f1, means, len(y_true)),
        **_with_ends("mean_average_precision", averages, means, len(y_true)),
    }


def resampled_means(y: Ints, predicted: Ints, scores: npt.NDArray[np.float32]) -> dict[str, Floats]:
    """The means over the labels on resamples of the items, each of shape (resamples,), by the name of the figure.

    Args:
        y: Whether items have labels, 0 and 1, shape (N, labels), N > 0.
        predicted: Which labels are answered, 0 and 1, of the same shape.
        scores: The scores of all labels, of the same shape.
    """
    blocks = (np.ones((1, len(y))), *weights_of_items(*y.shape))
    f1 = np.concatenate([f1_of_counts(*_counts(y, predicted, weights)) for weights in blocks])
    averages = np.concatenate([_average_precisions(y, scores, weights) for weights in blocks])
    columns = {"macro_f1": f1, "mean_average_precision": averages}
    means = {name: means_of_resamples(rows[0], rows[1:]) for name, rows in columns.items()}
    return {name: column for name, column in means.items() if column is not None}


def _with_ends(name: str, figures: Floats, resampled: Mapping[str, Floats], count: int) -> dict[str, float | None]:
    """The mean of the labels' figures, shape (labels,), and its interval by the means of resamples of `count` items."""
    mean = _mean(figures)
    if mean is None:
        return {name: None, f"{name}_low": None, f"{name}_high": None}
    interval = interval_of_mean(mean, resampled[name], count)
    return {name: mean, f"{name}_low": interval.low, f"{name}_high": interval.high}


def _mean(figures: Floats) -> float | None:
    """The mean of the figures that are known; None if none is."""
    known = figures[~np.isnan(figures)]
    return float(known.mean()) if len(known) else None


def _counts(y: Ints, predicted: Ints, weights: Floats) -> tuple[Floats, Floats, Floats]:
    """Numbers of items that have each label, that it is answered for, and both, each of shape (resamples, labels)."""
    return weights @ y, weights @ predicted, weights @ (y * predicted)


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
        precision = quotient(found, np.cumsum(drawn, axis=1)[:, last], none=0.0)
        total = found[:, -1]
        gained = np.diff(found, axis=1, prepend=0.0)
        result[:, label] = quotient((gained * precision).sum(axis=1), total, none=np.nan)
    return result
