"""Layer normalization, as frameworks write it in steps, becomes LayerNormalization.

ONNX Runtime's LayerNormFusion (onnxruntime/core/optimizer/layer_norm_fusion.cc, release 1.32) knows the last axis and
the steps of PyTorch alone.
"""

from __future__ import annotations

from edgepress.converters.to_onnx.graph import OnnxGraph
from edgepress.converters.to_onnx.layer_norms import LAYER_NORM, write_layer_norms


def rewrite(graph: OnnxGraph) -> int:
    """Replace the steps by LayerNormalization; returns at how many places."""
    return write_layer_norms(graph) if graph.opset >= LAYER_NORM else 0
