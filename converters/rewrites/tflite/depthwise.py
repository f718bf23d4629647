"""Rewrites of depthwise convolutions of TFLite graphs.

XNNPACK's depthwise kernels take 3, 4, 9 or 25 taps (src/configs/dwconv-config.c). A larger one went to a kernel of
several passes until that was removed in February 2025; since then `select_microkernel_type`
(src/operators/convolution-nhwc.c) falls back to a matrix product of one column for each channel, 4-9 times slower in
float and up to 15 times in int8.

The taps are divided into grids that have the same centre as the kernel, such as the odd and the even rows of a 7x7. A
grid is a dilated convolution by itself, and because of the common centre it needs the same `padding: SAME`. Where that
does not give the zeros that are needed (VALID, some strides of 2), PAD or SLICE does. The sum is exact but for the
order of additions.

In files whose other activations are integers, the parts stay float, with weights of 8 bits (`ISLAND`): integer kernels
of 25 taps are no faster, and the sum of parts that are rounded one by one would be coarser than a sum rounded once.

A depthwise convolution of several outputs a channel becomes as many of one, if a 1x1 convolution reads it.

XNNPACK's depthwise kernels make one output of each channel (`select_microkernel_type` in
src/operators/convolution-nhwc.c); a `depth_multiplier` is a matrix product of so many columns for each channel, 4-7
times slower. Here the convolutions of the first, second and further outputs of all channels stand side by side, and
CONCATENATION joins them. That puts the channels into another order, which the 1x1 convolution of a separable one
(Keras' SeparableConv2D) takes into its weights.

A CONV_2D whose groups are its input channels becomes a DEPTHWISE_CONV_2D.

Keras layers with `groups=channels` (ConvNeXt) arrive so. XNNPACK runs a float CONV_2D of one channel a group by its
depthwise kernels, but quantized files lose it: litert-quantizer and the built-in kernels treat it as a dense product
(hybrid and int8 grouped kernels of tflite/kernels/conv.cc), and only DEPTHWISE_CONV_2D stays float in dynamic files.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from functools import cache
from typing import Any

import numpy as np

from edgepress.converters.arrays import Array
from edgepress.converters.rewrites.tflite.windows import (
    FUSED,
    Axis,
    absorb_pad,
    activation,
    axes_of,
    conv,
    float_constant,
    frame_tensor,
    is_image,
    result,
    takes_channels,
)
from edgepress.converters.to_tflite.convert import ISLAND_MARK
from edgepress.converters.to_tflite.graph import Graph, only_reader

TILES = (3, 9, 25)
"""Taps of XNNPACK's kernels; a part takes as long as the next larger one."""
MOST = max(TILES)
SUM = 5
"""What adding one more part costs, in taps."""
MIN_SPLIT_CHANNELS = 8
"""Channels from which on it is faster (kernels work on 8-32 at a time)."""
LARGEST = 31
"""Rows and columns up to which divisions are looked for: all of those cost less than 3 taps for each tap, and are a
gain."""
Line = tuple[int, int, int]
"""Taps of one axis: the first one, the step and their number."""


def find_split_depthwise(graph: Graph) -> list[Any]:
    """The float depthwise convolutions of more than 25 taps."""
    return [op for op in graph.operators if _is_large(graph, op)]


def _is_large(graph: Graph, op: Any) -> bool:
    if graph.kind(op) != "DEPTHWISE_CONV_2D" or activation(op) not in FUSED:
        return False
    kernel = float_constant(graph, int(op.inputs[1]))
    if kernel is None or not is_image(graph, int(op.inputs[0])):
        return False
    *_, inputs = graph.shape(int(op.inputs[0]))
    _, rows, columns, channels = kernel.shape
    return bool(rows * columns > MOST and max(rows, columns) <= LARGEST and MIN_SPLIT_CHANNELS <= channels == inputs)


