"""The bounds of what scales pixels: which steps go into the first convolution, which means become one."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from rewriting import Net, answer, rewrite

from edgepress.converters.to_tflite.graph import Graph

MEANS = np.array([123.7, 116.3, 103.5], np.float32)
FACTORS = np.array([0.2, 0.1, 0.3], np.float32)
Pads = tuple[tuple[int, int], tuple[int, int]]
NONE: Pads = ((0, 0), (0, 0))


def folded(net: Net) -> tuple[int, Graph]:
    """At how many places folding changes a graph, and the graph; the answers stay."""
    graph = Graph(model := net.model())
    count = rewrite("fold-normalization", graph)
    before, after = (answer(m, builtin=True, low=0, high=255) for m in (model, graph.to_bytes()))
    np.testing.assert_allclose(after, before, rtol=1e-4, atol=1e-4 * np.abs(before).max())
    return count, graph


def steps(net: Net, *given: tuple[str, Any]) -> None:
    for kind, constant in given:
        net.add(kind, [net.now, np.array(constant, np.float32)], net.shape)


@pytest.mark.parametrize(
    ("means", "size", "window", "left"),
    [
        (MEANS, (6, 5), {"kernel": (3, 2), "same": True}, 3),
        (MEANS, (6, 5), {"kernel": (3, 2), "same": False}, 1),
        (MEANS, (6, 1), {"kernel": (3, 1), "same": True}, 3),
        (MEANS, (5, 8), {"kernel": (1, 1), "same": True, "stride": 3}, 1),
        (MEANS, (4, 8), {"kernel": (2, 4), "same": True, "stride": 4}, 1),
        (np.full(3, 7, np.float32), (6, 5), {"kernel": (3, 2), "same": True}, 1),
    ],
)
def test_each_channel_keeps_its_mean_only_where_zeros_stand_for_it(means, size, window, left):
    net = Net(size, 3, batch=2)
    steps(net, ("SUB", means), ("MUL", FACTORS))
    net.conv(4, **window)
    count, graph = folded(net)
    assert count == 2
    constant = graph.constant(int(graph.operators[0].inputs[1]))
    assert constant is not None
    assert constant.size == left


@pytest.mark.parametrize(
    ("given", "same", "count"),
    [
        ([("SUB", [30, 20, 10])], True, 0),
        ([("SUB", 7)], True, 0),
        ([("SUB", 7)], False, 0),
        ([("SUB", [30, 20, 10])], False, 1),
        ([("MUL", FACTORS)], True, 1),
        ([("SUB", 7), ("ADD", 2)], True, 2),
        ([("ADD", 64), ("MUL", 1)], True, 2),
        ([("ADD", 64.5), ("MUL", 1)], True, 0),
        ([("ADD", -64.5), ("MUL", 1)], True, 0),
        ([("MUL", [1, -1, 8])], True, 1),
        ([("MUL", [1, -1, -8.5])], True, 0),
        ([("DIV", [2, 4, 8])], True, 1),
        ([("MUL", [1, np.inf, 2])], True, 0),
        ([("RELU", 0)], True, 0),
    ],
)
@pytest.mark.filterwarnings("ignore:invalid value")
def test_which_steps_are_worth_it(given, same, count):
    net = Net((5, 4), 3)
    for kind, constant in given:
        if kind == "RELU":
            net.add(kind, [net.now], net.shape)
        else:
            steps(net, (kind, constant))
    net.conv(4, (3, 2), same=same)
    if count:
        assert folded(net)[0] == count
    else:
        assert rewrite("fold-normalization", Graph(net.model())) == 0


@pytest.mark.parametrize("constant", [[1, 0, 2], "turned"])
def test_quotients_that_are_no_product_stay(constant):
    net = Net((5, 4), 3)
    if constant == "turned":
        net.add("DIV", [np.array([1, 2, 3], np.float32), net.now], net.shape)
    else:
        steps(net, ("DIV", constant))
    net.conv(4)
    assert rewrite("fold-normalization", Graph(net.model())) == 0


@pytest.mark.parametrize(
    ("shape", "count"), [((), 1), ((1,), 1), ((3,), 1), ((1, 1, 3), 1), ((3, 1, 1), 0), ((3, 3, 1), 0), ((3, 3, 3), 0)]
)
def test_constants_of_rows_and_pixels_stay(shape, count):
    net = Net((3, 3), 3)
    steps(net, ("MUL", np.linspace(1, 2, int(np.prod(shape))).reshape(shape)))
    net.conv(4, (3, 2))
    assert folded(net)[0] == count
    net = Net((3, 3), 3)
    steps(net, ("SUB", np.linspace(90.4, 109, int(np.prod(shape))).reshape(shape)))
    net.conv(4, same=False)
    assert rewrite("single-mean", Graph(net.model())) == count


@pytest.mark.parametrize(
    ("order", "axis", "depthwise", "count"),
    [
        ([2, 0, 1], 3, False, 1),
        ([2, 0, 1], -1, False, 1),
        ([2, 0, 1], 2, False, 0),
        ([2, 0, 1], 1, False, 0),
        ([2, 0, 0], 3, False, 0),
        ([2, 0, 1], 3, True, 0),
        ([0, 1, 2], 3, True, 1),
        ("computed", 3, False, 0),
        ("no options", 3, False, 0),
    ],
)
def test_another_order_of_the_channels(order, axis, depthwise, count):
    net = Net((3, 3), 3)
    steps(net, ("MUL", FACTORS))
    turned = [2, 0, 1] if isinstance(order, str) else order
    net.add("GATHER", [net.now, np.array(turned, np.int32)], net.shape, axis=axis)
    if order == "computed":
        net.graph.table.tensors[int(net.graph.operators[-1].inputs[1])].buffer = 0
    elif order == "no options":
        net.graph.operators[-1].builtinOptions = None
    if depthwise:
        net.depthwise((3, 2), multiplier=2)
    else:
        net.conv(4, (3, 2))
    if isinstance(order, str):
        assert rewrite("fold-normalization", Graph(net.model())) == count
    else:
        assert folded(net)[0] == (2 if count else 0)


@pytest.mark.parametrize(
    ("means", "count"),
    [
        ([7.8, 8, 8.2], 1),
        ([7.3, 7.5, 7.4], 0),
        ([6.9, 7, 7.1], 0),
        ([87.5, 100, 112.5], 1),
        ([87, 100, 113], 0),
        ([-90, -100, -110], 1),
        (100, 0),
        (100.4, 1),
        ([100, 100, 100], 0),
    ],
)
def test_which_means_become_one(means, count):
    net = Net((5, 4), 3)
    steps(net, ("SUB", means))
    net.conv(4, (3, 2), same=False)
    graph = Graph(model := net.model())
    assert rewrite("single-mean", graph) == count
    before, after = (answer(m, low=0, high=255) for m in (model, graph.to_bytes()))
    np.testing.assert_allclose(after, before, rtol=1e-4, atol=1e-5 * np.abs(before).max())


def share_outside(size: tuple[int, int], kernel: tuple[int, int], stride: int, same: bool, pads: Pads) -> float:
    """Share of the taps that meet zeros around the image."""
    around = []
    for n, taps, pair in zip(size, kernel, pads, strict=True):
        total = max(0, (-(-n // stride) - 1) * stride + taps - n) if same else 0
        around.append(pair if any(pair) else (total // 2, total - total // 2))
    windows = np.lib.stride_tricks.sliding_window_view(np.pad(np.ones(size), around), kernel)
    return 1 - float(windows[::stride, ::stride].mean())


@pytest.mark.parametrize("depthwise", [False, True])
@pytest.mark.parametrize(
    ("kernel", "stride", "same", "pads"),
    [
        ((3, 2), 1, True, NONE),
        ((2, 3), 2, True, NONE),
        ((3, 3), 2, True, NONE),
        ((3, 2), 1, False, ((0, 2), (0, 0))),
        ((3, 2), 1, False, ((0, 0), (2, 0))),
        ((2, 3), 2, False, ((1, 0), (0, 1))),
        ((3, 3), 2, False, ((1, 2), (2, 0))),
    ],
)
def test_the_taps_at_the_borders_set_how_far_means_may_differ(kernel, stride, same, pads, depthwise):
    outside = share_outside((10, 7), kernel, stride, same, pads)
    assert 0.02 < outside < 0.5
    for square, count in ((0.97, 1), (1.03, 0)):
        net = Net((10, 7), 3)
        apart = (square / outside * 3 / 2) ** 0.5
        steps(net, ("SUB", [500 - apart, 500, 500 + apart]))
        if any(map(any, pads)):
            net.pad(pads)
        if depthwise:
            net.depthwise(kernel, stride=stride, same=same)
        else:
            net.conv(4, kernel, stride=stride, same=same)
        assert rewrite("single-mean", Graph(net.model())) == count
