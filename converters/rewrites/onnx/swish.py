"""x * sigmoid(x) between values of 8 bits is computed in float, as QuickGelu.

Quantized, it is two kernels: QLinearSigmoid, which looks up one value after the other, and QLinearMul. QuickGelu, of
ONNX Runtime's own operations (com.microsoft, since release 1.11; x * sigmoid(alpha * x)), DequantizeLinear and
QuantizeLinear are vectorized, and take less time together. The sigmoid itself is not rounded to 8 bits any more. As
Sigmoid and Mul of the standard, it would stay two kernels: the optimizer makes a DequantizeLinear for each of them
(EnsureUniqueDQForNodeUnit, onnxruntime/core/optimizer/qdq_transformer), so that QuickGeluFusion does not find one
value that both read.
"""

from __future__ import annotations

from typing import Any

from edgepress.converters.to_onnx.graph import MICROSOFT, OnnxGraph


def rewrite(graph: OnnxGraph) -> int:
    """Replace quantized pairs of Sigmoid and Mul; returns how many."""
    changed = 0
    for sigmoid in graph.nodes("Sigmoid"):
        (value,) = sigmoid.input
        restored = _behind(graph, _behind(graph, sigmoid, "QuantizeLinear"), "DequantizeLinear")
        product = _behind(graph, restored, "Mul")
        if product is None or graph.maker(value, "DequantizeLinear") is None:
            continue
        if sorted(product.input) != sorted((value, *restored.output)):
            continue
        (result,) = product.output
        if graph.only_reader(result, "QuantizeLinear") is None:
            continue
        graph.move_readers(result, graph.add("QuickGelu", [value], domain=MICROSOFT, alpha=1.0))
        changed += 1
    return changed


def _behind(graph: OnnxGraph, node: Any, kind: str) -> Any:
    """The node of a kind that alone reads what another makes; None if there is none, or no other."""
    return graph.only_reader(node.output[0], kind) if node is not None else None
