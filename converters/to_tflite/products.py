"""Matrix products that stay float: too small to gain from dynamic quantization, or without a kernel for mixed types.

XNNPACK turns a 1x1 CONV_2D of stride 1 with 8-bit weights and float activations into a matrix product that quantizes
each pixel while it runs (`xnn_define_convolution_2d` in src/subgraph/convolution-2d.c, and
`xnn_subgraph_optimize_packed_lhs` in src/subgraph.c). That takes a fixed time for each pixel and some for each input
channel, and only what is multiplied afterwards is faster. Measured on x86-64 with AVX-512 VNNI for 8-384 channels
(docs/decisions.md), the float product is faster up to inputs x (outputs - 16) = 2048: 8 times at 8 x 8, and equal at
that limit. Larger kernels and strides take another way, which quantizes each value once, and gain at every size.
"""

from __future__ import annotations

from typing import Any

from edgepress.converters.to_tflite.graph import Graph

OUTPUTS = 16
"""Outputs that cost as much as quantizing an input."""
MULTIPLICATIONS = 2048
"""Multiplications that cost as much as quantizing a pixel."""


def is_small_product(graph: Graph, op: Any) -> bool:
    """Whether an operation of a float graph is a 1x1 convolution that is faster in float."""
    if graph.kind(op) != "CONV_2D" or (op.builtinOptions.strideH, op.builtinOptions.strideW) != (1, 1):
        return False
    shape, kernel = (graph.shape(int(i)) for i in op.inputs[:2])
    if len(kernel) != 4 or len(shape) != 4:
        return False
    outputs, height, width, inputs = kernel
    if (height, width) != (1, 1) or inputs != shape[3] or shape[1] * shape[2] < 2:
        return False
    return inputs * (outputs - OUTPUTS) <= MULTIPLICATIONS


def small_products(model: bytes) -> list[str]:
    """Names of the outputs of such convolutions."""
    graph = Graph(model)
    return [graph.output_name(op) for op in graph.operators if is_small_product(graph, op)]


def with_constant_left(graph: Graph) -> list[str]:
    """Names of the outputs of products whose first matrix is a constant, as learned queries are.

    LiteRT's kernel takes an 8-bit matrix beside float or 16-bit values only if it is the second.
    """
    products = [op for op in graph.operators if graph.kind(op) == "BATCH_MATMUL"]
    return [graph.output_name(op) for op in products if graph.constant(int(op.inputs[0])) is not None]
