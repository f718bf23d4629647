"""Adaptive rounding of one layer: what its passes minimize, which steps it chooses, and what its samples may take."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from edgepress.converters.ptq import layer_rounding
from edgepress.converters.ptq.layer_rounding import (
    BOUNDS,
    DAMPING,
    LayerWeights,
    best_steps,
    nearest,
    round_for_outputs,
    sampler,
)

LEVELS = 7


def normal(*shape: int, seed: int = 0) -> Any:
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


@pytest.mark.parametrize("share", [0.4, 0.7, 0.975, 1.0])
def test_the_step_is_the_one_that_costs_least(share: float) -> None:
    """Values lie on the grid of a step; one larger weight, whose value is always 0, costs nothing."""
    wanted = share * 10 / LEVELS
    weights = np.array([[10, *(wanted * k for k in (-7, 3, 2, 1))]], np.float32)
    power = np.array([0, 1, 1, 1, 1], np.float32)
    np.testing.assert_allclose(best_steps(weights, power, LEVELS), [[wanted]], rtol=1e-6)


def test_values_that_are_large_decide_the_step() -> None:
    """The same weights, once with a large first value and once with large other values, for each output by itself."""
    weights = np.array([[10, -2.8, 1.2, 0.4], [10, 10, 10, 10]], np.float32)
    first, others = np.array([1e6, 1, 1, 1], np.float32), np.array([1, 1e6, 1e6, 1e6], np.float32)
    assert best_steps(weights, first, LEVELS)[0, 0] == pytest.approx(10 / LEVELS)
    assert best_steps(weights, others, LEVELS)[0, 0] == pytest.approx(0.4 * 10 / LEVELS)
    assert best_steps(weights, others, LEVELS)[1, 0] == pytest.approx(10 / LEVELS)


def test_an_output_without_weights_has_a_step() -> None:
    step = best_steps(np.array([[0, 0], [0.5, -0.25]], np.float32), np.ones(2, np.float32), LEVELS)
    assert (step > 0).all()
    assert (nearest(np.zeros((1, 2), np.float32), step[:1], LEVELS) == 0).all()
    assert step[1, 0] <= 0.5 / LEVELS * 1.0001


def costs(weights: Any, layer: LayerWeights, samples: Any, targets: Any, bounds: tuple[float, float]) -> Any:
    """What a pass minimizes, of each output: the squared errors of its samples, and a share of its weights' own."""
    outputs = np.clip(samples.astype(np.float64) @ weights.T + layer.bias, *bounds)
    own = (weights - layer.weights).astype(np.float64) ** 2 @ (samples.astype(np.float64) ** 2).sum(0)
    return ((outputs - targets) ** 2).sum(0) + DAMPING * own


@pytest.mark.parametrize("activation", list(BOUNDS))
@pytest.mark.parametrize("seed", range(4))
def test_no_other_step_of_a_single_weight_is_better(activation: str, seed: int) -> None:
    samples = normal(96, 5, seed=seed) @ normal(5, 5, seed=seed + 10)
    weights, bias = normal(3, 5, seed=seed + 20), normal(3, seed=seed + 30)
    step = np.abs(weights).max(axis=1, keepdims=True) / LEVELS
    layer, bounds = LayerWeights(weights, bias, step, LEVELS), BOUNDS[activation]
    targets = np.clip(samples @ weights.T + bias, *bounds)
    rounded = round_for_outputs(layer, samples, targets, bounds)
    chosen = costs(rounded, layer, samples, targets, bounds)
    largest = np.abs(weights / step) > LEVELS - 1e-3
    for column in range(weights.shape[1]):
        for round_one in (np.floor, np.ceil):
            other = rounded.copy()
            other[:, column] = round_one(weights[:, column] / step[:, 0]) * step[:, 0]
            other[largest] = rounded[largest]
            after = costs(other, layer, samples, targets, bounds)
            assert (after >= chosen * (1 - 1e-4) - 1e-3).all()


def test_errors_beyond_a_bound_do_not_count() -> None:
    """The first 64 samples are cut off by the activation, and only the second 64 decide."""
    random = np.random.default_rng(0)
    below = np.stack([np.full(64, -50), random.normal(size=64), np.zeros(64)], 1)
    within = np.stack([random.normal(size=64), np.zeros(64), np.full(64, 1.0)], 1)
    samples = np.concatenate([below, within]).astype(np.float32)
    weights = np.array([[3.45, 0.1, 7]], np.float32)
    layer = LayerWeights(weights, np.zeros(1, np.float32), np.ones((1, 1), np.float32), LEVELS)
    bounds = BOUNDS["relu"]
    targets = np.clip(samples @ weights.T, *bounds)
    rounded = round_for_outputs(layer, samples, targets, bounds)
    candidates = [np.array([[a, b, 7]], np.float32) for a in (3, 4) for b in (0, 1)]
    best = min(candidates, key=lambda w: float(costs(w, layer, samples, targets, bounds)[0]))
    np.testing.assert_allclose(rounded, best)


def test_a_layer_with_too_many_products_is_rounded_without_its_activation(monkeypatch: pytest.MonkeyPatch) -> None:
    samples, weights = normal(64, 4) * [1, 5, 2, 1], normal(2, 4, seed=1)
    bias = np.full(2, -3, np.float32)
    step = np.abs(weights).max(axis=1, keepdims=True) / LEVELS
    layer, bounds = LayerWeights(weights, bias, step, LEVELS), BOUNDS["relu"]
    samples = samples.astype(np.float32)
    targets = np.clip(samples @ weights.T + bias, *bounds)
    passes: list[int] = []
    change = layer_rounding._Neighbours.change

    def counted(self: Any, column: int, now: Any) -> Any:
        passes.append(column)
        return change(self, column, now)

    monkeypatch.setattr(layer_rounding._Neighbours, "change", counted)
    counts = []
    for affordable in (64 * 8 - 1, 64 * 8):
        monkeypatch.setattr(layer_rounding, "AFFORDABLE", affordable)
        passes.clear()
        round_for_outputs(layer, samples, targets, bounds)
        counts.append(len(passes))
    assert counts[0] < counts[1] <= counts[0] + 2 * 4


def dense(size: int) -> Any:
    """What `sampler` reads of a dense layer with one row of features an item."""
    weights = np.zeros((3, size), np.float32)
    return SimpleNamespace(kind="FULLY_CONNECTED", constants={1: weights}, input_shapes=[(1, size)])


@pytest.mark.parametrize(
    ("items", "allowed_bytes", "drawn"),
    [(300, 4 * 10 * 300, 300), (301, 4 * 10 * 300, 300), (5000, 64 << 20, 4096), (300, 40, 256), (200, 40, 200)],
)
def test_samples_take_a_bounded_number_of_rows(
    monkeypatch: pytest.MonkeyPatch, items: int, allowed_bytes: int, drawn: int
) -> None:
    monkeypatch.setattr(layer_rounding, "SAMPLE_BYTES", allowed_bytes)
    rows = np.repeat(np.arange(items, dtype=np.float32)[:, np.newaxis], 10, axis=1)
    taken = sampler(dense(10), items)(rows)
    assert taken.shape == (drawn, 10)
    assert (np.diff(taken[:, 0]) > 0).all(), "each item once, in order"
    if drawn < items:
        assert (sampler(dense(10), items)(rows) == taken).all()
        assert (sampler(dense(10), items, seed=1)(rows) != taken).any()
