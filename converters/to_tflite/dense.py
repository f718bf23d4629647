"""Let products with constant matrices be dense layers, in TFLite files that were made from ONNX."""

from __future__ import annotations

from typing import Any

import numpy as np

from edgepress.converters.to_tflite import flatbuffer as flat


def as_dense(model: bytes) -> bytes:
    """Let each BATCH_MATMUL with a constant matrix be FULLY_CONNECTED, which computes the same.

    onnx2tf makes BATCH_MATMUL of ONNX's MatMul. Its weights can't be float16, and its integer kernel has one scale for
    all of them, while FULLY_CONNECTED has one per output.
    """
    root, graph = flat.read(model)
    found: dict[int, list[int]] = {}
    for number, op in enumerate(graph.operators):
        if flat.kind(root, op) == "BATCH_MATMUL" and not getattr(op.builtinOptions, "adjX", False):
            found.setdefault(int(op.inputs[1]), []).append(number)
    changed = False
    for matrix, numbers in found.items():
        readers = [n for n, op in enumerate(graph.operators) if matrix in op.inputs]
        turned = {getattr(graph.operators[n].builtinOptions, "adjY", False) for n in numbers}
        if readers == numbers and len(turned) == 1 and _transposed(root, graph, matrix, done=turned.pop()):
            for n in numbers:
                left, output = int(graph.operators[n].inputs[0]), int(graph.operators[n].outputs[0])
                keep = {"keepNumDims": len(graph.tensors[left].shape) > 2}
                graph.operators[n] = flat.operator(root, "FULLY_CONNECTED", [left, matrix, -1], output, **keep)
            changed = True
    return flat.write(root) if changed else model


def _transposed(root: Any, graph: Any, matrix: int, *, done: bool) -> bool:
    """Transpose a constant matrix of float32, unless that is `done`; False if it is something else."""
    tensor = graph.tensors[matrix]
    shape, buffer = tensor.shape, root.buffers[tensor.buffer]
    if tensor.type != flat.FLOAT32 or shape is None or len(shape) != 2 or buffer.data is None or not len(buffer.data):
        return False
    if sum(other.buffer == tensor.buffer for other in graph.tensors) > 1:
        return False
    if not done:
        values = np.frombuffer(bytes(buffer.data), np.float32).reshape(shape).T
        buffer.data = np.frombuffer(values.tobytes(), np.uint8)
        tensor.shape, tensor.shapeSignature = list(values.shape), None
    return True
