"""HardSigmoid behind a convolution that nothing else reads becomes part of it: weights scaled, then Clip to 0 to 1.

In a file of 8 bits, the Clip is what the limits of its integers do anyway, and costs nothing; ONNX Runtime has no
HardSigmoid of 8 bits (QLinearOpsRegistry, onnxruntime/python/tools/quantization/registry.py, release 1.32).
"""

from __future__ import annotations

import numpy as np

from edgepress.converters.to_onnx.graph import OnnxGraph, attribute


def rewrite(graph: OnnxGraph) -> int:
    """Move HardSigmoid into the convolutions before it; returns how many."""
    changed = 0
    for node in graph.nodes("HardSigmoid"):
        (value,) = node.input
        conv = graph.maker(value, "Conv")
        if conv is None or graph.only_reader(value) is None:
            continue
        weights = graph.constant(conv.input[1])
        bias = graph.constant(conv.input[2]) if len(conv.input) > 2 else np.zeros(1, np.float32)
        if weights is None or bias is None or weights.dtype != np.float32:
            continue
        alpha = np.float32(attribute(node, "alpha", 0.2))
        beta = np.float32(attribute(node, "beta", 0.5))
        graph.feed(conv, 1, graph.add_constant(weights * alpha))
        shifted = graph.add_constant(np.broadcast_to(bias * alpha + beta, weights.shape[:1]).astype(np.float32))
        graph.feed(conv, 2, shifted)
        node.op_type = "Clip"
        node.ClearField("attribute")
        for place, limit in ((1, 0), (2, 1)):
            graph.feed(node, place, graph.add_constant(np.array(limit, np.float32)))
        changed += 1
    return changed
