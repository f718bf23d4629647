"""The operations of a TFLite graph that quantized files compute in float; `converters.float_chains` says why."""

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
from edgepress.converters.to_tflite.graph import Graph

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
