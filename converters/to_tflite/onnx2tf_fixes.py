"""Fix what onnx2tf makes of ONNX models where quantizers or kernels can't take it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from edgepress.converters.to_tflite.graph import Graph, only_reader

_RELUS = ("RELU", "RELU6", "RELU_0_TO_1")
"""Operations whose outputs are at least 0."""
_FUSED_RELUS = (1, 3)
"""Values of `ActivationFunctionType` of which the same is true."""
_LAST = ("_nhwc_bridge", "__to_nhwc", "_nhwc")
"""What the names of tensors with channels last end in, behind that of the one with channels first."""
_LEAST = -1e30
"""Constants below stand for negative infinity."""


def zero_padding(model: bytes) -> bytes:
    """Let max pooling of values that are at least 0 pad with 0 instead of with the least float, which changes nothing.

    onnx2tf expresses the padding of ONNX's MaxPool by such a PADV2. No interpreter can quantize its constant.
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

    onnx2tf makes BATCH_MATMUL of ONNX's MatMul. Its weights can't be float16, and its integer kernel has one scale for
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


def with_gelu_options(model: bytes, approximate: Mapping[str, bool]) -> bytes:
    """Write into each GELU whether it is approximated by tanh, which onnx2tf leaves out, so that none is.

    Args:
        model: What onnx2tf made. It orders operations anew, and keeps the names of tensors, most of them.
        approximate: Whether each GELU of the ONNX model is, by the name of its result.
    """
    graph = Graph(model)
    bare = [op for op in graph.operators if graph.kind(op) == "GELU" and op.builtinOptions is None]
    kinds = {*approximate.values()}
    if not bare or not kinds:
        return model
    for op in bare:
        is_approximate = next(iter(kinds)) if len(kinds) == 1 else approximate.get(graph.output_name(op))
        if is_approximate is None:
            continue
        like = graph.operator("GELU", op.inputs, int(op.outputs[0]), approximate=is_approximate)
        op.builtinOptions = like.builtinOptions
        op.builtinOptionsType = like.builtinOptionsType
    return graph.to_bytes()


def with_joining_axes(model: bytes, shapes: Mapping[str, tuple[int, ...]]) -> bytes:
    """Join tensors with channels first along the axis of the ONNX model.

    onnx2tf 2.6.9 takes the last one where a Split comes before and a mean behind, but keeps the tensors as they are.

    Args:
        model: What onnx2tf made.
        shapes: Shapes of the ONNX model's values, by name; tensors with channels last have other names.
    """
    graph = Graph(model)
    wrong = False
    for op in graph.operators:
        whole = shapes.get(graph.name(int(op.outputs[0])), ())
        if graph.kind(op) != "CONCATENATION" or sorted(graph.shape(int(op.outputs[0]))) == sorted(whole):
            continue
        parts = [graph.shape(int(i)) for i in op.inputs]
        axes = [axis for axis in range(len(whole)) if all(_joins(part, whole, axis) for part in parts)]
        if len(axes) == 1 and sum(part[axes[0]] for part in parts) == whole[axes[0]]:
            op.builtinOptions.axis = axes[0]
            wrong = True
    if not wrong:
        return model
    for index in graph.makers():  # what follows has other shapes, too
        whole = shapes.get(graph.name(index), ())
        if len(whole) == len(graph.shape(index)) and sorted(whole) != sorted(graph.shape(index)):
            graph.table.tensors[index].shape = np.array(whole, np.int32)
    return graph.to_bytes()


def _joins(part: tuple[int, ...], whole: tuple[int, ...], axis: int) -> bool:
    """Whether a shape is another but for an axis."""
    return len(part) == len(whole) and all(
        size == other for at, (size, other) in enumerate(zip(part, whole, strict=True)) if at != axis
    )


def with_missing_turns(model: bytes) -> bytes:
    """Transpose the tensor with channels last that onnx2tf wrote in place of one that is read but that nothing writes.

    onnx2tf 2.6.9 makes a sum with channels last where another layer wants it so, and forgets that a Split or slices
    still read the tensor with channels first.
    """
    graph = Graph(model)
    makers = graph.makers()
    written = {graph.name(index): index for index in makers}
    read = dict.fromkeys(int(i) for op in graph.operators for i in op.inputs if i >= 0)
    missing = [i for i in read if i not in makers and graph.constant(i) is None and i not in graph.table.inputs]
    changed = False
    for index in missing:
        source = next((written[name] for end in _LAST if (name := graph.name(index) + end) in written), None)
        shape = graph.shape(index)
        if source is None or graph.shape(source) != (*shape[:1], *shape[2:], *shape[1:2]):
            continue
        rank = len(shape)
        perm = graph.add_constant(np.array([0, rank - 1, *range(1, rank - 1)], np.int32))
        turn = graph.operator("TRANSPOSE", [source, perm], index)
        graph.operators.insert(graph.position(makers[source]) + 1, turn)
        changed = True
    return graph.to_bytes() if changed else model


def _option(op: Any, name: str) -> bool:
    return bool(getattr(op.builtinOptions, name, False))
