"""Rounding of one layer: which steps it chooses, what its rounding keeps, and what its samples may take."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from edgepress.converters.ptq import layer_rounding
from edgepress.converters.ptq.layer_rounding import best_steps, nearest, round_by_covariance, sampler

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


def spread(weights: Any, rounded: Any, samples: Any) -> float:
    """The variance of what rounding changes in the outputs."""
    return float(np.var(samples @ (rounded - weights).T, axis=0).mean())


@pytest.mark.parametrize("seed", range(6))
def test_weights_lie_on_a_grid_of_four_bits_and_outputs_of_related_values_stay(seed: int) -> None:
    samples = normal(600, 4, seed=seed) @ normal(4, 12, seed=seed + 10) + 0.1 * normal(600, 12, seed=seed + 20) + 3
    weights = normal(5, 12, seed=seed + 30)
    rounded = round_by_covariance(weights, samples, samples)
    for own in rounded:
        levels = own / (np.abs(own).max() / LEVELS)
        np.testing.assert_allclose(levels, np.rint(levels), atol=1e-3)
    power = np.var(samples, axis=0)
    plain = nearest(weights, best_steps(weights, power, LEVELS), LEVELS)
    assert spread(weights, rounded, samples) < 0.5 * spread(weights, plain, samples)


def test_weights_make_up_for_what_the_layers_before_changed() -> None:
    """Half of each value is missing, so weights of twice the size give the true outputs."""
    true = normal(400, 6)
    weights = np.rint(7 * np.clip(normal(3, 6, seed=1) / 2, -1, 1)).astype(np.float32)
    weights[:, 0] = 7
    rounded = round_by_covariance(weights, true / 2, true)
    assert np.var(true / 2 @ rounded.T - true @ weights.T, axis=0).mean() < 0.02 * np.var(true @ weights.T)


def test_values_that_never_change_do_not_matter() -> None:
    samples = normal(300, 5)
    samples[:, 2] = 4
    rounded = round_by_covariance(normal(2, 5, seed=1), samples, samples)
    assert np.isfinite(rounded).all()
    assert np.isfinite(
        round_by_covariance(normal(2, 5), np.zeros((9, 5), np.float32), np.zeros((9, 5), np.float32))
    ).all()


def dense(size: int) -> Any:
    """What `sampler` reads of a dense layer with one row of features an item."""
    weights = np.zeros((3, size), np.float32)
    return SimpleNamespace(kind="FULLY_CONNECTED", constants={1: weights}, input_shapes=[(1, size)])


@pytest.mark.parametrize(
    ("items", "allowed_bytes", "drawn"),
    [(300, 4 * 10 * 300, 300), (301, 4 * 10 * 300, 300), (20_000, 64 << 20, 16_384), (300, 40, 256), (200, 40, 200)],
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
