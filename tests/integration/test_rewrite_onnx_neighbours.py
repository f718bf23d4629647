"""Each rewrite of ONNX graphs keeps the answers of graphs that differ at one place from one that it fits."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from onnx_neighbours import check_neighbours
from onnx_rewriting import FLOAT, UINT8, OnnxNet


def f32(values: Any) -> np.ndarray:
    return np.array(values, np.float32)


def first(net: OnnxNet) -> None:
    net.add("Cast", to=FLOAT)
    net.add("Add", f32([-7]))
    net.add("Transpose", perm=[0, 3, 1, 2])
    net.conv(5, 3, (3, 5), strides=[3, 2], pads=[1, 2, 0, 2])
    net.add("Relu")
    net.conv(2, 5, (1, 1))


def scale(net: OnnxNet) -> None:
    net.add("Cast", to=FLOAT)
    net.add("Mul", f32([0.5, 2, 3]))
    net.add("Sub", f32([[[5.0]]]))
    net.add("Pad", np.array([0, 1, 2, 0, 0, 0, 1, 0]), f32(0))
    net.add("Transpose", perm=[0, 3, 1, 2])
    net.add("Pad", np.array([0, 0, 2, 0, 0, 0, 1, 3]), f32(0))
    net.conv(4, 3, (3, 2), strides=[2, 1], pads=[1, 0, 2, 1], group=1)


def zero(net: OnnxNet) -> None:
    net.add("Cast", to=FLOAT)
    net.add("Sub", f32([100, 110, 120]))
    net.add("Transpose", perm=[0, 3, 1, 2])
    net.conv(4, 3, (3, 2), group=1)


def shapes(net: OnnxNet) -> None:
    net.add("GlobalAveragePool")
    net.add("Squeeze", np.array([2]))
    net.add("Reshape", np.array([-1, 3, 1, 1]))
    net.conv(4, 3, (1, 1))
    net.add("Reshape", np.array([-1, 4, 1, 1]))
    net.conv(3, 4, (1, 1))


def gate(net: OnnxNet) -> None:
    """Of a convolution, whose bias holds the 3."""
    net.conv(4, 3, (1, 2))
    net.add("Clip", f32(0), f32(6))
    net.add("Mul", f32(1 / 6))
    net.add("Neg")


def sum_gate(net: OnnxNet) -> None:
    net.add("Add", f32(3))
    net.add("Clip", f32(0), f32(6))
    net.add("Div", f32(6))
    net.add("Neg")


def convolution_gate(net: OnnxNet) -> None:
    net.conv(4, 3, (1, 2))
    net.add("HardSigmoid", alpha=0.3, beta=0.4)
    net.conv(2, 4, (1, 1))


def padded(net: OnnxNet) -> None:
    value = net.add("Pad", np.array([0, 0, 1, 2, 0, 0, 0, 3]), f32(0))
    one = net.conv(4, 3, (3, 2), strides=[2, 1], pads=[1, 0, 2, 1])
    net.now = value
    net.add("Add", one, net.conv(4, 3, (3, 2), strides=[2, 1], pads=[1, 0, 2, 1]))


def pooled(net: OnnxNet) -> None:
    net.add("MaxPool", kernel_shape=[1, 1], strides=[2, 3])
    net.conv(4, 3, (1, 1), strides=[1, 2])


def products(net: OnnxNet) -> None:
    net.add("Relu")
    net.add("Reshape", np.array([-1, 8]))
    net.add("MatMul", net.random.normal(size=(8, 4)).astype(np.float32))
    net.add("Reshape", np.array([-1, 3, 6, 4]))
    net.add("Relu")


def normalized(net: OnnxNet) -> None:
    value = net.add("Neg")
    mean = net.add("ReduceMean", axes=[1], keepdims=1)
    flat = net.add("Reshape", mean, np.array([-1, 1, 6, 8]))
    off = net.add("Sub", value, flat)
    net.add("ReduceMean", net.add("Mul", off, off), axes=[1], keepdims=1)
    net.add("Add", f32([0.1]))
    net.add("Sqrt")
    net.add("Reciprocal")
    factor = net.add("Mul", f32([[[2.0]], [[3.0]], [[-1.0]]]))
    scaled = net.add("Mul", value, factor)
    net.add("Add", scaled, net.add("Sub", net.constant(f32(0.3)), net.add("Mul", mean, factor)))
    net.add("Relu")


def erfc(net: OnnxNet) -> None:
    value = net.add("Neg")
    halved = net.add("Mul", value, f32(0.5))
    net.add("Neg", value)
    net.add("Mul", f32(np.sqrt(0.5)))
    net.add("Erf")
    net.add("Mul", halved, net.add("Sub", net.constant(f32(1)), net.now))
    net.add("Neg")


def erf(net: OnnxNet) -> None:
    value = net.add("Neg")
    net.add("Div", f32(np.sqrt(2)))
    net.add("Erf")
    net.add("Mul", value, net.add("Add", f32(1)))
    net.add("Mul", f32(0.5))
    net.add("Neg")


def widened(net: OnnxNet) -> None:
    net.conv(24, 3, (1, 1))
    net.add("Relu")
    net.add("Pad", np.array([0, 0, 1, 0, 0, 0, 0, 2]), f32(0))
    value = net.conv(24, 1, (3, 2), group=24, strides=[2, 1])
    net.add("Sub", net.constant(net.random.normal(size=(24, 1, 1)).astype(np.float32)), value)
    net.add("Add", f32(2))
    net.add("AveragePool", kernel_shape=[2, 2], strides=[1, 1])
    net.conv(4, 24, (1, 2))


@pytest.mark.parametrize(
    ("add", "what", "kind", "foreign"),
    [
        (first, "onnx-first-convolution", UINT8, ""),
        (scale, "onnx-input-scale", UINT8, "Cast Mul Sub Conv"),
        (zero, "onnx-input-zero", UINT8, "Cast Sub Conv"),
        (shapes, "onnx-plain-shapes", FLOAT, "Squeeze Reshape"),
        (gate, "onnx-hard-sigmoid", FLOAT, "Conv Clip"),
        (sum_gate, "onnx-hard-sigmoid", FLOAT, "Add Clip"),
        (convolution_gate, "onnx-hard-gates", FLOAT, "HardSigmoid"),
        (padded, "onnx-pads", FLOAT, "Pad Conv"),
        (pooled, "onnx-pool-strides", FLOAT, "MaxPool Conv"),
        (products, "onnx-dense", FLOAT, "MatMul Reshape"),
        (normalized, "onnx-layer-norm", FLOAT, "ReduceMean Sqrt Reciprocal"),
        (erfc, "onnx-gelu", FLOAT, "Erf Sub"),
        (erf, "onnx-float-gelu", FLOAT, "Erf Div"),
        (widened, "onnx-depthwise-channels", FLOAT, "Conv Relu Pad Sub Add AveragePool"),
    ],
)
def test_answers_stay_if_a_graph_differs_at_one_place(add: Any, what: Any, kind: int, foreign: str) -> None:
    net = OnnxNet((12, 16, 3) if kind == UINT8 else (3, 6, 8), kind)
    add(net)
    check_neighbours(net, what, places=2 if add is shapes else 1, tolerance=1e-4, foreign=foreign)


def hard_sigmoid_bytes(net: OnnxNet) -> None:
    net.add("HardSigmoid", alpha=0.3, beta=0.4)
    net.quantized(1 / 255, 0)
    net.add("Neg")


def swish_bytes(net: OnnxNet) -> None:
    value = net.now
    net.add("Sigmoid")
    net.add("Mul", value, net.quantized(1 / 255, 0))
    net.quantized(0.05, 10)


@pytest.mark.parametrize(
    ("add", "what"), [(hard_sigmoid_bytes, "onnx-quantized-hard-sigmoid"), (swish_bytes, "onnx-swish")]
)
def test_answers_of_8_bits_stay_if_a_graph_differs_at_one_place(add: Any, what: Any) -> None:
    net = OnnxNet((3, 6, 8))
    net.quantized(0.06, 130)
    add(net)
    check_neighbours(net, what, tolerance=0.012, numbers=False)


def test_bytes_of_the_input_stay_if_a_graph_differs_at_one_place() -> None:
    net = OnnxNet((6, 8, 3), UINT8)
    net.add("Cast", to=FLOAT)
    net.add("Transpose", perm=[0, 3, 1, 2])
    net.quantized(1.0, 0)
    bytes_ = net.now
    restored = net.add("DequantizeLinear", *(net.constant(v) for v in (np.uint8(255), f32(0.5 / 255), np.uint8(0))))
    net.add("Mul", bytes_, restored)
    net.quantized(0.5, 0)
    check_neighbours(net, "onnx-input-bytes", tolerance=0.02, places=2, numbers=False)
