"""The nodes of an ONNX graph that a quantized file computes in float: chosen layers, chains, and normalization.

The layers are known by the tensors that they make in the float `.tflite`. A graph made of that file (`from_tflite`) has
their names, with a word behind them where one operation became several; in one that tf2onnx made of a TensorFlow graph,
the scopes of operations and weights tell.

Weights as uint8, Cast, Sub and Mul are constants, which ONNX Runtime computes once, when the file is opened, so that
the float kernels are used, the answers are nearer than ConvInteger's, and the file is as small. A DequantizeLinear
would not be computed then: its optimizer keeps those for its own rules (ConstantFolding,
onnxruntime/core/optimizer/constant_folding.cc).
"""

from __future__ import annotations

import re
from collections.abc import Collection
from typing import Any

import numpy as np
import onnx
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
from edgepress.converters.float_layers import FloatLayer, layer_name
from edgepress.converters.to_onnx.graph import FLOATS, STANDARD, OnnxGraph, attribute
from edgepress.converters.to_tflite.float_layers import MOST_DIMENSIONS

MIN_WEIGHTS = 256
"""Weights of fewer values stay float: their scales and nodes would take as much."""

_ADDED = re.compile(r"(_Gemm)?(__\d+)?(:\d+)?$")
"""Matches what tf2onnx appends to names, such as in "net/conv/Conv2D__86:0" or "Relu__5:0"."""
_WORD = re.compile(r"_[a-z]*$")
"""Matches what `emission` appends to them, such as "_linear" or "_channels_first"."""
_UNNAMED = re.compile(r"^([A-Z][A-Za-z]*__\d+(:\d+)?$|edgepress)")
"""Matches names that tell no layer."""
_FUSED = ("Relu", "Clip")
"""Activations that TFLite computes in the operation before them."""


def float_nodes(model: onnx.ModelProto, layers: Collection[FloatLayer]) -> list[str]:
    """Names of the nodes that compute these layers, or a part of them."""
    whole = {name for layer in layers for name in layer.tensors}
    parts = {part for name in whole for part in name.split(";") if "/" in part}
    known = whole | parts | {part.rstrip("0123456789") for part in parts}
    scopes = {scope for layer in layers for scope in layer.scopes}
    weights = {tensor.name for tensor in model.graph.initializer}
    inside: set[str] = set()  # tensors that these nodes make
    nodes = []

    def tells(name: str) -> bool:
        plain = _ADDED.sub("", name)
        if "/" in plain and layer_name(plain) in scopes:
            return True
        while plain not in known and _WORD.search(plain):
            plain = _WORD.sub("", plain)
        return plain in known

    for node in model.graph.node:
        own = [*node.output, node.name, *(name for name in node.input if name in weights)]
        unnamed = node.op_type in _FUSED or all(_UNNAMED.match(name) for name in node.output)
        if any(map(tells, own)) or (unnamed and {*node.input[:1]} & inside):
            nodes.append(node.name)
            inside.update(node.output)
    return nodes


def store_in_bytes(model: Any, only: Collection[str] | None = None) -> Any:
    """The model with its convolutions' weights as uint8, with a scale and a zero point for each output channel.

    Args:
        model: The model, which is changed in place.
        only: Names of the nodes to take; None takes all.
    """
    graph = OnnxGraph(model)
    unpacked: dict[str, str] = {}
    for conv in graph.operators:
        if not is_float_convolution(graph, conv) or (only is not None and conv.name not in only):
            continue
        name = conv.input[1]
        if name not in unpacked:
            weights = graph.constant(name)
            assert weights is not None
            others = tuple(range(1, weights.ndim))
            low = np.minimum(weights.min(others, keepdims=True), 0)
            span = np.maximum(weights.max(others, keepdims=True), 0) - low
            scale = np.where(span > 0, span / 255, 1).astype(np.float32)
            zero = np.rint(-low / scale).astype(np.float32)
            stored = graph.add_constant(np.clip(np.rint(weights / scale) + zero, 0, 255).astype(np.uint8))
            whole = graph.add("Sub", [graph.add("Cast", [stored], to=onnx.TensorProto.FLOAT), graph.add_constant(zero)])
            unpacked[name] = graph.add("Mul", [whole, graph.add_constant(scale)])
        graph.feed(conv, 1, unpacked[name])
    graph.finish()
    return model


def is_float_convolution(graph: OnnxGraph, node: Any) -> bool:
    """Whether a node is a convolution with float weights of some size."""
    weights = graph.constant(node.input[1]) if node.op_type == "Conv" and node.domain in STANDARD else None
    if weights is None or weights.dtype != np.float32 or weights.size < MIN_WEIGHTS:
        return False
    return bool(np.isfinite(weights).all())


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


KINDS = ("Add", "Sub", "Mul", "Div")
SAME_NUMBERS = ("Reshape", "Flatten", "Squeeze", "Unsqueeze", "Identity", "Cast")
"""Operations that return the numbers that they read; a Cast of floats does."""


def normalization(graph: OnnxGraph) -> list[Any]:
    """The nodes in front of a float model that shift or scale each feature by a constant of its own; may be none."""
    return [node for value in graph.proto.input for node in _behind(graph, value.name)]


def _behind(graph: OnnxGraph, at: str) -> list[Any]:
    """The same behind one input."""
    shape = graph.shape(at) or ()
    alike = shape[-1] if len(shape) > MOST_DIMENSIONS else 1
    chain: list[Any] = []
    sizes = []
    while (node := graph.only_reader(at)) is not None and node.op_type in (*KINDS, *SAME_NUMBERS):
        if node.op_type in KINDS:
            parts = graph.operand(node)
            if parts is None:
                break
            sizes.append(parts[1].size)
        elif node.op_type == "Cast" and attribute(node, "to") != TensorProto.FLOAT:
            break
        chain.append(node)
        at = node.output[0]
    return chain if max(sizes, default=1) > alike else []
