"""Columns of a step as channels of one tap: the same answers for every stride and padding."""

from __future__ import annotations

import numpy as np
import pytest
from pairwise import pairwise
from rewriting import Net, answer, kinds, rewrite

from edgepress.converters.to_tflite.graph import Graph


def both(net: Net) -> tuple[bytes, bytes, int]:
    """The model before and after the rewrite, and at how many places it was changed."""
    before = net.model()
    graph = Graph(before)
    count = rewrite("wide-taps", graph)
    rewrite("line-pads", graph)
    return before, graph.to_bytes(), count


@pairwise(
    size=[(12, 12), (13, 15), (16, 9)],
    window=[((10, 4), 2), ((4, 4), 4), ((2, 2), 2), ((6, 6), 2), ((3, 6), 3), ((1, 2), 2)],
    channels=[1, 3, 7],
    same=[True, False],
)
def test_the_same_answers(
    size: tuple[int, int], window: tuple[tuple[int, int], int], channels: int, same: bool
) -> None:
    kernel, stride = window
    net = Net(size, channels, batch=2)
    net.conv(5, kernel, stride=stride, same=same, act=1)
    before, after, count = both(net)
    assert count == 1
    for builtin in (True, False):
        np.testing.assert_allclose(
            answer(before, builtin=builtin), answer(after, builtin=builtin), rtol=1e-6, atol=1e-5
        )
    graph = Graph(after)
    (conv,) = [op for op in graph.operators if graph.kind(op) == "CONV_2D"]
    assert graph.shape(int(conv.inputs[1])) == (5, kernel[0], kernel[1] // stride, channels * stride)


@pytest.mark.parametrize("pads", [((1, 2), (1, 2)), ((0, 3), (2, 1)), ((2, 0), (1, 0)), ((0, 0), (0, 1))])
def test_a_pad_in_front_is_part_of_it(pads: tuple[tuple[int, int], ...]) -> None:
    net = Net((13, 11), 3)
    net.pad(pads)
    net.conv(5, (3, 4), stride=2, same=False)
    before, after, count = both(net)
    assert count == 1
    assert kinds(after).count("PAD") == 1
    assert not {"SLICE", "PADV2"} & {*kinds(after)}
    np.testing.assert_allclose(answer(before), answer(after), rtol=1e-6, atol=1e-5)


def test_a_pad_that_others_read_stays() -> None:
    net = Net((13, 11), 3)
    padded = net.pad([(1, 2), (1, 2)])
    net.conv(3, (3, 4), stride=2, same=False)
    net.slice(padded, net.shape)
    before, after, count = both(net)
    assert count == 1
    np.testing.assert_allclose(answer(before), answer(after, builtin=True), rtol=1e-6, atol=1e-5)


@pytest.mark.parametrize(("rows", "columns", "count"), [(1, 2, 1), (3, 2, 1), (2, 1, 0), (2, 3, 0), (2, 4, 1)])
def test_steps_of_columns_alone_count(rows: int, columns: int, count: int) -> None:
    net = Net((12, 10), 3)
    net.conv(5, (3, 4))
    options = net.graph.operators[-1].builtinOptions
    options.strideH, options.strideW = rows, columns
    net.graph.table.tensors[net.now].shape = [1, -(-12 // rows), -(-10 // columns), 5]
    before, after, found = both(net)
    assert found == count
    np.testing.assert_allclose(answer(before), answer(after, builtin=True), rtol=1e-6, atol=1e-5)


def test_groups_and_steps_between_taps_are_left_alone() -> None:
    for options in ({"groups": 2}, {"dilation": 2}):
        net = Net((12, 10), 4)
        net.conv(4, (3, 4), stride=2, **options)
        assert both(net)[2] == 0


@pytest.mark.parametrize(
    ("channels", "kernel", "stride", "dilation"),
    [(3, (3, 3), 2, 1), (3, (4, 4), 1, 1), (3, (3, 3), 1, 2), (8, (4, 4), 2, 1)],
)
def test_what_would_not_gain_is_left_alone(channels: int, kernel: tuple[int, int], stride: int, dilation: int) -> None:
    net = Net((12, 12), channels)
    net.conv(5, kernel, stride=stride, dilation=dilation)
    before, after, count = both(net)
    assert count == 0
    assert kinds(before) == kinds(after)
