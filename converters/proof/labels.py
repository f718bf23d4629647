"""How many of the source model's right answers a file loses, from the labels that both choose.

Where a file chooses another label, the source model's own probabilities tell what that costs: p(its label) less p(the
file's label) is the expected loss of right answers, 1 where it is certain, 0 where the two are tied. The mean over
items is the accuracy that the file is expected to lose, without any true label. Where true labels are known, the
probabilities are calibrated by them first: a model is too sure of its answers to items unlike its training data. The
loss is then at least what these labels prove. Labels of the file are those of its final output, as the runtime chooses
them: of equal scores, the first.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from edgepress.converters.arrays import Array, Doubles, Floats
from edgepress.converters.numeric.metrics import LEAST_FIT, fit_temperature
from edgepress.runtime.contract import Task
from edgepress.runtime.decisions import decide, same_answers, softmax

LEAST_CERTAINTY = 0.5
"""Least mean probability of the source model's own labels, to which numbers whose scale means nothing, such as logits
that were divided by 100, are multiplied."""
LEAST_CERTAINTY_INDEPENDENT = 0.8
"""The same where each label has a sigmoid or tanh of its own, whose scale was never learned to tell labels apart."""
INDEPENDENT_ENDS = ("sigmoid", "logistic", "tanh")
"""Last operations that compute each label's score by itself."""
CONFIDENCE = 0.9
"""Of each bound."""
STEPS = 40
"""Bisections of the factor, which is found to within 1e-9."""
LARGEST_POWER = 60.0
"""Of 2, of the factor."""
Answers = Floats
Labels = Array


@dataclass(frozen=True)
class Lost:
    """Expected share of right answers that a file loses, 0-1.

    Attributes:
        share: The estimate.
        low: Its one-sided lower bound of 90 %.
        high: Its one-sided upper bound of 90 %.
        chance: What would be lost if the file gave the same answers to other items.
    """

    share: float
    low: float
    high: float
    chance: float


def lost_labels(source: Answers, file: Answers, task: Task, ends_in: str, *, true: Labels | None = None) -> Lost:
    """What a file loses of the labels of its source model.

    Args:
        source: The source model's answers, (N, C).
        file: The file's.
        task: What the answers are: scores of labels.
        ends_in: The source model's last operation.
        true: The true labels: those of exclusive classes, integers, shape (N,), or rows of 0 and 1 for labels that an
            item has or not, shape (N, C); None if they are not known.
    """
    if task != "multilabel":
        return _lost_of_exclusive(source, file, ends_in, true=true)
    lost = _lost_of_independent(source, file)
    if true is None:
        return lost
    if true.ndim == 2:
        before, after = (same_answers(decide(answers, multilabel=True)[0], true) for answers in (source, file))
        return _at_least_measured(lost, before, after)
    # Each item has one label, so the classes are exclusive although their scores are not: the highest one is chosen.
    return max(lost, _lost_of_exclusive(source, file, ends_in, true=true), key=lambda each: (each.low, each.high))


def _lost_of_independent(source: Answers, file: Answers) -> Lost:
    """What is lost of labels that are each true or not: an item counts as lost as a whole."""
    expected = source.astype(np.float64)
    chosen = file > 0.5
    weights = np.abs(2 * expected - 1)
    wrong = chosen != (expected > 0.5)
    costs = np.minimum(1, (weights * wrong).sum(axis=1))
    frequency = chosen.mean(axis=0)
    chances = (weights * np.where(expected > 0.5, 1 - frequency, frequency)).sum(axis=1)
    return _bound_mean(costs, float(np.minimum(1, chances).mean()))


