"""Resizes written as a product with a matrix for each side, because a Resize is linear in each side.

The matrices are what ONNX Runtime makes of images that are 1 in one line and 0 elsewhere.

A cubic Resize that makes images smaller becomes such products: between integer convolutions, ONNX Runtime 1.32 moves a
Transpose through it, and then refuses it.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import onnx

from edgepress.converters.to_onnx.graph import OnnxGraph, attribute

Lines = npt.NDArray[np.float32]


def write_shrinking(graph: OnnxGraph, node: Any) -> None:
    """Write a cubic Resize that shrinks a side of images, channels first, whose sizes are known; another stays."""
    sizes = _sizes(graph, node)
    if sizes is None or attribute(node, "mode") != b"cubic":
        return
    size, new_size = sizes
    if any(new < old for old, new in zip(size, new_size, strict=True)):
        _write_products(graph, node, size, new_size)


def _sizes(graph: OnnxGraph, node: Any) -> tuple[tuple[int, ...], tuple[int, ...]] | None:
    """Height and width before and after a Resize of images; None if it is another, or they are not known."""
    shape, new_shape = graph.shape(node.input[0]), graph.shape(node.output[0])
    crops = attribute(node, "coordinate_transformation_mode") == b"tf_crop_and_resize"
    keeps_ratio = attribute(node, "keep_aspect_ratio_policy", b"stretch") != b"stretch"
    if crops or keeps_ratio or attribute(node, "axes") is not None:
        return None
    if shape is None or new_shape is None or len(shape) != 4 or shape[1] != new_shape[1]:
        return None
    if min(*shape[2:], *new_shape[2:]) < 1 or not (_has_sizes(node) or _scales(graph, node) is not None):
        return None
    return shape[2:], new_shape[2:]


def _scales(graph: OnnxGraph, node: Any) -> Lines | None:
    """The scale of each axis; None if it has sizes instead, or its scales are computed."""
    return None if _has_sizes(node) or not node.input[2] else graph.constant(node.input[2])


def _has_sizes(node: Any) -> bool:
    return len(node.input) > 3 and bool(node.input[3])


def _write_products(graph: OnnxGraph, node: Any, size: tuple[int, ...], new_size: tuple[int, ...]) -> None:
    rows, columns = _matrices(graph, node, size, new_size)
    value = node.input[0]
    for matrix in (columns, rows):
        value = graph.add("MatMul", [value, graph.add_constant(matrix)])
        value = graph.add("Transpose", [value], perm=[0, 1, 3, 2])
    graph.replace(node.output[0], "Identity", [value])


def _matrices(graph: OnnxGraph, node: Any, size: tuple[int, ...], new_size: tuple[int, ...]) -> tuple[Lines, Lines]:
    """Matrices (old, new) of the rows and of the columns of a Resize from one size to another."""
    import onnxruntime

    scales = _scales(graph, node)
    sides = {"sizes": np.array(new_size, np.int64)} if scales is None else {"scales": scales[2:]}
    names = ["image", "", *(["", "sizes"] if scales is None else ["scales"])]
    resize = onnx.NodeProto(op_type="Resize", input=names, output=["resized"])
    resize.attribute.extend(node.attribute)
    ends = [
        onnx.helper.make_tensor_value_info("image", onnx.TensorProto.FLOAT, size),
        onnx.helper.make_tensor_value_info("resized", onnx.TensorProto.FLOAT, None),
    ]
    constants = [onnx.numpy_helper.from_array(value, name) for name, value in sides.items()]
    model = onnx.helper.make_model(
        onnx.helper.make_graph([resize], "resize", ends[:1], ends[1:], constants),
        opset_imports=[onnx.helper.make_opsetid("", graph.opset)],
        ir_version=8,
    )
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    height, width = size

    def resized(image: Lines) -> Lines:
        new: Lines = session.run(None, {"image": np.ascontiguousarray(np.broadcast_to(image, size))})[0]
        return new

    rows = [resized(line[:, np.newaxis])[:, 0] for line in np.eye(height, dtype=np.float32)]
    columns = [resized(line)[0] for line in np.eye(width, dtype=np.float32)]
    return np.array(rows), np.array(columns)
