"""Centring: channels without activation are shifted to the middle of their range, and answers stay."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import tensorflow as tf
from rewriting import Net

from edgepress.converters.graph.program import Program
from edgepress.converters.ptq import bias as module
from edgepress.converters.ptq.bias import (
    _mean_error,
    absorb_shifts,
    correct_biases,
    find_shifts,
    live_bytes,
    with_own_biases,
)
from edgepress.converters.ptq.channel_scales import channel_ranges, move_ranges
from edgepress.converters.schemes import SCHEMES
from edgepress.converters.to_tflite.convert import with_scheme

RELU = 1
RELU6 = 3
ITEMS = np.random.default_rng(0).uniform(0, 1, (16, 6, 6, 3)).astype(np.float32)


def bottlenecks(kernel: int = 1, *, same: bool = True) -> Program:
    """Two bottlenecks, of which the second adds the first, and what reads their sum with a kernel."""
    net = Net((6, 6), 3, seed=3)
    net.conv(8, (3, 3), act=RELU)
    beside = net.conv(4)
    net.conv(8, act=RELU)
    net.depthwise((3, 3), act=RELU)
    net.conv(4)
    net.add("ADD", [net.now, beside], net.shape)
    net.conv(8, (kernel, kernel), act=RELU, same=same)
    net.add("MEAN", [net.now, np.array([1, 2], np.int32)], (1, 8))
    return Program(with_own_biases(net.model()))


def widths(program: Program) -> dict[str, float]:
    found = channel_ranges(program, ITEMS)
    return {name: max(high.max(), 0) - min(low.min(), 0) for name, (low, high) in found.items()}


@pytest.mark.parametrize("kernel", [1, 3])
def test_answers_stay_and_ranges_shrink(kernel: int) -> None:
    program = bottlenecks(kernel, same=False)
    measured = channel_ranges(program, ITEMS)
    shifts = find_shifts(program, measured)
    after = Program(program.with_constants(absorb_shifts(program, shifts)))
    np.testing.assert_allclose(after.answers(ITEMS), program.answers(ITEMS), rtol=0, atol=1e-4)
    (total,) = (step.output for step in program.steps if step.kind == "ADD")
    assert set(shifts) == {total, *next(step for step in program.steps if step.kind == "ADD").inputs}
    before, now = widths(program), widths(after)
    assert all(now[name] <= before[name] for name in shifts)
    assert np.prod([now[name] / before[name] for name in shifts]) < 0.8
    for name, (low, high) in move_ranges(measured, shifts=shifts).items():
        np.testing.assert_allclose(low, channel_ranges(after, ITEMS)[name][0], atol=1e-4)
        np.testing.assert_allclose(high, channel_ranges(after, ITEMS)[name][1], atol=1e-4)


def test_what_is_padded_with_zeros_is_not_shifted() -> None:
    program = bottlenecks(3, same=True)
    assert not find_shifts(program, channel_ranges(program, ITEMS))


def test_activations_and_ends_are_not_shifted() -> None:
    net = Net((6, 6), 3)
    net.conv(4, act=RELU)
    net.add("LOGISTIC", [net.conv(4)], net.shape)
    net.conv(4)
    program = Program(net.model())
    assert not find_shifts(program, channel_ranges(program, ITEMS))


@pytest.mark.parametrize("act", [0, RELU, RELU6])
def test_the_mean_error_is_that_of_places_where_the_activation_passes_one_of_both(act: int) -> None:
    random = np.random.default_rng(act)
    expected, got = (random.normal(3, 4, (2, 5, 4, 3)).astype(np.float32) for _ in range(2))
    expected[..., 2], got[..., 2] = -1, -2
    low, high = {0: (-np.inf, np.inf), RELU: (0, np.inf), RELU6: (0, 6)}[act]
    passing = ((low <= expected) & (expected <= high)) | ((low <= got) & (got <= high))
    step: Any = SimpleNamespace(options=SimpleNamespace(fusedActivationFunction=act))
    found = _mean_error(step, tf.constant(expected), tf.constant(got)).numpy()
    sums, counts = ((expected - got) * passing).sum(axis=(0, 1, 2)), passing.sum(axis=(0, 1, 2))
    np.testing.assert_allclose(found, sums / np.maximum(counts, 1), rtol=1e-4, atol=1e-6)
    assert found[2] == (1 if act == 0 else 0)


def test_as_many_items_are_taken_as_memory_allows(monkeypatch: pytest.MonkeyPatch) -> None:
    """Those of both graphs count."""
    net = Net((6, 6), 3)
    net.conv(4, act=RELU)
    net.conv(2)
    program = Program(net.model())
    file = with_scheme(net.model(), SCHEMES["tflite-weights8"], None, uint8=False)
    each = live_bytes(program)

    def corrected(items: np.ndarray, allowed: int) -> list[float]:
        monkeypatch.setattr(module, "BYTES", allowed)
        return [float(bias[0]) for bias in correct_biases(program, file, items).values()]

    four = corrected(ITEMS[:4], 1 << 30)
    assert corrected(ITEMS, 8 * each) == four
    assert corrected(ITEMS, 10 * each - 1) == four
    assert corrected(ITEMS, 10 * each) == corrected(ITEMS[:5], 1 << 30) != four
    assert corrected(ITEMS, 1) == corrected(ITEMS[:1], 1 << 30)
