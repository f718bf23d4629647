"""Pools of one value, CONCATENATION of many tensors, and a factor and a shift for each channel."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rewriting import Net, answer, kinds, rewrite

from edgepress.converters.rewrites.tflite import folding, operations
from edgepress.converters.to_tflite.graph import Graph
from edgepress.toolkit.diagnosis.speed import about


def change(net: Net, what) -> tuple[bytes, bytes, int]:
    graph = Graph(model := net.model())
    made = rewrite(what, graph)
    return model, graph.to_bytes(), made


def same(before: bytes, after: bytes, tolerance: float = 0.0) -> bool:
    return all(np.abs(answer(before, builtin=b) - answer(after, builtin=b)).max() <= tolerance for b in (False, True))


def pool(net: Net, kind: str = "AVERAGE_POOL_2D", *, filter: int = 1, stride: int = 2, act: int = 0) -> int:
    _, h, w, c = net.shape
    shape = (1, (h - filter) // stride + 1, (w - filter) // stride + 1, c)
    size = {"filterHeight": filter, "filterWidth": filter, "strideH": stride, "strideW": stride}
    return net.add(kind, [net.now], shape, padding=1, fusedActivationFunction=act, **size)


@pytest.mark.parametrize("kind", ["AVERAGE_POOL_2D", "MAX_POOL_2D"])
@pytest.mark.parametrize("size", [(8, 8), (7, 9), (1, 4)])
@pytest.mark.parametrize(("stride", "padded"), [(2, True), (3, False)])
def test_pools_become_strides(kind, size, stride, padded):
    net = Net(size, 4)
    pooled = pool(net, kind, stride=stride)
    net.conv(3, same=padded, act=1)
    first = net.now
    net.now = pooled
    net.conv(3, same=not padded)
    net.add("ADD", [first, net.now], net.shape)
    before, after, made = change(net, "fold-pool")
    assert made == 1
    assert sorted(kinds(after)) == ["ADD", "CONV_2D", "CONV_2D"]
    assert same(before, after, 1e-5)


@pytest.mark.parametrize("kind", ["AVERAGE_POOL_2D", "MAX_POOL_2D"])
def test_pools_that_copy_stay(kind):
    net = Net((8, 8), 4)
    pool(net, kind, stride=1)
    net.conv(4)
    assert change(net, "fold-pool")[2] == 0


def test_pools_that_others_read_stay():
    for build in (lambda net: net.conv(3, (3, 3)), lambda net: net.add("RELU", [net.now], net.shape)):
        net = Net((8, 8), 4)
        pool(net)
        build(net)
        assert change(net, "fold-pool")[2] == 0
    for options in ({"filter": 2}, {"act": 1}):
        net = Net((8, 8), 4)
        pool(net, **options)
        net.conv(3)
        assert change(net, "fold-pool")[2] == 0


@settings(max_examples=10)
@given(st.lists(st.integers(1, 4), min_size=2, max_size=17), st.sampled_from([3, -1]))
def test_concatenation_of_many(channels, axis):
    net, parts = Net((4, 4), 2), []
    source = net.now
    for count in channels:
        net.now = source
        parts.append(net.conv(count))
    net.add("CONCATENATION", parts, (1, 4, 4, sum(channels)), axis=axis)
    before, after, made = change(net, "concat-tree")
    assert made == (len(channels) > 5)
    assert same(before, after)
    graph = Graph(after)
    assert all(len(op.inputs) <= 5 for op in graph.operators)


@pytest.mark.parametrize("kind", ["ADD", "SUB"])
@pytest.mark.parametrize("act", [0, 1, 2, 3])
@pytest.mark.parametrize("shape", [(12,), (1, 1, 1, 12)])
def test_a_factor_and_a_shift(kind, act, shape):
    net = Net((5, 4), 12)
    factor, shift = (net.random.uniform(0.1, 2, size=shape).astype(np.float32) for _ in range(2))
    net.add("MUL", [net.now, factor], net.shape)
    net.add(kind, [net.now, shift], net.shape, fusedActivationFunction=act)
    before, after, made = change(net, "channel-affine")
    assert made == 1
    assert kinds(after) == ["DEPTHWISE_CONV_2D"]
    assert same(before, after, 1e-6)


@pytest.mark.parametrize(
    "constant", [np.ones((), np.float32), np.ones((1, 5, 4, 12), np.float32), np.ones((5, 1, 1), np.float32)]
)
def test_other_constants_stay(constant):
    net = Net((5, 4), 12)
    net.add("MUL", [net.now, constant], net.shape)
    net.add("ADD", [net.now, np.ones(12, np.float32)], net.shape)
    assert change(net, "channel-affine")[2] == 0


@pytest.mark.parametrize(("channels", "places"), [(7, 0), (8, 1)])
def test_few_channels_stay(channels, places):
    net = Net((5, 4), channels)
    for kind in ("MUL", "ADD"):
        net.add(kind, [net.now, np.ones(channels, np.float32)], net.shape)
    assert change(net, "channel-affine")[2] == places


def test_a_constant_minus_the_images_stays():
    net = Net((5, 4), 12)
    net.add("MUL", [net.now, np.ones(12, np.float32)], net.shape)
    net.add("SUB", [np.ones(12, np.float32), net.now], net.shape)
    assert change(net, "channel-affine")[2] == 0


@pytest.mark.parametrize("factor", [0.0, 1e-12, 1e-4])
def test_shifts_that_no_integer_bias_holds_stay(factor):
    net = Net((5, 4), 12)
    factors = np.ones(12, np.float32)
    factors[3] = factor
    net.add("MUL", [net.now, factors], net.shape)
    net.add("ADD", [net.now, np.full(12, -0.5, np.float32)], net.shape)
    assert change(net, "channel-affine")[2] == 0


def test_concatenation_of_integers_is_divided_too():
    net = Net((4, 4), 2)
    integers = net.graph.add_tensor(net.shape, "integers")
    net.graph.table.tensors[integers].type = 2
    net.graph.operators.append(net.graph.operator("CAST", [net.now], integers, inDataType=0, outDataType=2))
    joined = net.graph.add_tensor((1, 4, 4, 12), "joined", like=integers)
    net.graph.operators.append(net.graph.operator("CONCATENATION", [integers] * 6, joined, axis=3))
    net.now = joined
    before, after, made = change(net, "concat-tree")
    assert made == 1
    assert same(before, after)


def test_a_diagnosis_marks_the_operations_that_these_rewrites_would_change(tmp_path):
    net = Net((8, 8), 4)
    pool(net)
    net.conv(3)
    parts = [net.conv(3) for _ in range(6)]
    net.add("CONCATENATION", parts, (*net.shape[:3], 18), axis=3)
    file = tmp_path / "net.tflite"
    file.write_bytes(net.model())
    nodes = [SimpleNamespace(name=str(place)) for place in range(len(Graph(file.read_bytes()).operators))]
    _, marks = about._of_tflite(file, nodes)
    special = {place: mark for place, mark in marks.items() if mark != about.SMALL}
    assert special == {"0": about.PICKING, str(len(nodes) - 1): about.WIDE}
    for name, find in (
        ("fold-pool", folding.find_fold_pool),
        ("concat-tree", operations.find_concat_tree),
    ):  # and asking changes nothing
        graph = Graph(file.read_bytes())
        assert len(list(find(graph))) == 1
        assert kinds(graph.to_bytes()) == kinds(file.read_bytes())
        assert rewrite(name, graph) == 1
        assert not list(find(graph))
