"""Convolutions of dynamic ONNX files keep weights of 8 bits, and compute in float.

ONNX Runtime's ConvInteger copies its input into columns, has no fast depthwise kernel, and needs the range of its input
first: MobileNets take 4 to 6 times as long as in float (onnxruntime/core/providers/cpu/quantization/conv_integer.cc,
release 1.32). Weights as uint8, Cast, Sub and Mul are constants, which it computes once, when the file is opened, so
that the float kernels are used, the answers are nearer, and the file is as small. A DequantizeLinear would not be
computed then: its optimizer keeps those for its own rules (ConstantFolding,
onnxruntime/core/optimizer/constant_folding.cc).
"""

from __future__ import annotations

from typing import Any

from edgepress.converters.to_onnx.graph import OnnxGraph
from edgepress.converters.to_onnx.weights import float_convolutions


def rewrite(model: Any) -> int:
    """Number of convolutions whose weights are rounded."""
    return len(float_convolutions(OnnxGraph(model)))
