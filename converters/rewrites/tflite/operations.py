"""Rewrites of single operations of TFLite graphs into those that engines take faster.

XNNPACK's delegate takes two to five (LiteRT, tflite/delegates/xnnpack/xnnpack_delegate.cc, `VisitConcatenationNode`).
One of more runs in a built-in kernel and divides the graph. What is copied twice is the smallest run of neighbours that
brings their number to five.

SQUEEZE and EXPAND_DIMS, which only change a shape, become RESHAPE.

LiteRT's delegate takes RESHAPE, but not SQUEEZE, and refuses EXPAND_DIMS (xnnpack_delegate.cc, `VisitNode`,
`VisitExpandDimsNode`), so either cuts the graph into parts that are handed over one by one. Published MobileNets have
a SQUEEZE in front of their softmax.

TILE of an axis of one value, as Keras writes UpSampling2D, becomes RESIZE_NEAREST_NEIGHBOR on hardware without floats.

litert-quantizer has no recipe for TILE, nor has TFLM a kernel. The values in front of that axis are columns of an image
that gets so many times wider; with half_pixel_centers, each column lies between two borders, so rounding moves none.

A 1x1 convolution of stride 1 whose weights get four bits becomes FULLY_CONNECTED, which is the same product.

XNNPACK unpacks the four bits of int8 x int4 FULLY_CONNECTED once, and takes no such CONV_2D, which so runs in LiteRT's
own kernel (LiteRT, tflite/delegates/xnnpack/xnnpack_delegate.cc, `VisitFullyConnectedNode`): MobileNetV2 at 64x64 takes
as long as with eight bits, and twice as long with CONV_2D (docs/decisions.md).

Biases of float16 files have 16 bits, as the weights beside them.

litert-quantizer stores the weights as float16 and leaves biases at 32 bits. LiteRT before its delegate unpacked float16
itself (March 2026; tried: 1.2, 1.4 and 2.1 before, 2.3 after) has no kernel for that mixture: 1.2 takes the bits of a
bias for float16, and answers nonsense, and 1.4 and 2.1 leave the operation to the built-in kernels, 4-8 times slower.
(`CheckFilterAndBiasTypes` in tflite/delegates/xnnpack/xnnpack_delegate.cc.) TensorFlow's converter stores both alike.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from edgepress.converters.rewrites.tflite.windows import activation, result
from edgepress.converters.to_tflite.graph import Graph
from edgepress.converters.to_tflite.grids import four_bit_layers

MOST = 5
MOST_TIMES = 64
"""Most copies of a column: more lie so close that rounding could move one."""


def find_concat_tree(graph: Graph) -> list[Any]:
    """The CONCATENATIONs of more tensors than the delegate takes."""
    return [op for op in graph.operators if graph.kind(op) == "CONCATENATION" and _is_large(graph, op)]


def change_concat_tree(graph: Graph, op: Any) -> None:
    """Divide a CONCATENATION."""
    while len(op.inputs) > MOST:
        _join(graph, op)


def _is_large(graph: Graph, op: Any) -> bool:
    if len(op.inputs) <= MOST or op.builtinOptions is None:
        return False
    shapes = [graph.shape(int(i)) for i in op.inputs]
    known = all(shape and min(shape) > 0 for shape in shapes)
    scales = {str(graph.scales(int(i))) for i in (*op.inputs, *op.outputs)}
    return known and len(scales) == 1  # so that parts need no scale of their own


def _join(graph: Graph, op: Any) -> None:
    """Let an operation before it join the neighbours that are smallest together."""
    inputs = [int(i) for i in op.inputs]
    count = min(MOST, len(inputs) - MOST + 1)
    sizes = [math.prod(graph.shape(i)) for i in inputs]
    start = min(range(len(inputs) - count + 1), key=lambda i: sum(sizes[i : i + count]))
    part = inputs[start : start + count]
    axis = op.builtinOptions.axis
    whole = result(op)
    shape = list(graph.shape(whole))
    shape[axis] = sum(graph.shape(i)[axis] for i in part)
    new = graph.add_tensor(shape, f"{graph.name(whole)}_part", like=whole)
    graph.insert_before(op, graph.operator("CONCATENATION", part, new, axis=axis))
    op.inputs = [*inputs[:start], new, *inputs[start + count :]]


def find_plain_reshapes(graph: Graph) -> list[Any]:
    """Each SQUEEZE and EXPAND_DIMS of known shape."""
    views = [op for op in graph.operators if graph.kind(op) in ("SQUEEZE", "EXPAND_DIMS")]
    return [op for op in views if min(graph.shape(int(op.outputs[0])), default=0) > 0]


def change_plain_reshapes(graph: Graph, op: Any) -> None:
    """Write an operation as RESHAPE."""
    graph.replace(op, graph.reshape(int(op.inputs[0]), int(op.outputs[0])))


def find_repeated_columns(graph: Graph) -> list[Any]:
    """Each TILE that repeats the values of one axis side by side."""
    return [op for op in graph.operators if graph.kind(op) == "TILE" and _repeated_axis(graph, op) is not None]


def _repeated_axis(graph: Graph, op: Any) -> int | None:
    """The only axis that a TILE repeats, if it has one value and is not the last."""
    source = graph.shape(int(op.inputs[0]))
    times = graph.constant(int(op.inputs[1]))
    if times is None or min(source, default=0) < 1 or len(times) != len(source):
        return None
    axes = np.flatnonzero(times != 1)
    one = len(axes) == 1 and source[axes[0]] == 1 and 0 < axes[0] < len(source) - 1
    return int(axes[0]) if one and 1 < times[axes[0]] <= MOST_TIMES else None


def change_repeated_columns(graph: Graph, op: Any) -> None:
    """Write a TILE as an image that gets wider."""
    axis = _repeated_axis(graph, op)
    assert axis is not None
    source, output = int(op.inputs[0]), result(op)
    shape = graph.shape(source)
    times = graph.shape(output)[axis]
    width, channels = shape[axis - 1], math.prod(shape[axis + 1 :])
    rows = math.prod(shape[: axis - 1])
    image = graph.add_tensor((1, rows, width, channels), f"{graph.name(output)}_narrow", like=source)
    wide = graph.add_tensor((1, rows, width * times, channels), f"{graph.name(output)}_wide", like=output)
    size = graph.add_constant(np.array([rows, width * times], np.int32), f"{graph.name(output)}_size")
    resize = graph.operator("RESIZE_NEAREST_NEIGHBOR", [image, size], wide, alignCorners=False, halfPixelCenters=True)
    graph.replace(op, graph.reshape(source, image), resize, graph.reshape(wide, output))


def find_dense_products(graph: Graph) -> list[Any]:
    """The 1x1 convolutions of stride 1 whose weights get four bits."""
    return [op for op in four_bit_layers(graph) if _is_product(graph, op)]


def change_dense_products(graph: Graph, op: Any) -> None:
    """Replace a convolution by FULLY_CONNECTED."""
    weights = int(op.inputs[1])
    values = graph.constant(weights)
    assert values is not None
    outputs, _, _, inputs = values.shape
    flat = graph.add_constant(values.reshape(outputs, inputs).copy(), f"{graph.name(weights)}_dense")
    dense = graph.operator(
        "FULLY_CONNECTED",
        [int(op.inputs[0]), flat, *(int(i) for i in op.inputs[2:])],
        result(op),
        fusedActivationFunction=activation(op),
        keepNumDims=True,
    )
    graph.replace(op, dense)


def _is_product(graph: Graph, op: Any) -> bool:
    options = op.builtinOptions
    return (
        graph.kind(op) == "CONV_2D"
        and graph.shape(int(op.inputs[1]))[1:3] == (1, 1)
        and (options.strideH, options.strideW) == (1, 1)
    )


_WEIGHTED = ("CONV_2D", "FULLY_CONNECTED", "TRANSPOSE_CONV")


def rewrite_float16_biases(graph: Graph) -> int:
    """Store the bias of each operation with float16 weights alike, once if several read it; returns their number."""
    makers = graph.makers()
    restored: dict[int, int] = {}
    count = 0
    for op in [op for op in graph.operators if graph.kind(op) in _WEIGHTED]:
        place = 3 if graph.kind(op) == "TRANSPOSE_CONV" else 2
        if len(op.inputs) <= place:
            continue
        weights = makers.get(int(op.inputs[1]))
        index = int(op.inputs[place])
        bias = graph.constant(index)
        if weights is None or graph.kind(weights) != "DEQUANTIZE" or bias is None or bias.dtype != np.float32:
            continue
        if graph.dtype(int(weights.inputs[0])) != np.float16 or np.abs(bias).max() > np.finfo(np.float16).max:
            continue
        if index not in restored:
            stored = graph.add_constant(bias.astype(np.float16))
            restored[index] = graph.add_tensor(bias.shape, f"{graph.name(index)}_dequant")
            graph.insert_before(op, graph.operator("DEQUANTIZE", [stored], restored[index]))
        op.inputs = [restored[index] if i == place else int(other) for i, other in enumerate(op.inputs)]
        count += 1
    return count
