"""Learned rounding: what it minimizes, that the grids survive quantizing, and that answers get nearer."""

from __future__ import annotations

import dataclasses
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st
from linking import step_of
from rewriting import Net
from test_int4 import integers, net

from edgepress.converters.calibration import tflite_statistics
from edgepress.converters.graph.program import Program
from edgepress.converters.numeric.grids import round_to_grid
from edgepress.converters.ptq import adaround
from edgepress.converters.ptq.adaround import round_weights
from edgepress.converters.ptq.layer_rounding import (
    best_steps,
    nearest,
    round_by_covariance,
    sampler,
)
from edgepress.converters.ptq.repair import repair
from edgepress.converters.ptq.score import Scorer
from edgepress.converters.schemes import SCHEMES
from edgepress.converters.to_tflite.convert import with_scheme
from edgepress.converters.to_tflite.grids import LEVELS, is_on_grid

ITEMS = np.random.default_rng(5).normal(size=(96, 8, 8, 3)).astype(np.float32)


@pytest.fixture(scope="module")
def model() -> bytes:
    return net().model()


@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("same", [True, False])
@pytest.mark.parametrize(("kernel", "dilation"), [((3, 2), 1), ((1, 1), 1), ((2, 3), 2)])
def test_samples_times_weights_are_outputs(stride: int, same: bool, kernel: tuple[int, int], dilation: int) -> None:
    made = Net((10, 7), 5)
    made.conv(4, kernel, stride=1 if dilation > 1 else stride, same=same, dilation=dilation)
    program = Program(made.model())
    (step,) = program.weighted()
    items = np.random.default_rng(0).normal(size=(3, 10, 7, 5)).astype(np.float32)
    samples = sampler(step, 3)(items)
    found = samples @ step.constants[1].reshape(4, -1).T + step.constants[2]
    expected = np.asarray(program.run(items)[step.output])
    np.testing.assert_allclose(found, expected.reshape(-1, 4), rtol=1e-4, atol=1e-4)


@settings(max_examples=10, deadline=None)
@given(st.integers(0, 10_000), st.integers(1, 6), st.integers(2, 24))
def test_rounded_layers_vary_more_like_the_float_one_than_with_the_nearest_steps(
    seed: int, outputs: int, size: int
) -> None:
    random = np.random.default_rng(seed)
    weights = random.normal(size=(outputs, size)).astype(np.float32)
    samples = (random.normal(size=(512, size)) @ random.normal(size=(size, size)) + 3).astype(np.float32)
    found = round_by_covariance(weights, samples, samples)
    step = np.abs(found).max(axis=1, keepdims=True) / LEVELS
    np.testing.assert_allclose(found / step, np.rint(found / step), atol=1e-3)
    assert is_on_grid(found, 0)
    plain = nearest(weights, best_steps(weights, samples.var(axis=0), LEVELS), LEVELS)

    def error(w: Any) -> float:
        return float(np.var(samples @ (w - weights).T, axis=0).sum())

    assert error(found) <= 1.5 * error(plain), "one value after the other is no proof of the best"


def test_correlated_values_are_rounded_together() -> None:
    """Of two equal values, the errors of their weights must cancel."""
    random = np.random.default_rng(0)
    one = random.normal(size=(256, 1)).astype(np.float32)
    samples = np.concatenate([one, one, random.normal(size=(256, 1)) * 0.1], axis=1).astype(np.float32)
    found = round_by_covariance(np.array([[2.4, 2.4, 7]], np.float32), samples, samples)
    error = samples @ (found - np.array([[2.4, 2.4, 7]])).T
    assert error.var() < 0.1


def test_a_rounded_graph_keeps_its_grid_in_the_file_and_answers_better(model: bytes) -> None:
    found = round_weights(model, ITEMS)
    assert found.layers == ("layer3", "layer4", "layer7")
    ranges = tflite_statistics(found.model, lambda: [ITEMS[:16]], None).ranges()
    file = with_scheme(found.model, SCHEMES["tflite-int4"], ranges, uint8=False)
    constants = {step.output: step.constants[1] for step in Program(found.model).weighted()}
    for name, stored in integers(file).items():
        flat = constants[name].reshape(len(stored), -1)
        step = np.abs(flat).max(axis=1, keepdims=True) / LEVELS
        np.testing.assert_allclose(stored * step, flat, rtol=1e-5, atol=1e-7)
        assert np.abs(stored).max(axis=1).min() == LEVELS
    fresh = np.random.default_rng(6).normal(size=ITEMS.shape).astype(np.float32)
    truth = Program(model).answers(fresh)

    def noise(graph: bytes) -> float:
        return float(((Program(graph).answers(fresh) - truth) ** 2).sum() / (truth**2).sum())

    plain = {
        step.weights: nearest(w, np.abs(w).max((1, 2, 3), keepdims=True) / LEVELS, LEVELS)
        for step in Program(model).weighted()
        if step.output in found.layers
        for w in [step.constants[1]]
    }
    simple = noise(Program(model).with_constants(plain))
    assert noise(found.model) < 0.5 * simple