def change_split_depthwise(graph: Graph, op: Any) -> None:
    """Divide a convolution."""
    kernel = graph.constant(int(op.inputs[1]))
    output = result(op)
    shape = graph.shape(output)
    assert kernel is not None
    source, (rows, columns) = absorb_pad(graph, op)
    name = f"{graph.prefix}_{ISLAND_MARK}"
    operations: list[Any] = []
    total: int | None = None
    nothing = graph.add_constant(np.zeros(shape[-1], np.float32))
    bias = int(op.inputs[2])
    _, grids = divide(rows.kernel, columns.kernel)
    for y, x in grids:
        windows = _on(rows, y), _on(columns, x)
        source_of_part, before = frame_tensor(graph, source, windows, name)
        part = graph.add_tensor(shape, f"{name}_part")
        taps = graph.add_constant(_taps(kernel, y, x))
        operations += [*before, conv(graph, "DEPTHWISE_CONV_2D", [source_of_part, taps, bias], part, windows=windows)]
        bias = nothing
        if total is not None:
            part = graph.add_tensor(shape, f"{name}_sum")
            operations.append(graph.operator("ADD", [total, result(operations[-1])], part))
        total = part
    operations[-1].outputs = [output]
    operations[-1].builtinOptions.fusedActivationFunction = activation(op)
    graph.rename(output, f"{name}_sum")
    graph.replace(op, *operations)


def _on(axis: Axis, line: Line) -> Axis:
    """The window of those taps."""
    first, step, count = line
    before, after = (pad - first * axis.dilation for pad in axis.pads)
    return Axis(axis.size, count, axis.stride, axis.dilation * step, (before, after))


def _taps(kernel: Array, *grid: Line) -> Array:
    rows, columns = (slice(first, first + step * count, step) for first, step, count in grid)
    return kernel[:, rows, columns]


def divide(rows: int, columns: int) -> tuple[float, list[tuple[Line, Line]]]:
    """The cheapest division of a kernel into grids of at most 25 taps with its centre: the cost in taps, the grids."""

    def across(count: int) -> tuple[float, tuple[Line, ...]]:
        """The cheapest division of the columns if `count` rows go together."""
        return _cover((1 << columns) - 1, columns, tuple(_cost(count * n) for n in range(MOST // count + 1)))

    each = {count: across(count) for count in range(1, min(rows, MOST) + 1)}
    cost, lines = _cover((1 << rows) - 1, rows, (math.inf, *(price for price, _ in each.values())))
    return cost, [(row, column) for row in lines for column in each[row[2]][1]]


def _cost(taps: int) -> float:
    return next(tile for tile in TILES if taps <= tile) + SUM


@cache
def _cover(free: int, size: int, prices: tuple[float, ...]) -> tuple[float, tuple[Line, ...]]:
    """The cheapest division of the free ones of `size` places in a row into lines around the middle.

    Args:
        free: The places that are not taken yet, as bits; symmetrical.
        size: Number of places.
        prices: Cost of a line of as many places as the index says; longer ones are not possible.
    """
    if not free:
        return 0.0, ()
    first = (free & -free).bit_length() - 1
    span = size - 1 - 2 * first
    best: tuple[float, tuple[Line, ...]] = (math.inf, ())
    for step in [n for n in range(1, span + 1) if span % n == 0] or [1]:
        count = span // step + 1
        bits = sum(1 << (first + step * i) for i in range(count))
        if count < len(prices) and not bits & ~free:
            cost, rest = _cover(free & ~bits, size, prices)
            best = min(best, (cost + prices[count], ((first, step, count), *rest)))
    return best


MIN_CHANNELS = 8
"""Channels from which on it is faster."""
EACH = 8
"""Channels for each output: the matrix products take as long for 8 outputs as for 2, the kernels here do not."""


def find_depthwise_multiplier(graph: Graph) -> Iterator[tuple[Any, Any]]:
    """The depthwise convolutions of several outputs a channel, and the operation that reads each."""
    for op in [op for op in graph.operators if graph.kind(op) == "DEPTHWISE_CONV_2D"]:
        after = only_reader(graph.readers(), result(op))
        if after is not None and is_image(graph, int(op.inputs[0])) and _fits(graph, op, after):
            yield op, after


def _fits(graph: Graph, op: Any, after: Any) -> bool:
    *_, channels = graph.shape(int(op.inputs[0]))
    *_, outputs = graph.shape(result(op))
    if channels < MIN_CHANNELS or not takes_channels(graph, op, channels):
        return False
    if not 1 < outputs // channels <= max(2, channels // EACH):
        return False
    kernel = float_constant(graph, int(after.inputs[1])) if graph.kind(after) == "CONV_2D" else None
    return kernel is not None and kernel.shape[1:] == (1, 1, outputs)


def change_depthwise_multiplier(graph: Graph, match: tuple[Any, Any]) -> None:
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


def find_grouped_depthwise(graph: Graph) -> list[Any]:
    """The CONV_2Ds whose groups are their input channels."""
    return [op for op in graph.operators if _is_depthwise(graph, op)]


def change_grouped_depthwise(graph: Graph, op: Any) -> None:
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
