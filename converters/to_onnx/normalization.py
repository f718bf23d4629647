"""The normalization of each feature in front of an ONNX model, as `to_tflite.normalization` finds it in TFLite."""

from __future__ import annotations

from typing import Any

from onnx import TensorProto

from edgepress.converters.to_onnx.graph import OnnxGraph, attribute
from edgepress.converters.to_tflite.normalization import MOST_DIMENSIONS

KINDS = ("Add", "Sub", "Mul", "Div")
VIEWS = ("Reshape", "Flatten", "Squeeze", "Unsqueeze", "Identity", "Cast")
"""Operations that return the numbers that they read; a Cast of floats does."""


def normalization(graph: OnnxGraph) -> list[Any]:
    """The nodes in front of a float model that shift or scale each feature by a constant of its own; may be none."""
    return [node for value in graph.proto.input for node in _behind(graph, value.name)]


def _behind(graph: OnnxGraph, at: str) -> list[Any]:
    """The same behind one input."""
    shape = graph.shape(at) or ()
    alike = shape[-1] if len(shape) > MOST_DIMENSIONS else 1
    chain: list[Any] = []
    sizes = []
    while (node := graph.only_reader(at)) is not None and node.op_type in (*KINDS, *VIEWS):
        if node.op_type in KINDS:
            parts = graph.operand(node)
            if parts is None:
                break
            sizes.append(parts[1].size)
        elif node.op_type == "Cast" and attribute(node, "to") != TensorProto.FLOAT:
            break
        chain.append(node)
        at = node.output[0]
    return chain if max(sizes, default=1) > alike else []
