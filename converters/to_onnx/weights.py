"""Weights of convolutions that are stored in 8 bits, and computed with in float."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

import numpy as np
import onnx

from edgepress.converters.to_onnx.graph import OnnxGraph

LEAST = 256
"""Weights of fewer values stay float: their scales and nodes would take as much."""


def store_in_bytes(model: Any, only: Collection[str] | None = None) -> Any:
    """The model with its convolutions' weights as uint8, with a scale and a zero point for each output channel.

    Args:
        model: The model, which is changed in place.
        only: Names of the nodes to take; None takes all.
    """
    graph, made = OnnxGraph(model), dict[str, str]()
    for conv in float_convolutions(graph):
        if only is not None and conv.name not in only:
            continue
        name = conv.input[1]
        if name not in made:
            weights = graph.constant(name)
            assert weights is not None
            others = tuple(range(1, weights.ndim))
            low = np.minimum(weights.min(others, keepdims=True), 0)
            span = np.maximum(weights.max(others, keepdims=True), 0) - low
            scale = np.where(span > 0, span / 255, 1).astype(np.float32)
            zero = np.rint(-low / scale).astype(np.float32)
            stored = graph.add_constant(np.clip(np.rint(weights / scale) + zero, 0, 255).astype(np.uint8))
            whole = graph.add("Sub", [graph.add("Cast", [stored], to=onnx.TensorProto.FLOAT), graph.add_constant(zero)])
            made[name] = graph.add("Mul", [whole, graph.add_constant(scale)])
        graph.feed(conv, 1, made[name])
    graph.finish()
    return model


def float_convolutions(graph: OnnxGraph) -> list[Any]:
    """The convolutions with float weights of some size."""
    found = []
    for node in graph.nodes("Conv"):
        weights = graph.constant(node.input[1])
        if weights is not None and weights.dtype == np.float32 and weights.size >= LEAST and np.isfinite(weights).all():
            found.append(node)
    return found
