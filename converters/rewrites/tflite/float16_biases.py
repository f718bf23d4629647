"""Biases of float16 files have 16 bits, as the weights beside them.

litert-quantizer stores the weights as float16 and leaves biases at 32 bits. LiteRT before its delegate unpacked float16
itself (March 2026; tried: 1.2, 1.4 and 2.1 before, 2.3 after) has no kernel for that mixture: 1.2 takes the bits of a
bias for float16, and answers nonsense, and 1.4 and 2.1 leave the operation to the built-in kernels, 4-8 times slower.
(`CheckFilterAndBiasTypes` in tflite/delegates/xnnpack/xnnpack_delegate.cc.) TensorFlow's converter stores both alike.
"""

from __future__ import annotations

import numpy as np

from edgepress.converters.to_tflite.graph import Graph

_WEIGHTED = ("CONV_2D", "FULLY_CONNECTED", "TRANSPOSE_CONV")


def rewrite(graph: Graph) -> int:
    """Store the bias of each operation with float16 weights alike, once if several read it; returns their number."""
    makers = graph.makers()
    restored: dict[int, int] = {}
    count = 0
    for op in [op for op in graph.operators if graph.kind(op) in _WEIGHTED]:
        place = 3 if graph.kind(op) == "TRANSPOSE_CONV" else 2
        if len(op.inputs) <= place:
            continue
        weights = makers.get(int(op.inputs[1]))
        index = int(op.inputs[place])
        bias = graph.constant(index)
        if weights is None or graph.kind(weights) != "DEQUANTIZE" or bias is None or bias.dtype != np.float32:
            continue
        if graph.dtype(int(weights.inputs[0])) != np.float16 or np.abs(bias).max() > np.finfo(np.float16).max:
            continue
        if index not in restored:
            stored = graph.add_constant(bias.astype(np.float16))
            restored[index] = graph.add_tensor(bias.shape, f"{graph.name(index)}_dequant")
            graph.insert_before(op, graph.operator("DEQUANTIZE", [stored], restored[index]))
        op.inputs = [restored[index] if i == place else int(other) for i, other in enumerate(op.inputs)]
        count += 1
    return count
