"""int8 kernels instead of float operations between DEQUANTIZE and QUANTIZE: the same answers within a step."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from int8_graphs import EVERY, Net, answers, kinds, rewritten, steps

from edgepress.converters.rewrites.tflite.integers import KERNELS

SHAPE = EVERY.shape


def between(kind: str, taken: tuple[float, int], made: tuple[float, int]) -> Net:
    """A float operation between int8 ones, as the quantizer leaves it."""
    net = Net(SHAPE, *taken)
    source = net.op("DEQUANTIZE", [net.input], SHAPE, 0.0, dtype=np.float32)
    slopes = [net.constant(np.array([0.1, -0.2, 0.5, 1.0], np.float32).reshape(1, 1, 4))] if kind == "PRELU" else []
    options = {"table": "LeakyRelu", "alpha": 0.2} if kind == "LEAKY_RELU" else {}
    result = net.op(kind, [source, *slopes], SHAPE, 0.0, dtype=np.float32, **options)
    net.op("QUANTIZE", [result], SHAPE, *made)
    return net


@pytest.mark.parametrize("kind", sorted(KERNELS))
@pytest.mark.parametrize("taken", [(0.02, -128), (0.03, 10), (0.01, 127)])
@pytest.mark.parametrize("made", [(0.02, 0), (0.05, -100), (0.03, 20)])
def test_within_a_step(kind: str, taken: tuple[float, int], made: tuple[float, int]) -> None:
    if kind == "LOG":
        taken = (taken[0], -128)
    before = between(kind, taken, made).model()
    after, count = rewritten("integer-kernels", before)
    assert count == 1
    assert kinds(after) == ["MUL" if kind == "NEG" else kind]
    x = np.maximum(EVERY, -127) if kind == "LOG" else EVERY
    for delegate in (True, False):
        assert steps(answers(before, x, delegate=delegate), answers(after, x, delegate=delegate)) <= 1


def test_other_readers_keep_their_float() -> None:
    net = Net(SHAPE)
    source = net.op("DEQUANTIZE", [net.input], SHAPE, 0.0, dtype=np.float32)
    first = net.op("QUANTIZE", [net.op("ELU", [source], SHAPE, 0.0, dtype=np.float32)], SHAPE)
    second = net.op("QUANTIZE", [net.op("SIN", [source], SHAPE, 0.0, dtype=np.float32)], SHAPE)
    net.op("ADD", [first, second], SHAPE, 0.1)
    after, count = rewritten("integer-kernels", net.model())
    assert count == 1
    assert kinds(after) == ["DEQUANTIZE", "ELU", "SIN", "QUANTIZE", "ADD"]
    assert steps(answers(net.model(), EVERY), answers(after, EVERY)) <= 1


def test_what_stands_elsewhere_is_left_alone() -> None:
    net = Net(SHAPE, 0.0, dtype=np.float32)
    net.op("ELU", [net.input], SHAPE, 0.0, dtype=np.float32)
    assert rewritten("integer-kernels", net.model())[1] == 0
    net = between("ELU", (0.05, 0), (0.05, 0))
    net.op("ADD", [net.graph.operators[1].outputs[0]] * 2, SHAPE, 0.0, dtype=np.float32)
    assert rewritten("integer-kernels", net.model())[1] == 0, "its result has another reader"


@pytest.mark.parametrize(
    ("case", "count"),
    [
        *(("a float input", 1), ("an operation in front", 1), ("an operation behind", 1), ("the answer", 1)),
        *(("uint8 in front", 1), ("int16 behind", 0), ("computed slopes", 1), ("", 2)),
    ],
)
def test_which_operations_become_integers(case: str, count: int) -> None:
    """The first of two operations stands elsewhere; the other one is changed nevertheless."""
    real: dict[str, Any] = {"scale": 0.0, "dtype": np.float32}
    start: dict[str, Any] = {"dtype": np.float32, "scale": 0.0} if case == "a float input" else {}
    net = Net(SHAPE, **start | ({"dtype": np.uint8, "zero": 128} if case == "uint8 in front" else {}))
    source = net.input if start else net.op("DEQUANTIZE", [net.input], SHAPE, **real)
    if case == "an operation in front":
        source = net.op("SIN", [source], SHAPE, **real)
    slopes = [net.constant(np.zeros((1, 1, 4), np.float32))]
    if case == "computed slopes":
        slopes = [net.op("DEQUANTIZE", [net.constant(np.ones((1, 1, 4), np.int8), [0.05])], (1, 1, 4), **real)]
    first = net.op("PRELU", [source, *slopes], SHAPE, **real)
    if case == "an operation behind":
        first = net.op("SIN", [first], SHAPE, **real)
    dtype = np.int16 if case == "int16 behind" else np.int8
    made = net.op("QUANTIZE", [first], SHAPE, 0.001 if dtype is np.int16 else 0.05, dtype=dtype)
    inner = net.op("ELU", [net.op("DEQUANTIZE", [made], SHAPE, **real)], SHAPE, **real)
    last = net.op("QUANTIZE", [inner], SHAPE, 0.05)
    model = net.model(first if case == "the answer" else last)
    after, found = rewritten("integer-kernels", model)
    assert found == count
    assert "ELU" in kinds(after)
    if not case:
        for delegate in (True, False):
            assert steps(answers(model, EVERY, delegate=delegate), answers(after, EVERY, delegate=delegate)) <= 1
