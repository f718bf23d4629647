"""What a file's drop is to be by the baseline's own probabilities, without any label.

Where a file answers an item in another way, it is lost if the baseline's class is the label, and gained if the file's
is. The baseline's calibrated probabilities of both classes say which is the more probable: an item near a tie is as
probably gained as lost, one of which the baseline is sure is lost. Over all items that differ, that predicts the drop
well for files that round, and too high a drop for files that are damaged (`benchmarks/proof/recommendation.py`). It is
evidence of its own beside the labels (`edgepress.toolkit.stats.posterior`).
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from edgepress.converters.temperature import fit_temperature
from edgepress.runtime.acceptance import Temperature
from edgepress.toolkit.benchmarking.collect import Answers
from edgepress.toolkit.stats.posterior import LEAST_KNOWING

MOST_FIT = 2000
"""Items that the temperature is fitted on at most: it is one number, and two at most."""


@dataclass(frozen=True)
class Odds:
    """Which of two classes is the label, by a baseline's probabilities.

    Attributes:
        temperature: Makes the baseline's scores probabilities.
    """

    temperature: Temperature

    @classmethod
    def of(cls, baseline: Answers, y: npt.NDArray[np.int64]) -> Odds | None:
        """The odds of a baseline; None if its best classes are not known, or too few of them are labels.

        Args:
            baseline: Its answers.
            y: The labels of the same items, int64, shape (N,).
        """
        if baseline.classes is None or baseline.scores is None:
            return None
        ranked, place = np.nonzero(baseline.classes == y[:, np.newaxis])
        if len(ranked) < LEAST_KNOWING:
            return None
        chosen = np.linspace(0, len(ranked) - 1, min(MOST_FIT, len(ranked))).astype(np.int64)
        return cls(fit_temperature(baseline.scores[ranked[chosen]], place[chosen]))

    def expected_lost(self, pairs: Iterable[tuple[Answers, Answers]]) -> float:
        """The expected share of lost items among the lost and gained ones, 0-1; 0.5 if no item is answered differently.

        Args:
            pairs: The baseline's answers with the file's to the same items, for each set of items.
        """
        own, other = np.sum([self._lost_and_gained(baseline, file.predicted) for baseline, file in pairs], axis=0)
        return float(own / (own + other)) if own + other else 0.5

    def _lost_and_gained(self, baseline: Answers, predicted: npt.NDArray[np.int64]) -> tuple[float, float]:
        """How many of the items that are answered differently are expected to be lost, and gained.

        A class that is none of the baseline's best has a probability of 0.
        """
        assert baseline.classes is not None
        assert baseline.scores is not None
        (differing,) = np.nonzero(baseline.predicted != predicted)
        classes = baseline.classes[differing]
        probabilities = self.probabilities(baseline.scores[differing])
        own, other = (
            float(probabilities[classes == wanted[differing, np.newaxis]].sum())
            for wanted in (baseline.predicted, predicted)
        )
        return own, other

    def probabilities(self, scores: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
        """The probabilities of classes by their scores, both of shape (N, classes)."""
        return self.temperature.probabilities(scores) if len(scores) else scores


def expected_lost(baseline: Answers, file: Answers, y: npt.NDArray[np.int64]) -> float | None:
    """The expected share of lost items of one file (`Odds.expected_lost`); None if the odds are not known.

    Args:
        baseline: The baseline's answers.
        file: The file's answers to the same items.
        y: The labels of these items, int64, shape (N,).
    """
    odds = Odds.of(baseline, y)
    return None if odds is None else odds.expected_lost([(baseline, file)])
