"""The nodes of an ONNX graph that quantized files compute in float; `converters.float_chains` says why."""

from __future__ import annotations

from typing import Any

from edgepress.converters.float_chains import Role, chains, role
from edgepress.converters.to_onnx.graph import OnnxGraph


def float_chains(graph: OnnxGraph) -> list[Any]:
    """All nodes of such chains."""

    def role_of(node: Any) -> Role:
        exponent = graph.constant(node.input[1]) if node.op_type == "Pow" else None
        number = float(exponent.item()) if exponent is not None and exponent.size == 1 else None
        squares = node.op_type == "Mul" and node.input[0] == node.input[1]
        return role(node.op_type, exponent=number, squares=squares)

    return chains(graph.proto.node, role_of, lambda node: graph.readers(node.output[0]))
