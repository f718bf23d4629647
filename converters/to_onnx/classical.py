"""Operations of classical machine learning (`ai.onnx.ml`) that are layers of a network, written as such.

scikit-learn's networks and linear models arrive with them: a Scaler in front, a LinearClassifier, and a Normalizer that
makes shares of its outputs. Others choose features, or tell which are above a threshold. Trees, support vectors and
neighbours are no networks, and stay.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import numpy as np
import onnx

from edgepress.converters.to_onnx.convert import OPSET
from edgepress.converters.to_onnx.graph import STANDARD, OnnxGraph, attribute

DOMAIN = "ai.onnx.ml"
ENDS = {b"NONE": "Identity", b"SOFTMAX": "Softmax", b"LOGISTIC": "Sigmoid"}
"""What a LinearClassifier does at its end."""
NORMS = {b"L1": "ReduceL1", b"L2": "ReduceL2"}
"""What a Normalizer divides by."""


AXES_AS_INPUT = 18
"""Opset from which on ReduceL1 and ReduceL2 take their axes as an input."""


def with_layers(model: onnx.ModelProto) -> onnx.ModelProto:
    """A copy of a model with these operations as layers; the same object if it has none.

    Raises:
        Exception: An operation is not valid, in one of many ways.
    """
    if all(node.domain != DOMAIN for node in model.graph.node):
        return model
    plain = copy.deepcopy(model)
    if not any(entry.domain in STANDARD for entry in plain.opset_import):
        plain.opset_import.append(onnx.helper.make_opsetid("", OPSET))
    graph = OnnxGraph(plain)
    write: dict[str, Callable[[OnnxGraph, Any], None]] = {
        "Scaler": _scale,
        "LinearClassifier": _classify,
        "Normalizer": _normalize,
        "ArrayFeatureExtractor": _choose,
        "Binarizer": _compare,
    }
    for node in list(plain.graph.node):
        if node.domain == DOMAIN and node.op_type in write:
            write[node.op_type](graph, node)
    graph.finish()
    return plain


def _scale(graph: OnnxGraph, node: Any) -> None:
    """Subtract an offset and multiply by a scale, of each feature."""
    if len(graph.shape(node.input[0]) or ()) != 2:
        return
    offset, scale = (
        graph.add_constant(np.array(attribute(node, name), np.float32).reshape(1, -1)) for name in ("offset", "scale")
    )
    graph.replace(node.output[0], "Mul", [graph.add("Sub", [_floats(graph, node), offset]), scale])


def _classify(graph: OnnxGraph, node: Any) -> None:
    """Scores of a dense layer; the label, which nothing may read, is left out."""
    end = ENDS.get(attribute(node, "post_transform", b"NONE"))
    if end is None or graph.readers(node.output[0]):
        return
    intercepts = np.array(attribute(node, "intercepts"), np.float32)
    weights = np.array(attribute(node, "coefficients"), np.float32).reshape(len(intercepts), -1)
    if len(attribute(node, "classlabels_ints") or attribute(node, "classlabels_strings")) != len(intercepts):
        return  # one score for two classes
    product = graph.add("MatMul", [_floats(graph, node), graph.add_constant(np.ascontiguousarray(weights.T))])
    total = graph.add("Add", [product, graph.add_constant(intercepts)])
    attributes = {"axis": 1} if end == "Softmax" else {}
    graph.replace(node.output[1], end, [total], domain="", **attributes)


def _normalize(graph: OnnxGraph, node: Any) -> None:
    """Divide by the norm of an item; zeros stay zeros."""
    norm = NORMS.get(attribute(node, "norm", b"MAX"))
    if norm is None:
        return
    source = _floats(graph, node)
    if graph.opset < AXES_AS_INPUT:
        size = graph.add(norm, [source], axes=[1], keepdims=1)
    else:
        size = graph.add(norm, [source, graph.add_constant(np.array([1]))], keepdims=1)
    zero, one = (graph.add_constant(np.array(number, np.float32)) for number in (0, 1))
    divisor = graph.add("Where", [graph.add("Equal", [size, zero]), one, size])
    graph.replace(node.output[0], "Div", [source, divisor])


def _choose(graph: OnnxGraph, node: Any) -> None:
    """Choose features of given numbers."""
    numbers = graph.constant(node.input[1])
    if numbers is not None and len(graph.shape(node.input[0]) or ()) > 1:
        chosen = graph.add_constant(numbers.ravel().astype(np.int64))
        graph.replace(node.output[0], "Gather", [node.input[0], chosen], domain="", axis=-1)


def _compare(graph: OnnxGraph, node: Any) -> None:
    """Tell by 1 and 0 which features are above a threshold."""
    threshold = graph.add_constant(np.array(attribute(node, "threshold", 0.0), np.float32))
    above = graph.add("Greater", [_floats(graph, node), threshold])
    graph.replace(node.output[0], "Cast", [above], domain="", to=onnx.TensorProto.FLOAT)


def _floats(graph: OnnxGraph, node: Any) -> str:
    """What a node reads, which may be of any numbers, as float32."""
    if graph.is_float(node.input[0]):
        return str(node.input[0])
    return graph.add("Cast", [node.input[0]], to=onnx.TensorProto.FLOAT)
