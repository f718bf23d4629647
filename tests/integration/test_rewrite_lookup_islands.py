"""Float islands in int8 files: the answers of each kind of operation, what XNNPACK takes, what is left alone."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from int8_graphs import EVERY, Array, Net, answers, interpreter, kinds, rewritten, steps
from rewriting import rewrite

from edgepress.converters.inspection.engines import delegated_places
from edgepress.converters.rewrites.tflite.integers import TABLES
from edgepress.converters.to_tflite.graph import Graph

SHAPE = EVERY.shape
OF_REAL: dict[str, Callable[[Array], Array]] = {
    "ABS": np.abs,
    "CEIL": np.ceil,
    "COS": np.cos,
    "EXP": np.exp,
    "FLOOR": np.floor,
    "GELU": lambda x: x * (1 + np.vectorize(math.erf)(x / math.sqrt(2))) / 2,
    "HARD_SWISH": lambda x: x * np.clip(x + 3, 0, 6) / 6,
    "LOG": np.log,
    "NEG": np.negative,
    "RELU": lambda x: np.maximum(x, 0),
    "RELU6": lambda x: np.clip(x, 0, 6),
    "RELU_0_TO_1": lambda x: np.clip(x, 0, 1),
    "RELU_N1_TO_1": lambda x: np.clip(x, -1, 1),
    "ROUND": np.round,
    "RSQRT": lambda x: 1 / np.sqrt(x),
    "SIN": np.sin,
    "SQRT": np.sqrt,
    "SQUARE": np.square,
}
POSITIVE = ("LOG", "RSQRT", "SQRT")
scales = st.floats(0.002, 0.5)
zeros = st.integers(-128, 127)


def real(stored: Array, scale: float, zero: int) -> Array:
    return (stored.astype(np.float32) - np.float32(zero)) * np.float32(scale)


def stored(values: Array, scale: float, zero: int) -> Array:
    return np.clip(np.round(values.astype(np.float64) / np.float32(scale)) + zero, -128, 127)


def all_delegated(model: bytes) -> bool:
    """Whether XNNPACK takes the whole graph as one part."""
    operations = interpreter(model)._get_ops_details()
    return len(delegated_places(operations)) == len(operations) - 1


def test_every_table_is_tried() -> None:
    assert set(OF_REAL) == {*TABLES, "RELU_0_TO_1"}


@pytest.mark.parametrize("kind", OF_REAL)
@settings(max_examples=8, deadline=None)
@given(taken=st.tuples(scales, zeros), made=st.tuples(scales, zeros))
def test_of_one_tensor(kind: str, taken: tuple[float, int], made: tuple[float, int]) -> None:
    if kind in POSITIVE:
        taken = (taken[0], -128)
    net = Net(SHAPE, *taken)
    net.op(kind, [net.input], SHAPE, *made)
    model, count = rewritten("lookup-islands", net.model())
    if kind == "EXP" and np.exp(taken[0] * (127 - taken[1])) / made[0] > 2**31:
        assert count == 0, "LiteRT's own QUANTIZE overflows"
        return
    assert count == 1
    x = EVERY[EVERY > -128].reshape(1, -1) if kind in POSITIVE else EVERY
    if kind in ("CEIL", "FLOOR", "ROUND"):  # at a jump, the last bit of float32 decides
        halves = 2 * real(EVERY, *taken).astype(np.float64)
        x = x[np.abs(halves - np.round(halves)) > 1e-3]
    x = np.resize(x, SHAPE) if x.size else np.full(SHAPE, taken[1], np.int8)
    with np.errstate(over="ignore"):
        values = OF_REAL[kind](real(x, *taken))
        exact, half = stored(values, *made), values.astype(np.float64) / made[0] + 0.5
    found = answers(model, x)
    assert steps(found, exact) <= 1
    clear = np.abs(half - np.round(half)) > 0.02
    assert np.array_equal(found[clear], exact[clear]), "half a step more or less decides by the last bit"
    assert steps(found, answers(model, x, delegate=False)) <= 1
    assert all_delegated(model)


def test_like_the_integer_kernels() -> None:
    for kind, most in {"HARD_SWISH": 1, "RELU": 1, "RELU6": 1, "RELU_N1_TO_1": 1, "RELU_0_TO_1": 1, "GELU": 0}.items():
        net = Net(SHAPE, 0.06, 3)
        net.op(kind, [net.input], SHAPE, 0.03, -100)
        before, (after, _) = net.model(), rewritten("lookup-islands", net.model())
        assert steps(answers(before, EVERY), answers(after, EVERY)) <= most, kind


def pool(kind: str, size: int, stride: int, padding: int, shape: tuple[int, ...] = (1, 9, 8, 4), **options: Any) -> Net:
    """`padding` 0 is SAME, 1 is VALID."""
    net = Net(shape)
    sides = [-(-n // stride) if padding == 0 else (n - size) // stride + 1 for n in shape[1:3]]
    window = {"filterHeight": size, "filterWidth": size, "strideH": stride, "strideW": stride, "padding": padding}
    net.op(kind, [net.input], (1, *sides, shape[3]), table="Pool2D", **window, **options)
    return net


@pytest.mark.parametrize("padding", [0, 1])
@pytest.mark.parametrize(("size", "stride"), [(2, 1), (2, 2), (3, 1), (3, 2), (3, 3), (7, 1), (7, 5)])
def test_average_pools(size: int, stride: int, padding: int) -> None:
    x = np.random.default_rng(0).integers(-128, 128, (1, 9, 8, 4)).astype(np.int8)
    before = pool("AVERAGE_POOL_2D", size, stride, padding).model()
    after, count = rewritten("lookup-islands", before)
    assert count == 1
    assert steps(answers(before, x), answers(after, x)) <= 1
    assert all_delegated(after)


@pytest.mark.parametrize(("size", "stride"), [(1, 2), (2, 3), (1, 1)])
def test_pools_that_xnnpack_refuses_are_left_alone(size: int, stride: int) -> None:
    assert rewritten("lookup-islands", pool("AVERAGE_POOL_2D", size, stride, 1).model())[1] == 0


@pytest.mark.parametrize("classes", [2, 10, 1000])
def test_softmax(classes: int) -> None:
    net = Net((1, classes), 0.1)
    net.op("SOFTMAX", [net.input], (1, classes), 1 / 256, -128, beta=1.0)
    x = np.random.default_rng(0).integers(-128, 128, (1, classes)).astype(np.int8)
    after, count = rewritten("lookup-islands", net.model())
    assert count == 1
    assert steps(answers(net.model(), x), answers(after, x)) <= 1
    net.graph.operators[0].builtinOptions.beta = 2.0
    assert rewritten("lookup-islands", net.model())[1] == 0


def two(kind: str, shape: tuple[int, ...] = SHAPE, scale: float = 0.02, made: float = 0.05, **options: Any) -> Net:
    """An operation of the input and of a table of it."""
    net = Net(shape)
    other = net.op("TANH", [net.input], shape, 1 / 128)
    if scale != 1 / 128:
        other = net.op("QUANTIZE", [other], shape, scale)
    net.op(kind, [net.input, other], shape, made, **options)
    return net


@pytest.mark.parametrize("kind", ["SQUARED_DIFFERENCE"])
def test_of_two_tensors(kind: str) -> None:
    before = two(kind).model()
    after, count = rewritten("lookup-islands", before)
    assert count == 1
    assert steps(answers(before, EVERY), answers(after, EVERY)) <= 1
    assert all_delegated(after)


@pytest.mark.parametrize(
    ("kind", "made", "changed"),
    [
        *(("ADD", 0.05, 0), ("ADD", 100.0, 1), ("ADD", 1e-5, 1), ("SUB", 0.05, 0), ("SUB", 100.0, 1)),
        *(("MUL", 0.05, 0), ("MUL", 1e-9, 1), ("MUL", 100.0, 1), ("MUL", 4.0, 0), ("MUL", 3e-6, 1), ("MUL", 5e-6, 0)),
        *(("ADD", 1.5e-4, 1), ("ADD", 2.5e-4, 0), ("ADD", 19.0, 0), ("ADD", 22.0, 1)),
    ],
)
def test_scales_that_xnnpack_refuses(kind: str, made: float, changed: int) -> None:
    before = two(kind, made=made).model()
    after, count = rewritten("lookup-islands", before)
    assert count == changed
    assert all_delegated(before) != changed
    assert all_delegated(after)
    net = two(kind, made=made)
    first, second = (
        real(EVERY, 0.05, 0),
        real(answers(net.model(int(net.graph.operators[-2].outputs[0])), EVERY), 0.02, 0),
    )
    exact = {"ADD": first + second, "SUB": first - second, "MUL": first * second}[kind]
    assert steps(answers(after, EVERY), stored(exact, made, 0)) <= 1, "LiteRT's own kernels overflow at 1e-5"


@pytest.mark.parametrize(
    ("slope", "made", "changed"),
    [(0.1, 0.05, 0), (0.1, 20.0, 1), (2.0, 20.0, 1), (0.1, 2.5e-4, 1), (0.001, 0.05, 1), (0.0, 0.05, 0)],
)
def test_leaky_relu(slope: float, made: float, changed: int) -> None:
    net = Net(SHAPE)
    net.op("LEAKY_RELU", [net.input], SHAPE, made, table="LeakyRelu", alpha=slope)
    after, count = rewritten("lookup-islands", net.model())
    assert count == changed
    assert steps(answers(net.model(), EVERY), answers(after, EVERY)) <= 1


@pytest.mark.parametrize("kind", ["MAXIMUM", "MINIMUM", "DIV", "PRELU", "SQUARED_DIFFERENCE"])
@pytest.mark.parametrize("size", [1, 4])
def test_with_a_constant(kind: str, size: int) -> None:
    net = Net(SHAPE)
    values = np.array([40, 20, 100, 10][:size], np.int8).reshape(1, 1, size)
    if kind == "PRELU" and size == 1:
        values = np.full((1, 1, 4), 20, np.int8)
    net.op(kind, [net.input, net.constant(values, [0.05])], SHAPE)
    after, count = rewritten("lookup-islands", net.model())
    assert count == (size == 1 or kind not in ("MAXIMUM", "MINIMUM"))
    assert steps(answers(net.model(), EVERY), answers(after, EVERY)) <= 1
    if count:
        assert all_delegated(after)


def test_large_constants_stay_int8() -> None:
    shape = (1, 32, 32, 4)
    net = Net(shape)
    values = np.random.default_rng(0).integers(1, 128, shape).astype(np.int8)
    net.op("SQUARED_DIFFERENCE", [net.input, net.constant(values, [0.05])], shape)
    after, _ = rewritten("lookup-islands", net.model())
    assert len(after) < len(net.model()) + 2000
    x = np.random.default_rng(1).integers(-128, 128, shape).astype(np.int8)
    assert steps(answers(net.model(), x), answers(after, x)) <= 1


@pytest.mark.parametrize(("zero", "changed"), [(0, 0), (5, 1)])
def test_matrix_products_of_two_tensors(zero: int, changed: int) -> None:
    net = Net((1, 8, 8))
    other = net.op("QUANTIZE", [net.input], (1, 8, 8), 0.05, zero)
    net.op("BATCH_MATMUL", [net.input, other], (1, 8, 8), 2.0)
    x = np.random.default_rng(0).integers(-128, 128, (1, 8, 8)).astype(np.int8)
    after, count = rewritten("lookup-islands", net.model())
    assert count == changed
    assert steps(answers(net.model(), x), answers(after, x)) <= 1
    assert all_delegated(after)


def test_several_readers_and_islands_in_a_row() -> None:
    net = Net(SHAPE)
    first = net.op("HARD_SWISH", [net.input], SHAPE)
    second = net.op("RELU", [first], SHAPE)
    third = net.op("GELU", [second], SHAPE)
    net.op("ADD", [net.op("ADD", [first, second], SHAPE), third], SHAPE, 0.1)
    after, count = rewritten("lookup-islands", net.model())
    assert count == 3
    assert kinds(after).count("DEQUANTIZE") == kinds(after).count("QUANTIZE") == 3
    assert steps(answers(net.model(), EVERY), answers(after, EVERY)) <= 1
    assert all_delegated(after)


def test_twice_is_once() -> None:
    net = Net(SHAPE)
    net.op("RELU_0_TO_1", [net.op("HARD_SWISH", [net.input], SHAPE)], SHAPE)
    once, count = rewritten("lookup-islands", net.model())
    assert count == 2
    assert rewritten("lookup-islands", once)[1] == 0


@pytest.mark.parametrize("kind", ["HARD_SWISH", "AVERAGE_POOL_2D", "SQUARED_DIFFERENCE"])
def test_other_types_are_left_alone(kind: str) -> None:
    for dtype, scale in ((np.float32, 0.0), (np.uint8, 0.05), (np.int16, 0.001)):
        net = Net(SHAPE, scale, dtype=dtype)
        inputs = [net.input] * (2 if kind == "SQUARED_DIFFERENCE" else 1)
        net.op(kind, inputs, SHAPE, scale, dtype=dtype)
        assert rewritten("lookup-islands", net.model())[1] == 0
    net = Net(SHAPE)
    net.graph.tensors[net.input].quantization = None
    net.op("HARD_SWISH", [net.input], SHAPE)
    assert rewritten("lookup-islands", net.model())[1] == 0


def test_what_xnnpack_takes_is_left_alone() -> None:
    for kind, scale, zero in (("LOGISTIC", 1 / 256, -128), ("TANH", 1 / 128, 0), ("ELU", 0.05, 0)):
        net = Net(SHAPE)
        net.op(kind, [net.input], SHAPE, scale, zero)
        assert all_delegated(net.model())
        assert rewritten("lookup-islands", net.model())[1] == 0


def test_names_stay_unique() -> None:
    net = Net(SHAPE)
    made = net.op("HARD_SWISH", [net.input], SHAPE)
    net.graph.tensors[made].name = b"t0_float"
    graph = Graph(net.model())
    rewrite("lookup-islands", graph)
    names = [graph.name(i) for i in range(len(graph.table.tensors))]
    assert len(set(names)) == len(names)
