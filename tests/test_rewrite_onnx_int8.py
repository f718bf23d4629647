"""Rewrites of ONNX files of 8 bits, and of dynamic ones."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import numpy_helper
from onnx_rewriting import FLOAT, UINT8, OnnxNet, answer, kinds, near, rewritten

from edgepress.converters.rewrites.onnx import (
    convolution_weights,
    depthwise_channels,
    first_convolution,
    input_bytes,
    input_zero,
    quantized_hard_sigmoid,
    relu_bytes,
    swish,
    uint8_activations,
)
from edgepress.converters.schemes import SCHEMES
from edgepress.converters.to_onnx.pixels import ranges_of_pixels
from edgepress.converters.to_onnx.quantize import with_scheme
from edgepress.converters.to_onnx.weights import store_in_bytes

EVERY_BYTE = np.arange(256, dtype=np.uint8).reshape(1, 1, 16, 16)


def depthwise(net: OnnxNet, count: int, size: int = 3, *, bias: bool = True, **options: Any) -> str:
    return net.conv(count, 1, (size, size), bias=bias, group=count, **options)


# The input.


def image(*, height: int = 8, width: int = 8, channels: int = 3, mean: Any = 0.0, scale: Any = 1.0) -> OnnxNet:
    net = OnnxNet((height, width, channels), UINT8)
    net.add("Cast", to=FLOAT)
    for kind, value in (("Sub", mean), ("Mul", scale)):
        if np.any(value):
            net.add(kind, np.array(value, np.float32))
    net.add("Transpose", perm=[0, 3, 1, 2])
    return net


@pytest.mark.parametrize("view", ["Reshape", "Transpose"])
@pytest.mark.parametrize(("scale", "places"), [(1.0, 1), (0.5, 0)])
def test_bytes_are_read_through_a_view_of_the_input(view: str, scale: float, places: int) -> None:
    net = OnnxNet((8, 8, 1), UINT8)
    cast = net.add("Cast", to=FLOAT)
    if view == "Reshape":
        net.add(view, np.array([-1, 1, 8, 8], np.int64))
    else:
        net.add(view, perm=[0, 3, 1, 2])
    assert ranges_of_pixels(net.model(), (0.0, 255.0)) == {cast: (0.0, 255.0), net.now: (0.0, 255.0)}
    net.quantized(scale, 0)
    net.conv(4, 1, (3, 3))
    changed, made = rewritten(net.model(), input_bytes.rewrite)
    assert made == places
    if places:
        assert kinds(changed) == [view, "DequantizeLinear", "Conv"]
        near(net, input_bytes.rewrite, tolerance=0)


@pytest.mark.parametrize("mean", [0.0, 127.5, [123.68, 116.28, 103.53]])
def test_the_offset_of_pixels_becomes_one_whole_number(mean: Any) -> None:
    net = image(mean=mean, scale=[0.017, 0.018, 0.02])
    net.conv(4, 3, (3, 3))
    changed = near(net, input_zero.rewrite, tolerance=1e-4)
    whole = round(float(np.mean(mean)))
    assert kinds(changed) == ["Transpose", "Cast", *(["Add"] if whole else []), "Conv"]
    pixels = (0.0, 255.0)
    expected = {pixels, (-whole, 255.0 - whole)}
    assert set(ranges_of_pixels(changed, pixels).values()) == expected


@pytest.mark.parametrize(("scale", "ranges"), [(0.5, {(0.0, 255.0), (0.0, 127.5)}), (-0.5, {(0.0, 255.0)})])
def test_ranges_of_pixels_are_known_as_long_as_their_order_stays(
    scale: float, ranges: set[tuple[float, float]]
) -> None:
    assert set(ranges_of_pixels(image(scale=scale).model(), (0.0, 255.0)).values()) == ranges


def test_padded_pixels_are_off_by_a_few_grey_levels() -> None:
    net = image(mean=[120.0, 110.0, 100.0])
    net.conv(1, 3, (3, 3), pads=[1] * 4, bias=False)
    model = net.model()
    changed, _ = rewritten(model, input_zero.rewrite)
    off = np.abs(answer(model, items := net.items()) - answer(changed, items))[:, 0]
    weights = np.abs(numpy_helper.to_array(model.graph.initializer[-1])).sum()
    assert off[:, 1:-1, 1:-1].max() < 1e-2
    assert 1 < off.max() <= 10 * weights


@pytest.mark.parametrize(
    ("mean", "places"),
    [([101.0, 117.0, 133.0], 1), ([100.0, 117.0, 134.0], 0), (255.0, 1), (256.0, 0), (-1.0, 0)],
)
def test_offsets_that_are_far_apart_or_no_bytes_stay(mean: Any, places: int) -> None:
    net = image(mean=mean)
    net.conv(4, 3, (3, 3))
    assert rewritten(net.model(), input_zero.rewrite)[1] == places


@pytest.mark.parametrize("zero", [0, 114])
def test_bytes_are_read_as_they_are(zero: int) -> None:
    net = OnnxNet((4, 4, 3), UINT8)
    net.add("Transpose", perm=[0, 3, 1, 2])
    net.add("Cast", to=FLOAT)
    now = net.quantized(1.0, 0)
    if zero:
        net.add(
            "Add", now, net.add("DequantizeLinear", net.constant(np.uint8(0)), np.float32(zero / 255), np.uint8(255))
        )
        net.quantized(1.0, zero)
    changed = near(net, input_bytes.rewrite, places=2 if zero else 1, tolerance=0)
    assert kinds(changed) == ["Transpose", "DequantizeLinear"]


@pytest.mark.parametrize(("scale", "zero"), [(0.5, 0), (1.0, 3)])
def test_bytes_of_another_scale_stay(scale: float, zero: int) -> None:
    net = OnnxNet((4, 4, 3), UINT8)
    net.add("Cast", to=FLOAT)
    net.quantized(scale, zero)
    assert rewritten(net.model(), input_bytes.rewrite)[1] == 0


@pytest.mark.parametrize("end", ["Relu", "", "swish"])
@pytest.mark.parametrize(
    ("size", "stride", "pads"),
    [(3, 2, [0, 0, 1, 1]), (3, 2, [1, 1, 1, 1]), (3, 2, [1, 1, 0, 0]), (7, 2, [3, 3, 3, 3]), (7, 2, [2, 2, 3, 3]),
     (5, 2, [1, 1, 2, 2]), (4, 4, [0, 0, 0, 0]), (2, 2, [0, 0, 0, 0])],
)  # fmt: skip
@pytest.mark.parametrize("bias", [True, False])
def test_the_first_convolution_takes_four_columns(size, stride, pads, end, bias) -> None:
    net = image(height=12, width=16, mean=100.0)
    value = net.conv(5, 3, (size, size), strides=[stride] * 2, pads=pads, bias=bias)
    if end == "Relu":
        net.add("Relu")
    elif end:
        net.add("Mul", value, net.add("Sigmoid", value))
    net.conv(2, 5, (1, 1))
    onnx_input_zero_model = net.model()
    input_zero.rewrite(onnx_input_zero_model)
    changed, made = rewritten(onnx_input_zero_model, first_convolution.rewrite)
    assert made == 1
    before, after = answer(onnx_input_zero_model, items := net.items()), answer(changed, items)
    assert before.shape == after.shape
    assert np.abs(before - after).max() <= 1e-5 * np.abs(before).max()


@pytest.mark.parametrize(
    "options",
    [{"strides": [1, 1], "pads": [1] * 4}, {"strides": [3, 3]}, {"strides": [2, 2], "pads": [0, 0, 0, 0]},
     {"strides": [2, 2], "pads": [0, 0, 1, 1], "dilations": [2, 2]}],
)  # fmt: skip
def test_other_first_convolutions_stay(options) -> None:
    net = image(height=12, width=16)
    net.conv(5, 3, (3, 3), **options)
    net.conv(2, 5, (1, 1))
    model = net.model()
    input_zero.rewrite(model)
    assert rewritten(model, first_convolution.rewrite)[1] == 0


# Channels.


def block(count: int, *, excite: bool, stride: int, act: str) -> OnnxNet:
    """Widen, depthwise convolution with normalization, squeeze and excite, narrow."""
    net = OnnxNet((3, 8, 8))
    value = net.conv(count, 3, (1, 1))
    net.add("Mul", value, net.add(act, value))
    net.add("Pad", np.array([0, 0, 1, 1, 0, 0, 1, 1]))
    depthwise(net, count, strides=[stride] * 2, bias=False)
    net.add("Mul", net.random.normal(size=(1, count, 1, 1)).astype(np.float32))
    value = net.add("Add", net.random.normal(size=(count, 1, 1)).astype(np.float32))
    if excite:
        net.add("GlobalAveragePool")
        net.conv(2, count, (1, 1))
        net.conv(count, 2, (1, 1))
        net.add("Mul", value, net.add("HardSigmoid"))
    net.conv(4, count, (1, 1))
    return net


@pytest.mark.parametrize("excite", [True, False])
@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize(("count", "wide"), [(11, 16), (22, 32), (24, 32), (44, 48)])
def test_depthwise_convolutions_get_a_multiple_of_16_channels(count, wide, excite, stride) -> None:
    net = block(count, excite=excite, stride=stride, act="HardSigmoid" if excite else "Sigmoid")
    changed = near(net, depthwise_channels.rewrite, tolerance=1e-5)
    (group,) = (a.i for n in changed.graph.node for a in n.attribute if a.name == "group")
    assert group == wide


@pytest.mark.parametrize("kind", ["Sub", "Div"])
def test_differences_and_quotients_of_channels_are_widened(kind: str) -> None:
    net = OnnxNet((3, 8, 8))
    net.conv(24, 3, (1, 1))
    depthwise(net, 24)
    net.add(kind, net.random.uniform(1, 2, (1, 24, 1, 1)).astype(np.float32))
    net.conv(4, 24, (1, 1))
    near(net, depthwise_channels.rewrite)


@pytest.mark.parametrize("count", [8, 16, 17])
def test_channels_that_would_grow_too_much_or_fit_stay(count: int) -> None:
    assert rewritten(block(count, excite=False, stride=1, act="Relu").model(), depthwise_channels.rewrite)[1] == 0


@pytest.mark.parametrize("kind", ["Softmax", "output", "input", "group"])
def test_channels_that_others_need_stay(kind: str) -> None:
    net = OnnxNet((24, 8, 8))
    if kind != "input":
        net.conv(24, 12 if kind == "group" else 24, (1, 1), group=2 if kind == "group" else 1)
    depthwise(net, 24)
    if kind == "Softmax":
        net.add("Softmax", axis=1)
    if kind != "output":
        net.conv(4, 24, (1, 1))
    assert rewritten(net.model(), depthwise_channels.rewrite)[1] == 0


# Activations.


@given(scale=st.floats(0.01, 0.2), zero=st.integers(0, 255), high=st.floats(0.3, 1), alpha=st.floats(0.1, 1),
       beta=st.floats(0.1, 1))  # fmt: skip
@settings(max_examples=30, deadline=None)
def test_hard_sigmoids_of_bytes_become_additions(scale, zero, high, alpha, beta) -> None:
    net = OnnxNet((1, 16, 16), UINT8)
    net.add("DequantizeLinear", np.float32(scale), np.uint8(zero))
    net.add("HardSigmoid", alpha=alpha, beta=beta)
    step = np.float32(high / 255)
    net.quantized(step, 0)
    model = net.model()
    changed, made = rewritten(model, quantized_hard_sigmoid.rewrite)
    assert made == 1
    for optimized in (True, False):
        off = np.abs(answer(model, EVERY_BYTE, optimized=optimized) - answer(changed, EVERY_BYTE, optimized=optimized))
        assert off.max() <= 1.01 * step
        exact = ((EVERY_BYTE.astype(np.float64) - zero) * scale * alpha + beta) / step
        assert (np.abs(exact % 1 - 0.5)[off > 0.01 * step] < 0.01).all(), "only what is nearly half a step"


@pytest.mark.parametrize(
    ("high", "zero", "alpha", "beta"),
    [(1.2, 0, 0.2, 0.5), (1.01, 0, 0.2, 0.5), (1.0, 3, 0.2, 0.5), (1.0, 0, -0.2, 0.5), (1.0, 0, 0.2, 0.0)],
)
def test_other_hard_sigmoids_of_bytes_stay(high: float, zero: int, alpha: float, beta: float) -> None:
    net = OnnxNet((1, 16, 16))
    net.quantized(0.05, 100)
    net.add("HardSigmoid", alpha=alpha, beta=beta)
    net.quantized(high / 255, zero)
    assert rewritten(net.model(), quantized_hard_sigmoid.rewrite)[1] == 0


@pytest.mark.parametrize("first", [True, False])
def test_swish_of_bytes_is_one_operation_in_float(first: bool) -> None:
    net = OnnxNet((1, 16, 16), UINT8)
    value = net.add("DequantizeLinear", np.float32(0.05), np.uint8(90))
    net.add("Sigmoid")
    gate = net.quantized(1 / 255, 0)
    net.add("Mul", *((value, gate) if first else (gate, value)))
    step = 8.6 / 255
    net.quantized(step, 9)
    changed, made = rewritten(net.model(), swish.rewrite)
    assert made == 1
    assert kinds(changed) == ["DequantizeLinear", "QuickGelu", "QuantizeLinear", "DequantizeLinear"]
    x = (EVERY_BYTE.astype(np.float64) - 90) * 0.05
    assert np.abs(answer(changed, EVERY_BYTE) - x / (1 + np.exp(-x))).max() <= 0.51 * step


def test_a_product_with_another_sigmoid_stays() -> None:
    net = OnnxNet((1, 16, 16))
    value = net.quantized(0.05, 90)
    net.add("Neg")
    net.quantized(0.05, 90)
    net.add("Sigmoid")
    gate = net.quantized(1 / 255, 0)
    net.add("Mul", value, gate)
    net.quantized(0.05, 90)
    assert rewritten(net.model(), swish.rewrite)[1] == 0


STEP = 0.04 * 135 / 255
"""Of a ReLU of what is at most 135 steps of 0.04."""


def shared_relu(reader: str, *, bias: bool = True, pad: bool = False, by: float = 0) -> OnnxNet:
    """A quantized value that a ReLU and an addition read, and what reads the ReLU."""
    net = OnnxNet((3, 8, 8))
    value = net.quantized(0.04, 120)
    net.add("Relu")
    net.quantized(STEP, 0)
    if pad:
        net.add("Pad", np.array([0, 0, 1, 1, 0, 0, 1, 1]), np.float32(by))
        net.quantized(STEP, 0)
    if reader == "Conv":
        now = net.now
        weights = net.random.integers(-127, 128, (3, 3, 1, 1)).astype(np.int8)
        w = net.add("DequantizeLinear", net.constant(weights), net.constant(np.float32(0.01)), net.constant(np.int8(0)))
        more = []
        if bias:
            stored = net.constant(np.array([1000, -2000, 30000], np.int32))
            more = [net.add("DequantizeLinear", stored, net.constant(np.float32(0.01 * STEP)))]
        net.add("Conv", now, w, *more)
    else:
        net.add(reader, **({"kernel_shape": [1, 1]} if reader == "MaxPool" else {}))
    if reader != "MaxPool":
        net.quantized(0.05, 100)
    if not pad:
        net.add("Add", value, net.now)
    return net


@pytest.mark.parametrize(
    ("reader", "bias", "pad"),
    [("Conv", True, False), ("Conv", False, False), ("Conv", True, True), ("GlobalAveragePool", False, False)],
)
def test_relus_of_shared_bytes_are_their_limit(reader: str, bias: bool, pad: bool) -> None:
    net = shared_relu(reader, bias=bias, pad=pad)
    model = net.model()
    changed, made = rewritten(model, relu_bytes.rewrite)
    assert made == 1
    assert "Relu" not in kinds(changed)
    assert "Clip" in kinds(changed)
    items = net.items()
    # What is read is rounded by steps of 0.04 and 0.02, three of them times weights up to 1.27; the result by 0.05.
    assert np.abs(answer(model, items) - answer(changed, items)).max() <= 3 * 0.03 * 1.27 + 0.05


def test_relus_that_a_pool_or_a_pad_by_another_number_reads_stay() -> None:
    assert rewritten(shared_relu("MaxPool").model(), relu_bytes.rewrite)[1] == 0
    assert rewritten(shared_relu("Conv", pad=True, by=1).model(), relu_bytes.rewrite)[1] == 0


def test_activations_are_counted_where_weights_are() -> None:
    net = OnnxNet((3, 8, 8))
    net.add("Relu")
    assert uint8_activations.rewrite(net.model()) == 0
    net.conv(4, 3, (3, 3))
    assert uint8_activations.rewrite(net.model()) == 1


# Dynamic files.


def test_convolutions_of_dynamic_files_are_as_small_and_nearer() -> None:
    net = OnnxNet((16, 8, 8))
    net.conv(64, 16, (3, 3))
    depthwise(net, 64, 5)
    net.add("GlobalAveragePool")
    net.add("Flatten")
    net.add("MatMul", net.random.normal(size=(64, 32)).astype(np.float32))
    model, items = net.model(), net.items()
    assert convolution_weights.rewrite(model) == 2
    truth, found = answer(model, items), []
    for rewrites in ((), ("onnx-convolution-weights",)):
        made = with_scheme(model, SCHEMES["onnx-dynamic"], list, None, rewrites)
        found.append((np.abs(answer(made, items) - truth).max(), made.ByteSize(), set(kinds(made))))
    (before, large, old), (after, small, new) = found
    assert after <= before
    assert small < 1.1 * large
    assert "ConvInteger" in old
    assert "ConvInteger" not in new
    assert {"Conv", "MatMulInteger"} <= new


@pytest.mark.parametrize(
    ("kind", "number", "zero", "off", "same"),
    [
        *(("Mul", 1 / 255, 0, off, same) for off, same in ((0, True), (9e-4, True), (2e-3, False), (0.1, False))),
        *(("Add", -37.0, 37, off, same) for off, same in ((0, True), (9e-4, True), (2e-3, False), (0.1, False))),
        *(("Add", number, 37, 0, True) for number in (-37.4, -36.6)),
        *(("Add", number, 37, 0, False) for number in (-37.6, -36.4)),
    ],
)  # fmt: skip
def test_a_factor_or_a_shift_of_bytes_is_a_change_of_scale(
    kind: str, number: float, zero: int, off: float, same: bool
) -> None:
    net = OnnxNet((1, 16, 16), UINT8)
    net.add("Cast", to=FLOAT)
    net.quantized(1.0, 0)
    bytes_ = net.now
    constant = np.array(255 if number > 0 else 0, np.uint8)
    step, middle = np.array(abs(number) / (255 if number > 0 else 1), np.float32), np.array(number < 0, np.uint8)
    restored = net.add("DequantizeLinear", *(net.constant(value) for value in (constant, step, middle)))
    net.add(kind, bytes_, restored)
    net.quantized((number if kind == "Mul" else 1.0) * (1 + off), zero)
    changed, made = rewritten(model := net.model(), input_bytes.rewrite)
    assert made == 1 + same
    before, after = (answer(m, EVERY_BYTE) for m in (model, changed))
    np.testing.assert_allclose(before, after, rtol=1e-5, atol=1e-6)
    assert (kind in kinds(changed)) != same, "another scale or zero point is left alone"


@pytest.mark.parametrize(("low", "high"), [(-1.0, 1.0), (0.5, 2.0), (-2.0, -0.5), (-0.1, 3.0)])
def test_weights_of_dynamic_files_are_off_by_half_a_step(low: float, high: float) -> None:
    net = OnnxNet((16, 1, 1))
    net.conv(32, 16, (1, 1), bias=False)
    model = net.model()
    weights = np.random.default_rng(0).uniform(low, high, (32, 16, 1, 1)).astype(np.float32)
    weights[0] = 0
    (tensor,) = [t for t in model.graph.initializer if t.dims == list(weights.shape)]
    tensor.CopyFrom(numpy_helper.from_array(weights, tensor.name))
    each = answer(store_in_bytes(model), np.eye(16, dtype=np.float32).reshape(16, 16, 1, 1))
    off = np.abs(each[:, :, 0, 0].T - weights[:, :, 0, 0])
    steps = (weights.max((1, 2, 3)).clip(0) - weights.min((1, 2, 3)).clip(max=0)) / 255
    assert (off <= 0.501 * steps[:, np.newaxis] + 1e-7).all()


@pytest.mark.parametrize(("inputs", "count"), [(15, 0), (16, 1)])
def test_few_weights_of_dynamic_files_stay_float(inputs: int, count: int) -> None:
    net = OnnxNet((inputs, 2, 2))
    net.conv(16, inputs, (1, 1))
    assert convolution_weights.rewrite(net.model()) == count
