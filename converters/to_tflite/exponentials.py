"""The operations behind an exponential that a quantized TFLite file computes in float; `converters.exponentials`."""

from __future__ import annotations

from edgepress.converters.exponentials import exponential_chains
from edgepress.converters.to_tflite.graph import Graph


def exponential_names(graph: Graph) -> list[str]:
    """Names of what these operations compute."""
    readers = graph.readers()
    chains = exponential_chains(graph.operators, graph.kind, lambda op: readers.get(int(op.outputs[0]), []))
    return [graph.name(int(op.outputs[0])) for op in chains]
