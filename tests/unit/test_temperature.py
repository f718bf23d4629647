"""The temperature that makes scores probabilities: it has the least loss, within its bounds."""

from __future__ import annotations

import math

import numpy as np
import pytest

from edgepress.converters.temperature import fit_temperature, negative_log_likelihood
from edgepress.runtime.acceptance import SMALLEST


def scored(sharpness: float, count: int = 1500) -> tuple[np.ndarray, np.ndarray]:
    """Scores that are so much sharper than the labels drawn for them allow."""
    rng = np.random.default_rng(3)
    logits = rng.normal(0, 1.5, (count, 5))
    true = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    y = np.array([rng.choice(5, p=p) for p in true])
    scores = np.exp(sharpness * logits)
    return (scores / scores.sum(axis=1, keepdims=True)).astype(np.float32), y


@pytest.mark.parametrize("sharpness", [0.3, 1.0, 4.0])
def test_scores_too_sharp_and_too_soft_are_both_corrected(sharpness: float) -> None:
    scores, y = scored(sharpness)
    found = fit_temperature(scores, y)
    assert found.temperature == pytest.approx(sharpness, rel=0.15)
    assert negative_log_likelihood(found.probabilities(scores), y) <= negative_log_likelihood(scores, y) + 1e-6


def test_the_loss_is_the_mean_of_the_labels_own_logarithms() -> None:
    probabilities = np.array([[0.5, 0.5], [0.1, 0.9], [1.0, 0.0]], np.float32)
    found = negative_log_likelihood(probabilities, np.array([0, 1, 1]))
    assert found == pytest.approx(-(math.log(0.5) + math.log(0.9) + math.log(SMALLEST)) / 3, rel=1e-5)


def test_a_model_that_is_always_right_or_knows_nothing_has_a_temperature_within_bounds() -> None:
    scores, _ = scored(1.0, 100)
    right = fit_temperature(scores, scores.argmax(axis=1))
    assert 0.01 <= right.temperature < 0.2
    nothing = fit_temperature(scores, np.arange(100) % 5)
    assert 3 < nothing.temperature <= 50
