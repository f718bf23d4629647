"""GELU between values of 8 bits is computed in float, as one operation of ONNX Runtime's own.

Quantized step by step, it is half a dozen kernels, two of which are float anyway. Gelu (com.microsoft, since release
0.5) is not recognized there, because the optimizer makes a DequantizeLinear for each reader of its input
(EnsureUniqueDQForNodeUnit, onnxruntime/core/optimizer/qdq_transformer), so it is written before quantization.
"""

from __future__ import annotations

import numpy as np
import onnx

from edgepress.converters.to_onnx.graph import MICROSOFT, OnnxGraph


def rewrite(graph: OnnxGraph) -> int:
    """Replace x * (1 + erf(x / 1.4142)) * 0.5; returns at how many places."""
    changed = 0
    for erf in graph.nodes("Erf"):
        scaled = graph.maker(erf.input[0], "Div")
        shifted = graph.only_reader(erf.output[0], "Add")
        product = shifted and graph.only_reader(shifted.output[0], "Mul")
        halved = product and graph.only_reader(product.output[0], "Mul")
        if scaled is None or halved is None:
            continue
        value = scaled.input[0]
        sums = graph.operand(shifted)
        halves = graph.operand(halved)
        root = graph.scalar(scaled.input[1])
        if root is None or not np.isclose(root, np.sqrt(2), rtol=1e-5) or sums is None or halves is None:
            continue
        if sorted(product.input) != sorted((value, shifted.output[0])):
            continue
        pairs = ((sums, 1), (halves, 0.5))
        if any(c.size != 1 or c.item() != v or c.dtype != np.float32 for (_, c), v in pairs):
            continue
        shape = graph.shape(value)
        if shape is None or shape != graph.shape(halved.output[0]):
            continue
        result = halved.output[0]
        graph.replace(result, "Gelu", [value], domain=MICROSOFT)
        if all(known.name != result for known in (*graph.proto.value_info, *graph.proto.output)):
            sizes = [None if size == -1 else size for size in shape]
            graph.proto.value_info.append(onnx.helper.make_tensor_value_info(result, onnx.TensorProto.FLOAT, sizes))
        changed += 1
    return changed
