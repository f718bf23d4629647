"""Depthwise convolutions of more than 25 taps become the sum of several dilated ones of at most 25.

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
"""

from __future__ import annotations

import math
from functools import cache
from typing import Any

import numpy as np

from edgepress.converters.arrays import Array
from edgepress.converters.rewrites.tflite.windows import (
    FUSED,
    Axis,
    absorb_pad,
    activation,
    conv,
    float_constant,
    frame_tensor,
    is_image,
    result,
)
from edgepress.converters.to_tflite.convert import ISLAND_MARK
from edgepress.converters.to_tflite.graph import Graph

TILES = (3, 9, 25)
"""Taps of XNNPACK's kernels; a part takes as long as the next larger one."""
MOST = max(TILES)
SUM = 5
"""What adding one more part costs, in taps."""
LEAST = 8
"""Channels from which on it is faster (kernels work on 8-32 at a time)."""
LARGEST = 31
"""Rows and columns up to which divisions are looked for: all of those cost less than 3 taps for each tap, and are a
gain."""
Line = tuple[int, int, int]
"""Taps of one axis: the first one, the step and their number."""


def matches(graph: Graph) -> list[Any]:
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
    return bool(rows * columns > MOST and max(rows, columns) <= LARGEST and LEAST <= channels == inputs)


def change(graph: Graph, op: Any) -> None:
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
