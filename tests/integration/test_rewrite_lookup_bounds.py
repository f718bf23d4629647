"""The bounds of float islands in int8 files: scales, slopes, sizes and kinds that are just taken or just refused."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from int8_graphs import EVERY, Net, answers, interpreter, kinds, rewritten, steps

from edgepress.converters.inspection.engines import delegated_places

SHAPE = EVERY.shape
SOURCE = 2.0**-4
TINY = float(np.finfo(np.float32).tiny)


def count(net: Net) -> int:
    return rewritten("lookup-islands", net.model())[1]


def all_delegated(model: bytes) -> bool:
    """Whether XNNPACK takes the whole graph as one part."""
    operations = interpreter(model)._get_ops_details()
    return len(delegated_places(operations)) == len(operations) - 1


@pytest.mark.parametrize(
    ("up", "slope", "changed"),
    [
        *((128, 0.5, 0), (128.5, 0.5, 1), (2**-8, 1, 0), (0.99 * 2**-8, 2, 1)),
        *((64, 2, 0), (64, 2.005, 1), (64, -1.99, 0), (64, -1.99993896484375, 0), (64, -2, 1)),
        *((1, 2**-8, 0), (1, 0.99 * 2**-8, 1), (1, -(2**-8), 0), (1, -0.99 * 2**-8, 1)),
    ],
)
def test_slopes(up: float, slope: float, changed: int) -> None:
    net = Net(SHAPE)
    net.op(
        "LEAKY_RELU", [net.op("TANH", [net.input], SHAPE, 1 / 128)], SHAPE, 1 / 128 / up, table="LeakyRelu", alpha=slope
    )
    assert count(net) == changed
    assert all_delegated(net.model()) != changed


@pytest.mark.parametrize(("slope", "changed"), [(TINY, 1), (0.9 * TINY, 0), (math.nan, 0), (math.inf, 0)])
def test_slopes_that_are_no_numbers_to_xnnpack(slope: float, changed: int) -> None:
    net = Net(SHAPE, SOURCE)
    net.op("LEAKY_RELU", [net.input], SHAPE, SOURCE, table="LeakyRelu", alpha=slope)
    assert count(net) == changed


@pytest.mark.parametrize("turned", [False, True])
@pytest.mark.parametrize(
    ("kind", "made", "changed"),
    [
        *((kind, 2.0**-12, 1) for kind in ("ADD", "SUB")),
        *((kind, 1.002 * 2.0**-12, 0) for kind in ("ADD", "SUB")),
        *((kind, 8.0, 0) for kind in ("ADD", "SUB")),
        *((kind, 8.08, 1) for kind in ("ADD", "SUB")),
        *(("MUL", made, 1) for made in (2.0**-19, 33.0)),
        *(("MUL", made, 0) for made in (1.002 * 2.0**-19, 32.0)),
    ],
)
def test_ratios_of_scales(kind: str, made: float, changed: int, turned: bool) -> None:
    net = Net(SHAPE, SOURCE)
    pair = [net.input, net.op("TANH", [net.input], SHAPE, 1 / 128)]
    net.op(kind, pair[::-1] if turned else pair, SHAPE, made)
    assert count(net) == changed
    assert all_delegated(net.model()) != changed


@pytest.mark.parametrize(("zero", "share", "changed"), [(0, 1.05, 0), (0, 0.95, 1), (-50, 1.05, 0), (50, 0.95, 1)])
def test_powers_that_overflow(zero: int, share: float, changed: int) -> None:
    net = Net(SHAPE, 0.1, zero)
    net.op("EXP", [net.input], SHAPE, share * math.exp(0.1 * (127 - zero)) / 2**31)
    assert count(net) == 1 - changed


@pytest.mark.parametrize(("rank", "changed"), [(1, 1), (6, 1), (7, 0)])
def test_ranks(rank: int, changed: int) -> None:
    net = Net((4, *[1] * (rank - 1)))
    net.op("ABS", [net.input], (4, *[1] * (rank - 1)))
    assert count(net) == changed


@pytest.mark.parametrize(
    ("filters", "strides", "changed"),
    [
        *(((1, 2), (1, 1), 1), ((2, 1), (1, 1), 1), ((2, 1), (1, 2), 0), ((1, 2), (2, 1), 0)),
        *(((2, 3), (2, 3), 1), ((2, 3), (2, 4), 0), ((3, 2), (3, 3), 0), ((1, 1), (1, 1), 0)),
    ],
)
def test_pools(filters: tuple[int, int], strides: tuple[int, int], changed: int) -> None:
    net = Net((1, 9, 8, 4))
    sides = [(n - f) // s + 1 for n, f, s in zip((9, 8), filters, strides, strict=True)]
    names = ("filterHeight", "filterWidth", "strideH", "strideW")
    window: dict[str, Any] = dict(zip(names, (*filters, *strides), strict=True)) | {"padding": 1}
    net.op("AVERAGE_POOL_2D", [net.input], (1, *sides, 4), table="Pool2D", **window)
    assert count(net) == changed
    assert all_delegated(rewritten("lookup-islands", net.model())[0]) or max(strides) > min(filters)


def constant(net: Net, shape: tuple[int, ...], zero: int = 0) -> int:
    return net.constant(np.arange(1, 1 + math.prod(shape), dtype=np.int8).reshape(shape), [0.05], zero)


@pytest.mark.parametrize(
    ("case", "changed"),
    [
        *(("constant alone", 0), ("two constants", 0), ("maximum of a constant", 1), ("minimum of two values", 0)),
        *(("computed slopes", 0), ("constant matrix", 0), ("matrix in front", 1), ("several outputs", 0)),
        *(("scales of channels", 0), ("maximum of two tensors", 0), ("unquantized constant", 0)),
    ],
)
def test_what_is_an_island(case: str, changed: int) -> None:
    net = Net((1, 4, 4))
    shape = (1, 4, 4)
    if case == "constant alone":
        net.op("ABS", [constant(net, shape)], shape)
    elif case == "two constants":
        net.op("SQUARED_DIFFERENCE", [constant(net, shape), constant(net, shape)], shape)
    elif case == "maximum of a constant":
        net.op("MAXIMUM", [constant(net, (1,)), net.input], shape)
    elif case == "minimum of two values":
        net.op("MINIMUM", [constant(net, (4,)), net.input], shape)
    elif case == "maximum of two tensors":
        net.op("MAXIMUM", [net.input, net.op("TANH", [net.input], (1, 1, 1), 1 / 128)], shape)
    elif case == "computed slopes":
        net.op("PRELU", [net.input, net.op("TANH", [net.input], shape, 1 / 128)], shape)
    elif case == "constant matrix":
        net.op("BATCH_MATMUL", [net.input, constant(net, shape, 5)], shape, 2.0)
    elif case == "matrix in front":
        net.op("BATCH_MATMUL", [constant(net, shape), net.op("QUANTIZE", [net.input], shape, 0.05, 5)], shape, 2.0)
    elif case == "several outputs":
        net.op("SPLIT", [net.constant(np.array(1, np.int32)), net.input], (1, 2, 4), numSplits=2)
        net.graph.operators[-1].outputs = [*net.graph.operators[-1].outputs, net.tensor((1, 2, 4), 0.05)]
    else:
        scales = [0.05, 0.06, 0.07, 0.08] if case == "scales of channels" else []
        other = net.constant(np.ones((1, 1, 4), np.int8), scales, axis=2)
        net.op("SQUARED_DIFFERENCE", [net.input, other], shape)
    assert count(net) == changed


@pytest.mark.parametrize(("size", "unpacked"), [(256, 1), (257, 2)])
def test_small_constants_become_float(size: int, unpacked: int) -> None:
    net = Net((1, size))
    values = np.random.default_rng(0).integers(-127, 128, (1, size)).astype(np.int8)
    net.op("SQUARED_DIFFERENCE", [net.input, net.constant(values, [0.04])], (1, size), 0.5)
    after, _ = rewritten("lookup-islands", net.model())
    assert kinds(after).count("DEQUANTIZE") == unpacked
    x = np.random.default_rng(1).integers(-128, 128, (1, size)).astype(np.int8)
    assert steps(answers(net.model(), x), answers(after, x)) <= 1


def test_a_tensor_that_is_read_twice_is_unpacked_once() -> None:
    net = Net(SHAPE)
    net.op("DIV", [net.input, net.input], SHAPE, 0.01)
    after, found = rewritten("lookup-islands", net.model())
    assert (found, kinds(after)) == (1, ["DEQUANTIZE", "DIV", "QUANTIZE"])


@pytest.mark.parametrize("scale", [0.0, -0.05, math.inf, math.nan])
def test_scales_that_are_no_positive_numbers(scale: float) -> None:
    net = Net(SHAPE)
    net.op("ABS", [net.input], SHAPE)
    net.graph.tensors[net.input].quantization.scale = [scale]
    assert count(net) == 0
