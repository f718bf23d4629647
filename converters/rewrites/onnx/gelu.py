"""GELU, as TensorFlow and PyTorch write it, in the form that ONNX Runtime knows.

0.5 * x * (1 - erf(-x * 0.7071)) is six kernels; x * (1 + erf(x / 1.4142)) * 0.5 is the form that is fused into one,
Gelu (GeluFusion, onnxruntime/core/optimizer/gelu_fusion.cc, since release 0.5).
"""

from __future__ import annotations

import math

import numpy as np

from edgepress.converters.to_onnx.gelus import find_gelus
from edgepress.converters.to_onnx.graph import OnnxGraph


def rewrite(graph: OnnxGraph) -> int:
    """Write each GELU of another form anew; returns how many."""
    changed = 0
    for gelu in find_gelus(graph):
        product = graph.operand(graph.maker(gelu.result))
        inner = graph.maker(product[0], "Mul") if product is not None else None
        if gelu.is_approximate or (inner is not None and gelu.value in inner.input and graph.operand(inner) is None):
            continue
        root, one, half = (graph.add_constant(np.array(v, np.float32)) for v in (math.sqrt(2), 1, 0.5))
        sum_ = graph.add("Add", [graph.add("Erf", [graph.add("Div", [gelu.value, root])]), one])
        graph.replace(gelu.result, "Mul", [graph.add("Mul", [gelu.value, sum_]), half])
        changed += 1
    return changed
