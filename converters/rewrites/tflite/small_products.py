"""Small 1x1 convolutions of dynamic files keep weights of 8 bits, and compute in float.

Which ones, and why, is said in `to_tflite.products`. With an explicit DEQUANTIZE in front of its weights, which XNNPACK
unpacks once when the file is opened, a convolution takes the float kernel, and the file is no larger.
"""

from __future__ import annotations

from edgepress.converters.to_tflite.graph import Graph
from edgepress.converters.to_tflite.products import is_small_product


def rewrite(graph: Graph) -> int:
    """Number of such convolutions."""
    return sum(is_small_product(graph.root, graph.table, op) for op in graph.operators)
