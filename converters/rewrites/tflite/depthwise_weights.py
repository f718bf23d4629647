"""Depthwise convolutions of dynamic files keep weights of 8 bits, and compute in float.

XNNPACK takes dynamically quantized CONV_2D and FULLY_CONNECTED, but not DEPTHWISE_CONV_2D, whose built-in hybrid kernel
is many times slower than XNNPACK's float one. With an explicit DEQUANTIZE in front of its weights, which XNNPACK
unpacks once when the file is opened, the float kernel is used, and the file is no larger.
(LiteRT, tflite/delegates/xnnpack/xnnpack_delegate.cc, `VisitDepthwiseConv2DNode`.)
"""

from __future__ import annotations

from edgepress.converters.to_tflite.graph import Graph


def rewrite(graph: Graph) -> int:
    """Number of depthwise convolutions."""
    return sum(graph.kind(op) == "DEPTHWISE_CONV_2D" for op in graph.operators)
