"""GELU, as TensorFlow writes it with Erfc, in the form that ONNX Runtime knows.

0.5 * x * (1 - erf(-x * 0.7071)) is six kernels; x * (1 + erf(x / 1.4142)) * 0.5 is the form that is fused into one,
Gelu (GeluFusion, onnxruntime/core/optimizer/gelu_fusion.cc, since release 0.5).
"""

from __future__ import annotations

import numpy as np

from edgepress.converters.to_onnx.graph import OnnxGraph


def rewrite(graph: OnnxGraph) -> int:
    """Write each GELU anew; returns how many."""
    changed = 0
    for erf in graph.nodes("Erf"):
        (angle,), (share,) = erf.input, erf.output
        scaled = graph.maker(angle, "Mul")
        inner = graph.operand(scaled) if scaled is not None else None
        negated = graph.maker(inner[0], "Neg") if inner is not None else None
        complement = graph.only_reader(share, "Sub")
        product = graph.only_reader(complement.output[0], "Mul") if complement is not None else None
        if inner is None or negated is None or product is None:
            continue
        (value,), (result,) = negated.input, product.output
        halved = next((graph.maker(n, "Mul") for n in product.input if n not in complement.output), None)
        outer = graph.operand(halved) if halved is not None else None
        if outer is None or outer[0] != value or graph.scalar(complement.input[0]) != 1:
            continue
        if any(factor.size != 1 or factor.dtype != np.float32 for factor in (inner[1], outer[1])):
            continue
        if not np.isclose(inner[1].item(), np.sqrt(0.5), rtol=1e-6) or outer[1].item() != 0.5:
            continue
        if graph.shape(value) is None or graph.shape(value) != graph.shape(result):
            continue
        root, one, half = (graph.add_constant(np.array(v, np.float32)) for v in (np.sqrt(2), 1, 0.5))
        sum_ = graph.add("Add", [graph.add("Erf", [graph.add("Div", [value, root])]), one])
        graph.replace(result, "Mul", [graph.add("Mul", [value, sum_]), half])
        changed += 1
    return changed
