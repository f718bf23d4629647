"""The features of a classifier, the tensor that its last layer reads, and a new classifier behind them."""

from __future__ import annotations

import math
from typing import Any, Literal

import numpy as np

from edgepress.converters.arrays import Floats
from edgepress.converters.errors import ConversionError
from edgepress.converters.graph.program import Program
from edgepress.converters.graph.step import Step
from edgepress.converters.to_tflite import flatbuffer as flat
from edgepress.converters.to_tflite.graph import Graph

CLASSIFIERS = ("CONV_2D", "FULLY_CONNECTED", "BATCH_MATMUL")
"""Kinds of operations that a classifier's last layer may be."""
CANDIDATES = 8
"""Tensors that an error names."""


def find_features(program: Program, wanted: str = "") -> str:
    """Name of the tensor that holds the features.

    Args:
        program: The float graph of a classifier, or of a net that returns features.
        wanted: The tensor that the user names: its name, or one of the names that a converter joined by ";".

    Raises:
        ConversionError: There is no such tensor, or no place where one classifier ends the graph; candidates are named.
    """
    if wanted:
        names = [name for name in candidates(program) if wanted in (name, *name.split(";"))]
        if len(names) != 1:
            raise _refusal(program, f"{'No tensor' if not names else 'More than one tensor'} is called {wanted!r}")
        return names[0]
    if is_map(program.shapes[program.sink]):  # no scores of classes, but features at many places
        return program.sink
    classifier, why = _find_classifier(program)
    if classifier is None:
        raise _refusal(program, why)
    if classifier.inputs[0] not in candidates(program):
        raise _refusal(program, f"No layer is before {classifier.kind}, which makes {_short(classifier.output)}")
    return classifier.inputs[0]


def flattens(program: Program, tensor: str) -> bool:
    """Whether a classifier must tell the places of features (1, height, width, channels) apart.

    So does a convolution over all of them at once. Otherwise the mean over the places is taken.
    """
    return not is_map(program.shapes[tensor]) or any(
        step.kind == "CONV_2D" and not is_map(step.shape) for step in program.readers.get(tensor, ())
    )


def is_map(shape: tuple[int, ...]) -> bool:
    """Whether a tensor has more than one place: axes between those of the batch and of the channels."""
    return math.prod(shape[1:-1]) > 1


def candidates(program: Program) -> list[str]:
    """Names of the tensors of real numbers that follow from the input by a layer with weights, in their order."""
    names = list[str]()
    behind = set[str]()
    for step in program.steps:
        if _is_layer(step) or behind.intersection(step.inputs):
            behind.update(step.outputs)
            real = step.dtype == np.float32
            names += [name for name in step.outputs if real and len(program.shapes[name]) > 1]
    return names


def _find_classifier(program: Program) -> tuple[Step | None, str]:
    """The one layer through which all that reaches the output goes last; None if there is none, and why."""
    layers: dict[str, Step] = {}
    seen = set[str]()
    pending = [program.sink]
    while pending:
        name = pending.pop()
        step = program.makers.get(name)
        if name == program.source:
            return None, "Its output follows from its input without a layer"
        if step is None or name in seen:
            continue
        seen.add(name)
        if _is_layer(step):
            layers[step.output] = step
        else:
            pending += [name for name in step.inputs if name]
    if len(layers) != 1:
        return None, f"Its output follows from {len(layers)} layers, {', '.join(map(_short, sorted(layers)[:3]))}"
    (classifier,) = layers.values()
    if classifier.kind not in CLASSIFIERS:
        return None, f"Its last layer, {_short(classifier.output)}, is {classifier.kind}, which is no classifier"
    return classifier, ""


def _is_layer(step: Step) -> bool:
    return bool(step.weights) or (step.kind in ("BATCH_MATMUL", "TRANSPOSE_CONV") and 1 in step.constants)


def _short(name: str) -> str:
    """The first of the names that a converter joined."""
    return name.partition(";")[0]


def _refusal(program: Program, why: str) -> ConversionError:
    names = candidates(program)[-CANDIDATES:]
    shown = ", ".join(f"{_short(name)} {list(program.shapes[name])}" for name in names) or "none"
    return ConversionError(
        f"The model has no place for a new classifier: {why}. Its last tensors: {shown}.",
        "Name the one that holds the features with --features.",
    )


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
