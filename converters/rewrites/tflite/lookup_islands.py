"""Operations without an int8 kernel in XNNPACK become float islands, of which XNNPACK makes tables where it can.

LiteRT's delegate takes many operations in float32 only (tflite/delegates/xnnpack/xnnpack_delegate.cc, `VisitUnaryNode`,
`VisitBinaryNode`, `VisitAveragePool2DNode`, `VisitSoftmaxNode`, `VisitBatchMatMulNode`). In an int8 file they run in
LiteRT's own kernels, many of which are scalar code, and cut the graph into parts that are handed over one by one.
Written as DEQUANTIZE, the operation in float, and QUANTIZE with the scales that the tensors have, they are delegated.

If the operation depends on one element of one tensor, XNNPACK computes it for all 256 values when the file is opened,
and then looks results up (src/subgraph.c, `xnn_subgraph_fuse_unary_quantized_into_lut`, since May 2025). Its conditions
hold by construction: the island's inner tensors have one reader, the other operand is a constant of one element, and
it has three or four operations, of at most ten. Islands in a row become one table. Older releases compute in float.

What changes: the operation is computed in float32 and rounded once, to the scale that its result has. That differs by
at most one step from LiteRT's integer kernels where these round more than once, and not where they are exact.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from edgepress.converters.rewrites.tflite.int8 import is_int8, real_values
from edgepress.converters.rewrites.tflite.windows import result
from edgepress.converters.to_tflite.convert import ISLAND_MARK
from edgepress.converters.to_tflite.graph import Graph

TABLES = {
    *("ABS", "CEIL", "COS", "EXP", "FLOOR", "GELU", "HARD_SWISH", "LOG", "NEG", "RELU", "RELU6", "RELU_N1_TO_1"),
    *("ROUND", "RSQRT", "SIN", "SQRT", "SQUARE"),
}
"""Operations of one tensor that the delegate takes in float only."""
FLOATS = {"DIV", "SQUARED_DIFFERENCE"}
"""Operations of two tensors that the delegate takes in float only: tables if one is a constant of one element."""
FAST = {"MAXIMUM", "MINIMUM"}
"""The same, but LiteRT's int8 kernels are as fast as an island that is not a table."""
RATIOS = {"ADD": 2.0**-10, "SUB": 2.0**-10, "MUL": 2.0**-16}
"""Operations whose scales may have a ratio from this to 256, excluded; the delegate refuses others in int8."""
EMBEDDED = 1024
"""Bytes up to which a constant is stored as float32; a larger one stays int8, unpacked when the file is opened."""


def matches(graph: Graph) -> list[Any]:
    """The operations that the delegate refuses in int8."""
    return [op for op in graph.operators if _is_refused(graph, op)]


def _is_refused(graph: Graph, op: Any) -> bool:
    """Whether the delegate refuses an operation because it is in int8, and takes it in float."""
    kind = graph.kind(op)
    tensors = [int(i) for i in op.inputs]
    if len(op.outputs) != 1 or not is_int8(graph, *tensors, result(op)):
        return False
    if max(len(graph.shape(i)) for i in (*tensors, result(op))) > 6:  # XNN_MAX_TENSOR_DIMS
        return False
    if all(graph.constant(i) is not None for i in tensors):
        return False
    if kind in ("RELU_0_TO_1", *TABLES):
        return not (kind == "EXP" and _overflows(graph, op))
    if kind in FAST:
        return any(graph.constant(i) is not None and math.prod(graph.shape(i)) == 1 for i in tensors)
    if kind == "PRELU":
        return graph.constant(tensors[1]) is not None
    if kind in FLOATS:
        return True
    if kind in RATIOS:
        return _refuses_scales(graph, kind, op)
    if kind == "LEAKY_RELU":
        return _refuses_slope(graph, op)
    if kind == "AVERAGE_POOL_2D":
        options = op.builtinOptions
        filters = (options.filterHeight, options.filterWidth)
        strides = (options.strideH, options.strideW)
        return filters != (1, 1) and all(s <= f for s, f in zip(strides, filters, strict=True))
    if kind == "SOFTMAX":
        return bool(op.builtinOptions.beta == 1)
    if kind == "BATCH_MATMUL":  # XNNPACK's integer product needs a second matrix whose zero point is 0
        return graph.constant(tensors[1]) is None and graph.scales(tensors[1])[1] != [0]
    return False


def _overflows(graph: Graph, op: Any) -> bool:
    """Whether EXP makes more steps than an int32 holds, in which LiteRT's own QUANTIZE counts them."""
    ((source,), (zero,)), ((output,), _) = (graph.scales(int(i)) for i in (op.inputs[0], result(op)))
    return source * (127 - zero) - math.log(output) > 31 * math.log(2)


def _refuses_scales(graph: Graph, kind: str, op: Any) -> bool:
    """Whether the delegate refuses the scales of an addition or a product."""
    first, second, output = (np.float32(_scale(graph, int(i))) for i in (*op.inputs, result(op)))
    ratios = [first * second / output] if kind == "MUL" else [first / output, second / output]
    return not all(RATIOS[kind] <= r < 256 for r in ratios)


def _scale(graph: Graph, tensor: int) -> float:
    """The one scale of a tensor."""
    (scale,), _ = graph.scales(tensor)
    return scale


def _refuses_slope(graph: Graph, op: Any) -> bool:
    """Whether the delegate refuses the scales of a LEAKY_RELU, but not its slope."""
    slope = float(op.builtinOptions.alpha)
    if not abs(slope) >= np.finfo(np.float32).tiny or not np.isfinite(slope):
        return False
    up = _scale(graph, int(op.inputs[0])) / _scale(graph, result(op))
    down = up * slope
    return not (2**-8 <= up <= 128 and -127.99609375 <= down <= 128 and abs(down) >= 2**-8)


def change(graph: Graph, op: Any) -> None:
    """Put DEQUANTIZE and QUANTIZE around an operation, which computes in float from then on."""
    output = result(op)

    def inside(index: int) -> int:
        return graph.add_tensor(graph.shape(index), f"{graph.prefix}_{ISLAND_MARK}_{graph.name(index)}")

    before = []
    unpacked = {}
    for index in dict.fromkeys(int(i) for i in op.inputs):
        values = real_values(graph, index)
        if values is not None and values.nbytes <= EMBEDDED:
            unpacked[index] = graph.add_constant(values)
        else:
            unpacked[index] = inside(index)
            before.append(graph.operator("DEQUANTIZE", [index], unpacked[index]))
    unclipped = inside(output)
    after = [op]
    op.inputs = [unpacked[int(i)] for i in op.inputs]
    op.outputs = [unclipped]
    if graph.kind(op) == "RELU_0_TO_1":  # in float, too, the delegate has none
        at_least = inside(output)
        one = graph.add_constant(np.ones((), np.float32))
        after = [graph.operator("RELU", op.inputs, at_least), graph.operator("MINIMUM", [at_least, one], unclipped)]
    graph.replace(op, *before, *after, graph.operator("QUANTIZE", [unclipped], output))
