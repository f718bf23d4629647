"""HARD_SWISH becomes ADD, MUL and MUL in int8, for hardware that computes in integers alone.

Edge TPUs and NPUs lack HARD_SWISH, and XNNPACK has no int8 kernel of it (LiteRT, xnnpack_delegate.cc, `VisitUnaryNode`
wants float), so a CPU runs LiteRT's own kernel, in scalar code. x * relu6(x + 3) / 6 needs nothing but additions and
products, which all of them have: ADD with a fused RELU6 into a scale of 6/255, MUL by 1/6 into one of 1/255, which
leaves the stored bytes as they are, and MUL by x.

The sum is rounded to a step of 6/255, so the answer is off by up to |x|/510 before it is rounded to its own scale: by
less than half a step of the answer if x reaches 3.
"""

from __future__ import annotations

from typing import Any

from edgepress.converters.rewrites.tflite.int8 import add_int8, add_scalar, is_int8
from edgepress.converters.to_tflite.graph import Graph

RELU6 = 3
"""Of the schema's `ActivationFunctionType`."""


def matches(graph: Graph) -> list[Any]:
    """Each int8 HARD_SWISH."""
    hard_swishes = [op for op in graph.operators if graph.kind(op) == "HARD_SWISH"]
    return [op for op in hard_swishes if is_int8(graph, int(op.inputs[0]), int(op.outputs[0]))]


def change(graph: Graph, op: Any) -> None:
    """Write a HARD_SWISH as an addition and two products."""
    source = int(op.inputs[0])
    output = int(op.outputs[0])
    shape = graph.shape(source)
    name = graph.name(output)
    six, one = (add_int8(graph, shape, f"{name}_gate_{top}", scale=top / 255, zero=-128) for top in (6, 1))
    graph.replace(
        op,
        graph.operator("ADD", [source, add_scalar(graph, 3)], six, fusedActivationFunction=RELU6),
        graph.operator("MUL", [six, add_scalar(graph, 1 / 6)], one),
        graph.operator("MUL", [source, one], output),
    )
