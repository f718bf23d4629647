"""Take out of the last layer what it adds to the logits of all labels alike, which a softmax ignores.

A net is not trained to keep that part small, so it may be many times as large as the differences between labels: one
item then widens the range of 8-bit logits so much that many others get two equal largest ones. Without the mean of the
labels' weights and biases, the logits of each item have the mean 0, and their probabilities are the same.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from edgepress.converters.arrays import Array
from edgepress.converters.numeric.metrics import without_mean
from edgepress.converters.ptq.score import answers_before_end
from edgepress.converters.to_tflite.float_layers import SAME_NUMBERS
from edgepress.converters.to_tflite.graph import Graph

SOFTMAXES = ("SOFTMAX", "LOG_SOFTMAX")
"""Operations that ignore what is added to all of their inputs."""
WIDER = 1.5
"""How many times as wide as that of mean_free logits the range of logits must be: a net of many labels that is sure of
each has a range that is hardly wider."""


def with_mean_free_logits(model: bytes, items: Array) -> bytes:
    """A float model whose logits have the mean 0, if their range is much narrower then; else the same bytes.

    Args:
        model: A float `.tflite` model of one item whose outputs are scores of labels that exclude each other, before
            or behind a softmax.
        items: Calibration items, shape (n, *item shape).
    """
    graph = Graph(model)
    layer = _last_layer(graph)
    if layer is None or not len(items):
        return model
    logits = answers_before_end(model, items)
    if not np.isfinite(logits).all() or _width(logits) < WIDER * _width(without_mean(logits)):
        return model
    inputs = [int(index) for index in layer.inputs]
    for place, index in enumerate(inputs):
        if (values := graph.constant(index)) is not None:
            mean = values.mean(axis=0, keepdims=True, dtype=np.float64)
            inputs[place] = graph.add_constant((values - mean).astype(np.float32))
    layer.inputs = np.array(inputs, np.int32)
    return graph.to_bytes()


def _width(logits: Array) -> float:
    """Width of the range of logits, in which 0 is."""
    return float(max(logits.max(), 0) - min(logits.min(), 0))


def _last_layer(graph: Graph) -> Any:
    """The operation of constant weights that computes the logits; None if there is none, or if others read them."""
    makers = graph.makers()
    readers = graph.readers()
    at = int(graph.table.outputs[0])
    labels = graph.shape(at)[-1] if graph.shape(at) else 0
    while (op := makers.get(at)) is not None and graph.kind(op) in (*SAME_NUMBERS, *SOFTMAXES):
        at = int(op.inputs[0])
        if len(readers[at]) > 1:
            return None
    if op is None or graph.kind(op) not in ("FULLY_CONNECTED", "CONV_2D") or op.builtinOptions.fusedActivationFunction:
        return None
    if np.prod(graph.shape(at)) != labels or labels < 2:
        return None
    constants = [graph.constant(int(index)) for index in op.inputs[1:] if index >= 0]
    is_float = all(values is not None and values.dtype == np.float32 and len(values) == labels for values in constants)
    return op if is_float else None
