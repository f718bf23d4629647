"""Rewrites of TFLite graphs in 8 bits: operations of other kernels, and conversions at the ends of a file.

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

HARD_SWISH becomes ADD, MUL and MUL in int8, for hardware that computes in integers alone.

Edge TPUs and NPUs lack HARD_SWISH, and XNNPACK has no int8 kernel of it (LiteRT, xnnpack_delegate.cc, `VisitUnaryNode`
wants float), so a CPU runs LiteRT's own kernel, in scalar code. x * relu6(x + 3) / 6 needs nothing but additions and
products, which all of them have: ADD with a fused RELU6 into a scale of 6/255, MUL by 1/6 into one of 1/255, which
leaves the stored bytes as they are, and MUL by x.

The sum is rounded to a step of 6/255, so the answer is off by up to |x|/510 before it is rounded to its own scale: by
less than half a step of the answer if x reaches 3.

Operations that the quantizer leaves in float use the int8 kernels that LiteRT has, for hardware without floats.

litert-quantizer has no recipe for LEAKY_RELU, PRELU, ELU, ABS, EXP, LOG and NEG, and puts them between DEQUANTIZE and
QUANTIZE. LiteRT has int8 kernels of them (tflite/kernels/activations.cc, elementwise.cc, exp.cc), which compute by a
table or with integer multipliers, for whatever scales the tensors around have. That of NEG (neg.cc) negates stored
numbers instead and TFLM has none, so NEG becomes a product by -1.

Conversions of uint8 to int8 and back, at the ends of a file, are written as DEQUANTIZE and QUANTIZE.

LiteRT's delegate takes a QUANTIZE whose two types are the same, or whose input is float (xnnpack_delegate.cc,
`VisitUnaryNode`), so one of uint8 to int8 stays outside, in a scalar kernel, and adds a part to hand over to. Through
float32, the whole graph is one part, and XNNPACK makes a table of the two (see `lookup_islands`).

The results are the same: DEQUANTIZE is exact, but for a rounding of float32 that is far from half a step. Behind a
float island, such as a softmax, the float is quantized to uint8 at once, which makes the same steps.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import numpy as np

from edgepress.converters.rewrites.tflite.windows import (
    add_int8,
    add_int8_constant,
    add_scalar,
    float_constant,
    has_one_scale,
    is_int8,
    operand,
    real_values,
    result,
)
from edgepress.converters.to_tflite.convert import ISLAND_MARK
from edgepress.converters.to_tflite.graph import Graph, only_reader

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


def find_lookup_islands(graph: Graph) -> list[Any]:
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


def change_lookup_islands(graph: Graph, op: Any) -> None:
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


RELU6 = 3
"""Of the schema's `ActivationFunctionType`."""


def find_integer_hard_swish(graph: Graph) -> list[Any]:
    """Each int8 HARD_SWISH."""
    hard_swishes = [op for op in graph.operators if graph.kind(op) == "HARD_SWISH"]
    return [op for op in hard_swishes if is_int8(graph, int(op.inputs[0]), int(op.outputs[0]))]


def change_integer_hard_swish(graph: Graph, op: Any) -> None:
    """Write a HARD_SWISH as an addition and two products."""
    source = int(op.inputs[0])
    output = int(op.outputs[0])
    shape = graph.shape(source)
    name = graph.name(output)
    six, one = (add_int8(graph, shape, f"{name}_gate_{top}", scale=top / 255, zero=-128) for top in (6, 1))
    graph.replace(
        op,
        graph.operator("ADD", [source, add_scalar(graph, 3)], six, fusedActivationFunction=RELU6),
        graph.operator("MUL", [six, add_scalar(graph, 1 / 6)], one),
        graph.operator("MUL", [source, one], output),
    )


KERNELS = {"LEAKY_RELU", "PRELU", "ELU", "ABS", "EXP", "LOG", "NEG"}


def find_integer_kernels(graph: Graph) -> Iterator[tuple[Any, Any, Any]]:
    """Each float operation with an int8 kernel, and the DEQUANTIZE and the QUANTIZE around it."""
    makers = graph.makers()
    for op in [op for op in graph.operators if graph.kind(op) in KERNELS]:
        source, *slopes = (int(i) for i in op.inputs)
        before, after = makers.get(source), only_reader(graph.readers(), result(op))
        if _are_ends(graph, before, after) and all(float_constant(graph, i) is not None for i in slopes):
            yield op, before, after


def _are_ends(graph: Graph, before: Any, after: Any) -> bool:
    """Whether one operation makes int8 real numbers, and the other real numbers int8."""
    if before is None or after is None or (graph.kind(before), graph.kind(after)) != ("DEQUANTIZE", "QUANTIZE"):
        return False
    return is_int8(graph, operand(before), result(after))


def change_integer_kernels(graph: Graph, match: tuple[Any, Any, Any]) -> None:
    """Let an operation read and make int8."""
    op, before, after = match
    _, *slopes = (int(i) for i in op.inputs)
    if graph.kind(op) == "NEG":
        minus_one = add_int8_constant(graph, np.array([-127], np.int8), 1 / 127)
        graph.replace(op, graph.operator("MUL", [operand(before), minus_one], result(after)))
    else:
        op.inputs = [operand(before), *(_in_int8(graph, tensor) for tensor in slopes)]
        op.outputs = [result(after)]
    graph.operators.remove(after)
    if result(before) not in graph.readers():
        graph.operators.remove(before)


def _in_int8(graph: Graph, tensor: int) -> int:
    """A float constant in int8, around 0."""
    values = float_constant(graph, tensor)
    assert values is not None
    scale = float(np.abs(values).max()) / np.iinfo(np.int8).max or 1.0
    return add_int8_constant(graph, np.round(values / scale).astype(np.int8), scale)


def find_ends(graph: Graph) -> list[Any]:
    """Each QUANTIZE between uint8 and int8."""
    return [op for op in graph.operators if _is_end(graph, op)]


def change_ends(graph: Graph, op: Any) -> None:
    """Let a QUANTIZE read floats."""
    source = operand(op)
    before = graph.makers().get(source)
    if before is not None and _is_same_grid(graph, before, result(op)) and only_reader(graph.readers(), source) is op:
        op.inputs = list(before.inputs)
        graph.operators.remove(before)
        return
    real = graph.add_tensor(graph.shape(source), f"{graph.prefix}_{ISLAND_MARK}_{graph.name(source)}")
    graph.insert_before(op, graph.operator("DEQUANTIZE", [source], real))
    op.inputs = [real]


def _is_end(graph: Graph, op: Any) -> bool:
    """Whether an operation turns uint8 into int8 or int8 into uint8."""
    if graph.kind(op) != "QUANTIZE":
        return False
    ends = operand(op), result(op)
    types = {graph.dtype(tensor) for tensor in ends}
    return types == {np.dtype(np.uint8), np.dtype(np.int8)} and all(has_one_scale(graph, tensor) for tensor in ends)


def _is_same_grid(graph: Graph, op: Any, tensor: int) -> bool:
    """Whether an operation quantizes a float to int8 by the same steps as a uint8 tensor has."""
    if graph.kind(op) != "QUANTIZE" or graph.dtype(operand(op)) != np.float32:
        return False
    ((first,), (zero,)), ((second,), (shifted,)) = graph.scales(result(op)), graph.scales(tensor)
    return first == second and zero + 128 == shifted
