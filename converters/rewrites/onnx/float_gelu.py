"""GELU between values of 8 bits is computed in float, as one operation of ONNX Runtime's own.

Quantized step by step, it is half a dozen kernels, two of which are float anyway. Gelu (com.microsoft, since release
0.5) is not recognized there, because the optimizer makes a DequantizeLinear for each reader of its input
(EnsureUniqueDQForNodeUnit, onnxruntime/core/optimizer/qdq_transformer), so it is written before quantization.
"""

from __future__ import annotations

import onnx

from edgepress.converters.to_onnx.gelus import find_gelus
from edgepress.converters.to_onnx.graph import MICROSOFT, OnnxGraph


def rewrite(graph: OnnxGraph) -> int:
    """Replace GELUs that are written out; returns at how many places."""
    gelus = find_gelus(graph)
    for gelu in gelus:
        sizes = [None if size == -1 else size for size in graph.shape(gelu.value) or ()]
        kind = "FastGelu" if gelu.is_approximate else "Gelu"
        graph.replace(gelu.result, kind, [gelu.value], domain=MICROSOFT)
        if all(each.name != gelu.result for each in (*graph.proto.value_info, *graph.proto.output)):
            known = onnx.helper.make_tensor_value_info(gelu.result, onnx.TensorProto.FLOAT, sizes)
            graph.proto.value_info.append(known)
    return len(gelus)
