"""Conversions of uint8 to int8 and back, at the ends of a file, are written as DEQUANTIZE and QUANTIZE.

LiteRT's delegate takes a QUANTIZE whose two types are the same, or whose input is float (xnnpack_delegate.cc,
`VisitUnaryNode`), so one of uint8 to int8 stays outside, in a scalar kernel, and adds a part to hand over to. Through
float32, the whole graph is one part, and XNNPACK makes a table of the two (see `lookup_islands`).

The results are the same: DEQUANTIZE is exact, but for a rounding of float32 that is far from half a step.
"""

from __future__ import annotations

import numpy as np

from edgepress.converters.rewrites.graph import Graph
from edgepress.converters.rewrites.int8 import has_one_scale
from edgepress.converters.to_tflite.convert import ISLAND_MARK


def rewrite(graph: Graph) -> int:
    """Write each QUANTIZE between uint8 and int8 as two operations; returns their number."""
    found = 0
    for op in [op for op in graph.operators if graph.kind(op) == "QUANTIZE"]:
        taken, made = int(op.inputs[0]), int(op.outputs[0])
        if {graph.dtype(taken), graph.dtype(made)} != {np.dtype(np.uint8), np.dtype(np.int8)}:
            continue
        if not (has_one_scale(graph, taken) and has_one_scale(graph, made)):
            continue
        real = graph.add_tensor(graph.shape(taken), f"{graph.prefix}_{ISLAND_MARK}_{graph.name(taken)}")
        graph.insert_before(op, graph.operator("DEQUANTIZE", [taken], real))
        op.inputs = [real]
        found += 1
    return found
