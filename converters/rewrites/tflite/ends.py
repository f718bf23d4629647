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
from edgepress.converters.to_tflite.convert import ISLAND_MARK
from edgepress.converters.to_tflite.graph import Graph


def rewrite(graph: Graph) -> int:
    """Let each QUANTIZE between uint8 and int8 read floats; returns their number."""
    found = [op for op in graph.operators if _is_end(graph, op)]
    for op in found:
        taken, made = int(op.inputs[0]), int(op.outputs[0])
        before = graph.makers().get(taken)
        if before is not None and _is_same_grid(graph, before, made) and len(graph.readers()[taken]) == 1:
            op.inputs = list(before.inputs)
            graph.operators.remove(before)
            continue
        real = graph.add_tensor(graph.shape(taken), f"{graph.prefix}_{ISLAND_MARK}_{graph.name(taken)}")
        graph.insert_before(op, graph.operator("DEQUANTIZE", [taken], real))
        op.inputs = [real]
    return len(found)


def _is_end(graph: Graph, op: Any) -> bool:
    """Whether an operation turns uint8 into int8 or int8 into uint8."""
    if graph.kind(op) != "QUANTIZE":
        return False
    ends = int(op.inputs[0]), int(op.outputs[0])
    types = {graph.dtype(tensor) for tensor in ends}
    return types == {np.dtype(np.uint8), np.dtype(np.int8)} and all(has_one_scale(graph, tensor) for tensor in ends)


def _is_same_grid(graph: Graph, op: Any, made: int) -> bool:
    """Whether an operation quantizes a float to int8 by the same steps as a uint8 tensor has."""
    if graph.kind(op) != "QUANTIZE" or graph.dtype(int(op.inputs[0])) != np.float32:
        return False
    ((first,), (zero,)), ((second,), (shifted,)) = graph.scales(int(op.outputs[0])), graph.scales(made)
    return bool(graph.dtype(made) == np.uint8 and first == second and zero + 128 == shifted)
