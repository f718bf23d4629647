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

from edgepress.converters.arrays import Array
from edgepress.converters.to_onnx.graph import OnnxGraph, attribute, set_attributes

COLUMNS = 4
"""Columns of the input that become channels of one."""
MOST = 3.0
"""Largest growth of the number of multiplications, most of them by zero, of other than small convolutions."""
FEW_CHANNELS = 3
"""Channels of a small convolution at most: copying them into columns takes most of its time, so any growth gains."""
FEW_OUTPUTS = 64
"""Most outputs of a small convolution."""


def rewrite(graph: OnnxGraph) -> int:
    """Widen the first convolution; returns 1 if there was one that gains."""
    if len(graph.proto.input) != 1:
        return 0
    (source,) = graph.proto.input
    shape = graph.shape(source.name)
    if source.type.tensor_type.elem_type != onnx.TensorProto.UINT8 or shape is None or len(shape) != 4:
        return 0
    turned = None
    node = graph.only_reader(source.name)
    while node is not None and node.op_type != "Conv":
        if turned is None and _turns(graph, node, shape):
            turned = node
        elif node.op_type != "Cast" and not (node.op_type == "Add" and _adds_scalar(graph, node)):
            return 0
        node = graph.only_reader(node.output[0])
    if node is None or turned is None or -1 in shape[1:]:
        return 0
    return _widen(graph, turned, node, shape[1:])


def narrow_weights(wide: Array, shape: tuple[int, ...]) -> list[Array]:
    """The weights that may have been widened to some weights.

    Args:
        wide: Weights of a convolution, (outputs, inputs, rows, columns).
        shape: Shape of the weights before they were widened, in the same order.

    Returns:
        (results, *shape) for each padding that fits: the same weights as each result has them. Empty for weights that
        this rewrite does not make.
    """
    count, channels, rows, taps = shape
    results = wide.shape[0] // count
    if results < 1 or COLUMNS % results or wide.shape[:3] != (results * count, COLUMNS * channels, rows):
        return []
    apart = wide.reshape(results, count, COLUMNS, channels, rows, -1)
    candidates = []
    for left in range(COLUMNS):  # a padding by four columns more gives the same weights
        places = _places(COLUMNS // results, taps, left)
        first, groups = _span(places)
        if groups == wide.shape[3]:
            narrow = np.zeros((results, *shape), wide.dtype)
            for result, tap, group, column in places:
                narrow[result, ..., tap] = apart[result, :, column, :, :, group - first]
            candidates.append(narrow)
    return candidates


def _places(stride: int, taps: int, left: int) -> list[tuple[int, int, int, int]]:
    """Where the taps of each result lie: (result, tap, group of columns, column in the group)."""
    return [
        (result, tap, *divmod(stride * result + tap - left, COLUMNS))
        for result in range(COLUMNS // stride)
        for tap in range(taps)
    ]


def _span(places: list[tuple[int, int, int, int]]) -> tuple[int, int]:
    """The first group of columns, and the number of groups."""
    groups = [group for _, _, group, _ in places]
    return min(groups), max(groups) - min(groups) + 1


def _turns(graph: OnnxGraph, node: Any, shape: tuple[int, ...]) -> bool:
    """Whether a node puts the channels first: a Transpose, or for grey images a Reshape."""
    if node.op_type == "Transpose":
        return bool(attribute(node, "perm") == [0, 3, 1, 2])
    _, height, width, channels = shape
    first = graph.shape(node.output[0]) if node.op_type == "Reshape" else None
    return first is not None and channels == 1 and first[1:] == (1, height, width)


def _adds_scalar(graph: OnnxGraph, node: Any) -> bool:
    pair = graph.operand(node)
    return pair is not None and pair[1].size == 1 and pair[1].ndim <= 4


def _widen(graph: OnnxGraph, turned: Any, conv: Any, item: tuple[int, ...]) -> int:
    height, width, channels = item
    weights = graph.constant(conv.input[1])
    bias = graph.constant(conv.input[2]) if len(conv.input) > 2 else None
    out = graph.shape(conv.output[0])
    plain = attribute(conv, "group", 1) == 1 and set(attribute(conv, "dilations", [1])) == {1}
    if not plain or attribute(conv, "auto_pad", b"NOTSET") != b"NOTSET":
        return 0
    if weights is None or weights.dtype != np.float32 or out is None or (len(conv.input) > 2 and bias is None):
        return 0
    strides, (top, left, bottom, _) = attribute(conv, "strides", [1, 1]), attribute(conv, "pads", [0] * 4)
    stride, (count, _, rows, taps) = strides[1], weights.shape
    if COLUMNS % stride or width % COLUMNS or channels % 4 == 0 or out[3] * stride != width:
        return 0
    results = COLUMNS // stride
    places = _places(stride, taps, left)
    first, groups = _span(places)
    is_small = channels <= FEW_CHANNELS and count <= FEW_OUTPUTS
    if not is_small and groups * COLUMNS > MOST * taps:
        return 0
    wide = np.zeros((results, count, COLUMNS, channels, rows, groups), np.float32)
    for result, tap, group, column in places:
        wide[result, :, column, :, :, group - first] = weights[:, :, :, tap]
    last = graph.only_reader(conv.output[0])
    last = last if last is not None and last.op_type in ("Relu", "Clip") else conv
    (result,) = last.output
    if None in graph.readers(result):
        return 0
    sizes = np.array([-1, height, width // COLUMNS, COLUMNS * channels], np.int64)
    columns = graph.add("Reshape", [turned.input[0], graph.add_constant(sizes)])
    graph.move_readers(turned.output[0], graph.add("Transpose", [columns], perm=[0, 3, 1, 2]))
    graph.feed(conv, 1, graph.add_constant(wide.reshape(results * count, COLUMNS * channels, rows, groups)))
    if bias is not None:
        graph.feed(conv, 2, graph.add_constant(np.tile(bias, results)))
    pads = [top, -first, bottom, groups - 1 + first]
    set_attributes(conv, strides=[strides[0], 1], pads=pads, kernel_shape=[rows, groups])
    back = graph.add("Transpose", [result], perm=[0, 2, 3, 1])
    apart = graph.add("Reshape", [back, graph.add_constant(np.array([-1, *out[2:], count], np.int64))])
    graph.move_readers(result, graph.add("Transpose", [apart], perm=[0, 3, 1, 2]))
    graph.feed(graph.maker(back), 0, result)
    del graph.proto.value_info[:]
    return 1
