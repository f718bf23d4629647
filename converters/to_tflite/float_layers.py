"""The operations of a TFLite graph that a quantized file computes in float: chains, small products, normalization.

Matrix products that stay float: too small to gain from dynamic quantization, or without a kernel for mixed types.

XNNPACK turns a 1x1 CONV_2D of stride 1 with 8-bit weights and float activations into a matrix product that quantizes
each pixel while it runs (`xnn_define_convolution_2d` in src/subgraph/convolution-2d.c, and
`xnn_subgraph_optimize_packed_lhs` in src/subgraph.c). That takes a fixed time for each pixel and some for each input
channel, and only what is multiplied afterwards is faster. Measured on x86-64 with AVX-512 VNNI for 8-384 channels
(docs/decisions.md), the float product is faster up to inputs x (outputs - 16) = 2048: 8 times at 8 x 8, and equal at
that limit. Larger kernels and strides take another way, which quantizes each value once, and gain at every size.

The normalization of each feature in front of a model of tensors, which integers can't hold.

Features of a table have ranges of their own: one is 0 to 1, another 300 to 1,700. A tensor of integers has one scale,
so the first one is lost before a Normalization layer evens the features out. Where a model begins with such a layer, it
is computed in float, and what it returns is quantized. Images have one range, and need that only if each pixel has
constants of its own, some of which may be enormous: Keras divides pixels that never vary by 1e-7.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from edgepress.converters.float_chains import (
    Link,
    Role,
    is_least,
    is_mask,
    is_positive,
    operations_in_float,
    role_of_power,
)
from edgepress.converters.to_tflite.graph import Graph, only_reader

SQUARES = ("SQUARE", "SQUARED_DIFFERENCE")
"""Kinds that stretch the range of values as squares do; so do some POW and MUL. EXP stretches it, too."""
KEEPING = (
    *("ADD", "SUB", "NEG", "ABS", "RELU", "MAXIMUM", "MINIMUM"),
    *("MEAN", "SUM", "AVERAGE_POOL_2D", "RESHAPE", "SQUEEZE", "EXPAND_DIMS", "TRANSPOSE", "PAD", "MIRROR_PAD"),
    *("BROADCAST_TO", "CAST", "QUANTIZE", "DEQUANTIZE"),
    *("SLICE", "STRIDED_SLICE", "SPLIT", "SPLIT_V", "UNPACK", "PACK", "CONCATENATION", "GATHER"),
)
"""Kinds that may lie between; so does DIV by a constant."""
MASKING: dict[str, Any] = {
    "ADD": "added",
    "SUB": "subtracted",
    "MUL": "factor",
    "SELECT": "chosen",
    "SELECT_V2": "chosen",
    "PADV2": "chosen",
}
"""Kinds that mask values by a constant, and how."""
PRODUCTS = ("FULLY_CONNECTED", "BATCH_MATMUL", "CONV_2D", "DEPTHWISE_CONV_2D")
"""Kinds that may lie between if their weights are constant and not negative; other constant weights are filters."""
NARROWING = ("SQRT", "RSQRT")
"""Kinds that narrow it; so do some POW, and SELECT and SELECT_V2 if an operation has made it wide."""
UNMASKING = ("MAX_POOL_2D", "REDUCE_MAX")
"""Kinds that ignore masked values; so does SOFTMAX."""
EXACT = ("FLOOR", "CEIL", "ROUND", "RFFT2D", "BUCKETIZE")
"""Kinds that make whole numbers or a spectrum; so does a CAST to integers."""
ALONE: dict[str, Role] = {
    "EXP": "stretches",
    "SOFTMAX": "softmax",
    "LOG": "logs",
    "LOGISTIC": "sigmoid",
    "SELECT": "chooses",
    "SELECT_V2": "chooses",
}
"""Roles that a kind has whatever it reads."""
VIEWS = ("RESHAPE", "SQUEEZE", "EXPAND_DIMS", "STRIDED_SLICE", "SLICE", "BROADCAST_TO", "TRANSPOSE")
"""Kinds that hold the values that they read."""


def float_chains(graph: Graph) -> list[Any]:
    """All operations of such chains."""
    links = []
    makers = graph.makers()
    for op in graph.operators:
        role = _role(graph, op)
        # Of others, whose constants may be large, what they read does not matter.
        inputs = [int(i) for i in op.inputs if role and i >= 0 and graph.constant(int(i)) is None]
        roots = [i for i in inputs if role == "multiplies" and _is_wide_root(graph, makers, i)]
        if roots:
            role = "divides"
            inputs = [*(i for i in inputs if i not in roots), *roots]
        links.append(Link(op, role, tuple(inputs), tuple(int(i) for i in op.outputs)))
    return operations_in_float(links, [int(i) for i in graph.table.inputs])


def reads_input(graph: Graph) -> bool:
    """Whether such a chain begins at an input."""
    sources = {int(i) for i in graph.table.inputs}
    return any(not sources.isdisjoint(map(int, op.inputs)) for op in float_chains(graph))


def float_chain_names(graph: Graph) -> list[str]:
    """Names of what they compute."""
    return [graph.output_name(op) for op in float_chains(graph)]


def _role(graph: Graph, op: Any) -> Role:
    kind = graph.kind(op)
    second = graph.constant(int(op.inputs[1])) if kind in ("POW", "DIV") else None
    if kind == "POW":
        return role_of_power(float(second.item())) if second is not None and second.size == 1 else ""
    if kind in SQUARES or (kind == "MUL" and op.inputs[0] == op.inputs[1]):
        return "squares"
    if kind in MASKING and any(is_mask(graph.constant(int(i)), MASKING[kind]) for i in op.inputs):
        return "masks"
    if kind == "MUL":
        return "multiplies"
    if kind in EXACT or (kind == "CAST" and _is_truncated(graph, op)):
        return "exact"
    if kind in KEEPING or second is not None:
        return "keeps"
    if kind == "DIV":
        return "divides"
    if kind in PRODUCTS:
        weights = graph.constant(int(op.inputs[1]))
        return "" if weights is None else "keeps" if is_positive(weights) else "filters"
    if kind in ALONE:
        return ALONE[kind]
    return "narrows" if kind in NARROWING else "unmasks" if kind in UNMASKING else ""


def _is_wide_root(graph: Graph, makers: dict[int, Any], index: int) -> bool:
    """Whether a tensor is an inverse root of what may be almost 0, so that a product with it is a quotient."""
    op = makers.get(index)
    while op is not None and graph.kind(op) in VIEWS:
        op = makers.get(int(op.inputs[0]))
    if op is None or graph.kind(op) != "RSQRT":
        return False
    before = makers.get(int(op.inputs[0]))
    least = [graph.constant(int(i)) for i in before.inputs] if before is not None else []
    is_bounded = before is not None and graph.kind(before) in ("ADD", "MAXIMUM")
    return not (is_bounded and any(is_least(values) for values in least))


def _is_truncated(graph: Graph, op: Any) -> bool:
    """Whether a CAST makes integers of float values."""
    target = graph.dtype(int(op.outputs[0]))
    return graph.dtype(int(op.inputs[0])) == np.float32 and target is not None and target.kind in "iu"


OUTPUTS = 16
"""Outputs that cost as much as quantizing an input."""
MULTIPLICATIONS = 2048
"""Multiplications that cost as much as quantizing a pixel."""


def is_small_product(graph: Graph, op: Any) -> bool:
    """Whether an operation of a float graph is a 1x1 convolution that is faster in float."""
    if graph.kind(op) != "CONV_2D" or (op.builtinOptions.strideH, op.builtinOptions.strideW) != (1, 1):
        return False
    shape, kernel = (graph.shape(int(i)) for i in op.inputs[:2])
    if len(kernel) != 4 or len(shape) != 4:
        return False
    outputs, height, width, inputs = kernel
    if (height, width) != (1, 1) or inputs != shape[3] or shape[1] * shape[2] < 2:
        return False
    return inputs * (outputs - OUTPUTS) <= MULTIPLICATIONS


def small_products(model: bytes) -> list[str]:
    """Names of the outputs of such convolutions."""
    graph = Graph(model)
    return [graph.output_name(op) for op in graph.operators if is_small_product(graph, op)]


def with_constant_left(graph: Graph) -> list[str]:
    """Names of the outputs of products whose first matrix is a constant, as learned queries are.

    LiteRT's kernel takes an 8-bit matrix beside float or 16-bit values only if it is the second.
    """
    products = [op for op in graph.operators if graph.kind(op) == "BATCH_MATMUL"]
    return [graph.output_name(op) for op in products if graph.constant(int(op.inputs[0])) is not None]


KINDS = ("ADD", "SUB", "MUL", "DIV")
SAME_NUMBERS = ("RESHAPE", "EXPAND_DIMS", "SQUEEZE")
"""Operations that return the numbers that they read."""
MOST_DIMENSIONS = 3
"""Images have more, with the batch."""


def normalization(graph: Graph) -> list[Any]:
    """The operations in front of a float graph that shift or scale each feature by a constant of its own; may be none.

    Those that treat all features alike count, too, if another one beside them does not. Constants of each channel of an
    image are no reason.
    """
    return [op for source in graph.table.inputs for op in _behind(graph, int(source))]


def _behind(graph: Graph, at: int) -> list[Any]:
    """The same behind one input."""
    if graph.dtype(at) != np.float32:
        return []
    shape = graph.shape(at)
    alike = shape[-1] if len(shape) > MOST_DIMENSIONS else 1
    readers = graph.readers()
    chain: list[Any] = []
    sizes = []
    while (op := only_reader(readers, at)) is not None and graph.kind(op) in (*KINDS, *SAME_NUMBERS):
        if graph.kind(op) in KINDS:
            constants = [values for i in op.inputs if (values := graph.constant(int(i))) is not None]
            if len(constants) != 1 or op.builtinOptions.fusedActivationFunction:
                break
            sizes.append(constants[0].size)
        chain.append(op)
        at = int(op.outputs[0])
    return chain if max(sizes, default=1) > alike else []


def normalization_names(model: bytes) -> list[str]:
    """Names of what the operations of `normalization` compute in a float model."""
    graph = Graph(model)
    return [graph.output_name(op) for op in normalization(graph)]
