"""Rewrites of convolutions and products of ONNX graphs, and of pads, strides and shapes around them.

ONNX Runtime's direct convolution of 8 bits on x86 needs that (MlasConvSymPackWSize in
onnxruntime/core/mlas/lib/convsym.cpp, since release 1.11); with three channels, it copies the image into columns and
multiplies matrices, which takes a third of MobileNetV3-Small's time at 224x224. In NHWC, four columns of three channels
are one of twelve: a Reshape, which moves nothing. The weights are the same, at other places, between zeros; one result
holds as many columns as four of the input give, and a Reshape separates them.

Zeros that a Pad adds in front of convolutions become their own padding.

ONNX Runtime does so where one convolution reads the Pad (PadFusion, onnxruntime/core/optimizer/pad_fusion.cc, since
release 1.17); NASNet's are read by two. A Pad is a copy, and in files of 8 bits it is computed in float, between
DequantizeLinear and QuantizeLinear.

An AveragePool of 1x1, which only leaves out values, becomes the stride of the 1x1 convolution behind it.

NASNet's cells begin so. The pool is a pass of its own, and of 8 bits it computes every mean of one value in float
(QLinearAveragePool, onnxruntime/contrib_ops/cpu/quantization/qlinear_pool.cc, release 1.32).

A product with a matrix of the last axis of an image, which TensorFlow writes as Tensordot, becomes one MatMul.

Tensordot reshapes to rows, multiplies, and reshapes back, to shapes that it computes from the input's, a dozen
operations on a few integers each. ONNX' MatMul takes any number of axes in front, and ONNX Runtime treats them as rows
by itself (MatMulComputeHelper, onnxruntime/core/providers/cpu/math/matmul_helper.h).

Reshape and Squeeze chains that change nothing are left out.

tf2onnx puts a Reshape in front of each convolution of a squeeze-and-excitation block, (N, C, 1, 1) to itself. ONNX
Runtime keeps it, because the batch is free and it does not prove that the shapes are equal, and a Reshape ends its
blocked layout: a ReorderOutput before it, a ReorderInput behind it (NchwcTransformer,
onnxruntime/core/optimizer/nchwc_transformer.cc), and in files of 8 bits a pair of Transposes.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx

from edgepress.converters.arrays import Array
from edgepress.converters.to_onnx.graph import OnnxGraph, attribute, set_attributes, zeros_added

COLUMNS = 4
"""Columns of the input that become channels of one."""
MOST = 3.0
"""Largest growth of the number of multiplications, most of them by zero, of other than small convolutions."""
FEW_CHANNELS = 3
"""Channels of a small convolution at most: copying them into columns takes most of its time, so any growth gains."""
FEW_OUTPUTS = 64
"""Most outputs of a small convolution."""


def rewrite_first_convolution(graph: OnnxGraph) -> int:
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


def rewrite_pads(graph: OnnxGraph) -> int:
    """Leave out Pads that only convolutions read; returns how many."""
    changed = 0
    for pad in graph.nodes("Pad"):
        (padded,) = pad.output
        added = zeros_added(graph, pad, (2, 3))
        readers = graph.readers(padded)
        if added is None or not readers or not all(_has_own_pads(graph, node) for node in readers):
            continue
        for conv in readers:
            pads = np.array(attribute(conv, "pads", [0] * 4)) + added.ravel()
            set_attributes(conv, pads=pads.tolist())
        graph.move_readers(padded, pad.input[0])
        changed += 1
    return changed


def _has_own_pads(graph: OnnxGraph, node: Any) -> bool:
    """Whether a node is a convolution that pads what it reads by given numbers."""
    if node is None or node.op_type != "Conv" or node.domain:
        return False
    return graph.constant(node.input[1]) is not None and attribute(node, "auto_pad", b"NOTSET") == b"NOTSET"


def rewrite_pool_strides(graph: OnnxGraph) -> int:
    """Leave out AveragePools of 1x1; returns how many."""
    changed = 0
    for pool in graph.nodes("AveragePool", "MaxPool"):
        conv = graph.only_reader(pool.output[0], "Conv")
        weights = graph.constant(conv.input[1]) if conv is not None else None
        if weights is None or len(pool.output) > 1:
            continue
        plain = all(
            attribute(node, "auto_pad", b"NOTSET") in (b"NOTSET", b"VALID") and not any(attribute(node, "pads", [0]))
            for node in (pool, conv)
        )
        single = attribute(pool, "kernel_shape") == [1, 1] and weights.shape[2:] == (1, 1)
        if not plain or not single or attribute(pool, "ceil_mode", 0):
            continue
        pooled = attribute(pool, "strides", [1, 1])
        strided = attribute(conv, "strides", [1, 1])
        set_attributes(conv, strides=[a * b for a, b in zip(pooled, strided, strict=True)])
        graph.move_readers(pool.output[0], pool.input[0])
        changed += 1
    return changed


def rewrite_dense(graph: OnnxGraph) -> int:
    """Leave out the shapes around products with a constant matrix; returns around how many."""
    changed = 0
    for node in graph.nodes("MatMul"):
        (flat, weights), (product,) = node.input, node.output
        before = graph.maker(flat, "Reshape")
        after = graph.only_reader(product, "Reshape")
        matrix = graph.constant(weights)
        if before is None or after is None or matrix is None or matrix.ndim != 2:
            continue
        input_shape = graph.shape(before.input[0])
        (result,) = after.output
        output_shape = graph.shape(result)
        rows = graph.shape(flat)
        if input_shape is None or output_shape is None or rows is None or len(rows) != 2:
            continue
        if (
            len(input_shape) < 3
            or input_shape[:-1] != output_shape[:-1]
            or (input_shape[-1], output_shape[-1]) != matrix.shape
        ):
            continue
        if input_shape.count(-1) > 1 or not graph.move_readers(result, product):
            continue
        graph.feed(node, 0, before.input[0])
        changed += 1
    if changed:
        del graph.proto.value_info[:]  # the products have more axes now
    return changed


_KINDS = ("Reshape", "Squeeze", "Unsqueeze", "Flatten")


def rewrite_plain_shapes(graph: OnnxGraph) -> int:
    """Leave out chains that end in the shape they began with; returns how many."""
    changed = 0
    for node in graph.nodes("Reshape"):
        (result,) = node.output
        shape = graph.shape(result)
        start = node.input[0]
        if shape is None or -1 in shape[1:]:  # where only the first is free, equal sizes mean an equal batch
            continue
        source = None
        while True:
            if graph.shape(start) == shape:
                source = start
            maker = graph.maker(start)
            if maker is None or maker.op_type not in _KINDS or maker.domain:
                break
            start = maker.input[0]
        if source is not None and graph.move_readers(result, source):
            changed += 1
    return changed
