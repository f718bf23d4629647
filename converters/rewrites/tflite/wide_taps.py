"""A convolution of under eight channels, usually the first, reads the columns of a step as channels of one column.

XNNPACK's int8 kernels compute the channels of a tap in groups of four or eight (src/qs8-qc8w-igemm, the c4 and c8 of
their names), so the three channels of pixels waste more than half of the work, and one channel wastes seven eighths.
Side by side in memory are the channels of one column and then those of the next: a RESHAPE of (height, width, channels)
to (height, width / stride, stride * channels), and one of the weights alike, make fewer taps of more channels. The
width of the kernel must be a multiple of the stride. Sums are the same, in the same order.
"""

from __future__ import annotations

from typing import Any

from edgepress.converters.rewrites.tflite.windows import (
    SAME,
    VALID,
    absorb_pad,
    activation,
    float_constant,
    is_image,
    pad_tensor,
    result,
)
from edgepress.converters.to_tflite.graph import Graph

GROUP = 8
"""Most channels that kernels compute together."""


def matches(graph: Graph) -> list[Any]:
    """Every convolution of few channels that gains by it."""
    return [op for op in graph.operators if _is_narrow(graph, op)]


def _is_narrow(graph: Graph, op: Any) -> bool:
    if graph.kind(op) != "CONV_2D" or not is_image(graph, int(op.inputs[0])):
        return False
    taps = float_constant(graph, int(op.inputs[1]))
    *_, channels = graph.shape(int(op.inputs[0]))
    if taps is None or taps.shape[3] != channels or channels >= GROUP:
        return False
    stride = op.builtinOptions.strideW
    return bool(stride > 1 and taps.shape[2] % stride == 0 and op.builtinOptions.dilationWFactor == 1)


def change(graph: Graph, op: Any) -> None:
    """Merge the columns of a convolution."""
    output = result(op)
    name = graph.name(output)
    taps = graph.constant(int(op.inputs[1]))
    assert taps is not None
    source, (rows, columns) = absorb_pad(graph, op)
    stride = columns.stride
    before, _ = columns.pads
    width = (columns.out - 1) * stride + columns.kernel
    alone = columns.kernel == stride and rows.is_same  # then the convolution makes the zeros around rows by itself
    pads = [(0, 0) if alone else rows.pads, (before, width - columns.size - before)]
    source, operations = pad_tensor(graph, source, pads, name)
    batch, height, _, channels = graph.shape(source)
    merged = graph.add_tensor((batch, height, width // stride, stride * channels), f"{name}_columns")
    operations.append(graph.reshape(source, merged))
    weights = graph.add_constant(taps.reshape(*taps.shape[:2], columns.kernel // stride, stride * channels))
    inputs = [merged, weights, *(int(i) for i in op.inputs[2:])]
    new = graph.operator(
        "CONV_2D",
        inputs,
        output,
        padding=SAME if alone else VALID,
        strideH=rows.stride,
        strideW=1,
        dilationHFactor=rows.dilation,
        fusedActivationFunction=activation(op),
    )
    graph.replace(op, *operations, new)
