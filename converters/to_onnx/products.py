"""Operations written as products with constant matrices: Einsum, sums that scatters make, and resizes.

The axes of the two factors are of four kinds: those of both and of the result (batches, such as experts), those of the
tensor alone (rows), those of the weights alone (columns), and those of both that are summed. The tensor is turned to
batches, rows and sums, the weights to batches, sums and columns; MatMul multiplies; the result is divided and turned.
Products of two computed tensors stay: they have no weights, and eight bits would cost accuracy. Those of more factors
become products of two, from the left, as ONNX Runtime computes them.

Sums that a scatter makes at constant places, as products with constant matrices.

PyTorch exports `index_add` and `scatter_add` so, with which nets on graphs add what comes along each edge. ONNX
Runtime has no kernel for float16. The matrix says with 0 and 1 which place each value goes to.

Resizes written as a product with a matrix for each side, because a Resize is linear in each side.

The matrices are what ONNX Runtime makes of images that are 1 in one line and 0 elsewhere.

A cubic Resize that makes images smaller becomes such products: between integer convolutions, ONNX Runtime 1.32 moves a
Transpose through it, and then refuses it.
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import onnx

from edgepress.converters.arrays import Array
from edgepress.converters.to_onnx.graph import OnnxGraph, attribute


class Axes(NamedTuple):
    """The letters of the axes of each kind."""

    batches: str
    rows: str
    columns: str
    sums: str


def write_einsums(graph: OnnxGraph) -> None:
    """Write each Einsum that is a product with a matrix of constants, or with one for each batch."""
    for node in graph.nodes("Einsum"):
        _divide(graph, node)
    for node in graph.nodes("Einsum"):
        _write(graph, node)


def _divide(graph: OnnxGraph, node: Any) -> None:
    """Write an Einsum of more than two factors as several, each of which keeps the axes that are needed later."""
    factors, arrow, result = attribute(node, "equation").decode().replace(" ", "").partition("->")
    terms = factors.split(",")
    if len(terms) < 3 or not arrow or not all(term.isalpha() for term in terms):
        return
    term, value = terms[0], node.input[0]
    for place in range(1, len(terms) - 1):
        later = {*result}.union(*terms[place + 1 :])
        kept = "".join(letter for letter in dict.fromkeys(term + terms[place]) if letter in later)
        value = graph.add("Einsum", [value, node.input[place]], equation=f"{term},{terms[place]}->{kept}")
        term = kept
    graph.replace(node.output[0], "Einsum", [value, node.input[-1]], equation=f"{term},{terms[-1]}->{result}")


def _write(graph: OnnxGraph, node: Any) -> None:
    terms, arrow, result = attribute(node, "equation").decode().replace(" ", "").partition("->")
    factors = sorted(zip(terms.split(","), node.input, strict=False), key=lambda f: graph.constant(f[1]) is not None)
    if not arrow or len(factors) != 2 or len(node.input) != 2:
        return
    (term, name), (weight_term, weights_name) = factors
    weights = graph.constant(weights_name)
    axes = _axes(term, weight_term, result)
    if weights is None or axes is None or graph.constant(name) is not None:
        return
    known = dict(zip(weight_term, weights.shape, strict=True))
    shape = graph.shape(name) or (-1,) * len(term)
    sizes = dict(zip(term, shape, strict=True)) | known
    # A size that is not known may differ where the weights have 1, and is theirs elsewhere.
    is_broadcast = any(
        size != sizes[letter] and (size != -1 or sizes[letter] == 1) for letter, size in zip(term, shape, strict=True)
    )
    rows = [sizes[letter] for letter in axes.rows]
    if is_broadcast or (axes.batches and rows.count(-1) > 1):
        return
    order = axes.batches + axes.rows + axes.sums
    value = graph.add("Transpose", [name], perm=[term.index(letter) for letter in order])
    summed, made = (math.prod(known[letter] for letter in letters) for letters in (axes.sums, axes.columns))
    batches = [0] * len(axes.batches)  # 0 keeps an axis
    kept = [-1] if axes.batches else [0] * len(rows)
    if len(axes.sums) > 1 or (axes.batches and len(rows) != 1):
        value = _reshape(graph, value, [*batches, *kept, summed])
    turned = weights.transpose([weight_term.index(letter) for letter in axes.batches + axes.sums + axes.columns])
    matrices = turned.reshape(*(known[letter] for letter in axes.batches), summed, made)
    value = graph.add("MatMul", [value, graph.add_constant(matrices)])
    if len(axes.columns) != 1 or (axes.batches and len(rows) != 1):
        divided = rows if axes.batches else kept
        value = _reshape(graph, value, [*batches, *divided, *(known[letter] for letter in axes.columns)])
    made_order = axes.batches + axes.rows + axes.columns
    graph.replace(node.output[0], "Transpose", [value], perm=[made_order.index(letter) for letter in result])


def _axes(term: str, weights: str, result: str) -> Axes | None:
    """The axes of a matrix product; None if the equation is none, such as a sum over an axis of one factor."""
    if not all(letters.isalpha() and len({*letters}) == len(letters) for letters in (term, weights, result)):
        return None
    axes = Axes(
        batches="".join(letter for letter in term if letter in weights and letter in result),
        rows="".join(letter for letter in term if letter not in weights),
        columns="".join(letter for letter in weights if letter not in term),
        sums="".join(letter for letter in term if letter in weights and letter not in result),
    )
    is_product = {*result} == {*axes.batches, *axes.rows, *axes.columns}
    return axes if is_product and axes.rows and axes.sums else None


def _reshape(graph: OnnxGraph, name: str, sizes: list[int]) -> str:
    return graph.add("Reshape", [name, graph.add_constant(np.array(sizes, np.int64))])


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
