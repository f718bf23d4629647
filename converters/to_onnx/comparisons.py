"""Constants that a QDQ model compares values with, on the grids of these values (`to_tflite.comparisons` says why)."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from edgepress.converters.arrays import Array
from edgepress.converters.statistics import Ranges
from edgepress.converters.to_onnx.graph import OnnxGraph
from edgepress.converters.to_tflite.comparisons import is_mark, on_grid

if TYPE_CHECKING:
    import onnx

COMPARISONS = ("Equal", "Greater", "GreaterOrEqual", "Less", "LessOrEqual")
"""Operations that compare two values."""


def put_marks_on_grids(model: onnx.ModelProto, ranges: Ranges) -> None:
    """Change a quantized model, in place, so that marks are compared on the grid of the values.

    Args:
        model: A QDQ model.
        ranges: Ranges of the float model's values by name.
    """
    graph = OnnxGraph(model)
    places = [
        _put_on_grid(graph, node, constant, values, ranges)
        for node in graph.nodes(*COMPARISONS)
        for constant, values in ((0, 1), (1, 0))
    ]
    if any(places):
        graph.finish()


def _put_on_grid(graph: OnnxGraph, node: Any, constant: int, values: int, ranges: Ranges) -> bool:
    """Put one operand of a comparison on the grid of the other, if that is computed; whether it was changed."""
    real = _real_values(graph, node.input[constant])
    dequantized = graph.maker(node.input[values], "DequantizeLinear")
    quantized = None if dequantized is None else graph.maker(dequantized.input[0], "QuantizeLinear")
    if real is None or quantized is None or quantized.input[0] not in ranges:
        return False
    scale, zero = (graph.constant(name) for name in dequantized.input[1:3])
    if scale is None or zero is None or scale.size != 1:
        return False
    step, middle = np.float32(scale.ravel()[0]), float(zero.ravel()[0])
    to_grid = partial(on_grid, scale=float(step), zero=middle, dtype=zero.dtype)
    if not is_mark(real, ranges[quantized.input[0]], to_grid):
        return False
    graph.feed(node, constant, graph.add_constant((to_grid(real) - middle).astype(np.float32) * step))
    return True


def _real_values(graph: OnnxGraph, name: str) -> Array | None:
    """A constant's real values; None if it is none."""
    maker = graph.maker(name, "DequantizeLinear")
    if maker is None:
        return graph.constant(name)
    integers, scale, zero = (graph.constant(name) for name in maker.input[:3])
    return None if integers is None or scale is None or zero is None else (integers.astype(np.float64) - zero) * scale
