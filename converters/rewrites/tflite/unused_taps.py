"""Taps of a kernel that only ever meet the zeros around its input are taken off.

Nets for large images that are given small ones end in maps of 1x1 or 2x2, over which 3x3, 5x5 and 7x7 kernels still
run. XNNPACK does not look at the size of the map, and multiplies the zeros (`xnn_indirection_init_conv2d`).
A 3x3 convolution of a 1x1 map is a 1x1 convolution, with a ninth of the weights in the file.

LiteRT's built-in CONV_2D of several threads takes a kernel as large as its input, with no zeros before it, for a matrix
product of one result, and leaves the others unset (`EigenTensorConvFunctor` in
tflite/kernels/internal/optimized/multithreaded_conv.h; tried: 2.3).
A kernel is not cut to that size if `padding: SAME` gives it more results.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from edgepress.converters.arrays import Array
from edgepress.converters.rewrites.tflite.windows import (
    Axis,
    activation,
    axes_of,
    conv,
    float_constant,
    is_image,
    result,
)
from edgepress.converters.to_tflite.graph import Graph


def matches(graph: Graph) -> Iterator[tuple[Any, Array, list[Axis]]]:
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


def change(graph: Graph, match: tuple[Any, Array, list[Axis]]) -> None:
    """Take unused taps off a convolution."""
    op, taps, windows = match
    options = {"fusedActivationFunction": activation(op)}
    if graph.kind(op) == "DEPTHWISE_CONV_2D":
        options["depthMultiplier"] = op.builtinOptions.depthMultiplier
    inputs = [int(op.inputs[0]), graph.add_constant(taps), *map(int, op.inputs[2:])]
    graph.replace(op, conv(graph, graph.kind(op), inputs, result(op), windows=windows, **options))
