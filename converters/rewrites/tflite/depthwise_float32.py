"""Depthwise convolutions of float16 files keep weights of 32 bits.

With the biases of 32 bits that litert-quantizer leaves, LiteRT 1.2 does not open a file in which they have 16 ("failed
to delegate DEPTHWISE_CONV_2D node"; `float16_biases` tells more). Depthwise weights are few, the files of MobileNets
grow by 2 %, and as the fewest values go into each of their sums, their rounding costs most: 1-2 dB.
"""

from __future__ import annotations

from edgepress.converters.to_tflite.graph import Graph


def rewrite(graph: Graph) -> int:
    """Number of depthwise convolutions."""
    return sum(graph.kind(op) == "DEPTHWISE_CONV_2D" for op in graph.operators)
