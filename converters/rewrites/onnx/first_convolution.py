"""The first convolution of images takes four columns at once, so that its input has a multiple of four channels.

ONNX Runtime's direct convolution of 8 bits on x86 needs that (MlasConvSymPackWSize in
onnxruntime/core/mlas/lib/convsym.cpp, since release 1.11); with three channels, it copies the image into columns and
multiplies matrices, which takes a third of MobileNetV3-Small's time at 224x224. In NHWC, four columns of three channels
are one of twelve: a Reshape, which moves nothing. The weights are the same, at other places, between zeros; one result
holds as many columns as four of the input give, and a Reshape separates them.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx

from edgepress.converters.to_onnx.graph import OnnxGraph, attribute, set_attributes

COLUMNS = 4
MOST = 3.0
"""Largest growth of the number of multiplications, most of them by zero."""


def rewrite(model: Any) -> int:
    """Widen the first convolution; returns 1 if there was one that gains."""
    graph = OnnxGraph(model)
    if len(graph.proto.input) != 1:
        return 0
    source = graph.proto.input[0]
    turned = graph.only_reader(source.name, "Transpose")
    if turned is None or source.type.tensor_type.elem_type != onnx.TensorProto.UINT8:
        return 0
    if attribute(turned, "perm") != [0, 3, 1, 2]:
        return 0
    conv = _reader(graph, turned)
    while conv is not None and (conv.op_type == "Cast" or (conv.op_type == "Add" and _adds_scalar(graph, conv))):
        conv = _reader(graph, conv)
    shape = graph.shape(source.name)
    if conv is None or conv.op_type != "Conv" or shape is None or min(shape[1:]) <= 0:
        return 0
    return _widen(graph, turned, conv, shape[1:])


def _reader(graph: OnnxGraph, node: Any) -> Any:
    return graph.only_reader(node.output[0])


def _adds_scalar(graph: OnnxGraph, node: Any) -> bool:
    pair = graph.operand(node)
    return pair is not None and pair[1].size == 1 and pair[1].ndim < 2


def _widen(graph: OnnxGraph, turned: Any, conv: Any, item: tuple[int, ...]) -> int:
    height, width, channels = item
    weights = graph.constant(conv.input[1])
    bias = graph.constant(conv.input[2]) if len(conv.input) > 2 else None
    out = graph.shape(conv.output[0])
    plain = attribute(conv, "group", 1) == 1 and set(attribute(conv, "dilations", [1])) == {1}
    if (
        weights is None
        or weights.ndim != 4
        or weights.dtype != np.float32
        or out is None
        or not plain
        or (len(conv.input) > 2 and bias is None)
    ):
        return 0
    if attribute(conv, "auto_pad", b"NOTSET") != b"NOTSET":
        return 0
    strides, (top, left, bottom, _) = attribute(conv, "strides", [1, 1]), attribute(conv, "pads", [0] * 4)
    stride, (count, _, rows, taps) = strides[1], weights.shape
    if COLUMNS % stride or width % COLUMNS or channels % 4 == 0 or min(out[1:]) <= 0 or out[3] * stride != width:
        return 0
    results = COLUMNS // stride
    first = -left // COLUMNS
    groups = (stride * (results - 1) + taps - 1 - left) // COLUMNS - first + 1
    if groups * COLUMNS * results > MOST * taps * results or (channels * COLUMNS) % 4:
        return 0
    wide = np.zeros((results, count, COLUMNS, channels, rows, groups), np.float32)
    for result in range(results):
        for tap in range(taps):
            group, column = divmod(stride * result + tap - left, COLUMNS)
            wide[result, :, column, :, :, group - first] = weights[:, :, :, tap]
    last = _reader(graph, conv)
    last = last if last is not None and last.op_type in ("Relu", "Clip") else conv
    if any(reader is None or last.output[0] not in reader.input for reader in graph.readers(last.output[0])):
        return 0
    source = turned.input[0]
    sizes = np.array([-1, height, width // COLUMNS, COLUMNS * channels], np.int64)
    graph.feed(turned, 0, graph.add("Reshape", [source, graph.add_constant(sizes)]))
    graph.feed(conv, 1, graph.add_constant(wide.reshape(results * count, COLUMNS * channels, rows, groups)))
    if bias is not None:
        graph.feed(conv, 2, graph.add_constant(np.tile(bias, results)))
    pads = [top, -first, bottom, groups - 1 + first]
    set_attributes(conv, strides=[strides[0], 1], pads=pads, kernel_shape=[rows, groups])
    readers = graph.readers(last.output[0])
    back = graph.add("Transpose", [last.output[0]], perm=[0, 2, 3, 1])
    apart = graph.add("Reshape", [back, graph.add_constant(np.array([-1, *out[2:], count], np.int64))])
    result_name = graph.add("Transpose", [apart], perm=[0, 3, 1, 2])
    for reader in readers:
        for place, name in enumerate(reader.input):
            if name == last.output[0]:
                graph.feed(reader, place, result_name)
    del graph.proto.value_info[:]
    graph.finish()
    return 1
