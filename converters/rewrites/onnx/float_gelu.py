"""GELU between values of 8 bits is computed in float, as one operation of ONNX Runtime's own.

Quantized step by step, it is half a dozen kernels, two of which are float anyway. Gelu (com.microsoft, since release
0.5) is not recognized there, because the optimizer makes a DequantizeLinear for each reader of its input
(EnsureUniqueDQForNodeUnit, onnxruntime/core/optimizer/qdq_transformer), so it is written before quantization.
"""

from __future__ import annotations

from edgepress.converters.to_onnx.gelus import find_gelus
from edgepress.converters.to_onnx.graph import MICROSOFT, OnnxGraph


def rewrite(graph: OnnxGraph) -> int:
    """Replace GELUs that are written out; returns at how many places."""
    gelus = find_gelus(graph)
    for gelu in gelus:
        shape = graph.shape(gelu.value) or ()
        kind = "FastGelu" if gelu.is_approximate else "Gelu"
        graph.replace(gelu.result, kind, [gelu.value], domain=MICROSOFT)
        graph.set_shape(gelu.result, shape)
    return len(gelus)
