"""The temperature that makes scores calibrated probabilities (`edgepress.runtime.acceptance.Temperature`)."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from edgepress.runtime.acceptance import SMALLEST, Temperature

LEAST_FIT = 50
"""Fewer items fit no temperature: scores are then taken for probabilities."""

Scores = npt.NDArray[np.float32]
Ints = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]


def fit_temperature(scores: Scores, y: Ints) -> Temperature:
    """The temperature and offset with the least negative log-likelihood, from several starts."""
    from scipy.optimize import minimize

    def of(point: Floats) -> Temperature:
        temperature, offset = np.exp(np.clip(point, np.log([0.01, SMALLEST]), np.log([50.0, 0.5])))
        return Temperature(temperature=float(temperature), offset=float(offset))

    def loss(point: Floats) -> float:
        return negative_log_likelihood(of(point).probabilities(scores), y)

    starts = [np.log([1.0, SMALLEST]), np.log([1.0, 1 / 512]), np.log([2.0, 1 / 256]), np.log([1.5, 1e-5])]
    outcomes = [minimize(loss, start, method="Nelder-Mead", options={"maxiter": 200}) for start in starts]
    points = [starts[0], *(outcome.x for outcome in outcomes)]
    return of(min(points, key=loss))


def negative_log_likelihood(probabilities: Scores, y: Ints) -> float:
    """The mean negative log-likelihood of labels, int64, shape (N,)."""
    own = probabilities[np.arange(len(y)), y].astype(np.float64)
    return float(-np.log(np.maximum(own, SMALLEST)).mean())
