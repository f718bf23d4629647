"""CONCATENATION of more than five tensors becomes several of at most five.

XNNPACK's delegate takes two to five (LiteRT, tflite/delegates/xnnpack/xnnpack_delegate.cc, `VisitConcatenationNode`).
One of more runs in a built-in kernel and divides the graph. What is copied twice is the smallest run of neighbours that
brings their number to five.
"""

from __future__ import annotations

import math
from typing import Any

from edgepress.converters.rewrites.tflite.windows import result
from edgepress.converters.to_tflite.graph import Graph

MOST = 5


def matches(graph: Graph) -> list[Any]:
    """The CONCATENATIONs of more tensors than the delegate takes."""
    return [op for op in graph.operators if graph.kind(op) == "CONCATENATION" and _is_large(graph, op)]


def change(graph: Graph, op: Any) -> None:
    """Divide a CONCATENATION."""
    while len(op.inputs) > MOST:
        _join(graph, op)


def _is_large(graph: Graph, op: Any) -> bool:
    if len(op.inputs) <= MOST or op.builtinOptions is None:
        return False
    shapes = [graph.shape(int(i)) for i in op.inputs]
    known = all(shape and min(shape) > 0 for shape in shapes)
    scales = {str(graph.scales(int(i))) for i in (*op.inputs, *op.outputs)}
    return known and len(scales) == 1  # so that parts need no scale of their own


def _join(graph: Graph, op: Any) -> None:
    """Let an operation before it join the neighbours that are smallest together."""
    inputs = [int(i) for i in op.inputs]
    count = min(MOST, len(inputs) - MOST + 1)
    sizes = [math.prod(graph.shape(i)) for i in inputs]
    start = min(range(len(inputs) - count + 1), key=lambda i: sum(sizes[i : i + count]))
    part = inputs[start : start + count]
    axis = op.builtinOptions.axis
    whole = result(op)
    shape = list(graph.shape(whole))
    shape[axis] = sum(graph.shape(i)[axis] for i in part)
    new = graph.add_tensor(shape, f"{graph.name(whole)}_part", like=whole)
    graph.insert_before(op, graph.operator("CONCATENATION", part, new, axis=axis))
    op.inputs = [*inputs[:start], new, *inputs[start + count :]]
