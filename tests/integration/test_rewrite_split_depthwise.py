"""Depthwise convolutions of more than 25 taps, as sums of dilated ones: the same answers, and no large kernel left."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from rewriting import Net, answer, kinds, rewrite

from edgepress.converters.calibration import tflite_statistics
from edgepress.converters.rewrites.tflite.depthwise import LARGEST, divide
from edgepress.converters.schemes import SCHEMES
from edgepress.converters.to_tflite.convert import with_scheme
from edgepress.converters.to_tflite.graph import Graph

TOLERANCE = 1e-5


@settings(max_examples=10)
@given(
    kernel=st.tuples(st.integers(1, 11), st.integers(1, 13)).filter(lambda k: k[0] * k[1] > 25),
    size=st.tuples(st.integers(3, 20), st.integers(3, 20)),
    stride=st.sampled_from([1, 2, 3]),
    same=st.booleans(),
    pads=st.sampled_from([(), ((3, 3), (3, 3)), ((2, 3), (0, 1))]),
    act=st.sampled_from([0, 1, 3]),
)
@example(kernel=(7, 7), size=(12, 12), stride=1, same=True, pads=(), act=0)
@example(kernel=(7, 7), size=(11, 12), stride=2, same=True, pads=(), act=1)
@example(kernel=(7, 7), size=(12, 12), stride=2, same=False, pads=((3, 3), (3, 3)), act=0)
@example(kernel=(8, 8), size=(15, 16), stride=2, same=True, pads=(), act=3)
def test_the_sum_of_the_parts_is_the_convolution(kernel, size, stride, same, pads, act):
    padded = [n + (sum(p) if pads else 0) for n, p in zip(size, pads or ((), ()), strict=True)]
    if not same and any(n < k for n, k in zip(padded, kernel, strict=True)):
        return
    net = Net(size, 8)
    if pads:
        net.pad(pads)
    net.depthwise(kernel, stride=stride, same=same, act=act)
    model = net.model()
    graph = Graph(model)
    assert rewrite("split-depthwise", graph) == 1
    changed = graph.to_bytes()
    before, after = answer(model), answer(changed)
    assert before.shape == after.shape
    dilated = [op for op in Graph(changed).operators if _dilation(op) > 1]
    assert all(Graph(changed).root.operatorCodes[op.opcodeIndex].version == 2 for op in dilated)
    assert np.abs(before - after).max() <= TOLERANCE * max(1.0, np.abs(before).max())
    for op in Graph(changed).operators:
        if graph.kind(op) == "DEPTHWISE_CONV_2D":
            _, rows, columns, _ = Graph(changed).shape(int(op.inputs[1]))
            assert rows * columns <= 25


@given(st.integers(1, LARGEST), st.integers(1, LARGEST))
def test_every_tap_is_in_one_part(rows, columns):
    found = np.zeros((rows, columns), int)
    cost, grids = divide(rows, columns)
    assert cost < 3 * rows * columns or rows * columns <= 25, "as the limit on rows and columns promises"
    for (y, dy, ny), (x, dx, nx) in grids:
        found[y : y + dy * ny : dy, x : x + dx * nx : dx] += 1
        assert ny * nx <= 25
        assert (2 * y + dy * (ny - 1), 2 * x + dx * (nx - 1)) == (rows - 1, columns - 1)  # the same centre
    assert (found == 1).all()


@pytest.mark.parametrize(
    ("kernel", "cost", "parts"),
    [
        *(((3, 1), 8, 1), ((2, 2), 14, 1), ((3, 3), 14, 1), ((2, 5), 28, 2), ((5, 5), 30, 1)),
        *(((26, 1), 38, 2), ((3, 9), 44, 2), ((1, 31), 54, 4), ((31, 1), 54, 4), ((5, 9), 60, 2), ((7, 7), 74, 3)),
        *(((8, 6), 86, 5), ((6, 9), 88, 4), ((31, 2), 116, 6), ((9, 9), 118, 5), ((13, 13), 252, 10)),
    ],
)
def test_the_cheapest_division(kernel, cost, parts):
    found, grids = divide(*kernel)
    assert (found, len(grids)) == (cost, parts)


@pytest.mark.parametrize(
    ("kernel", "channels", "options", "count"),
    [
        *(((5, 5), 8, {}, 0), ((2, 13), 8, {}, 1), ((7, 7), 3, {}, 0), ((7, 7), 7, {}, 0), ((7, 7), 9, {"act": 3}, 1)),
        *(((1, 31), 8, {}, 1), ((1, 32), 8, {}, 0), ((31, 1), 8, {}, 1), ((32, 1), 8, {}, 0)),
        *(((7, 7), 8, {"act": 4}, 0), ((7, 8), 8, {"dilation": 2}, 1)),
    ],
)
def test_which_convolutions_are_divided(kernel, channels, options, count):
    net = Net((6, 5), channels)
    net.depthwise(kernel, **options)
    graph = Graph(model := net.model())
    assert rewrite("split-depthwise", graph) == count
    if count:
        before = answer(model)
        assert np.abs(before - answer(graph.to_bytes(), builtin=True)).max() < TOLERANCE * np.abs(before).max()


def test_a_convolution_with_several_outputs_a_channel_is_left_alone():
    net = Net((9, 9), 8)
    net.depthwise((7, 7), multiplier=2)
    assert rewrite("split-depthwise", Graph(net.model())) == 0


def test_padding_that_others_read_stays():
    net = Net((9, 9), 8)
    padded = net.pad(((3, 3), (3, 3)))
    net.depthwise((7, 7), same=False)
    net.slice(padded, net.shape)
    graph = Graph(model := net.model())
    assert rewrite("split-depthwise", graph) == 1
    assert np.abs(answer(model) - answer(graph.to_bytes())).max() < TOLERANCE


@pytest.mark.parametrize("scheme", ["tflite-dynamic", "tflite-float16", "tflite-int8"])
def test_quantized_files_keep_the_parts_float(scheme):
    net = Net((9, 9), 8)
    net.conv(8)
    net.depthwise((7, 7))
    net.conv(8)
    graph = Graph(model := net.model())
    rewrite("split-depthwise", graph)
    changed = graph.to_bytes()
    ranges = tflite_statistics(
        changed, lambda: [np.random.default_rng(0).normal(size=(4, *graph.shape(0)[1:]))], None
    ).ranges()
    made = with_scheme(changed, SCHEMES[scheme], ranges, {"depthwise-weights"}, uint8=False)
    found = Graph(made)
    parts = [op for op in found.operators if found.kind(op) == "DEPTHWISE_CONV_2D"]
    assert len(parts) == 3
    assert all(found.dtype(int(i)) == np.float32 for op in parts for i in (*op.inputs, *op.outputs))
    assert all(found.kind(found.makers()[int(op.inputs[1])]) == "DEQUANTIZE" for op in parts)
    assert ("QUANTIZE" in kinds(made)) == SCHEMES[scheme].calibrated
    reference = answer(model)
    spread = np.abs(reference).max()
    assert np.abs(answer(made) - reference).max() < 0.1 * spread


def _dilation(op) -> int:
    """The larger dilation of an operation, 0 if it can have none."""
    return max(getattr(op.builtinOptions, f"dilation{side}Factor", 0) for side in "HW")
