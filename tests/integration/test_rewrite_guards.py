"""What rewrites of convolutions cannot see, they leave alone: weights that are computed, integers, unknown sizes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import pytest
from rewriting import Net, answer, rewrite

from edgepress.converters.to_tflite import flatbuffer as flat
from edgepress.converters.to_tflite.flatbuffer import TYPES
from edgepress.converters.to_tflite.graph import Graph

MEANS = np.array([90, 100, 110], np.float32)


def scaled(net: Net) -> None:
    net.add("SUB", [net.now, MEANS], net.shape)
    net.add("MUL", [net.now, np.array([0.1, 0.2, 0.3], np.float32)], net.shape)
    net.conv(4, (3, 2), act=1)


def shifted(net: Net) -> None:
    net.add("SUB", [net.now, MEANS], net.shape)
    net.conv(4, (3, 2), same=False)


def affine(net: Net) -> None:
    for kind in ("MUL", "SUB"):
        net.add(kind, [net.now, net.random.uniform(0.5, 2, net.shape[3]).astype(np.float32)], net.shape)


def separable(net: Net) -> None:
    net.depthwise((3, 2), multiplier=2, stride=2, act=1)
    net.conv(8)


class Case(NamedTuple):
    """A graph that a rewrite changes.

    Attributes:
        build: Adds its operations; twice, they are a longer graph.
        size: Rows and columns of the input.
        channels: Channels of the input.
        computed: Number of changes if a constant is computed, for each of them in order.
    """

    build: Callable[[Net], Any]
    size: tuple[int, int]
    channels: int
    computed: list[int]


CASES = {
    "fold-normalization": Case(scaled, (6, 5), 3, [0, 0, 0, 0]),
    "single-mean": Case(shifted, (6, 5), 3, [0, 0, 0]),
    "channel-affine": Case(affine, (4, 3), 12, [0, 0]),
    "depthwise-multiplier": Case(separable, (8, 5), 8, [0, 0, 0, 1]),
    "grouped-depthwise": Case(lambda net: net.conv(2 * net.shape[3], (3, 2), groups=net.shape[3]), (6, 5), 4, [0, 1]),
    "split-depthwise": Case(lambda net: net.depthwise((7, 5), act=1), (9, 8), 8, [0, 1]),
    "unused-taps": Case(lambda net: net.conv(4, (5, 7), act=1), (2, 3), 4, [0, 1]),
    "wide-taps": Case(lambda net: net.conv(3, (4, 2), stride=2, act=1), (12, 9), 3, [0, 1]),
}
CONVOLUTIONS = [name for name in CASES if name != "channel-affine"]


def made(name: str, times: int = 1) -> Net:
    case = CASES[name]
    net = Net(case.size, case.channels, batch=2)
    for _ in range(times):
        case.build(net)
    return net


def check(name: str, net: Net, count: int) -> None:
    """A rewrite changes a graph at so many places, and the answers stay."""
    graph = Graph(model := net.model())
    assert rewrite(name, graph) == count
    before, after = (answer(m, builtin=True) for m in (model, graph.to_bytes()))
    np.testing.assert_allclose(after, before, rtol=1e-4, atol=2e-5 * np.abs(before).max())


def constants(net: Net) -> list[int]:
    """The tensors of the constants of real numbers."""
    values = [(i, net.graph.constant(i)) for i in range(len(net.graph.table.tensors))]
    return [i for i, value in values if value is not None and value.dtype == np.float32]


@pytest.mark.parametrize("name", CASES)
def test_it_is_done_at_every_place(name: str) -> None:
    check(name, made(name), 2 if name == "fold-normalization" else 1)
    if name not in ("fold-normalization", "single-mean"):
        check(name, made(name, 2), 2)


@pytest.mark.parametrize("name", CASES)
def test_constants_that_are_computed(name: str) -> None:
    for place, count in enumerate(CASES[name].computed):
        net = made(name)
        index = constants(net)[place]
        values = net.graph.constant(index)
        assert values is not None
        net.graph.table.tensors[index].buffer = 0
        half = net.graph.add_constant(values.astype(np.float16))
        net.graph.operators.insert(0, net.graph.operator("DEQUANTIZE", [half], index))
        check(name, net, count)


@pytest.mark.parametrize("name", CONVOLUTIONS)
def test_weights_of_integers_stay(name: str) -> None:
    for place in range(len(CASES[name].computed)):
        net = made(name)
        index = constants(net)[place]
        entry = net.graph.table.tensors[index]
        if len(entry.shape) == 4:
            entry.buffer = flat.add_buffer(net.graph.root, np.ones(entry.shape, np.int8))
            entry.type = TYPES[np.dtype(np.int8)]
            entry.quantization = flat.quantization([0.1], [0])
            assert rewrite(name, Graph(net.model())) == 0


@pytest.mark.parametrize("name", CASES)
def test_unknown_sizes_stay(name: str) -> None:
    net = made(name)
    fixed = constants(net)
    for index, entry in enumerate(net.graph.table.tensors):
        if index not in fixed:
            entry.shape = [0 if axis == 1 else int(size) for axis, size in enumerate(entry.shape)]
    assert rewrite(name, Graph(net.model())) == 0


@pytest.mark.parametrize("name", ["fold-normalization", "single-mean"])
def test_tables_and_integers_at_the_input_stay(name: str) -> None:
    net = Net((), 3)
    net.add("SUB", [net.now, MEANS], net.shape)
    net.add("FULLY_CONNECTED", [net.now, np.ones((2, 3), np.float32), np.ones(2, np.float32)], (1, 2))
    assert rewrite(name, Graph(net.model())) == 0
    net = made(name)
    net.graph.table.outputs = [net.graph.operators[0].outputs[0]]
    net.graph.operators[1:] = []
    assert rewrite(name, Graph(net.graph.to_bytes())) == 0, "no convolution behind it"
