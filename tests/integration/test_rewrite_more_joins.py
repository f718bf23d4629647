"""The bounds of rewrites that join or divide operations: pools, CONCATENATION, factors by channel, dense products."""

from __future__ import annotations

from typing import Any

import int8_graphs
import numpy as np
import pytest
from rewriting import Net, answer, kinds, rewrite

from edgepress.converters.to_tflite.graph import Graph


def change(net: Net, name: str) -> tuple[Graph, int]:
    """A graph after a rewrite, and at how many places it was changed; the answers stay."""
    graph = Graph(model := net.model())
    count = rewrite(name, graph)
    before, after = (answer(m, builtin=True) for m in (model, graph.to_bytes()))
    np.testing.assert_allclose(after, before, rtol=1e-5, atol=1e-5 * np.abs(before).max())
    return graph, count


def pool(net: Net, filter: tuple[int, int], strides: tuple[int, int], act: int = 0) -> int:
    sides = [(n - f) // s + 1 for n, f, s in zip(net.shape[1:3], filter, strides, strict=True)]
    names = ("filterHeight", "filterWidth", "strideH", "strideW")
    options = dict(zip(names, (*filter, *strides), strict=True)) | {"fusedActivationFunction": act, "padding": 1}
    return net.add("MAX_POOL_2D", [net.now], (net.shape[0], *sides, net.shape[3]), **options)


@pytest.mark.parametrize(
    ("filter", "strides", "act", "kernel", "count"),
    [
        ((1, 1), (2, 3), 0, (1, 1), 2),
        ((1, 1), (1, 2), 0, (1, 1), 2),
        ((1, 1), (3, 1), 0, (1, 1), 2),
        ((1, 1), (2, 3), 1, (1, 1), 0),
        ((1, 2), (2, 2), 0, (1, 1), 0),
        ((2, 1), (2, 2), 0, (1, 1), 0),
        ((1, 1), (2, 2), 0, (1, 2), 0),
        ((1, 1), (2, 2), 0, (2, 1), 0),
    ],
)
def test_pools_and_strides_of_either_axis(filter, strides, act, kernel, count):
    net = Net((17, 19), 3, batch=2)
    for channels in (4, 5):
        pool(net, filter, strides, act)
        net.conv(channels, kernel, same=False)
    net.graph.operators[-1].builtinOptions.strideW = 2
    net.graph.table.tensors[net.now].shape = [*net.shape[:2], -(-net.shape[2] // 2), net.shape[3]]
    assert change(net, "fold-pool")[1] == count


def test_a_pool_stays_whose_values_are_weights_or_answers():
    net = Net((4, 4), 3)
    pooled = pool(net, (1, 1), (4, 4))
    net.add("CONV_2D", [0, pooled, np.ones(1, np.float32)], (1, 4, 4, 1), padding=1, strideH=1, strideW=1)
    assert rewrite("fold-pool", Graph(net.model())) == 0
    net = Net((4, 4), 3)
    pool(net, (1, 1), (2, 2))
    assert rewrite("fold-pool", Graph(net.model())) == 0


@pytest.mark.parametrize(
    ("sizes", "axis", "joined"),
    [
        ([9, 9, 9, 9, 9], 3, []),
        ([9, 9, 1, 2, 9, 9], 3, [3]),
        ([1, 9, 9, 9, 9, 2], 1, [10]),
        ([2, 1, 9, 9, 9, 9], -3, [3]),
        ([9, 9, 9, 9, 2, 1], 2, [3]),
        ([9, 9, 9, 1, 1, 1, 9], 2, [3]),
        ([1] * 8 + [9] * 4, 3, [5, 8]),
    ],
)
def test_the_smallest_neighbours_are_joined_first(sizes, axis, joined):
    net = Net((10, 11), 12, batch=2)
    place, source, shape = axis % 4, net.now, list(net.shape)
    parts = []
    for first, count in enumerate(sizes):
        begin = np.zeros(4, np.int32)
        begin[place] = min(first, 10 - count)
        shape[place] = count
        parts.append(net.add("SLICE", [source, begin, np.array(shape, np.int32)], tuple(shape)))
    shape[place] = sum(sizes)
    net.add("CONCATENATION", parts, tuple(shape), axis=axis)
    graph, count = change(net, "concat-tree")
    made = [op for op in graph.operators if graph.kind(op) == "CONCATENATION"]
    assert count == bool(joined)
    assert [graph.shape(int(op.outputs[0]))[place] for op in made[:-1]] == joined
    assert all(len(op.inputs) <= 5 for op in made)


@pytest.mark.parametrize(("scale", "known", "count"), [(0.05, True, 1), (0.06, True, 0), (0.05, False, 0)])
def test_integers_of_other_scales_and_unknown_sizes_are_not_joined(scale: float, known: bool, count: int) -> None:
    shape = int8_graphs.EVERY.shape
    net = int8_graphs.Net(shape)
    other = net.op("ABS", [net.input], shape, scale)
    net.op("CONCATENATION", [*[net.input] * 5, other], (*shape[:3], 24), axis=3)
    if not known:
        net.graph.tensors[other].shape = [0, *shape[1:]]
    after, found = int8_graphs.rewritten("concat-tree", net.model())
    assert found == count
    if count:
        before = int8_graphs.answers(net.model(), int8_graphs.EVERY)
        assert int8_graphs.steps(before, int8_graphs.answers(after, int8_graphs.EVERY, delegate=False)) == 0


def constant(net: Net, shape: Any) -> np.ndarray:
    return net.random.uniform(0.5, 2, shape).astype(np.float32)


@pytest.mark.parametrize("kind", ["ADD", "SUB"])
def test_a_constant_may_stand_in_front(kind):
    net = Net((5, 4), 8, batch=2)
    net.add("MUL", [constant(net, 8), net.now], net.shape)
    inputs = [constant(net, 8), net.now] if kind == "ADD" else [net.now, constant(net, 8)]
    net.add(kind, inputs, net.shape, fusedActivationFunction=3)
    graph, count = change(net, "channel-affine")
    assert count == 1
    (op,) = graph.operators
    assert graph.root.operatorCodes[op.opcodeIndex].version == 1, "what older releases of LiteRT open"


@pytest.mark.parametrize(
    ("case", "count"),
    [
        ("", 2),
        ("factor by row", 1),
        ("shift by row", 1),
        ("shift of more axes", 1),
        ("activation between", 1),
        ("activation behind", 1),
        ("other reader", 1),
        ("product behind", 1),
        ("small factor", 1),
        ("larger factor", 2),
        ("negative shift", 1),
    ],
)
def test_pairs_of_other_kinds_stay(case, count):
    net = Net((8, 4), 8)
    factor, shift = constant(net, 8), np.full(8, 2, np.float32)
    if case in ("small factor", "negative shift", "larger factor"):
        factor[3] = 2.0**-9 if case == "larger factor" else 2.0**-9.1
        shift = -shift if case == "negative shift" else shift
    product = net.add(
        "MUL",
        [net.now, constant(net, (8, 1, 1)) if case == "factor by row" else factor],
        net.shape,
        fusedActivationFunction=int(case == "activation between"),
    )
    if case == "shift by row":
        shift = constant(net, (8, 1, 1))
    elif case == "shift of more axes":
        shift = constant(net, (1, 1, 1, 1, 8))
    shape = (1, *net.shape) if case == "shift of more axes" else net.shape
    net.add(
        "MUL" if case == "product behind" else "ADD",
        [net.now, shift],
        shape,
        fusedActivationFunction=4 * (case == "activation behind"),
    )
    if case == "shift of more axes":
        net.add("RESHAPE", [net.now, np.array(shape[1:], np.int32)], shape[1:])
    if case == "other reader":
        net.add("ADD", [net.now, product], net.shape)
    net.add("RELU", [net.now], net.shape)
    net.add("MUL", [net.now, constant(net, 8)], net.shape)
    net.add("ADD", [net.now, constant(net, 8)], net.shape)
    graph = Graph(model := net.model())
    assert rewrite("channel-affine", graph) == count
    if case != "activation behind":  # LiteRT's ADD knows no TANH
        np.testing.assert_allclose(answer(graph.to_bytes()), answer(model), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(
    ("size", "kernel", "strides", "count"),
    [
        ((5, 4), (1, 1), (1, 1), 2),
        ((1, 1), (1, 1), (1, 1), 2),
        ((1, 1), (3, 3), (1, 1), 1),
        ((5, 4), (1, 2), (1, 1), 1),
        ((5, 4), (2, 1), (1, 1), 1),
        ((5, 4), (1, 1), (2, 1), 1),
        ((5, 4), (1, 1), (1, 2), 1),
    ],
)
def test_products_of_four_bits_are_dense(size, kernel, strides, count):
    net = Net(size, 16, batch=2)
    net.conv(16)
    net.conv(17, act=3)
    net.conv(18, kernel, act=1)
    options = net.graph.operators[-1].builtinOptions
    options.strideH, options.strideW = strides
    sides = [-(-n // s) for n, s in zip(size, strides, strict=True)]
    net.graph.table.tensors[net.now].shape = [2, *sides, 18]
    net.conv(20)
    graph, found = change(net, "dense-products")
    assert found == count
    assert kinds(graph.to_bytes()).count("FULLY_CONNECTED") == count
