"""GELU between values of 8 bits is computed in float, as one operation of ONNX Runtime's own.

Quantized step by step, it is half a dozen kernels, two of which are float anyway. Gelu (com.microsoft, since release
0.5) is not recognized there, because the optimizer makes a DequantizeLinear for each reader of its input
(EnsureUniqueDQForNodeUnit, onnxruntime/core/optimizer/qdq_transformer), so it is written before quantization.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx

from edgepress.converters.to_onnx.graph import MICROSOFT, OnnxGraph


def rewrite(graph: OnnxGraph) -> int:
    """Replace x * (1 + erf(x / 1.4142)) * 0.5; returns at how many places."""
    changed = 0
    for erf in graph.nodes("Erf"):
        (angle,) = erf.input
        scaled = graph.maker(angle, "Div")
        shifted = _behind(graph, erf, "Add")
        product = _behind(graph, shifted, "Mul")
        halved = _behind(graph, product, "Mul")
        if scaled is None or halved is None:
            continue
        (value, divisor), (result,) = scaled.input, halved.output
        sums = graph.operand(shifted)
        halves = graph.operand(halved)
        root = graph.scalar(divisor)
        if root is None or not np.isclose(root, np.sqrt(2), rtol=1e-5) or sums is None or halves is None:
            continue
        if sorted(product.input) != sorted((value, *shifted.output)):
            continue
        pairs = ((sums, 1), (halves, 0.5))
        if any(c.size != 1 or c.item() != v or c.dtype != np.float32 for (_, c), v in pairs):
            continue
        shape = graph.shape(value)
        if shape is None or shape != graph.shape(result):
            continue
        graph.replace(result, "Gelu", [value], domain=MICROSOFT)
        if all(known.name != result for known in (*graph.proto.value_info, *graph.proto.output)):
            sizes = [None if size == -1 else size for size in shape]
            graph.proto.value_info.append(onnx.helper.make_tensor_value_info(result, onnx.TensorProto.FLOAT, sizes))
        changed += 1
    return changed


def _behind(graph: OnnxGraph, node: Any, kind: str) -> Any:
    """The node of a kind that alone reads what another makes; None if there is none, or no other."""
    return graph.only_reader(node.output[0], kind) if node is not None else None
