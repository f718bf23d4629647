"""How good predictions are, in the same words for a Keras model and for every converted file.

The figures are scikit-learn's. A class that is never predicted has precision 0, one that has no test item recall 0;
macro averages are over all labels, those included.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt


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

    true, guess = np.asarray(y_true), np.asarray(predicted)
    if guess.ndim == 2:
        guess = guess.argmax(axis=1)
    classes = np.arange(len(labels))
    columns = precision_recall_fscore_support(true, guess, labels=classes, zero_division=0.0)
    precision, recall, f1, support = (column.tolist() for column in columns)
    return {
        "count": len(true),
        "accuracy": float((true == guess).mean()),
        "macro_precision": float(np.mean(precision)),
        "macro_recall": float(np.mean(recall)),
        "macro_f1": float(np.mean(f1)),
        "per_class": [
            {"label": label, "precision": p, "recall": r, "f1": f, "support": n}
            for label, p, r, f, n in zip(labels, precision, recall, f1, support, strict=True)
        ],
        "confusion_matrix": confusion_matrix(true, guess, labels=classes).tolist(),
    }
