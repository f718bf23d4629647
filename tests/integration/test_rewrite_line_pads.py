"""Zeros around an image, put around its lines: the same answers; what a convolution takes in is left alone."""

from __future__ import annotations

import numpy as np
import pytest
from pairwise import pairwise
from rewriting import Net, answer, kinds, rewrite

from edgepress.converters.to_tflite.graph import Graph


def rewritten(net: Net) -> tuple[bytes, bytes, int]:
    before = net.model()
    graph = Graph(before)
    count = rewrite("line-pads", graph)
    return before, graph.to_bytes(), count


@pairwise(
    reader=["", "pool", "reshape", "reshapes", "reshape and more", "two", "convolutions", "same"],
    pads=[((1, 1), (1, 1)), ((0, 1), (0, 1)), ((0, 0), (2, 3)), ((3, 0), (1, 0))],
    channels=[1, 3, 16],
)
def test_the_same_answers(reader: str, pads: tuple[tuple[int, int], ...], channels: int) -> None:
    net = Net((6, 5), channels, batch=2)
    padded = net.pad(pads)
    shape = net.shape
    height, width = net.shape[1:3]
    if reader == "pool":
        window = {"filterHeight": 2, "filterWidth": 2, "strideH": 1, "strideW": 1, "padding": 1}
        net.add("MAX_POOL_2D", [padded], (2, height - 1, width - 1, channels), **window)
    elif reader == "reshape":
        net.add("RESHAPE", [padded, np.array([1, -1], np.int32)], (1, 2 * height * width * channels))
    elif reader in ("reshapes", "reshape and more"):
        lines = [np.array([2, height, width * channels], np.int32)]
        ends = [net.add("RESHAPE", [padded, *lines], tuple(lines[0])) for _ in range(2)]
        if reader == "reshape and more":
            net.add("LOGISTIC", [padded], shape)
            ends[1] = net.add("RESHAPE", [net.now, *lines], tuple(lines[0]))
        net.add("ADD", ends, tuple(lines[0]))
    elif reader == "two":
        net.add("ADD", [padded, net.conv(channels, same=False)], shape)
    elif reader == "convolutions":
        first = net.conv(channels, (2, 1), same=False)
        net.now = padded
        net.add("ADD", [first, net.conv(channels, (2, 1), same=False)], net.shape)
    elif reader == "same":
        net.conv(2, (3, 3))
    before, after, count = rewritten(net)
    assert count == 1
    for builtin in (True, False):
        np.testing.assert_array_equal(answer(before, builtin=builtin), answer(after, builtin=builtin))
    assert kinds(after).count("RESHAPE") == {"reshapes": 3, "reshape and more": 5}.get(reader, 2)
    assert rewritten_again(after) == 0


def rewritten_again(model: bytes) -> int:
    return rewrite("line-pads", Graph(model))


@pytest.mark.parametrize("depthwise", [True, False])
def test_what_a_convolution_takes_in_is_left_alone(depthwise: bool) -> None:
    net = Net((6, 6), 4)
    net.pad([(1, 1), (1, 1)])
    if depthwise:
        net.depthwise((3, 3), same=False)
    else:
        net.conv(4, (3, 3), same=False)
    assert rewritten(net)[2] == 0


@pytest.mark.parametrize("axis", [0, 3])
def test_pads_of_other_axes_are_left_alone(axis: int) -> None:
    net = Net((6, 5), 4)
    amounts = np.array([(0, 0), (1, 1), (1, 1), (0, 0)], np.int32)
    amounts[axis] = 0, 2
    net.add("PAD", [net.now, amounts], tuple(np.array(net.shape) + amounts.sum(1)))
    assert rewritten(net)[2] == 0


@pytest.mark.parametrize("case", ["rows alone", "computed", "nobody reads it", "five axes", "unknown size"])
def test_other_pads_are_left_alone(case: str) -> None:
    net = Net((2, 6, 5) if case == "five axes" else (6, 5), 4)
    source, shape = net.now, net.shape
    amounts = np.zeros((len(shape), 2), np.int32)
    amounts[1 if case == "rows alone" else 2] = 1
    net.add("PAD", [source, amounts], tuple(np.array(shape) + amounts.sum(1)))
    if case == "computed":
        net.graph.table.tensors[int(net.graph.operators[-1].inputs[1])].buffer = 0
    elif case == "nobody reads it":
        net.add("LOGISTIC", [source], shape)
    elif case == "unknown size":
        net.graph.table.tensors[source].shape = [1, 0, 5, 4]
    assert rewritten(net)[2] == 0


def test_integers_and_operations_without_inputs_are_left_alone() -> None:
    net = Net((6, 6), 4)
    whole = net.add("CAST", [net.now], net.shape, inDataType=0, outDataType=2)
    net.graph.table.tensors[whole].type = 2
    padded = net.pad([(1, 1), (1, 1)])
    net.graph.table.tensors[padded].type = 2
    handle = net.graph.add_tensor((), "variable")
    net.graph.operators.append(net.graph.operator("VAR_HANDLE", [], handle))
    graph = Graph(net.model())
    assert rewrite("line-pads", graph) == 0
