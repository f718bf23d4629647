"""A CONV_2D whose groups are its input channels becomes a DEPTHWISE_CONV_2D.

Keras layers with `groups=channels` (ConvNeXt) arrive so. XNNPACK runs a float CONV_2D of one channel a group by its
depthwise kernels, but quantized files lose it: litert-quantizer and the built-in kernels treat it as a dense product
(hybrid and int8 grouped kernels of tflite/kernels/conv.cc), and only DEPTHWISE_CONV_2D stays float in dynamic files.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from edgepress.converters.rewrites.tflite.windows import activation, axes_of, conv, float_constant, is_image, result
from edgepress.converters.to_tflite.graph import Graph


def matches(graph: Graph) -> list[Any]:
    """The CONV_2Ds whose groups are their input channels."""
    return [op for op in graph.operators if _is_depthwise(graph, op)]


def change(graph: Graph, op: Any) -> None:
    """Turn a CONV_2D into a depthwise convolution."""
    kernel = graph.constant(int(op.inputs[1]))
    assert kernel is not None
    taps = graph.add_constant(np.ascontiguousarray(kernel.transpose(3, 1, 2, 0)))
    *_, channels = graph.shape(int(op.inputs[0]))
    options = {"depthMultiplier": len(kernel) // channels, "fusedActivationFunction": activation(op)}
    inputs = [int(op.inputs[0]), taps, *map(int, op.inputs[2:])]
    graph.replace(op, conv(graph, "DEPTHWISE_CONV_2D", inputs, result(op), windows=axes_of(graph, op), **options))


def _is_depthwise(graph: Graph, op: Any) -> bool:
    """One input channel a group; the output channels of a group follow each other, as those of a multiplier do."""
    if graph.kind(op) != "CONV_2D" or not is_image(graph, int(op.inputs[0])):
        return False
    kernel = float_constant(graph, int(op.inputs[1]))
    *_, channels = graph.shape(int(op.inputs[0]))
    return kernel is not None and kernel.shape[3] == 1 != channels