def _lost_of_exclusive(source: Answers, file: Answers, ends_in: str, *, true: Labels | None) -> Lost:
    """What is lost of labels of which one is true; arguments as of `lost_labels`."""
    end = ends_in.lower()
    least = LEAST_CERTAINTY_INDEPENDENT if end in INDEPENDENT_ENDS and source.shape[1] > 2 else LEAST_CERTAINTY
    probabilities = _probabilities(_numbers(source.astype(np.float64), end), least)
    if true is not None and len(true) >= LEAST_FIT:
        probabilities = _soften(probabilities, true)
    labels = _choose_labels(file)
    cost_of_label = probabilities.max(axis=1, keepdims=True) - probabilities
    lost = _bound_mean(cost_of_label[np.arange(len(labels)), labels], float(cost_of_label[:, labels].mean()))
    return lost if true is None else _at_least_measured(lost, _choose_labels(source) == true, labels == true)


def _at_least_measured(expected: Lost, before: Array, after: Array) -> Lost:
    """The expected loss, raised to what true labels prove: an expectation can't see that a file errs on known classes.

    Given the number of items that differ, that of lost ones is binomial, so the lower bound of its share is exact.
    Source: Q. McNemar, Psychometrika 12 (1947), 153-157.

    Args:
        expected: The expected loss.
        before: Which items the source model has right, bool, shape (N,).
        after: Which the file has right.
    """
    from scipy.special import betaincinv

    lost = int((before & ~after).sum())
    gained = int((after & ~before).sum())
    if lost <= gained:
        return expected
    share_lost = float(betaincinv(lost, gained + 1, 1 - CONFIDENCE))
    low = (lost + gained) * (2 * share_lost - 1) / len(before)
    if low <= expected.low:
        return expected
    measured = (lost - gained) / len(before)
    return replace(expected, share=max(expected.share, measured), low=low, high=max(expected.high, measured))


def _soften(probabilities: Doubles, true: Labels) -> Doubles:
    """Probabilities calibrated on true labels if that makes them less certain, else as they are.

    A few hundred items that are all right would make even ties certain.
    """
    scores = probabilities.astype(np.float32)
    calibrated = fit_temperature(scores, true).probabilities(scores).astype(np.float64)
    return calibrated if calibrated.max(axis=1).mean() < probabilities.max(axis=1).mean() else probabilities


def _choose_labels(scores: Answers) -> Labels:
    return scores.argmax(axis=1) if scores.shape[1] > 1 else np.zeros(len(scores), np.int64)


def _numbers(source: Doubles, end: str) -> Doubles:
    """Numbers whose differences mean the same everywhere: logarithms of probabilities, or logits."""
    tiny = float(np.finfo(np.float32).tiny)
    rounding = float(np.finfo(np.float32).epsneg)
    sums = source.sum(axis=1)
    if np.min(source) >= 0 and np.abs(sums - 1).max() < 1e-2:
        return np.log(np.clip(source, tiny, 1))
    if end in ("sigmoid", "logistic"):
        inside = np.clip(source, tiny, 1 - rounding)
        return np.log(inside) - np.log1p(-inside)
    if end == "tanh":
        return 2 * np.arctanh(np.clip(source, rounding - 1, 1 - rounding))
    return source


def _probabilities(numbers: Doubles, least: float) -> Doubles:
    """Softmax of numbers, sharpened where they tell labels apart only because of their small scale."""

    def certainty(power: float) -> float:
        return float(softmax(numbers * 2.0**power).max(axis=1).mean())

    if certainty(0) >= least:
        power = 0.0
    else:
        low = 0.0
        power = LARGEST_POWER
        for _ in range(STEPS):
            middle = (low + power) / 2
            low, power = (low, middle) if certainty(middle) >= least else (middle, power)
    return softmax(numbers * 2.0**power).astype(np.float64)


def _bound_mean(costs: Doubles, chance: float) -> Lost:
    """The mean of costs from 0 to 1 with exact bounds, in which each cost is a part of an item.

    The variance of such costs is at most that of whole items with the same mean.
    Source: C. J. Clopper, E. S. Pearson, Biometrika 26 (1934), 404-413.
    """
    from scipy.special import betaincinv

    count = len(costs)
    total = float(costs.sum())
    low = float(betaincinv(total, count - total + 1, 1 - CONFIDENCE)) if total > 0 else 0.0
    high = float(betaincinv(total + 1, count - total, CONFIDENCE)) if total < count else 1.0
    return Lost(total / count, low, high, chance)
