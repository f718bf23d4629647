"""Which layers of a TFLite graph get weights of four bits, where a scheme stores them so.

The first and the last layer keep eight bits, as is usual (Krishnamoorthi 2018, arXiv:1806.08342), and so do depthwise
convolutions, which hold few weights and for which litert-quantizer knows no four bits.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from edgepress.converters.to_tflite.graph import Graph

LEVELS = 7
"""The largest weight of a channel is this many steps of four bits: -7 to 7. litert-quantizer uses the same."""
LEAST = 256
"""Layers of fewer weights keep eight bits: there is nothing to gain."""
WEIGHTED = ("CONV_2D", "DEPTHWISE_CONV_2D", "TRANSPOSE_CONV", "FULLY_CONNECTED")


def four_bit_layers(graph: Graph) -> list[Any]:
    """The operations of a float graph whose weights get four bits, in their order."""
    readers = graph.readers()
    layers = [op for op in graph.operators if graph.kind(op) in WEIGHTED and _weights(graph, op) is not None]
    return [op for op in layers[1:-1] if _fits(graph, op) and len(readers[int(op.inputs[1])]) == 1]


def four_bit_names(model: bytes) -> list[str]:
    """Names of what these operations of a file compute."""
    graph = Graph(model)
    return [graph.output_name(op) for op in four_bit_layers(graph)]


def _weights(graph: Graph, op: Any) -> Any:
    values = graph.constant(int(op.inputs[1])) if len(op.inputs) > 1 else None
    return values if values is not None and values.dtype == np.float32 else None


def _fits(graph: Graph, op: Any) -> bool:
    """Whether it is a convolution or a dense layer, not in groups, of weights worth storing in four bits."""
    kind = graph.kind(op)
    data = graph.shape(int(op.inputs[0]))
    weights = graph.shape(int(op.inputs[1]))
    if int(np.prod(weights)) < LEAST:
        return False
    return kind == "FULLY_CONNECTED" or (kind == "CONV_2D" and len(data) == 4 and data[3] == weights[3])
