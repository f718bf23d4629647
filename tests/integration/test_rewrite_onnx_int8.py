"""Rewrites of the channels and activations of 8-bit ONNX files."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx_rewriting import EVERY_BYTE, UINT8, OnnxNet, answer, kinds, near, rewritten
from rewriting import rewrite


def depthwise(net: OnnxNet, count: int, size: int = 3, *, bias: bool = True, **options: Any) -> str:
    return net.conv(count, 1, (size, size), bias=bias, group=count, **options)


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
    changed = near(net, "onnx-depthwise-channels", tolerance=1e-5)
    (group,) = (a.i for n in changed.graph.node for a in n.attribute if a.name == "group")
    assert group == wide


@pytest.mark.parametrize("kind", ["Sub", "Div"])
def test_differences_and_quotients_of_channels_are_widened(kind: str) -> None:
    net = OnnxNet((3, 8, 8))
    net.conv(24, 3, (1, 1))
    depthwise(net, 24)
    net.add(kind, net.random.uniform(1, 2, (1, 24, 1, 1)).astype(np.float32))
    net.conv(4, 24, (1, 1))
    near(net, "onnx-depthwise-channels")


@pytest.mark.parametrize("count", [8, 16, 17])
def test_channels_that_would_grow_too_much_or_fit_stay(count: int) -> None:
    assert rewritten(block(count, excite=False, stride=1, act="Relu").model(), "onnx-depthwise-channels")[1] == 0


def test_channels_behind_others_that_stay_are_widened() -> None:
    net = OnnxNet((24, 8, 8))
    depthwise(net, 24)
    net.conv(22, 24, (1, 1))
    depthwise(net, 22)
    net.conv(4, 22, (1, 1))
    assert rewritten(net.model(), "onnx-depthwise-channels")[1] == 1


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
    assert rewritten(net.model(), "onnx-depthwise-channels")[1] == 0


# Activations.


@given(scale=st.floats(0.01, 0.2), zero=st.integers(0, 255), high=st.floats(0.3, 1), alpha=st.floats(0.1, 1),
       beta=st.floats(0.1, 1))  # fmt: skip
@settings(max_examples=10, deadline=None)
def test_hard_sigmoids_of_bytes_become_additions(scale, zero, high, alpha, beta) -> None:
    net = OnnxNet((1, 16, 16), UINT8)
    net.add("DequantizeLinear", np.float32(scale), np.uint8(zero))
    net.add("HardSigmoid", alpha=alpha, beta=beta)
    step = np.float32(high / 255)
    net.quantized(step, 0)
    model = net.model()
    changed, made = rewritten(model, "onnx-quantized-hard-sigmoid")
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
    assert rewritten(net.model(), "onnx-quantized-hard-sigmoid")[1] == 0


@pytest.mark.parametrize("zeros", [1, 16])
def test_hard_sigmoids_whose_bytes_have_several_scales_stay(zeros: int) -> None:
    net = OnnxNet((1, 16, 16))
    net.quantized(0.05, 100)
    net.add("HardSigmoid", alpha=0.2, beta=0.5)
    net.quantized(np.full(16, 1 / 255), np.zeros(zeros))
    assert rewritten(net.model(), "onnx-quantized-hard-sigmoid")[1] == 0


@pytest.mark.parametrize("first", [True, False])
def test_swish_of_bytes_is_one_operation_in_float(first: bool) -> None:
    net = OnnxNet((1, 16, 16), UINT8)
    value = net.add("DequantizeLinear", np.float32(0.05), np.uint8(90))
    net.add("Sigmoid")
    gate = net.quantized(1 / 255, 0)
    net.add("Mul", *((value, gate) if first else (gate, value)))
    step = 8.6 / 255
    net.quantized(step, 9)
    changed, made = rewritten(net.model(), "onnx-swish")
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
    assert rewritten(net.model(), "onnx-swish")[1] == 0


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
    if reader == "output":
        return net
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
    changed, made = rewritten(model, "onnx-relu-bytes")
    assert made == 1
    assert "Relu" not in kinds(changed)
    assert "Clip" in kinds(changed)
    items = net.items()
    # What is read is rounded by steps of 0.04 and 0.02, three of them times weights up to 1.27; the result by 0.05.
    assert np.abs(answer(model, items) - answer(changed, items)).max() <= 3 * 0.03 * 1.27 + 0.05


def test_relus_whose_bytes_are_the_output_stay() -> None:
    model = shared_relu("output").model()
    end = model.graph.node.pop()
    model.graph.output[0].name = end.input[0]
    model.graph.output[0].type.tensor_type.elem_type = UINT8
    assert rewritten(model, "onnx-relu-bytes")[1] == 0


def test_relus_that_a_pool_or_a_pad_by_another_number_reads_stay() -> None:
    assert rewritten(shared_relu("MaxPool").model(), "onnx-relu-bytes")[1] == 0
    assert rewritten(shared_relu("Conv", pad=True, by=1).model(), "onnx-relu-bytes")[1] == 0


def test_activations_are_counted_where_weights_are() -> None:
    net = OnnxNet((3, 8, 8))
    net.add("Relu")
    assert rewrite("uint8-activations", net.model()) == 0
    net.conv(4, 3, (3, 3))
    assert rewrite("uint8-activations", net.model()) == 1
