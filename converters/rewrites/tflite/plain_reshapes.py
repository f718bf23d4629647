"""SQUEEZE and EXPAND_DIMS, which only change a shape, become RESHAPE.

LiteRT's delegate takes RESHAPE, but not SQUEEZE, and refuses EXPAND_DIMS (xnnpack_delegate.cc, `VisitNode`,
`VisitExpandDimsNode`), so either cuts the graph into parts that are handed over one by one. Published MobileNets have
a SQUEEZE in front of their softmax.
"""

from __future__ import annotations

from edgepress.converters.to_tflite.graph import Graph


def rewrite(graph: Graph) -> int:
    """Write each of known shape as RESHAPE; returns their number."""
    found = [op for op in graph.operators if graph.kind(op) in ("SQUEEZE", "EXPAND_DIMS")]
    found = [op for op in found if graph.shape(int(op.outputs[0])) and min(graph.shape(int(op.outputs[0]))) > 0]
    for op in found:
        graph.replace(op, graph.reshape(int(op.inputs[0]), int(op.outputs[0])))
    return len(found)
