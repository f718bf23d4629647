"""Classification metrics, the same for a Keras model and for every converted file.

scikit-learn computes them. A class that is never predicted has precision 0, one without test items has recall 0. As in
scikit-learn, macro averages leave out only classes that have no test items and are never predicted either.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from edgepress.toolkit.stats.multilabel import multilabel_metrics
from edgepress.toolkit.truth import is_multilabel

BINS = 15
"""Number of bins of the calibration error, as in Guo et al. 2017."""


def metrics_of(
    y_true: npt.NDArray[np.int64],
    predicted: npt.NDArray[np.int64],
    scores: npt.NDArray[np.float32] | None = None,
    *,
    labels: Sequence[str],
) -> dict[str, Any]:
    """The metrics of answers to items of one label each, or of any number: the one place that tells them apart.

    Args:
        y_true: The true labels (`edgepress.toolkit.truth`).
        predicted: The answers, of the same shape.
        scores: The scores of all labels, shape (N, labels); needed of multi-label data alone.
        labels: The names of the labels.

    Returns:
        The document of `classification_metrics` or `multilabel_metrics`.
    """
    if not is_multilabel(y_true):
        return classification_metrics(y_true, predicted, labels=labels)
    assert scores is not None
    return multilabel_metrics(y_true, predicted, scores, labels=labels)


def classification_metrics(y_true: npt.ArrayLike, predicted: npt.ArrayLike, *, labels: Sequence[str]) -> dict[str, Any]:
    """Accuracy, precision, recall, F1 and the confusion matrix, ready for JSON.

    Args:
        y_true: True classes, integers in [0, len(labels)), shape (N,), N > 0.
        predicted: Predicted classes, integers of shape (N,), or scores of shape (N, len(labels)), the highest of which
            (the first among equals) is the prediction.
        labels: Class names in the order of the classes.

    Returns:
        "count", "accuracy", "macro_precision", "macro_recall", "macro_f1" (0-1), "per_class" (a list in the order of
        `labels` of "label", "precision", "recall", "f1", "support") and "confusion_matrix" (a list of rows: true class
        down, predicted class across).
    """
    from sklearn.metrics import confusion_matrix, precision_recall_fscore_support

    true = np.asarray(y_true)
    guess = np.asarray(predicted)
    if guess.ndim == 2:
        guess = guess.argmax(axis=1)
    classes = np.arange(len(labels))
    columns = precision_recall_fscore_support(true, guess, labels=classes, zero_division=0.0)
    seen = np.union1d(true, guess)
    macro_precision, macro_recall, macro_f1 = (float(column[seen].mean()) for column in columns[:3])
    precision, recall, f1, support = (column.tolist() for column in columns)
    return {
        "count": len(true),
        "accuracy": float((true == guess).mean()),
        "macro_precision": macro_precision,
        "macro_recall": macro_recall,
        "macro_f1": macro_f1,
        "per_class": [
            {"label": label, "precision": p, "recall": r, "f1": f, "support": n}
            for label, p, r, f, n in zip(labels, precision, recall, f1, support, strict=True)
        ],
        "confusion_matrix": confusion_matrix(true, guess, labels=classes).tolist(),
    }


def calibration_error(confidence: npt.ArrayLike, correct: npt.ArrayLike) -> float:
    """Expected calibration error, 0-1: the average difference between scores and the share of correct answers.

    Items are sorted into 15 bins of equal width by the score of their predicted class; the error is the mean over items
    of |share of correct answers - mean score| of their bin. With few items per bin it is too large for any model.
    Source: C. Guo et al., "On calibration of modern neural networks", ICML 2017, arXiv:1706.04599, equation 3.

    Args:
        confidence: Score of each item's predicted class, 0-1, shape (N,), N > 0; of multi-label answers that of each
            label's presence or absence, whichever is answered, shape (N, labels).
        correct: Whether that class is the true one, or that is true of the label, bool, of the same shape.
    """
    score = np.asarray(confidence, np.float64).ravel()
    bins = np.clip(np.ceil(score * BINS).astype(np.int64) - 1, 0, BINS - 1)  # (0, 1/15], (1/15, 2/15], ...
    excess = np.bincount(bins, np.asarray(correct, np.float64).ravel() - score, BINS)  # sums, so the weights cancel
    return float(np.abs(excess).sum() / len(score))
