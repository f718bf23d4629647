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
from typing import Any

import numpy as np
import numpy.typing as npt

from edgepress.runtime.acceptance import SMALLEST, Temperature
from edgepress.toolkit.benchmarking.collect import Answers
from edgepress.toolkit.stats.posterior import LEAST_KNOWING
from edgepress.toolkit.stats.temperature import fit_temperature

Floats = npt.NDArray[np.floating[Any]]
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
        lost = np.concatenate([self._lost(baseline, file.predicted) for baseline, file in pairs])
        return float(lost.mean()) if len(lost) else 0.5

    def _lost(self, baseline: Answers, predicted: npt.NDArray[np.int64]) -> Floats:
        """For each item that is answered differently, the probability that it is lost if it is lost or gained.

        A class that is none of the baseline's best has a probability of 0.
        """
        assert baseline.classes is not None
        assert baseline.scores is not None
        (differing,) = np.nonzero(baseline.predicted != predicted)
        classes, scores = baseline.classes[differing], baseline.scores[differing]
        own, other = (
            np.where(classes == wanted[differing, np.newaxis], scores, 0).sum(axis=1)
            for wanted in (baseline.predicted, predicted)
        )
        return self.of_scores(own, other)

    def of_scores(self, own: Floats, other: Floats) -> Floats:
        """The probability of the baseline's class by its scores of it and of another class, if the label is either."""
        offset = max(self.temperature.offset, SMALLEST)
        logits = np.log(np.maximum(own, 0) + offset) - np.log(np.maximum(other, 0) + offset)
        return np.asarray(np.exp(-np.logaddexp(0, -logits / self.temperature.temperature)), np.float64)
