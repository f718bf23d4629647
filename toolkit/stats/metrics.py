"""Classification metrics, whether a model beats the largest class, and what more training items would bring.

scikit-learn computes them. A class that is never predicted has precision 0, one without test items has recall 0. As in
scikit-learn, macro averages leave out only classes that have no test items and are never predicted either.

Whether a model answers hardly better than by always naming the largest class.

One rule for every place that asks: the check of a source model before its conversion, the remarks, and the
recommendation of a benchmark, so that none of them praises what another one warns of.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from edgepress.toolkit.stats.intervals import Interval, score_interval
from edgepress.toolkit.stats.multilabel import multilabel_metrics, resampled_means
from edgepress.toolkit.stats.resampled import f1_of_classes, means_of_resamples
from edgepress.toolkit.text import percent
from edgepress.toolkit.truth import is_multilabel

Floats = npt.NDArray[np.float64]

BINS = 15
"""Number of bins of the calibration error, as in Guo et al. 2017."""


def metrics_of(
    y_true: npt.NDArray[np.int64],
    predicted: npt.NDArray[np.int64],
    scores: npt.NDArray[np.float32] | None = None,
    *,
    labels: Sequence[str],
    resampled: Mapping[str, Floats] | None = None,
) -> dict[str, Any]:
    """The metrics of answers to items of one label each, or of any number: the one place that tells them apart.

    Args:
        y_true: The true labels (`edgepress.toolkit.truth`).
        predicted: The answers, of the same shape.
        scores: The scores of all labels, shape (N, labels); needed of multi-label data alone.
        labels: The names of the labels.
        resampled: What `resampled_means_of` returns for the same answers, if it is known.

    Returns:
        The document of `classification_metrics` or `multilabel_metrics`.
    """
    if not is_multilabel(y_true):
        return classification_metrics(y_true, predicted, labels=labels)
    assert scores is not None
    return multilabel_metrics(y_true, predicted, scores, labels=labels, resampled=resampled)


def resampled_means_of(
    y_true: npt.NDArray[np.int64],
    predicted: npt.NDArray[np.int64],
    scores: npt.NDArray[np.float32] | None = None,
    *,
    classes: int,
) -> dict[str, Floats]:
    """Means over the classes on resamples of the items, shape (resamples,), by the name of the figure.

    Those are "macro_f1" and, of multi-label data, "mean_average_precision"; what no label has is left out.

    Args:
        y_true: The true labels (`edgepress.toolkit.truth`).
        predicted: The answers, of the same shape.
        scores: The scores of all labels, shape (N, labels); needed of multi-label data alone.
        classes: Number of classes or labels.
    """
    if is_multilabel(y_true):
        assert scores is not None
        return resampled_means(y_true, predicted, scores)
    means = means_of_resamples(*f1_of_classes(y_true, predicted, classes=classes))
    return {} if means is None else {"macro_f1": means}


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


NEAR = 0.1
"""A model is near the largest class's share if it is not proven to answer this share of the other classes' items
correctly, net of what it loses in the largest class."""
HALF = 0.5
"""It must not seem to answer this share of them either, which would speak of few items instead."""

Counts = npt.NDArray[np.int64]


@dataclass(frozen=True, kw_only=True)
class NearLargest:
    """A model that is near the share of the largest class.

    Attributes:
        largest: The number of that class.
        share: Share of the items that are of it, 0-1.
        accuracy: Share of the items that the model answers correctly, 0-1.
        low, high: 95 % interval of accuracy - share, paired over the items.
    """

    largest: int
    share: float
    accuracy: float
    low: float
    high: float

    def in_words(self, count: int, labels: Sequence[str]) -> str:
        """What the model answers, behind its name, and what that says of files made of it.

        Args:
            count: Number of items.
            labels: The classes.
        """
        return (
            f"answers {percent(self.accuracy, '.1f')} of {count} test items correctly, and "
            f"{percent(self.share, '.1f')} are of the class {labels[self.largest]}: what a file keeps of that is worth "
            "nothing."
        )


def near_largest(support: Counts, right: Counts, least: float = NEAR) -> NearLargest | None:
    """Whether accuracy is hardly above the share of the largest class; None if it is well above, or there is one class.

    Against answering always the largest class: items that only the model gets right, and that only this answer does.
    The lower end of the interval of the difference decides.

    Args:
        support: Number of items of each class, shape (C,).
        right: Number of these that the model answers correctly, shape (C,).
        least: Share of the other classes' items, 0-1, that must be proven to be answered correctly.
    """
    count = int(support.sum())
    largest = int(np.argmax(support))
    both = int(right[largest])
    low, high = (float(end) for end in score_interval(int(right.sum()) - both, int(support[largest]) - both, count))
    accuracy = int(right.sum()) / count
    share = int(support[largest]) / count
    rest = 1 - share
    if rest == 0 or low > least * rest or accuracy - share >= HALF * rest:
        return None
    return NearLargest(largest=largest, share=share, accuracy=accuracy, low=low, high=high)


DRAWS = 4000
"""Number of resamples of the items."""
LEAST_POINTS = 3
"""Points of a curve from which one is drawn on: two fit any power law."""
WIDER = 1.25
"""Factor on the spread of the draws: resampling the tested items leaves out that other items would be learned from."""
LEAST_ERROR = 1e-3
"""What takes the place of an error of 0, whose logarithm is none."""


def forecast(sizes: npt.ArrayLike, rates: npt.ArrayLike, groups: npt.ArrayLike, *, at: float) -> Interval | None:
    """The accuracy with more items, with its 95 % interval, by an inverse power law.

    The error is `a + b n^-c` for n items of a class. How much of it no number of items removes, `a`, is hardly to be
    seen in few points. So items are resampled (whole groups), and in each sample `a` is drawn between 0 and the least
    error, `b` and `c` are fitted to the logarithms, and the result counts by how well it fits. The estimate is the
    weighted median; the ends of the interval are the weighted quantiles, moved outwards by `WIDER`.
    Sources: C. Cortes et al., "Learning curves: asymptotic values and rate of convergence", NIPS 6 (1993), 327-334
    (inverse power law with an asymptote); B. Efron and R. Tibshirani, An Introduction to the Bootstrap (1993), chapter
    6. `benchmarks/proof/few_items_coverage.py` prints how often it holds.

    Args:
        sizes: Items of a class at each point of the curve, ascending, shape (P,).
        rates: How often each item was right at each point, 0-1, shape (P, N).
        groups: Number of the group of each item, shape (N,).
        at: Number of items of a class to estimate the accuracy for, above the last of `sizes`.

    Returns:
        The estimate (deterministic); None with fewer than three points or two groups.
    """
    n = np.asarray(sizes, np.float64)
    _, group, count = np.unique(np.asarray(groups), return_inverse=True, return_counts=True)
    if len(n) < LEAST_POINTS or len(count) < 2:
        return None
    wrong = np.stack([np.bincount(group, 1 - row) for row in np.asarray(rates, np.float64)])
    rng = np.random.default_rng(0)
    weights = rng.multinomial(len(count), np.full(len(count), 1 / len(count)), DRAWS)
    errors = np.maximum((weights @ wrong.T) / (weights @ count)[:, None], LEAST_ERROR)
    rest = errors.min(axis=1) * rng.uniform(0, 1, DRAWS)
    steps = np.log(n) - np.log(n).mean()
    logs = np.log(np.maximum(errors - rest[:, None], LEAST_ERROR / 10))
    slopes = np.minimum(logs @ steps / (steps @ steps), 0)  # more items do no harm
    level = logs.mean(axis=1)
    fitted = rest[:, None] + np.exp(level[:, None] + slopes[:, None] * steps)
    noise = np.std(errors - errors.mean(axis=1, keepdims=True), axis=0) + LEAST_ERROR
    fit = np.exp(-0.5 * np.mean(((fitted - errors) / noise) ** 2, axis=1)) + 1e-12
    expected = 1 - (rest + np.exp(level + slopes * (np.log(at) - np.log(n).mean())))
    order = np.argsort(expected)
    shares = np.cumsum(fit[order]) / np.sum(fit)
    low, middle, high = (float(expected[order][np.searchsorted(shares, q)]) for q in (0.025, 0.5, 0.975))
    return Interval(middle, max(0.0, middle - WIDER * (middle - low)), min(1.0, middle + WIDER * (high - middle)))
