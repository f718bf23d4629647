"""uint8 ends of int8 files: the same answers, and the whole graph as one part."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from int8_graphs import EVERY, Net, answers, interpreter, kinds, rewritten, steps

from edgepress.converters.inspection.engines import DELEGATE

BYTES = (EVERY.astype(int) + 128).astype(np.uint8)
SHAPE = BYTES.shape


def ends(scale: float, zero: int, made: float, made_zero: int) -> Net:
    """uint8 to int8, a table, and back."""
    net = Net(SHAPE, scale, zero, dtype=np.uint8)
    inner = net.op("QUANTIZE", [net.input], SHAPE, scale, zero - 128)
    inner = net.op("TANH", [inner], SHAPE, 1 / 128)
    net.op("QUANTIZE", [inner], SHAPE, made, made_zero, dtype=np.uint8)
    return net


@settings(max_examples=10, deadline=None)
@given(st.floats(1e-4, 10), st.integers(0, 255))
def test_the_same_answers(scale: float, zero: int) -> None:
    before = ends(scale, zero, 1 / 128, 128).model()
    after, count = rewritten("ends", before)
    assert count == 2
    assert kinds(after) == ["DEQUANTIZE", "QUANTIZE", "TANH", "DEQUANTIZE", "QUANTIZE"]
    for delegate in (True, False):
        assert steps(answers(before, BYTES, delegate=delegate), answers(after, BYTES, delegate=delegate)) == 0


@settings(max_examples=10, deadline=None)
@given(st.floats(1e-3, 0.1), st.integers(0, 255))
def test_other_scales_within_a_step(made: float, zero: int) -> None:
    before = ends(1.0, 0, made, zero).model()
    assert steps(answers(before, BYTES), answers(rewritten("ends", before)[0], BYTES)) <= 1


@pytest.mark.parametrize(("scale", "zero", "merged"), [(1 / 128, 128, True), (1 / 128, 127, False), (0.01, 128, False)])
def test_a_float_island_in_front_of_the_end(scale: float, zero: int, merged: bool) -> None:
    net = Net(SHAPE, 0.05)
    inner = net.op(
        "SIN", [net.op("DEQUANTIZE", [net.input], SHAPE, 0.0, dtype=np.float32)], SHAPE, 0.0, dtype=np.float32
    )
    net.op("QUANTIZE", [net.op("QUANTIZE", [inner], SHAPE, 1 / 128)], SHAPE, scale, zero, dtype=np.uint8)
    after, count = rewritten("ends", net.model())
    assert count == 1
    assert kinds(after).count("QUANTIZE") == (1 if merged else 2)
    for delegate in (True, False):
        assert steps(answers(net.model(), EVERY), answers(after, EVERY, delegate=delegate)) <= (not merged)


def test_an_island_that_others_read_too_stays() -> None:
    net = Net(SHAPE, 0.05)
    real = net.op("DEQUANTIZE", [net.input], SHAPE, 0.0, dtype=np.float32)
    rounded = net.op("QUANTIZE", [net.op("SIN", [real], SHAPE, 0.0, dtype=np.float32)], SHAPE, 1 / 128)
    end = net.op("QUANTIZE", [rounded], SHAPE, 1 / 128, 128, dtype=np.uint8)
    net.op("ADD", [net.op("QUANTIZE", [end], SHAPE, 1 / 128), rounded], SHAPE, 1 / 64)
    after, count = rewritten("ends", net.model())
    assert count == 2
    assert steps(answers(net.model(), EVERY), answers(after, EVERY)) == 0


def test_one_part() -> None:
    after, _ = rewritten("ends", ends(1.0, 0, 1 / 128, 128).model())
    operations = interpreter(after)._get_ops_details()
    assert [op["op_name"] for op in operations].count(DELEGATE) == 1
    (part,) = [op for op in operations if op["op_name"] == DELEGATE]
    details = interpreter(after)
    assert list(part["inputs"]) == [details.get_input_details()[0]["index"]]


@pytest.mark.parametrize("dtype", [np.int8, np.int16, np.float32])
def test_other_conversions_are_left_alone(dtype: type) -> None:
    net = Net(SHAPE, 0.0 if dtype is np.float32 else 0.05, dtype=dtype)
    net.op("QUANTIZE", [net.input], SHAPE, 0.1)
    assert rewritten("ends", net.model())[1] == 0
    assert rewritten("ends", rewritten("ends", ends(1.0, 0, 0.1, 0).model())[0])[1] == 0, "twice is once"


def test_another_scale_in_front_of_the_end_is_kept() -> None:
    net = Net(SHAPE, 0.05)
    net.op("QUANTIZE", [net.op("QUANTIZE", [net.input], SHAPE, 1 / 128)], SHAPE, 1 / 128, 128, dtype=np.uint8)
    after, count = rewritten("ends", net.model())
    assert (count, kinds(after)) == (1, ["QUANTIZE", "DEQUANTIZE", "QUANTIZE"])
    assert steps(answers(net.model(), EVERY), answers(after, EVERY)) == 0
