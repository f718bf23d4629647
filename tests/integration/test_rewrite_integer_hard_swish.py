"""HARD_SWISH in integers: within the error that its docstring states, whatever the scales."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from int8_graphs import EVERY, Net, answers, kinds, rewritten, steps
from rewriting import rewrite

from edgepress.converters.rewrites.tflite.windows import add_scalar, is_int8, real_values
from edgepress.converters.to_tflite.graph import Graph

SHAPE = EVERY.shape


def hard_swish(scale: float, zero: int, made: float, made_zero: int) -> Net:
    net = Net(SHAPE, scale, zero)
    net.op("HARD_SWISH", [net.input], SHAPE, made, made_zero)
    return net


@settings(max_examples=10, deadline=None)
@given(scale=st.floats(0.002, 0.5), zero=st.integers(-128, 127))
def test_the_stated_error(scale: float, zero: int) -> None:
    x = (EVERY.astype(np.float32) - zero) * np.float32(scale)
    exact = x * np.clip(x + 3, 0, 6) / 6
    low, high = min(float(exact.min()), 0.0), max(float(exact.max()), 0.0)
    made = (high - low) / 255
    made_zero = round(-128 - low / made)
    after, count = rewritten("integer-hard-swish", hard_swish(scale, zero, made, made_zero).model())
    assert count == 1
    assert kinds(after) == ["ADD", "MUL", "MUL"]
    bound = np.abs(x) / 510 * 1.01 + made * 0.51
    for delegate in (True, False):
        found = (answers(after, EVERY, delegate=delegate).astype(np.float32) - made_zero) * made
        assert np.all(np.abs(found - exact) <= bound + (0 if delegate else made * 0.5))


@pytest.mark.parametrize("value", [3.0, 1 / 6])
def test_its_constants_are_exact(value: float) -> None:
    graph = Graph(hard_swish(0.05, 3, 0.03, -100).model())
    constant = real_values(graph, add_scalar(graph, value))
    assert constant is not None
    np.testing.assert_allclose(constant, value, rtol=1e-6)


@pytest.mark.parametrize("largest", [3.0, 6.0, 12.0])
def test_like_the_operation_itself(largest: float) -> None:
    net = hard_swish(2 * largest / 255, 0, (largest + 0.375) / 255, -117)
    after, _ = rewritten("integer-hard-swish", net.model())
    assert steps(answers(net.model(), EVERY), answers(after, EVERY)) <= 2


def test_nothing_is_float() -> None:
    graph = Graph(hard_swish(0.05, 3, 0.03, -100).model())
    assert rewrite("integer-hard-swish", graph) == 1
    assert is_int8(graph, *range(len(graph.table.tensors)))


@pytest.mark.parametrize(("dtype", "scale"), [(np.float32, 0.0), (np.uint8, 0.05), (np.int16, 0.001)])
def test_other_types_are_left_alone(dtype: type, scale: float) -> None:
    net = Net(SHAPE, scale, dtype=dtype)
    net.op("HARD_SWISH", [net.input], SHAPE, scale, dtype=dtype)
    assert rewritten("integer-hard-swish", net.model())[1] == 0
