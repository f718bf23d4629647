"""GELU, as TensorFlow and PyTorch write it, in the form that ONNX Runtime knows.

0.5 * x * (1 - erf(-x * 0.7071)) is six kernels; x * (1 + erf(x / 1.4142)) * 0.5 is the form that is fused into one,
Gelu (GeluFusion, onnxruntime/core/optimizer/gelu_fusion.cc, since release 0.5).
"""

from __future__ import annotations

from edgepress.converters.to_onnx.gelus import write_gelus
from edgepress.converters.to_onnx.graph import OnnxGraph


def rewrite(graph: OnnxGraph) -> int:
    """Write each GELU of another form anew, but for those with tanh; returns how many."""
    return write_gelus(graph)
