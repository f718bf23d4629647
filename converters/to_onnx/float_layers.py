"""Find the nodes of the layers that a file computes in float, and store weights of convolutions among them in 8 bits.

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

from edgepress.converters.float_layers import FloatLayer, layer_name
from edgepress.converters.to_onnx.graph import STANDARD, OnnxGraph

LEAST = 256
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
    if weights is None or weights.dtype != np.float32 or weights.size < LEAST:
        return False
    return bool(np.isfinite(weights).all())
