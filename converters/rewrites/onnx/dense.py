"""A product with a matrix of the last axis of an image, which TensorFlow writes as Tensordot, becomes one MatMul.

Tensordot reshapes to rows, multiplies, and reshapes back, to shapes that it computes from the input's, a dozen
operations on a few integers each. ONNX' MatMul takes any number of axes in front, and ONNX Runtime treats them as rows
by itself (MatMulComputeHelper, onnxruntime/core/providers/cpu/math/matmul_helper.h).
"""

from __future__ import annotations

from edgepress.converters.to_onnx.graph import OnnxGraph


def rewrite(graph: OnnxGraph) -> int:
    """Leave out the shapes around products with a constant matrix; returns around how many."""
    changed = 0
    for node in graph.nodes("MatMul"):
        (flat, weights), (product,) = node.input, node.output
        before = graph.maker(flat, "Reshape")
        after = graph.only_reader(product, "Reshape")
        matrix = graph.constant(weights)
        if before is None or after is None or matrix is None or matrix.ndim != 2:
            continue
        input_shape = graph.shape(before.input[0])
        (result,) = after.output
        output_shape = graph.shape(result)
        rows = graph.shape(flat)
        if input_shape is None or output_shape is None or rows is None or len(rows) != 2:
            continue
        if (
            len(input_shape) < 3
            or input_shape[:-1] != output_shape[:-1]
            or (input_shape[-1], output_shape[-1]) != matrix.shape
        ):
            continue
        if input_shape.count(-1) > 1 or not graph.move_readers(result, product):
            continue
        graph.feed(node, 0, before.input[0])
        changed += 1
    if changed:
        del graph.proto.value_info[:]  # the products have more axes now
    return changed
