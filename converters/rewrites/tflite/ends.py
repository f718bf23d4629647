"""Conversions of uint8 to int8 and back, at the ends of a file, are written as DEQUANTIZE and QUANTIZE.

LiteRT's delegate takes a QUANTIZE whose two types are the same, or whose input is float (xnnpack_delegate.cc,
`VisitUnaryNode`), so one of uint8 to int8 stays outside, in a scalar kernel, and adds a part to hand over to. Through
float32, the whole graph is one part, and XNNPACK makes a table of the two (see `lookup_islands`).

The results are the same: DEQUANTIZE is exact, but for a rounding of float32 that is far from half a step. Behind a
float island, such as a softmax, the float is quantized to uint8 at once, which makes the same steps.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from edgepress.converters.rewrites.tflite.int8 import has_one_scale
from edgepress.converters.rewrites.tflite.windows import operand, result
from edgepress.converters.to_tflite.convert import ISLAND_MARK
from edgepress.converters.to_tflite.graph import Graph, only_reader


def matches(graph: Graph) -> list[Any]:
    """Each QUANTIZE between uint8 and int8."""
    return [op for op in graph.operators if _is_end(graph, op)]


def change(graph: Graph, op: Any) -> None:
    """Let a QUANTIZE read floats."""
    source = operand(op)
    before = graph.makers().get(source)
    if before is not None and _is_same_grid(graph, before, result(op)) and only_reader(graph.readers(), source) is op:
        op.inputs = list(before.inputs)
        graph.operators.remove(before)
        return
    real = graph.add_tensor(graph.shape(source), f"{graph.prefix}_{ISLAND_MARK}_{graph.name(source)}")
    graph.insert_before(op, graph.operator("DEQUANTIZE", [source], real))
    op.inputs = [real]


def _is_end(graph: Graph, op: Any) -> bool:
    """Whether an operation turns uint8 into int8 or int8 into uint8."""
    if graph.kind(op) != "QUANTIZE":
        return False
    ends = operand(op), result(op)
    types = {graph.dtype(tensor) for tensor in ends}
    return types == {np.dtype(np.uint8), np.dtype(np.int8)} and all(has_one_scale(graph, tensor) for tensor in ends)


def _is_same_grid(graph: Graph, op: Any, tensor: int) -> bool:
    """Whether an operation quantizes a float to int8 by the same steps as a uint8 tensor has."""
    if graph.kind(op) != "QUANTIZE" or graph.dtype(operand(op)) != np.float32:
        return False
    ((first,), (zero,)), ((second,), (shifted,)) = graph.scales(result(op)), graph.scales(tensor)
    return first == second and zero + 128 == shifted
