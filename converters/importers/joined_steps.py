"""Operations that exporters write out in steps, joined again: GELU and layer normalization.

TFLite has a kernel for GELU alone, no operation for the error function inside it, and quantized step by step, a cube
leaves nothing of what is small.
"""

from __future__ import annotations

import onnx

from edgepress.converters.to_onnx.gelus import find_gelus
from edgepress.converters.to_onnx.graph import OnnxGraph
from edgepress.converters.to_onnx.layer_norms import write_layer_norms


def join_steps(model: onnx.ModelProto) -> onnx.ModelProto:
    """Join them in a model of one item, in place; it may have operations of later opsets then."""
    graph = OnnxGraph(model)
    write_layer_norms(graph)
    for gelu in find_gelus(graph):
        way = "tanh" if gelu.is_approximate else "none"
        graph.replace(gelu.result, "Gelu", [gelu.value], approximate=way)
    graph.finish()
    return model
