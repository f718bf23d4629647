"""Rewrites of the taps and pads of convolutions of TFLite graphs.

Nets for large images that are given small ones end in maps of 1x1 or 2x2, over which 3x3, 5x5 and 7x7 kernels still
run. XNNPACK does not look at the size of the map, and multiplies the zeros (`xnn_indirection_init_conv2d`).
A 3x3 convolution of a 1x1 map is a 1x1 convolution, with a ninth of the weights in the file.

LiteRT's built-in CONV_2D of several threads takes a kernel as large as its input, with no zeros before it, for a matrix
product of one result, and leaves the others unset (`EigenTensorConvFunctor` in
tflite/kernels/internal/optimized/multithreaded_conv.h; tried: 2.3).
A kernel is not cut to that size if `padding: SAME` gives it more results.

A convolution of under eight channels, usually the first, reads the columns of a step as channels of one column.

XNNPACK's int8 kernels compute the channels of a tap in groups of four or eight (src/qs8-qc8w-igemm, the c4 and c8 of
their names), so the three channels of pixels waste more than half of the work, and one channel wastes seven eighths.
Side by side in memory are the channels of one column and then those of the next: a RESHAPE of (height, width, channels)
to (height, width / stride, stride * channels), and one of the weights alike, make fewer taps of more channels. The
width of the kernel must be a multiple of the stride. Sums are the same, in the same order.

PAD works on whole lines of an image instead of pixels, where no convolution takes it in.

XNNPACK pads in pieces of the innermost axes (src/operators/constant-pad-nd.c), of which only those without zeros are
joined: rows and columns of an image with zeros around it are padded pixel by pixel, 5-6 ns each. After a RESHAPE of
(height, width, channels) to (height, width * channels) a piece is a line. A PAD that only one convolution without
zeros of its own reads costs nothing, because XNNPACK gives its zeros to the convolution (src/subgraph.c,
`xnn_subgraph_fusion`), and is left alone.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from edgepress.converters.arrays import Array
from edgepress.converters.rewrites.tflite.windows import (
    SAME,
    VALID,
    Axis,
    absorb_pad,
    activation,
    axes_of,
    conv,
    float_constant,
    is_image,
    pad_tensor,
    result,
    spatial_pads,
)
from edgepress.converters.to_tflite.graph import Graph, only_reader


def find_unused_taps(graph: Graph) -> Iterator[tuple[Any, Array, list[Axis]]]:
    """Every convolution with taps that only meet zeros, the taps that are left, and their windows."""
    for op in [op for op in graph.operators if graph.kind(op) in ("CONV_2D", "DEPTHWISE_CONV_2D")]:
        kernel = float_constant(graph, int(op.inputs[1]))
        if kernel is not None and is_image(graph, int(op.inputs[0])):
            for taps, windows in _cuts(graph.kind(op), kernel, axes_of(graph, op)):
                yield op, taps, windows


def _cuts(kind: str, kernel: Array, axes: Sequence[Axis]) -> list[tuple[Array, list[Axis]]]:
    """The best way of taking taps off, if there is one."""
    ends = [_count_unused(axis) for axis in axes]
    for cut in (ends, [(min(pair), min(pair)) for pair in ends]):
        windows = [_without(axis, *pair) for axis, pair in zip(axes, cut, strict=True)]
        fits = all(window.is_same for window in windows) or not any(any(window.pads) for window in windows)
        if any(map(any, cut)) and fits and not (kind == "CONV_2D" and _is_misread(windows)):
            rows, columns = (slice(a, size - b) for size, (a, b) in zip(kernel.shape[1:3], cut, strict=True))
            return [(np.ascontiguousarray(kernel[:, rows, columns]), windows)]
    return []


def _count_unused(axis: Axis) -> tuple[int, int]:
    """Numbers of taps at both ends that meet no value of the input."""
    starts = np.arange(axis.out) * axis.stride - axis.pads[0]
    places = starts[:, np.newaxis] + np.arange(axis.kernel) * axis.dilation
    used = np.flatnonzero(((places >= 0) & (places < axis.size)).any(axis=0))
    return (int(used[0]), axis.kernel - 1 - int(used[-1])) if len(used) else (0, 0)


def _is_misread(windows: list[Axis]) -> bool:
    """Whether LiteRT's built-in CONV_2D computes one result of several."""
    whole = all((axis.kernel, axis.pads[0]) == (axis.size, 0) for axis in windows)
    return whole and any(axis.out > 1 for axis in windows)


def _without(axis: Axis, first: int, last: int) -> Axis:
    before, after = axis.pads
    pads = before - first * axis.dilation, after - last * axis.dilation
    return Axis(axis.size, axis.kernel - first - last, axis.stride, axis.dilation, pads)


def change_unused_taps(graph: Graph, match: tuple[Any, Array, list[Axis]]) -> None:
    """Take unused taps off a convolution."""
    op, taps, windows = match
    options = {"fusedActivationFunction": activation(op)}
    if graph.kind(op) == "DEPTHWISE_CONV_2D":
        options["depthMultiplier"] = op.builtinOptions.depthMultiplier
    inputs = [int(op.inputs[0]), graph.add_constant(taps), *map(int, op.inputs[2:])]
    graph.replace(op, conv(graph, graph.kind(op), inputs, result(op), windows=windows, **options))


GROUP = 8
"""Most channels that kernels compute together."""


def find_wide_taps(graph: Graph) -> list[Any]:
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


def change_wide_taps(graph: Graph, op: Any) -> None:
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


_CONVOLUTIONS = ("CONV_2D", "DEPTHWISE_CONV_2D")


def find_line_pads(graph: Graph) -> list[Any]:
    """Every PAD of an image that no convolution takes in."""
    return [op for op in graph.operators if _by_pixels(graph, op)]


def _by_pixels(graph: Graph, op: Any) -> bool:
    pads = spatial_pads(graph, op)
    if pads is None or not any(pads[1]) or graph.dtype(int(op.inputs[0])) != np.float32:
        return False
    if not is_image(graph, int(op.inputs[0])):
        return False
    readers = graph.readers()
    reader = only_reader(readers, result(op))
    if reader is not None and graph.kind(reader) in _CONVOLUTIONS and reader.builtinOptions.padding == VALID:
        return False
    return result(op) in readers


def change_line_pads(graph: Graph, op: Any) -> None:
    """Let a PAD work on lines."""
    pads = spatial_pads(graph, op)
    assert pads is not None
    rows, (left, right) = pads
    source = int(op.inputs[0])
    output = result(op)
    (batch, height, width, channels), name = graph.shape(source), graph.name(output)
    amounts = np.array([(0, 0), rows, (left * channels, right * channels)], np.int32)
    lines = graph.add_tensor((batch, height, width * channels), f"{name}_lines")
    padded = graph.add_tensor((amounts.sum(1) + graph.shape(lines)).tolist(), f"{name}_padded_lines")
    operations = [graph.reshape(source, lines), graph.operator("PAD", [lines, graph.add_constant(amounts)], padded)]
    readers = graph.readers()[output]
    if all(reader is not None and graph.kind(reader) == "RESHAPE" for reader in readers):
        for reader in readers:
            reader.inputs = [padded, *reader.inputs[1:]]
    else:
        operations.append(graph.reshape(padded, output))
    graph.replace(op, *operations)
