"""The nodes behind an exponential that a quantized ONNX file computes in float; `converters.exponentials`."""

from __future__ import annotations

from edgepress.converters.exponentials import exponential_chains
from edgepress.converters.to_onnx.graph import OnnxGraph


def exponential_nodes(graph: OnnxGraph) -> list[str]:
    """Names of these nodes."""
    nodes = graph.proto.node
    chains = exponential_chains(nodes, lambda node: str(node.op_type), lambda node: graph.readers(node.output[0]))
    return [node.name for node in chains]
