"""The operations of a TFLite graph that quantized files compute in float; `converters.float_chains` says why."""

from __future__ import annotations

from typing import Any

from edgepress.converters.float_chains import Role, chains, role
from edgepress.converters.to_tflite.graph import Graph


def float_chains(graph: Graph) -> list[Any]:
    """All operations of such chains."""
    readers = graph.readers()

    def role_of(op: Any) -> Role:
        inputs = [int(i) for i in op.inputs]
        kind = graph.kind(op)
        exponent = graph.constant(inputs[1]) if kind == "POW" else None
        number = float(exponent.item()) if exponent is not None and exponent.size == 1 else None
        return role(kind, exponent=number, squares=kind == "MUL" and inputs[0] == inputs[1])

    return chains(graph.operators, role_of, lambda op: readers.get(int(op.outputs[0]), []))


def float_chain_names(graph: Graph) -> list[str]:
    """Names of what they compute."""
    return [graph.name(int(op.outputs[0])) for op in float_chains(graph)]
