"""x * sigmoid(x) between values of 8 bits is computed in float, as QuickGelu.

Quantized, it is two kernels: QLinearSigmoid, which looks up one value after the other, and QLinearMul. QuickGelu, of
ONNX Runtime's own operations (com.microsoft, since release 1.11; x * sigmoid(alpha * x)), DequantizeLinear and
QuantizeLinear are vectorized, and take less time together. The sigmoid itself is not rounded to 8 bits any more. As
Sigmoid and Mul of the standard, it would stay two kernels: the optimizer makes a DequantizeLinear for each of them
(EnsureUniqueDQForNodeUnit, onnxruntime/core/optimizer/qdq_transformer), so that QuickGeluFusion does not find one
value that both read.
"""

from __future__ import annotations

from edgepress.converters.to_onnx.graph import MICROSOFT, OnnxGraph


def rewrite(graph: OnnxGraph) -> int:
    """Replace quantized pairs of Sigmoid and Mul; returns how many."""
    changed = 0
    for sigmoid in graph.nodes("Sigmoid"):
        value = sigmoid.input[0]
        rounded = graph.only_reader(sigmoid.output[0], "QuantizeLinear")
        restored = rounded and graph.only_reader(rounded.output[0], "DequantizeLinear")
        product = restored and graph.only_reader(restored.output[0], "Mul")
        if product is None or graph.maker(value, "DequantizeLinear") is None:
            continue
        if sorted(product.input) != sorted((value, restored.output[0])):
            continue
        if graph.only_reader(product.output[0], "QuantizeLinear") is None:
            continue
        graph.move_readers(product.output[0], graph.add("QuickGelu", [value], domain=MICROSOFT, alpha=1.0))
        changed += 1
    return changed
