"""An AveragePool of 1x1, which only leaves out values, becomes the stride of the 1x1 convolution behind it.

NASNet's cells begin so. The pool is a pass of its own, and of 8 bits it computes every mean of one value in float
(QLinearAveragePool, onnxruntime/contrib_ops/cpu/quantization/qlinear_pool.cc, release 1.32).
"""

from __future__ import annotations

from edgepress.converters.to_onnx.graph import OnnxGraph, attribute, set_attributes


def rewrite(graph: OnnxGraph) -> int:
    """Leave out AveragePools of 1x1; returns how many."""
    changed = 0
    for pool in graph.nodes("AveragePool", "MaxPool"):
        conv = graph.only_reader(pool.output[0], "Conv")
        weights = graph.constant(conv.input[1]) if conv is not None else None
        if weights is None or len(pool.output) > 1:
            continue
        plain = all(
            attribute(node, "auto_pad", b"NOTSET") in (b"NOTSET", b"VALID") and not any(attribute(node, "pads", [0]))
            for node in (pool, conv)
        )
        single = attribute(pool, "kernel_shape") == [1, 1] and weights.shape[2:] == (1, 1)
        if not plain or not single or attribute(pool, "ceil_mode", 0):
            continue
        pooled = attribute(pool, "strides", [1, 1])
        strided = attribute(conv, "strides", [1, 1])
        set_attributes(conv, strides=[a * b for a, b in zip(pooled, strided, strict=True)])
        graph.move_readers(pool.output[0], pool.input[0])
        changed += 1
    return changed
