"""Convolutions of dynamic ONNX files keep weights of 8 bits, and compute in float.

ONNX Runtime's ConvInteger copies its input into columns, has no fast depthwise kernel, and needs the range of its input
first: MobileNets take 4 to 6 times as long as in float (onnxruntime/core/providers/cpu/quantization/conv_integer.cc,
release 1.32). Weights as int8, Cast and Mul are constants, which it computes once, when the file is opened, so that the
float kernels are used, the answers are nearer, and the file is as small. A DequantizeLinear would not be computed then:
its optimizer keeps those for its own rules (ConstantFolding, onnxruntime/core/optimizer/constant_folding.cc).
"""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx

from edgepress.converters.rewrites.onnx_graph import OnnxGraph

LEAST = 256
"""Weights of fewer values stay float: their scales and nodes would take as much."""


def rewrite(model: Any) -> int:
    """Number of convolutions whose weights are rounded."""
    return len(_convolutions(OnnxGraph(model)))


def store_in_bytes(model: Any) -> Any:
    """The model with its convolutions' weights as int8, with one scale for each output channel."""
    graph, made = OnnxGraph(model), dict[str, str]()
    for conv in _convolutions(graph):
        name = conv.input[1]
        if name not in made:
            weights = graph.constant(name)
            assert weights is not None
            largest = np.abs(weights).max(tuple(range(1, weights.ndim)), keepdims=True)
            scale = np.where(largest > 0, largest / 127, 1).astype(np.float32)
            stored = graph.add_constant(np.round(weights / scale).astype(np.int8))
            whole = graph.add("Cast", [stored], to=onnx.TensorProto.FLOAT)
            made[name] = graph.add("Mul", [whole, graph.add_constant(scale)])
        graph.feed(conv, 1, made[name])
    graph.finish()
    return model


def _convolutions(graph: OnnxGraph) -> list[Any]:
    found = []
    for node in graph.nodes("Conv"):
        weights = graph.constant(node.input[1])
        if weights is not None and weights.dtype == np.float32 and weights.size >= LEAST and np.isfinite(weights).all():
            found.append(node)
    return found
