"""Mend the padding of max pooling in TFLite files that were made from ONNX."""

from __future__ import annotations

import numpy as np

from edgepress.converters.to_tflite import flatbuffer as flat

_RELUS, _FUSED_RELUS = ("RELU", "RELU6", "RELU_0_TO_1"), (1, 3)
"""Operations, and values of `ActivationFunctionType`, whose outputs are at least 0."""
_LEAST, _FLOAT_BYTES = -1e30, 4
"""Constants below stand for negative infinity."""


def zero_padding(model: bytes) -> bytes:
    """Let max pooling of values that are at least 0 pad with 0 instead of with the least float, which changes nothing.

    onnx2tf expresses the padding of ONNX's MaxPool by such a PADV2. No interpreter can quantize its constant.
    """
    root, graph = flat.read(model)
    producers = {int(i): op for op in graph.operators for i in op.outputs}
    changed = False
    for number, pad in enumerate(graph.operators):
        readers = {flat.kind(root, op) for op in graph.operators if pad.outputs[0] in op.inputs}
        if flat.kind(root, pad) != "PADV2" or readers != {"MAX_POOL_2D"}:
            continue
        constant, before = root.buffers[graph.tensors[pad.inputs[2]].buffer].data, producers.get(int(pad.inputs[0]))
        if constant is None or len(constant) != _FLOAT_BYTES or before is None:
            continue
        if np.frombuffer(bytes(constant), np.float32)[0] > _LEAST:
            continue
        activation = getattr(before.builtinOptions, "fusedActivationFunction", 0)
        if activation in _FUSED_RELUS or flat.kind(root, before) in _RELUS:
            graph.operators[number] = flat.operator(root, "PAD", list(pad.inputs[:2]), int(pad.outputs[0]))
            changed = True
    return flat.write(root) if changed else model
