"""HardSigmoid between DequantizeLinear and QuantizeLinear becomes an Add of 8 bits.

alpha * x + beta, limited to 0 to 1, is a change of scale: the sum of x and beta / alpha, quantized by a scale that is
alpha times coarser, whose integers end where the limits are. ONNX Runtime has no HardSigmoid of 8 bits, and would run
three kernels in float; it fuses this into one QLinearAdd (release 1.32).
"""

from __future__ import annotations

import numpy as np

from edgepress.converters.to_onnx.graph import OnnxGraph, attribute


def rewrite(graph: OnnxGraph) -> int:
    """Replace HardSigmoids between 8 bits; returns how many."""
    changed = 0
    for node in graph.nodes("HardSigmoid"):
        (value,), (result,) = node.input, node.output
        before = graph.maker(value, "DequantizeLinear")
        after = graph.only_reader(result, "QuantizeLinear")
        if before is None or after is None or len(after.input) < 3:
            continue
        scale = graph.scalar(after.input[1])
        zero = graph.constant(after.input[2])
        alpha = float(attribute(node, "alpha", 0.2))
        beta = float(attribute(node, "beta", 0.5))
        if scale is None or zero is None or zero.size != 1 or alpha <= 0 or beta <= 0:
            continue
        low = np.iinfo(zero.dtype).min
        high = np.iinfo(zero.dtype).max
        if int(zero.item()) != low or (high - low) * scale > 1.001:
            continue  # these integers go beyond the limits
        step = graph.add_constant(np.array(beta / alpha / (high - low), np.float32))
        offset = graph.add_constant(np.array(high, zero.dtype))
        term = graph.add("DequantizeLinear", [offset, step, after.input[2]])
        node.op_type = "Add"
        node.ClearField("attribute")
        graph.feed(node, 1, term)
        graph.feed(after, 1, graph.add_constant(np.array(scale / alpha, np.float32)))
        changed += 1
    return changed
