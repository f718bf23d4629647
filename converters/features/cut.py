"""Cut a float graph at its features, and put a new classifier behind them."""

from __future__ import annotations

import math
from typing import Any, Literal

import numpy as np

from edgepress.converters.arrays import Floats
from edgepress.converters.features.find import flattens
from edgepress.converters.graph.program import Program
from edgepress.converters.to_tflite import flatbuffer as flat
from edgepress.converters.to_tflite.graph import Graph


def features_graph(program: Program, tensor: str) -> bytes:
    """The float graph that ends with its features, of shape (1, features).

    Args:
        program: The graph.
        tensor: Name of the features (`find_features`). Of a map, the mean over its places is taken, unless the old
            classifier told them apart.
    """
    graph = Graph(program.with_constants({}))
    index = next(i for i in range(len(graph.table.tensors)) if graph.name(i) == tensor)
    graph.table.operators = _operations_of(graph, index)
    shape = graph.shape(index)
    size = math.prod(shape) if flattens(program, tensor) else shape[-1]
    features = index
    if shape != (1, size):
        features = graph.add_tensor([1, size], f"{graph.prefix}_features")
        if size == math.prod(shape):
            graph.operators.append(graph.reshape(index, features))
        else:
            axes = graph.add_constant(np.arange(1, len(shape) - 1, dtype=np.int32))
            graph.operators.append(graph.operator("MEAN", [index, axes], features, keepDims=False))
    flat.redirect(graph.root, graph.table, features, inputs=False)
    return graph.to_bytes()


def with_classifier(
    features: bytes, kernel: Floats, bias: Floats, *, end: Literal["softmax", "sigmoid"] = "softmax"
) -> bytes:
    """The graph that ends with its features, with a dense layer and a softmax or sigmoids behind them.

    Args:
        features: The graph (`features_graph`).
        kernel: Shape (features, classes).
        bias: Shape (classes,).
        end: The last operation.
    """
    graph = Graph(features)
    classes = len(bias)
    constants = [
        graph.add_constant(np.ascontiguousarray(kernel.T), f"{graph.prefix}_classifier_weights"),
        graph.add_constant(bias, f"{graph.prefix}_classifier_bias"),
    ]
    logits = graph.add_tensor([1, classes], f"{graph.prefix}_classifier")
    scores = graph.add_tensor([1, classes], f"{graph.prefix}_scores")
    source = int(graph.table.outputs[0])
    graph.operators.append(graph.operator("FULLY_CONNECTED", [source, *constants], logits))
    last = ("SOFTMAX", {"beta": 1.0}) if end == "softmax" else ("LOGISTIC", {})
    graph.operators.append(graph.operator(last[0], [logits], scores, **last[1]))
    flat.redirect(graph.root, graph.table, scores, inputs=False)
    return graph.to_bytes()


def _operations_of(graph: Graph, index: int) -> list[Any]:
    """The operations that a tensor follows from."""
    needed = {index}
    kept = []
    for op in reversed(graph.operators):
        if needed.intersection(int(i) for i in op.outputs):
            needed.update(int(i) for i in op.inputs)
            kept.append(op)
    return kept[::-1]
