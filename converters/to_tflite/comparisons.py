"""Constants that a quantized TFLite model compares values with, on the grids of these values.

A value may mark something, such as the steps that a Masking layer leaves out. In a file of integers it is rounded to
the grid of its tensor, and the constant that it is compared with to a grid of its own: -1 is -0.996 on one and -1 on
the other, so the mark is never found. Here the constant gets the grid of the values, on which it is the same integer
as its mark. Other bounds stay as they are: rounded to that grid, 0.001 would be 0, which many values are.

Values in steps of 1 or more, such as pixels of 0-255, are compared for equality in float: LiteRT 2.3 aborts at a scale
of exactly 1, and its answers are wrong above it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import numpy as np

from edgepress.converters.arrays import Array
from edgepress.converters.statistics import Ranges
from edgepress.converters.to_tflite import flatbuffer as flat
from edgepress.converters.to_tflite.graph import Graph

EQUALITIES = ("EQUAL", "NOT_EQUAL")
COMPARISONS = (*EQUALITIES, "GREATER", "GREATER_EQUAL", "LESS", "LESS_EQUAL")
"""Operations that compare two values."""
NEAR = 1e-5
"""Distance between equal values, as a share of their range."""
BEYOND = 3
"""Steps behind the ends of a grid of 8 bits at which constants lie that no value can equal: their own scales may be so
large that LiteRT's EQUAL takes all values for equal."""


def with_marks_on_grids(model: bytes, float_model: bytes, ranges: Ranges) -> bytes:
    """A quantized model in which marks are compared on the grid of the values, and those of wide steps in float.

    The same bytes are returned if there are none.

    Args:
        model: A quantized model with its last types of input and output.
        float_model: The float model that it was made of, whose tensors have the same names.
        ranges: Ranges of its tensors by name.
    """
    graph = Graph(model)
    source = Graph(float_model)
    constants = {source.name(index): index for index in range(len(source.table.tensors))}
    makers = graph.makers()
    changed = False
    for op in [*graph.operators]:
        if graph.kind(op) not in COMPARISONS:
            continue
        for place, other in ((0, 1), (1, 0)):
            stored, compared = int(op.inputs[place]), int(op.inputs[other])
            values_range = ranges.get(graph.name(compared).removesuffix("_quantized"))
            if graph.constant(stored) is None or graph.constant(compared) is not None or values_range is None:
                continue
            exact = source.constant(constants.get(graph.name(stored), -1))
            mark = _real_values(graph, stored) if exact is None else exact
            new = _add_mark(graph, makers, compared, mark, values_range, is_equality=graph.kind(op) in EQUALITIES)
            if new is not None:
                op.inputs = [new if i == place else int(index) for i, index in enumerate(op.inputs)]
                changed = True
        if graph.kind(op) in EQUALITIES and _is_wide(graph, op):
            _compare_in_float(graph, op)
            changed = True
    return graph.to_bytes() if changed else model


def _is_wide(graph: Graph, op: Any) -> bool:
    """Whether an operation reads values in steps of 1 or more."""
    values = [int(index) for index in op.inputs if graph.constant(int(index)) is None]
    return any(scale >= 1 for index in values for scale in graph.scales(index)[0])


def _compare_in_float(graph: Graph, op: Any) -> None:
    """Let a comparison read the real values of its operands."""
    real: dict[int, int] = {}
    for index in {int(index) for index in op.inputs}:
        if (values := graph.constant(index)) is not None:
            scales, zeros = graph.scales(index)
            real[index] = graph.add_constant((values.astype(np.float32) - zeros[0]) * np.float32(scales[0]))
        else:
            real[index] = graph.add_tensor(graph.shape(index), f"{graph.name(index)}_compared")
            graph.insert_before(op, graph.operator("DEQUANTIZE", [index], real[index]))
    op.inputs = [real[int(index)] for index in op.inputs]


def _add_mark(
    graph: Graph,
    makers: Mapping[int, Any],
    compared: int,
    mark: Array,
    values_range: tuple[float, float],
    *,
    is_equality: bool,
) -> int | None:
    """Add a constant on the grid of the tensor it is compared with; None if that has none, or it is not a mark."""
    maker = makers.get(compared)
    grid = compared
    if in_float := maker is not None and graph.kind(maker) == "DEQUANTIZE":
        grid = int(maker.inputs[0])
    scales, zeros = graph.scales(grid)
    dtype = graph.dtype(grid)
    if len(scales) != 1 or dtype is None:
        return None
    to_grid = partial(on_grid, scale=scales[0], zero=zeros[0], dtype=dtype)
    integers = to_grid(mark)
    if is_mark(mark, values_range, to_grid):
        shift = 0
    elif is_equality and not in_float and dtype == np.int8 and _is_beyond(mark, values_range):
        integers = np.full_like(integers, np.iinfo(dtype).max + BEYOND)
        shift = BEYOND
    else:
        return None
    if in_float:
        return graph.add_constant(((integers - zeros[0]) * np.float32(scales[0])).astype(np.float32))
    new = graph.add_constant((integers - shift).astype(dtype))
    graph.table.tensors[new].quantization = flat.quantization(scales, [zeros[0] - shift])
    return new


def on_grid(mark: Array, scale: float, zero: float, dtype: np.dtype[Any]) -> Array:
    """The integers that values are in a tensor, float64."""
    limits = np.iinfo(dtype)
    return np.asarray(np.clip(np.rint(mark.astype(np.float64) / scale) + zero, limits.min, limits.max))


def is_mark(mark: Array, values_range: tuple[float, float], to_grid: Callable[[Array], Array]) -> bool:
    """Whether values may be exactly those of a constant, so that these are to be told from others.

    Many values are 0, the least or the largest one, so nothing else may become their integers.

    Args:
        mark: The constant.
        values_range: The least and the largest value.
        to_grid: Returns the integers of values.
    """
    low, high = values_range
    near = NEAR * (high - low)
    may_occur = (mark >= low - near) & (mark <= high + near)
    for frequent in (0.0, low, high):
        may_occur &= (np.abs(mark - frequent) <= near) | (to_grid(mark) != to_grid(np.array(frequent)))
    return bool(np.all(may_occur))


def _is_beyond(mark: Array, values_range: tuple[float, float]) -> bool:
    """Whether no value can be one of those of a constant."""
    low, high = values_range
    return bool(np.all((mark < low) | (mark > high)))


def _real_values(graph: Graph, index: int) -> Array:
    """A constant's real values."""
    values = np.asarray(graph.constant(index), np.float64)
    scales, zeros = graph.scales(index)
    return (values - zeros[0]) * scales[0] if scales else values