def test_it_is_a_stage_that_is_kept_if_the_file_gets_better(model: bytes) -> None:
    judge = Scorer(model, np.random.default_rng(7).normal(size=(32, 8, 8, 3)).astype(np.float32), labelled=False)
    found = repair(model, lambda: [ITEMS], judge, wanted=("int4",))
    stage = found.stages[-1]
    assert stage.name == "adaround"
    assert stage.kept
    assert stage.after.snr_db > stage.before.snr_db + 1
    assert {*found.models} == {"int4"}


def test_a_graph_of_two_layers_is_not_rounded() -> None:
    made = Net((8, 8), 3)
    made.conv(16, (3, 3))
    made.conv(8)
    judge = Scorer(made.model(), ITEMS[:8], labelled=False)
    found = repair(made.model(), lambda: [ITEMS], judge, wanted=("int4",))
    assert "adaround" not in [stage.name for stage in found.stages]
    assert not found.notes


def layer(weights: np.ndarray, bias: np.ndarray | None) -> Any:
    """A convolution of points with a ReLU6 from "x" to "y"."""
    options = {"padding": 0, "strideH": 1, "strideW": 1, "dilationHFactor": 1, "dilationWFactor": 1}
    inputs = [(1, 4, 4, 2), weights, *([] if bias is None else [bias])]
    step = step_of("CONV_2D", inputs, [(1, 4, 4, 3)], fusedActivationFunction=3, **options)
    return dataclasses.replace(step, inputs=("x", "w", "b")[: len(inputs)], outputs=("y",))


@pytest.mark.parametrize("names", [{"y"}, {"z"}])
@pytest.mark.parametrize("shared", [set(), {"w"}, {"b"}])
@pytest.mark.parametrize("with_bias", [True, False])
def test_biases_make_up_for_the_mean_error_of_rounded_weights(
    monkeypatch: pytest.MonkeyPatch, names: set[str], shared: set[str], with_bias: bool
) -> None:
    random = np.random.default_rng(0)
    x, other = (random.normal(size=(5, 4, 4, 2)).astype(np.float32) for _ in range(2))
    weights, bias = random.normal(size=(3, 1, 1, 2)).astype(np.float32), random.normal(size=3).astype(np.float32)
    program: Any = SimpleNamespace(shared=shared)
    rounder = adaround._Rounder(program, names, {})
    monkeypatch.setattr(rounder, "_four_bits", lambda step, true, rounded: weights / 2)
    step = layer(weights, bias if with_bias else None)
    found = rounder._round(step, {"x": tf.constant(x)}, {"x": tf.constant(other)})
    four = names == {"y"} and "w" not in shared
    used = (weights / 2 if four else round_to_grid(weights, 0)).reshape(3, 2)
    plain = bias if with_bias else np.zeros(3)
    expected, got = x @ weights.reshape(3, 2).T + plain, other @ used.T + plain
    error = (expected - got).mean(axis=(0, 1, 2)) * (with_bias and "b" not in shared)
    np.testing.assert_allclose(found[0], np.clip(expected, 0, 6), atol=1e-5)
    np.testing.assert_allclose(found[1], np.clip(got + error, 0, 6), atol=1e-5)
    wanted = ({"w": weights / 2} if four else {}) | ({"b": bias + error} if with_bias and "b" not in shared else {})
    assert {*rounder.changed} == {*wanted}
    for name, values in wanted.items():
        assert rounder.changed[name].dtype == np.float32
        np.testing.assert_allclose(rounder.changed[name], values, atol=1e-5)


def test_tensors_are_read_as_eight_bits_of_their_ranges_with_0() -> None:
    program: Any = SimpleNamespace()
    rounder = adaround._Rounder(program, (), {"x": (1.0, 25.5), "y": (-25.5, -1.0), "n": (0.0, 1.0)})
    values = tf.constant([-30.0, 0.14, 7.06, 30.0])
    np.testing.assert_allclose(rounder._store("x", values), [0, 0.1, 7.1, 25.5], atol=1e-5)
    np.testing.assert_allclose(rounder._store("y", -values), [0, -0.1, -7.1, -25.5], atol=1e-5)
    assert rounder._store("other", values) is values
    whole = tf.constant([3])
    assert rounder._store("n", whole) is whole
