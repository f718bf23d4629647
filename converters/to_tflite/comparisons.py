"""Constants that a quantized TFLite model compares values with, on the grids of these values.

A value may mark something, such as the steps that a Masking layer leaves out. In a file of integers it is rounded to
the grid of its tensor, and the constant that it is compared with to a grid of its own: -1 is -0.996 on one and -1 on
the other, so the mark is never found. Here the constant gets the grid of the values, on which it is the same integer
as its mark. A constant beyond that grid, such as a bound that no value reaches, stays beyond it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from edgepress.converters.arrays import Array
from edgepress.converters.to_tflite import flatbuffer as flat
from edgepress.converters.to_tflite.graph import Graph

NEAR = 1.0
"""Steps by which a mark may lie beyond the grid: its ends are moved by so much, so that 0 lies on it."""
BEYOND = 3
"""Steps behind the ends of the grid at which constants lie that are farther away."""
COMPARISONS = ("EQUAL", "NOT_EQUAL", "GREATER", "GREATER_EQUAL", "LESS", "LESS_EQUAL")
"""Operations that compare two values."""


def with_marks_on_grids(model: bytes, float_model: bytes) -> bytes:
    """A quantized model in which constants are compared on the grid of the values; the same bytes if all are.

    Args:
        model: A quantized model with its last types of input and output.
        float_model: The float model that it was made of, whose constants have the same names.
    """
    graph = Graph(model)
    source = Graph(float_model)
    constants = {source.name(index): index for index in range(len(source.table.tensors))}
    makers = graph.makers()
    changed = False
    for op in graph.operators:
        if graph.kind(op) not in COMPARISONS:
            continue
        for place, other in ((0, 1), (1, 0)):
            stored, compared = int(op.inputs[place]), int(op.inputs[other])
            if graph.constant(stored) is None or graph.constant(compared) is not None:
                continue
            mark = source.constant(constants.get(graph.name(stored), -1))
            new = _add_mark(graph, makers, compared, _real(graph, stored) if mark is None else mark)
            if new is not None:
                op.inputs = [new if i == place else int(index) for i, index in enumerate(op.inputs)]
                changed = True
    return graph.to_bytes() if changed else model


def _add_mark(graph: Graph, makers: Mapping[int, Any], compared: int, mark: Array) -> int | None:
    """Add a constant on the grid of a tensor, for whose type it is; None if the tensor has none."""
    maker = makers.get(compared)
    grid = compared
    if in_float := maker is not None and graph.kind(maker) == "DEQUANTIZE":
        grid = int(maker.inputs[0])
    scales, zeros = graph.scales(grid)
    dtype = graph.dtype(grid)
    if len(scales) != 1 or dtype is None:
        return None
    integers = on_grid(mark, scales[0], zeros[0], dtype)
    if in_float:
        return graph.add_constant(((integers - zeros[0]) * np.float32(scales[0])).astype(np.float32))
    limits = np.iinfo(dtype)
    shift = max(0, integers.max() - limits.max) + min(0, integers.min() - limits.min)
    if integers.min() - shift < limits.min or integers.max() - shift > limits.max:
        return None
    new = graph.add_constant((integers - shift).astype(dtype))
    graph.table.tensors[new].quantization = flat.quantization(scales, [zeros[0] - int(shift)])
    return new


def on_grid(mark: Array, scale: float, zero: float, dtype: np.dtype[Any]) -> Array:
    """The integers that marks are in a tensor; up to `BEYOND` outside of its type if they lie beyond its grid."""
    limits = np.iinfo(dtype)
    exact = mark.astype(np.float64) / scale + zero
    inside = np.clip(np.rint(exact), limits.min, limits.max)
    outside = np.clip(np.rint(exact), limits.min - BEYOND, limits.max + BEYOND)
    return np.asarray(np.where(np.abs(exact - inside) <= NEAR, inside, outside))


def _real(graph: Graph, index: int) -> Array:
    """A constant's real values."""
    values = np.asarray(graph.constant(index), np.float64)
    scales, zeros = graph.scales(index)
    return (values - zeros[0]) * scales[0] if scales else values
