"""Float TFLite graphs of other converters in forms that quantizers take."""

from __future__ import annotations

from typing import Any

import numpy as np

from edgepress.converters.to_tflite.graph import Graph, only_reader

_RELUS = ("RELU", "RELU6", "RELU_0_TO_1")
"""Operations whose outputs are at least 0."""
_FUSED_RELUS = (1, 3)
"""Values of `ActivationFunctionType` of which the same is true."""
_LEAST = -1e30
"""Constants below stand for negative infinity."""


def zero_padding(model: bytes) -> bytes:
    """Let max pooling of values that are at least 0 pad with 0 instead of with the least float, which changes nothing.

    Such a PADV2 stands for the padding of ONNX' MaxPool. No interpreter can quantize its constant.
    """
    graph = Graph(model)
    makers = graph.makers()
    readers = graph.readers()
    pads = [op for op in graph.operators if graph.kind(op) == "PADV2"]
    changed = False
    for pad in pads:
        after = readers.get(int(pad.outputs[0]), [])
        constant = graph.constant(int(pad.inputs[2]))
        before = makers.get(int(pad.inputs[0]))
        if before is None or not after or any(op is None or graph.kind(op) != "MAX_POOL_2D" for op in after):
            continue
        if constant is None or constant.dtype != np.float32 or constant.size != 1 or constant.item() > _LEAST:
            continue
        activation = getattr(before.builtinOptions, "fusedActivationFunction", 0)
        if activation in _FUSED_RELUS or graph.kind(before) in _RELUS:
            graph.replace(pad, graph.operator("PAD", [int(i) for i in pad.inputs[:2]], int(pad.outputs[0])))
            changed = True
    return graph.to_bytes() if changed else model


def as_dense(model: bytes) -> bytes:
    """Let each BATCH_MATMUL with a constant matrix be FULLY_CONNECTED, which computes the same.

    Converters make BATCH_MATMUL of ONNX' MatMul. Its weights can't be float16, and its integer kernel has one scale for
    all of them, while FULLY_CONNECTED has one per output.
    """
    graph = Graph(model)
    products = [op for op in graph.operators if graph.kind(op) == "BATCH_MATMUL" and not _option(op, "adjX")]
    turned: dict[tuple[int, bool], int] = {}
    for op in products:
        left, matrix = (int(i) for i in op.inputs)
        values = graph.constant(matrix)
        if values is None or values.dtype != np.float32 or values.ndim != 2:
            continue
        key = matrix, _option(op, "adjY")
        if key not in turned:
            rows = values if key[1] else np.ascontiguousarray(values.T)
            turned[key] = graph.add_constant(rows, f"{graph.name(matrix)}_rows")
        keep = {"keepNumDims": len(graph.shape(left)) > 2}
        dense = graph.operator("FULLY_CONNECTED", [left, turned[key], -1], int(op.outputs[0]), **keep)
        graph.replace(op, dense)
    return graph.to_bytes() if turned else model


def as_log_softmax(model: bytes) -> bytes:
    """Let each logarithm of a softmax be LOG_SOFTMAX: on a grid between the two, small probabilities would be one."""
    graph = Graph(model)
    readers = graph.readers()
    pairs = [
        (op, reader)
        for op in graph.operators
        if graph.kind(op) == "SOFTMAX"
        and getattr(op.builtinOptions, "beta", 1.0) == 1.0
        and (reader := only_reader(readers, int(op.outputs[0]))) is not None
        and graph.kind(reader) == "LOG"
    ]
    for softmax, log in pairs:
        graph.replace(log, graph.operator("LOG_SOFTMAX", [int(softmax.inputs[0])], int(log.outputs[0])))
        graph.replace(softmax)
    return graph.to_bytes() if pairs else model


def _option(op: Any, name: str) -> bool:
    return bool(getattr(op.builtinOptions, name, False))
