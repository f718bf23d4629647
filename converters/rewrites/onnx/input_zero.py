"""Offsets of the input become the zero point of its bytes, and the bytes go into the first convolution as they are.

Pixels minus a whole number k, quantized with a scale of 1, are the pixels with a zero point of k, so that the integers
that the convolution reads are the file's input. ONNX Runtime has no such rule; it casts to float, quantizes, and adds
an offset in 8 bits, which rounds. What k is off from the offset of each channel goes into the bias; where the
convolution pads, by zeros of the normalized image, these zeros are off by as much, a few grey levels.
"""

from __future__ import annotations

import numpy as np

from edgepress.converters.rewrites.onnx.input_scale import scale_weights, scaled_pixels, shift
from edgepress.converters.to_onnx.graph import OnnxGraph

FARTHEST = 16
"""Grey levels that a channel's zero may be off by; with ImageNet's means it is 11, which costs no accuracy."""


def rewrite(graph: OnnxGraph) -> int:
    """Let the offset be one whole number; returns 1 if there was one."""
    scaled = scaled_pixels(graph, least=0)
    if scaled is None:
        return 0
    zeros = -scaled.offset / scaled.factor
    whole = round(float(zeros.mean()))
    if not 0 <= whole <= 255 or np.abs(zeros - whole).max() > FARTHEST:
        return 0
    conv = scaled.conv
    bias = graph.constant(conv.input[2]) if len(conv.input) > 2 else np.float32(0)
    if bias is None:
        return 0
    moved = scale_weights(graph, scaled).astype(np.float64).sum((2, 3)) @ (whole - zeros)
    graph.feed(conv, 2, graph.add_constant((bias + moved).astype(np.float32)))
    shift(graph, scaled, np.array(-whole, np.float32))
    return 1
