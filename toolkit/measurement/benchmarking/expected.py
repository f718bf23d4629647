"""What more items would show: a file's drop by the baseline's own probabilities, and how many test items it takes.

Where a file answers an item in another way, it is lost if the baseline's class is the label, and gained if the file's
is. The baseline's calibrated probabilities of both classes say which is the more probable: an item near a tie is as
probably gained as lost, one of which the baseline is sure is lost. Over all items that differ, that predicts the drop
well for files that round, and too high a drop for files that are damaged (`benchmarks/proof/recommendation.py`). It is
evidence of its own beside the labels (`edgepress.toolkit.stats.choice`).

A temperature alone leaves a near tie a near tie. A net that answers some classes too often, as one that was trained
briefly does, loses most of its near ties if rounding shifts them all in one direction, so each class has a bias, too.
Source: A. Alexandari, A. Kundaje, A. Shrikumar, "Maximum likelihood with bias-corrected calibration is hard-to-beat at
label shift adaptation", ICML 2020 (arXiv:1901.06852), where a temperature with biases is "bias-corrected".

The odds say nothing if all items are near ties, as for a net that is right on a quarter of them: a damaged file then
seems to lose as few as one that rounds.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from edgepress.converters.numeric.metrics import fit_temperature
from edgepress.runtime.acceptance import SMALLEST, Temperature
from edgepress.toolkit.measurement.benchmarking.answers import Answers
from edgepress.toolkit.results.records import UNPROVEN, Measurement
from edgepress.toolkit.stats.choice import LEAST_KNOWING, Costs, Evidence, Rule
from edgepress.toolkit.stats.samples import items_to_be_sure, items_to_rule_out
from edgepress.toolkit.text import estimate, sure
from edgepress.toolkit.truth import is_multilabel

MOST_FIT = 2000
"""Most items that the temperature and the biases are fitted on."""
BIAS_PRIOR = 60.0
"""Precision of the normal prior of a bias, whose mean is 0. The items that biases are fitted on are also counted as
lost or gained, so biases learned from few items would count them twice."""
LEAST_SURE = 0.68
"""The odds are not used if the best class has less than this share of the probabilities of the two best ones."""

Ints = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Odds:
    """Which of two classes is the label, by a baseline's probabilities.

    Attributes:
        temperature: Makes the baseline's scores probabilities.
        biases: What is added to the logarithm of each class's probability, float64, shape (classes,); 0 for others.
    """

    temperature: Temperature
    biases: Floats

    @classmethod
    def of(cls, baseline: Answers, y: Ints) -> Odds | None:
        """The odds of a baseline; None if its best classes are not known, too few are labels, or almost all are ties.

        None of multi-label data, too, as two sets of labels do not compete for one probability.

        Args:
            baseline: Its answers.
            y: The labels of the same items, int64, shape (N,).
        """
        if baseline.classes is None or baseline.scores is None or is_multilabel(y):
            return None
        ranked, place = np.nonzero(baseline.classes == y[:, np.newaxis])
        if len(ranked) < LEAST_KNOWING or baseline.scores.shape[1] < 2:
            return None
        chosen = np.linspace(0, len(ranked) - 1, min(MOST_FIT, len(ranked))).astype(np.int64)
        rows = ranked[chosen]
        return cls.fit(baseline.scores[rows], baseline.classes[rows], place[chosen])

    @classmethod
    def fit(cls, scores: npt.NDArray[np.float32], classes: Ints, place: Ints) -> Odds | None:
        """The odds of items whose labels are among their best classes; None if almost all items are ties.

        Args:
            scores: Of the best classes, float32, shape (N, K).
            classes: The best classes, int64, shape (N, K).
            place: Where in them the label is, int64, shape (N,).
        """
        temperature = fit_temperature(scores, place)
        odds = cls(temperature, _fit_biases(temperature.probabilities(scores), classes, place))
        second, best = np.sort(odds.probabilities(scores, classes), axis=1)[:, -2:].sum(axis=0)
        return odds if best / (best + second) >= LEAST_SURE else None

    def expected_lost(self, pairs: Iterable[tuple[Answers, Answers]]) -> float:
        """The expected share of lost items among the lost and gained ones, 0-1; 0.5 if no item is answered differently.

        Args:
            pairs: The baseline's answers with the file's to the same items, for each set of items.
        """
        own, other = np.sum([self._lost_and_gained(baseline, file.predicted) for baseline, file in pairs], axis=0)
        return float(own / (own + other)) if own + other else 0.5

    def _lost_and_gained(self, baseline: Answers, predicted: Ints) -> tuple[float, float]:
        """How many of the items that are answered differently are expected to be lost, and gained.

        A class that is none of the baseline's best has a probability of 0.
        """
        assert baseline.classes is not None
        assert baseline.scores is not None
        (differing,) = np.nonzero(baseline.predicted != predicted)
        classes = baseline.classes[differing]
        probabilities = self.probabilities(baseline.scores[differing], classes)
        own, other = (
            float(probabilities[classes == wanted[differing, np.newaxis]].sum())
            for wanted in (baseline.predicted, predicted)
        )
        return own, other

    def probabilities(self, scores: npt.NDArray[np.float32], classes: Ints) -> Floats:
        """The probabilities of classes by their scores, all of shape (N, K)."""
        if not len(scores):
            return scores.astype(np.float64)
        last = len(self.biases) - 1
        biases = np.where(classes <= last, self.biases[np.minimum(classes, last)], 0.0)
        weighted = self.temperature.probabilities(scores) * np.exp(biases)
        return np.asarray(weighted / weighted.sum(axis=1, keepdims=True))


def _fit_biases(probabilities: npt.NDArray[np.float32], classes: Ints, place: Ints) -> Floats:
    """The most probable biases, float64, shape (largest class + 1,); arguments as of `Odds.fit`."""
    from scipy.optimize import minimize
    from scipy.special import log_softmax

    rows = np.arange(len(place))
    logits = np.log(np.maximum(probabilities, SMALLEST)).astype(np.float64)
    count = 1 + int(np.max(classes))
    labels = np.bincount(classes[rows, place], minlength=count)

    def loss(biases: Floats) -> tuple[float, Floats]:
        likelihoods = log_softmax(logits + biases[classes], axis=1)
        expected = np.bincount(classes.ravel(), np.exp(likelihoods).ravel(), minlength=count)
        value = BIAS_PRIOR / 2 * (biases**2).sum() - likelihoods[rows, place].sum()
        return value, BIAS_PRIOR * biases + expected - labels

    return np.asarray(minimize(loss, np.zeros(count), jac=True, method="L-BFGS-B").x)


def expected_lost(baseline: Answers, file: Answers, y: Ints) -> float | None:
    """The expected share of lost items of one file (`Odds.expected_lost`); None if the odds are not known.

    Args:
        baseline: The baseline's answers.
        file: The file's answers to the same items.
        y: The labels of these items, int64, shape (N,).
    """
    odds = Odds.of(baseline, y)
    return None if odds is None else odds.expected_lost([(baseline, file)])


def unsure_row(
    results: Sequence[Measurement], costs: Sequence[Costs], rule: Rule, max_drop_pp: float, *, ship: Measurement | None
) -> Measurement | None:
    """The file that more labels are wanted for; see `Advice`."""
    able = [
        costs[n] if r.drop_pp is None or r.failed or r.drop_pp >= max_drop_pp else costs[n]._replace(probability=1.0)
        for n, r in enumerate(results)
    ]
    best = rule.choose(able)
    if best is not None and (costs[best].probability or 0.0) < rule.confidence:
        return results[best]
    return ship if ship is not None and ship.status == UNPROVEN else None


def missing_items(unsure: Measurement, *, chosen: bool, count: int, max_drop_pp: float, rule: Rule, more: int) -> str:
    """How many test items would make a file sure, and how many of them need a label."""
    lost = unsure.lost or 0
    gained = unsure.gained or 0
    differing = unsure.differing or 0
    limit = max_drop_pp / 100
    if chosen:
        needed = items_to_rule_out(lost, gained, count, drop=limit)
        what = "prove it (95 % interval)"
        head = ""
    else:
        evidence = Evidence(count, lost, gained, expected_lost=unsure.expected_lost)
        needed = items_to_be_sure(evidence, drop=limit, confidence=rule.confidence)
        what = f"make it {sure(rule.confidence)} sure"
        drop = f"{unsure.drop_pp:.2f} pp"
        head = f"{row_name(unsure)} would be chosen, but is only {sure(unsure.probability)} sure (drop {drop}). "
    if needed is None:
        return f"{head}Loosen --max-drop."
    needed = max(needed, count + 1)
    label = max(1, math.ceil((differing + 0.5) / (count + 1) * (needed - count)))
    enough = f"{head}About {estimate(needed)} test items (there are {count}) would {what} if it answers them as here"
    if more:
        return f"{enough}."
    few = f"only those need a label that it answers differently from the baseline, about {label}"
    return f"{enough}; of new ones (--more DATA), {few}."


def row_name(row: Measurement) -> str:
    """A file and its engine, for a sentence."""
    return f"{Path(row.file).name} on {row.engine}"
