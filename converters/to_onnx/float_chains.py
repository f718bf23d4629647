"""The nodes of an ONNX graph that quantized files compute in float; `converters.float_chains` says why."""

from __future__ import annotations

from typing import Any

from onnx import TensorProto

from edgepress.converters.float_chains import (
    Link,
    Role,
    is_least,
    is_mask,
    is_positive,
    operations_in_float,
    role_of_power,
)
from edgepress.converters.to_onnx.graph import FLOATS, STANDARD, OnnxGraph, attribute

KEEPING = (
    *("Add", "Sub", "Neg", "Abs", "Relu", "Clip", "Max", "Min", "Sum"),
    *("ReduceMean", "ReduceSum", "GlobalAveragePool", "AveragePool", "Reshape", "Flatten", "Squeeze", "Unsqueeze"),
    *("Transpose", "Slice", "Split", "Concat", "Gather", "Pad", "Expand", "Identity"),
    *("Cast", "QuantizeLinear", "DequantizeLinear"),
)
"""Kinds that may lie between; so does Div by a constant."""
MASKING: dict[str, Any] = {"Add": "added", "Sub": "subtracted", "Mul": "factor", "Where": "chosen", "Pad": "chosen"}
"""Kinds that mask values by a constant, and how."""
PRODUCTS = ("MatMul", "Gemm", "Conv")
"""Kinds that may lie between if one input is constant and not negative; other constant weights are filters."""
NARROWING = ("Sqrt",)
"""Kinds that narrow it; so do some Pow, and Where if an operation has made it wide."""
UNMASKING = ("MaxPool", "GlobalMaxPool", "ReduceMax")
"""Kinds that ignore masked values; so does Softmax."""
EXACT = ("Floor", "Ceil", "Round", "DFT", "STFT")
"""Kinds that make whole numbers or a spectrum; so does a Cast of floats to integers."""
ALONE: dict[str, Role] = {
    "Exp": "stretches",
    "Softmax": "softmax",
    "Log": "logs",
    "Sigmoid": "sigmoid",
    "Where": "chooses",
    "ReduceL2": "squares",
    "ReduceSumSquare": "squares",
}
"""Roles that a kind has whatever it reads."""
NO_INTEGERS = (*FLOATS, TensorProto.BFLOAT16, TensorProto.BOOL)
"""Types that a Cast rounds to no whole numbers."""


VIEWS = ("Reshape", "Squeeze", "Unsqueeze", "Slice", "Expand", "Transpose")
"""Kinds that hold the values that they read."""


def float_chains(graph: OnnxGraph) -> list[Any]:
    """All nodes of such chains."""
    links = []
    for node in graph.operators:
        role = _role(graph, node)
        # Of others, whose constants may be large, what they read does not matter.
        inputs = [name for name in node.input if role and name and graph.constant(name) is None]
        roots = [name for name in inputs if role == "multiplies" and _is_wide_root(graph, name)]
        if roots:
            role = "divides"
            inputs = [*(name for name in inputs if name not in roots), *roots]
        links.append(Link(node, role, tuple(inputs), tuple(node.output)))
    return operations_in_float(links, [value.name for value in graph.proto.input])


def _role(graph: OnnxGraph, node: Any) -> Role:
    kind = node.op_type if node.domain in STANDARD else ""
    if kind == "Pow":
        exponent = graph.scalar(node.input[1])
        return "" if exponent is None else role_of_power(exponent)
    if kind == "Mul" and node.input[0] == node.input[1]:
        return "squares"
    if kind in MASKING and any(is_mask(graph.constant(name), MASKING[kind]) for name in node.input):
        return "masks"
    if kind == "Mul":
        return "multiplies"
    if kind in EXACT or (kind == "Cast" and _is_truncated(graph, node)):
        return "exact"
    if kind in KEEPING or (kind == "Div" and graph.constant(node.input[1]) is not None):
        return "keeps"
    if kind in ("Div", "Reciprocal"):
        return "divides"
    if kind in PRODUCTS:
        weights = next((values for name in node.input[:2] if (values := graph.constant(name)) is not None), None)
        return "" if weights is None else "keeps" if is_positive(weights) else "filters"
    if kind in ALONE:
        return ALONE[kind]
    return "narrows" if kind in NARROWING else "unmasks" if kind in UNMASKING else ""


def _is_wide_root(graph: OnnxGraph, name: str) -> bool:
    """Whether a value is an inverse root of what may be almost 0, so that a product with it is a quotient."""
    node = graph.maker(name)
    while node is not None and node.op_type in VIEWS:
        node = graph.maker(node.input[0])
    root = graph.maker(node.input[-1], "Sqrt") if node is not None and node.op_type in ("Reciprocal", "Div") else None
    if root is None:
        return False
    before = graph.maker(root.input[0])
    is_bounded = before is not None and before.op_type in ("Add", "Max", "Clip")
    return not (is_bounded and any(is_least(graph.constant(each)) for each in before.input))


def _is_truncated(graph: OnnxGraph, cast: Any) -> bool:
    """Whether a Cast makes integers of float values."""
    return graph.is_float(cast.input[0]) and attribute(cast, "to") not in NO_INTEGERS
