"""Learned rounding: what it minimizes, that the grids survive quantizing, and that answers get nearer."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rewriting import Net
from test_int4 import integers, net

from edgepress.converters.calibration import tflite_statistics
from edgepress.converters.graph.program import Program
from edgepress.converters.ptq.adaround import round_weights
from edgepress.converters.ptq.layer_rounding import (
    BOUNDS,
    LayerWeights,
    best_steps,
    nearest,
    round_for_outputs,
    sampler,
)
from edgepress.converters.ptq.repair import repair
from edgepress.converters.ptq.score import Scorer
from edgepress.converters.schemes import SCHEMES
from edgepress.converters.to_tflite.convert import with_scheme
from edgepress.converters.to_tflite.four_bits import LEVELS

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
@given(st.integers(0, 10_000), st.sampled_from(list(BOUNDS)), st.integers(1, 6), st.integers(2, 24))
def test_outputs_are_never_farther_than_with_the_nearest_steps(
    seed: int, activation: str, outputs: int, size: int
) -> None:
    random = np.random.default_rng(seed)
    weights, bias = random.normal(size=(outputs, size)).astype(np.float32), random.normal(size=outputs)
    samples = (random.normal(size=(64, size)) @ random.normal(size=(size, size))).astype(np.float32)
    step = best_steps(weights, (samples**2).mean(axis=0), LEVELS)
    bounds = BOUNDS[activation]
    targets = np.clip(samples @ weights.T + bias, *bounds)
    found = round_for_outputs(LayerWeights(weights, bias, step, LEVELS), samples, targets, bounds)

    def error(w: Any) -> float:
        return float(((np.clip(samples @ w.T + bias, *bounds) - targets) ** 2).mean())

    assert error(found) <= error(nearest(weights, step, LEVELS)) * 1.00001
    integers = found / step
    np.testing.assert_allclose(integers, np.rint(integers), atol=1e-3)
    np.testing.assert_allclose(np.abs(integers).max(axis=1), LEVELS, rtol=1e-5)
    assert np.abs(np.clip(weights / step, -LEVELS, LEVELS) - integers).max() < 1 + 1e-3, "at most one step"


def test_correlated_values_are_rounded_together() -> None:
    """Of two equal values, the errors of their weights must cancel."""
    random = np.random.default_rng(0)
    one = random.normal(size=(256, 1)).astype(np.float32)
    samples = np.concatenate([one, one, random.normal(size=(256, 1)) * 0.01], axis=1).astype(np.float32)
    weights = np.array([[0.4, 0.4, 7]], np.float32)
    targets = samples @ weights.T
    no_bias, step = np.zeros(1, np.float32), np.ones((1, 1), np.float32)
    found = round_for_outputs(LayerWeights(weights, no_bias, step, LEVELS), samples, targets, BOUNDS[""])
    np.testing.assert_allclose(np.sort(found), [[0, 1, 7]])
    np.testing.assert_allclose(nearest(weights, step, LEVELS), [[0, 0, 7]])


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
