"""Metrics of answers: agreement, errors, whether a file still knows its task, and temperatures that calibrate.

The temperature that makes scores calibrated probabilities (`edgepress.runtime.acceptance.Temperature`).

What is minimized is the negative log-likelihood in two parts: whether the best label is the true one, and which of the
others is if it is not. The first counts several times, because boards show the best label with its probability. Its
targets are Platt's, so that a few right items make no answer certain. Three calibrations are tried: none, one exponent
for all items, and an exponent that follows the odds of the best label. The one with the least loss on items that it was
not fitted on is taken, so that a fit to few items is not worse than none.

Sources: C. Guo et al., "On calibration of modern neural networks", ICML 2017; J. Platt, "Probabilistic outputs for
support vector machines", Advances in Large Margin Classifiers (1999), section 2.2, for the targets.

Whether a trained file still knows its task, or answers hardly better than a constant answer.

The constant answer is the most frequent class of the items. What a model knows is what it answers correctly beyond
that; of numbers, it is the spread of its answers that a file explains.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from operator import itemgetter
from typing import Literal

import numpy as np
import numpy.typing as npt

from edgepress.converters.arrays import Array, Doubles
from edgepress.runtime.acceptance import LARGEST_ODDS, LEAST_SLOPE, MOST_SLOPE, SMALLEST, Temperature

Decision = Literal["one", "each", "none"]
"""What is decided from scores: one label, each label by itself, or nothing."""
EXACT_DB = 200.0
"""SNR of answers without an error."""
MOST_MARGINS = 2.0
"""Errors of more than this many margins count no more: the decision is lost before."""


def decibels(signal: float, noise: float) -> float | None:
    """Ratio of two powers in dB; None where one of them is 0."""
    return 10 * math.log10(signal / noise) if signal > 0 and noise > 0 else None


def without_mean(scores: Array) -> Doubles:
    """Scores of labels that exclude each other, (n, labels), less their mean in each item, which a softmax ignores."""
    doubles = scores.astype(np.float64)
    return np.asarray(doubles - doubles.mean(axis=1, keepdims=True))


def decisions_of(scores: Array, decision: Decision = "one", threshold: float = 0.5) -> Array:
    """What is decided from scores (n, outputs): a label, shape (n,), or whether each is present, shape (n, outputs).

    Args:
        scores: Scores; a single one is that of the second of two labels.
        decision: What is decided from them; of "none", the label is what a user would see first.
        threshold: The score above which a label counts where it does not compete with others; 0 for logits.
    """
    if decision == "each":
        return np.asarray(scores > threshold)
    return np.asarray(scores.argmax(axis=1) if scores.shape[1] > 1 else scores[:, 0] > threshold)


def agreement(reference: Array, scores: Array, decision: Decision = "one", threshold: float = 0.5) -> float:
    """Share of the decisions that are the same, 0-1."""
    return float((decisions_of(reference, decision, threshold) == decisions_of(scores, decision, threshold)).mean())


def squared_margins(reference: Array, scores: Array, decision: Decision) -> Array:
    """The error of each item's logits, squared, shape (n,): in margins by which the decision is made, if there is one.

    An error that all logits share, or one in the logits of labels that are far from being chosen, does not count. The
    median margin is added to each, or a few undecided items would decide which layer is the worst.

    Args:
        reference: Logits, (n, outputs).
        scores: The same with the error.
        decision: What is decided from them.
    """
    reference, error = reference.astype(np.float64), (scores - reference).astype(np.float64)
    if decision == "none" or (decision == "one" and reference.shape[1] == 1):
        return np.asarray(np.square(error).mean(axis=1))
    if decision == "each":
        margins = np.abs(reference)
        changes = error
        usual = np.median(margins)
    else:
        rows = np.arange(len(reference))
        best = reference.argmax(axis=1)
        margins = reference[rows, best][:, np.newaxis] - reference
        changes = np.maximum(error - error[rows, best][:, np.newaxis], 0.0)  # towards another label
        margins[rows, best] = np.inf
        usual = np.median(margins.min(axis=1))
    least = np.finfo(np.float64).tiny
    worst = np.minimum(np.abs(changes) / np.maximum(margins + usual, least), MOST_MARGINS).max(axis=1)
    return np.asarray(np.square(np.nan_to_num(worst, nan=MOST_MARGINS)))


LEAST_FIT = 50
"""Fewer items fit no temperature: scores are then taken for probabilities."""
MOST_SCORES = 400_000
"""Scores, items times labels, that are fitted at most, which takes some seconds."""
BEST_WEIGHT = 4.0
"""How many times the best label counts."""
FOLDS = 4
"""Parts of the items, each of which is judged by fits to the others."""
START = Temperature(temperature=1.0, offset=1 / 512)
"""Where searches begin: with an offset of half a step of a softmax of 8 bits. Losses at much smaller ones are alike."""
STEPS = (0.3, 0.7, 0.03)
"""First steps of the search: of the logarithms of temperature and offset, and of the slope."""
LOWER_BOUNDS = (float(np.log(0.01)), float(np.log(SMALLEST)), LEAST_SLOPE)
"""Lower bounds of the same; that of the slope is nearer to 0 for many labels (`least_slope`)."""
UPPER_BOUNDS = (float(np.log(50.0)), float(np.log(0.5)), MOST_SLOPE)
"""Upper bounds of the same."""
EVALUATIONS = 80
"""Evaluations of the loss at most, for each number that is searched for."""
NONE = Temperature(temperature=1.0, offset=0.0)
"""Scores that are probabilities already."""

Scores = npt.NDArray[np.float32]
Ints = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class CrossFit:
    """A temperature, and the probabilities by cross-validation.

    Attributes:
        temperature: Fitted to all items, or to as many as `MOST_SCORES` allows.
        held_out: Probabilities of all items, each by a fit to other items, float32, shape (N, labels).
    """

    temperature: Temperature
    held_out: Scores


def fit_temperature(scores: Scores, y: Ints) -> Temperature:
    """The temperature with the least loss on items that it was not fitted on (`cross_fit`)."""
    return cross_fit(scores, y).temperature


def cross_fit(scores: Scores, y: Ints) -> CrossFit:
    """Fit a temperature, with an offset and perhaps a slope, and judge it by cross-validation.

    Args:
        scores: Scores of items, float32, shape (N, labels), N > 0.
        y: Their labels, int64, shape (N,).

    Returns:
        The fit; no change of the scores (temperature 1) if nothing is better than that.
    """
    count = min(len(y), max(LEAST_FIT, MOST_SCORES // scores.shape[1]))
    shuffled = np.random.default_rng(0).permutation(len(y))
    folds = np.empty(len(y), np.int64)
    folds[shuffled] = np.arange(len(y)) % FOLDS
    choices = [CrossFit(NONE, NONE.probabilities(scores))]
    for fit in (fit_plain, _fit_slope):
        rows = shuffled[:count]
        held_out = np.empty_like(scores, np.float32)
        whole = fit(scores[rows], y[rows])
        for fold in range(min(FOLDS, len(y))):
            own = folds == fold
            others = shuffled[folds[shuffled] != fold][:count]
            part = fit(scores[others], y[others], start=whole) if len(others) else NONE
            held_out[own] = part.probabilities(scores[own])
        choices.append(CrossFit(whole, held_out))
    best = scores.argmax(axis=1)
    chosen = min(choices, key=lambda choice: weighted_loss(choice.held_out, y, best))
    fitted, unchanged = (weighted_loss(t.probabilities(scores), y, best) for t in (chosen.temperature, NONE))
    return chosen if fitted <= unchanged else choices[0]


def least_slope(labels: int) -> float:
    """The least slope with which a more certain answer stays more certain, whatever the odds up to `LARGEST_ODDS`.

    If the other labels share what is left alike, the best one has odds * (labels - 1) times the score of each. The
    logarithm of that, times odds^slope, rises with the odds up to where it is -1 / slope.
    """
    return max(LEAST_SLOPE, -1 / float(np.log(LARGEST_ODDS * max(labels - 1, 1))))


def fit_plain(scores: Scores, y: Ints, *, start: Temperature = START) -> Temperature:
    """The temperature and the offset with the least loss (`weighted_loss`), without a slope.

    Args:
        scores: Scores of items, float32, shape (N, labels), N > 0.
        y: Their labels, int64, shape (N,).
        start: Where the search begins.
    """
    return _search(scores, y, steps=STEPS[:2], start=start)[1]


def _fit_slope(scores: Scores, y: Ints, *, start: Temperature | None = None) -> Temperature:
    """The temperature, the offset and the slope with the least loss.

    Arguments are those of `fit_plain`; without a start, searches begin at `START` and where that without a slope ends,
    because the loss has several minima.
    """
    starts = (START, fit_plain(scores, y)) if start is None else (start,)
    return min((_search(scores, y, steps=STEPS, start=each) for each in starts), key=itemgetter(0))[1]


def _search(scores: Scores, y: Ints, *, steps: tuple[float, ...], start: Temperature) -> tuple[float, Temperature]:
    """Nelder and Mead's search over temperature, offset and, with a third step, slope: the loss, and where it is.

    The steps are given, because SciPy's own are a share of the numbers, and the logarithm of a temperature of 1 is 0.
    """
    from scipy.optimize import minimize

    def loss(point: Floats) -> float:
        return weighted_loss(temperature_at(point).probabilities(scores), y, best)

    def temperature_at(point: Floats) -> Temperature:
        whole = np.append(point, [0.0] * (len(LOWER_BOUNDS) - len(point)))
        log_temperature, log_offset, slope = np.clip(whole, least, UPPER_BOUNDS).tolist()
        return Temperature(temperature=float(np.exp(log_temperature)), offset=float(np.exp(log_offset)), slope=slope)

    best = scores.argmax(axis=1)
    least = (*LOWER_BOUNDS[:2], least_slope(scores.shape[1]))
    first = np.array([np.log(start.temperature), np.log(max(start.offset, SMALLEST)), start.slope])[: len(steps)]
    points = np.vstack([first, first + np.diag(steps)])
    options = {"maxfev": EVALUATIONS * len(steps), "xatol": 1e-3, "initial_simplex": points}
    outcome = minimize(loss, first, method="Nelder-Mead", options=options)
    return float(outcome.fun), temperature_at(outcome.x)


def weighted_loss(probabilities: Scores, y: Ints, best: Ints) -> float:
    """The negative log-likelihood in which the best label counts `BEST_WEIGHT` times, with Platt's targets.

    Args:
        probabilities: Calibrated probabilities, float32, shape (N, labels), N > 0.
        y: Labels, int64, shape (N,).
        best: The label with the highest score, int64, shape (N,).
    """
    rows = np.arange(len(y))
    right = best == y
    count = int(right.sum())
    targets = np.where(right, (count + 1) / (count + 2), 1 / (len(y) - count + 2))
    top = np.clip(probabilities[rows, best].astype(np.float64), SMALLEST, 1 - SMALLEST)
    of_best = -(targets * np.log(top) + (1 - targets) * np.log1p(-top))
    own = np.maximum(probabilities[rows, y].astype(np.float64), SMALLEST)
    of_others = -np.log(np.minimum(own / (1 - top), 1.0)) * ~right
    return float((BEST_WEIGHT * of_best + of_others).mean())


def negative_log_likelihood(probabilities: Scores, y: Ints) -> float:
    """The mean negative log-likelihood of labels, int64, shape (N,)."""
    own = probabilities[np.arange(len(y)), y].astype(np.float64)
    return float(-np.log(np.maximum(own, SMALLEST)).mean())


LEAST_KEPT = 0.25
"""Share of what the model knows below which a file has collapsed."""
CHANCE = 2
"""Standard errors by which the model itself must be better than the constant answer: else it has nothing to lose."""
Flags = npt.NDArray[np.bool_]


def constant_flags(truth: Array) -> Flags:
    """Which items the constant answer gets right.

    Args:
        truth: Labels (n,), or (n, outputs) of 0 and 1 where an item may have several.
    """
    rows = np.asarray(truth).reshape(len(truth), -1)
    constant = [values[np.argmax(counts)] for values, counts in (np.unique(c, return_counts=True) for c in rows.T)]
    return np.asarray(rows == np.array(constant)).reshape(np.shape(truth))


def kept_share(before: Flags, after: Flags, constant: Flags) -> float:
    """Share of what a model gets right beyond the constant answer that a file keeps; 1 if that is nothing.

    Args:
        before: Items that the model gets right.
        after: Those that the file gets right.
        constant: Those that the constant answer gets right.
    """
    gain = int(before.sum()) - int(constant.sum())
    if gain <= CHANCE * math.sqrt(int((before != constant).sum())):
        return 1.0
    return (int(after.sum()) - int(constant.sum())) / gain


def has_collapsed(before: Flags, after: Flags, constant: Flags) -> bool:
    """Whether a file keeps too little of what a model knows; the arguments are those of `kept_share`."""
    return kept_share(before, after, constant) < LEAST_KEPT


def why_collapsed(before: Flags, after: Flags, constant: Flags) -> str:
    """What was found of a file that has collapsed, in words; "" of one that has not."""
    if not has_collapsed(before, after, constant):
        return ""
    return (
        f"it is right on {after.mean():.1%} of the validation items, where the model is on {before.mean():.1%} and "
        f"always answering the most frequent class on {constant.mean():.1%}"
    )


def why_noise(snr_db: float) -> str:
    """The same of a file whose answers are numbers, by the spread of the model's to its error."""
    if 1 - 10 ** (-snr_db / 10) >= LEAST_KEPT:
        return ""
    return f"its error is {snr_db:.1f} dB below the spread of the model's answers, and that of a constant answer 0 dB"
