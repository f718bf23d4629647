"""Float TFLite graphs in forms that quantizers take: of other converters, with channels first, or quantized before.

Removes the TRANSPOSE behind the last convolution of a model that was written with its channels first.

TensorFlow's converter computes such a model with its channels last and transposes what leaves the convolutions. There,
channels are no longer the last axis, so repairs can't scale them: an int8 file lost what that of the same model with
its channels last kept. A reduction can reduce the axes where they are, and a dense layer can have its weights in the
order in which it gets its inputs. Both compute the same.

A quantized TFLite file as a float one, which computes with the real numbers that its integers stand for.

Its answers differ from the file's by what that rounds on the way. Training can start from such a graph.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np

from edgepress.converters.to_tflite import flatbuffer as flat
from edgepress.converters.to_tflite.graph import Graph, only_reader
from edgepress.converters.to_tflite.grids import WEIGHTED
from edgepress.converters.to_tflite.passes import REQUANTIZE

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


REDUCTIONS = ("MEAN", "SUM", "REDUCE_MAX", "REDUCE_MIN")
"""Operations whose second input is the axes that they reduce."""

Readers = dict[int, list[Any]]
Change = Callable[[], None]


def without_last_transposes(model: bytes) -> bytes:
    """A float model without each TRANSPOSE that is read only by reductions and by dense layers behind a RESHAPE."""
    graph = Graph(model)
    readers = graph.readers()
    removed = [op for op in graph.operators if graph.kind(op) == "TRANSPOSE" and _bypass(graph, op, readers)]
    for op in removed:
        graph.replace(op)
    return graph.to_bytes() if removed else model


def _bypass(graph: Graph, transpose: Any, readers: Readers) -> bool:
    """Let all readers of a TRANSPOSE read its input instead, if each can compute the same; whether they can."""
    order = graph.constant(int(transpose.inputs[1]))
    if order is None:
        return False
    changes: list[Change] = []
    for reader in readers.get(int(transpose.outputs[0]), []):
        change = None if reader is None else _change_of(graph, reader, transpose, order.tolist(), readers=readers)
        if change is None:
            return False
        changes.append(change)
    for change in changes:
        change()
    return bool(changes)


def _change_of(graph: Graph, reader: Any, transpose: Any, order: list[int], *, readers: Readers) -> Change | None:
    """What makes a reader of a TRANSPOSE compute the same from its input; None if it can't."""
    after = only_reader(readers, int(reader.outputs[0]))
    if graph.kind(reader) in REDUCTIONS:
        if reader.builtinOptions.keepDims and (after is None or graph.kind(after) != "RESHAPE"):
            return None
        return _reduction_of_other_axes(graph, reader, transpose, order)
    if graph.kind(reader) == "RESHAPE" and after is not None and graph.kind(after) == "FULLY_CONNECTED":
        return _dense_of_other_order(graph, (reader, after), transpose, order)
    return None


def _reduction_of_other_axes(graph: Graph, reduction: Any, transpose: Any, order: list[int]) -> Change | None:
    axes = graph.constant(int(reduction.inputs[1]))
    if axes is None:
        return None
    reduced = {int(axis) % len(order) for axis in axes.reshape(-1)}
    left = [source for axis, source in enumerate(order) if axis not in reduced]
    if left != sorted(left):
        return None  # the result would have its axes in another order
    own = sorted(order[axis] for axis in reduced)
    return partial(_reduce, graph, reduction, int(transpose.inputs[0]), own)


def _reduce(graph: Graph, reduction: Any, source: int, axes: list[int]) -> None:
    reduction.inputs = [source, graph.add_constant(np.array(axes, np.int32))]
    if reduction.builtinOptions.keepDims:
        sizes = [1 if axis in axes else size for axis, size in enumerate(graph.shape(source))]
        graph.table.tensors[int(reduction.outputs[0])].shape = sizes


def _dense_of_other_order(graph: Graph, layers: tuple[Any, Any], transpose: Any, order: list[int]) -> Change | None:
    reshape, dense = layers
    moved = graph.shape(int(transpose.outputs[0]))
    flat = graph.shape(int(reshape.outputs[0]))
    weights = graph.constant(int(dense.inputs[1]))
    if weights is None or int(dense.inputs[0]) != int(reshape.outputs[0]) or order[0] != 0 or min(moved) < 1:
        return None
    if flat != (moved[0], weights.shape[1]):
        return None
    by_place = weights.reshape(len(weights), *moved[1:]).transpose(np.argsort(order))
    permuted = np.ascontiguousarray(by_place.reshape(weights.shape))
    return partial(_permute, graph, layers, int(transpose.inputs[0]), permuted)


def _permute(graph: Graph, layers: tuple[Any, Any], source: int, weights: Any) -> None:
    reshape, dense = layers
    permuted = graph.add_constant(weights)
    graph.rename(permuted, f"{graph.name(int(dense.inputs[1]))}_channels_last")
    dense.inputs = [int(dense.inputs[0]), permuted, *(int(i) for i in dense.inputs[2:])]
    reshape.inputs = [source, *(int(i) for i in reshape.inputs[1:])]


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
