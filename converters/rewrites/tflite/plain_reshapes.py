"""SQUEEZE and EXPAND_DIMS, which only change a shape, become RESHAPE.

LiteRT's delegate takes RESHAPE, but not SQUEEZE, and refuses EXPAND_DIMS (xnnpack_delegate.cc, `VisitNode`,
`VisitExpandDimsNode`), so either cuts the graph into parts that are handed over one by one. Published MobileNets have
a SQUEEZE in front of their softmax.
"""

from __future__ import annotations

from typing import Any

from edgepress.converters.to_tflite.graph import Graph


def matches(graph: Graph) -> list[Any]:
    """Each SQUEEZE and EXPAND_DIMS of known shape."""
    views = [op for op in graph.operators if graph.kind(op) in ("SQUEEZE", "EXPAND_DIMS")]
    return [op for op in views if min(graph.shape(int(op.outputs[0])), default=0) > 0]


def change(graph: Graph, op: Any) -> None:
    """Write an operation as RESHAPE."""
    graph.replace(op, graph.reshape(int(op.inputs[0]), int(op.outputs[0])))
