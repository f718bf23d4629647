"""A depthwise convolution of several outputs a channel becomes as many of one, if a 1x1 convolution reads it.

XNNPACK's depthwise kernels make one output of each channel (`select_microkernel_type` in
src/operators/convolution-nhwc.c); a `depth_multiplier` is a matrix product of so many columns for each channel, 4-7
times slower. Here the convolutions of the first, second and further outputs of all channels stand side by side, and
CONCATENATION joins them. That puts the channels into another order, which the 1x1 convolution of a separable one
(Keras' SeparableConv2D) takes into its weights.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from edgepress.converters.rewrites.tflite.windows import (
    activation,
    axes_of,
    conv,
    float_constant,
    is_image,
    result,
    takes_channels,
)
from edgepress.converters.to_tflite.graph import Graph, only_reader

LEAST = 8
"""Channels from which on it is faster."""
EACH = 8
"""Channels for each output: the matrix products take as long for 8 outputs as for 2, the kernels here do not."""


def matches(graph: Graph) -> Iterator[tuple[Any, Any]]:
    """The depthwise convolutions of several outputs a channel, and the operation that reads each."""
    for op in [op for op in graph.operators if graph.kind(op) == "DEPTHWISE_CONV_2D"]:
        after = only_reader(graph.readers(), result(op))
        if after is not None and is_image(graph, int(op.inputs[0])) and _fits(graph, op, after):
            yield op, after


def _fits(graph: Graph, op: Any, after: Any) -> bool:
    *_, channels = graph.shape(int(op.inputs[0]))
    *_, outputs = graph.shape(result(op))
    if channels < LEAST or not takes_channels(graph, op, channels):
        return False
    if not 1 < outputs // channels <= max(2, channels // EACH):
        return False
    kernel = float_constant(graph, int(after.inputs[1])) if graph.kind(after) == "CONV_2D" else None
    return kernel is not None and kernel.shape[1:] == (1, 1, outputs)


def change(graph: Graph, match: tuple[Any, Any]) -> None:
    """Divide a convolution."""
    op, after = match
    kernel, bias = (graph.constant(int(i)) for i in op.inputs[1:3])
    pointwise = graph.constant(int(after.inputs[1]))
    assert kernel is not None
    assert bias is not None
    assert pointwise is not None
    axes = axes_of(graph, op)
    old = result(op)
    *_, channels = graph.shape(int(op.inputs[0]))
    *sides, outputs = graph.shape(old)
    number = outputs // channels
    parts = []
    operations = []
    for first in range(number):
        part = graph.add_tensor((*sides, channels), f"{graph.name(old)}_{first}")
        parts.append(part)
        taps = graph.add_constant(np.ascontiguousarray(kernel[..., first::number]))
        shift = graph.add_constant(np.ascontiguousarray(bias[first::number]))
        inputs = [int(op.inputs[0]), taps, shift]
        options = {"fusedActivationFunction": activation(op)}
        operations.append(conv(graph, "DEPTHWISE_CONV_2D", inputs, part, windows=axes, **options))
    operations.append(graph.operator("CONCATENATION", parts, old, axis=3))
    graph.replace(op, *operations)
    order = np.arange(outputs).reshape(channels, number).T.ravel()
    after.inputs = [old, graph.add_constant(np.ascontiguousarray(pointwise[..., order])), *after.inputs[2:]]
