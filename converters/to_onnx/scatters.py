"""Sums that a scatter makes at constant places, as products with constant matrices.

PyTorch exports `index_add` and `scatter_add` so, with which nets on graphs add what comes along each edge. ONNX
Runtime has no kernel for float16. The matrix says with 0 and 1 which place each value goes to.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from edgepress.converters.arrays import Array
from edgepress.converters.to_onnx.graph import OnnxGraph, attribute

SCATTERS = ("ScatterND", "ScatterElements")
MOST = 1 << 20
"""Elements of the largest matrix; that of a larger graph would take more room than it saves work."""


def is_sum(node: Any) -> bool:
    """Whether a node is a scatter that adds."""
    return node.op_type in SCATTERS and attribute(node, "reduction") == b"add"


def write_sums(graph: OnnxGraph) -> None:
    """Write scatters that add whole slices along one axis, if their places are constant."""
    for node in filter(is_sum, graph.nodes(*SCATTERS)):
        _multiply(graph, node)


def _multiply(graph: OnnxGraph, node: Any) -> None:
    base, indices, values = node.input
    shape, places = graph.shape(base), graph.constant(indices)
    if shape is None or places is None or not graph.is_float(values):
        return
    axis = attribute(node, "axis", 0) % len(shape)
    line = _line(places, axis, shape) if node.op_type == "ScatterElements" else _rows(places)
    if line is None or shape[axis] < 1 or shape[axis] * line.size > MOST:
        return
    matrix = np.zeros((line.size, shape[axis]), np.float32)
    matrix[np.arange(line.size), line] = 1
    order = list(range(len(shape)))
    order[axis], order[-1] = order[-1], order[axis]
    turned = graph.add("Transpose", [values], perm=order)
    product = graph.add("MatMul", [turned, graph.add_constant(matrix)])
    summed = graph.add("Transpose", [product], perm=order)
    graph.replace(node.output[0], "Add", [base, summed])


def _rows(places: Array) -> Array | None:
    """The rows that a ScatterND adds to; None if it adds to parts of rows."""
    return places[:, 0] if places.ndim == 2 and places.shape[1] == 1 else None


def _line(places: Array, axis: int, shape: tuple[int, ...]) -> Array | None:
    """The places along an axis, if they are the same beside each other and for whole slices; None otherwise."""
    others = [other for other in range(places.ndim) if other != axis]
    line = places[tuple(slice(None) if other == axis else slice(1) for other in range(places.ndim))]
    is_whole = all(places.shape[other] == shape[other] for other in others)
    return line.ravel() if is_whole and (places == line).all() else None
