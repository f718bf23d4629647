"""A quantized TFLite file as a float one, which computes with the real numbers that its integers stand for.

Its answers differ from the file's by what that rounds on the way. Training can start from such a graph.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from edgepress.converters.to_tflite import flatbuffer as flat
from edgepress.converters.to_tflite.four_bits import WEIGHTED
from edgepress.converters.to_tflite.graph import Graph
from edgepress.converters.to_tflite.passes import REQUANTIZE

RELU = 1
"""Of the schema's `ActivationFunctionType`, as the next one."""
RELU6 = 3
NEAR = 1e-2
"""How near to 6 the end of a range is that stands for a ReLU6."""


def dequantized(model: bytes) -> bytes:
    """The float model, with the tensors' names, and an input and output of real numbers."""
    graph = Graph(model)
    for op in graph.operators:
        _write_bias_scale(graph, op)
        _write_activation(graph, op)
    for index, tensor in enumerate(graph.table.tensors):
        if not graph.scales(index)[0]:
            continue
        if (values := graph.real_values(index)) is not None:
            tensor.buffer = flat.add_buffer(graph.root, values)
        tensor.type = flat.FLOAT32
        tensor.quantization = None
    _drop_requantizing(graph)
    return graph.to_bytes()


def _write_bias_scale(graph: Graph, op: Any) -> None:
    """Give a bias without a scale the product of those of the input and the weights, which kernels take."""
    kind = graph.kind(op)
    data, weights, bias = (2, 1, 3) if kind == "TRANSPOSE_CONV" else (0, 1, 2)
    if kind not in WEIGHTED or len(op.inputs) <= bias or op.inputs[bias] < 0:
        return
    index = int(op.inputs[bias])
    (of_data, _), (of_weights, _) = (graph.scales(int(op.inputs[place])) for place in (data, weights))
    if of_data and of_weights and not graph.scales(index)[0]:
        scales = [of_data[0] * scale for scale in of_weights]
        graph.table.tensors[index].quantization = flat.quantization(scales, [0] * len(scales))


def _write_activation(graph: Graph, op: Any) -> None:
    """Give an operation the ReLU that the range of its output stands for: converters leave out what that cuts off."""
    scales, zeros = graph.scales(int(op.outputs[0]))
    dtype = graph.dtype(int(op.outputs[0]))
    if getattr(op.builtinOptions, "fusedActivationFunction", None) != 0 or not scales or dtype is None:
        return
    limits = np.iinfo(dtype)
    if zeros[0] == limits.min:
        high = scales[0] * (limits.max - limits.min)
        op.builtinOptions.fusedActivationFunction = RELU6 if abs(high - 6) < NEAR else RELU


def _drop_requantizing(graph: Graph) -> None:
    """Remove the operations that only changed the scale of a tensor."""
    table = graph.table
    source: dict[int, int] = {}
    kept = []
    for op in graph.operators:
        op.inputs = [source.get(int(i), int(i)) for i in op.inputs]
        ends = [int(op.inputs[0]), int(op.outputs[0])] if len(op.inputs) else []
        if graph.kind(op) in REQUANTIZE and all(table.tensors[i].type == flat.FLOAT32 for i in ends):
            source[ends[1]] = ends[0]
        else:
            kept.append(op)
    table.operators = kept
    if (sink := int(table.outputs[0])) in source:
        flat.redirect(graph.root, table, source[sink], inputs=False)
