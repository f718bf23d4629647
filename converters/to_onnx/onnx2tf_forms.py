"""Forms of operations that onnx2tf 2.6.9 converts rightly, in the place of equal ones that it refuses or changes.

* Attention, RMSNormalization and other functions of the standard become the operations that they are made of.
* Slices that divide an axis become a Split: onnx2tf divides another axis where the tensor comes from a turned one.
* A bound next to 0 or 1, such as the least norm of a normalization, stays one: it would be taken for that of a ReLU.
* A constant matrix becomes the second factor of a product: TFLite's integer products take no constant first one.
* An Expand whose readers broadcast goes: it would be a product with as many stored ones.
* Padding with values of the other side becomes a concatenation.
* A Concat of one tensor, as DenseNets begin their blocks with, goes.
* GELU has the one form of which onnx2tf makes one operation; of others, two dozen would be made. Which ones are those
  with tanh, `gelus.approximations` says.
* Layer normalization is one operation: the mean of channels that are last would be turned, but not the values.
* Ways to choose the nearest pixel, and slices of negative steps: `onnx2tf_places` says what they become.
* Resizes by uneven scales become products (`to_onnx.resizes`).
* Fourier transforms become products with matrices (`onnx2tf_spectra`).
* Parameters of Elu, PRelu, Split and others: `onnx2tf_parameters` says which.
* A turn of six axes, as MobileViT cuts maps into patches, becomes two: it would be taken for SpaceToDepth.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import Any

import numpy as np
import onnx
from onnx.inliner import inline_selected_functions

from edgepress.converters.to_onnx.gelus import write_gelus
from edgepress.converters.to_onnx.graph import OnnxGraph, attribute, set_attributes
from edgepress.converters.to_onnx.layer_norms import LAYER_NORM, write_layer_norms
from edgepress.converters.to_onnx.onnx2tf_parameters import write_parameters
from edgepress.converters.to_onnx.onnx2tf_places import write_places
from edgepress.converters.to_onnx.onnx2tf_spectra import write_spectra
from edgepress.converters.to_onnx.resizes import write_uneven

FUNCTIONS = ("Attention", "RMSNormalization", "RotaryEmbedding", "Swish")
"""Functions of the standard that onnx2tf does not know."""
BOUNDS_OF_RELUS = (-1, 0, 1, 6)
TAKEN_FOR_RELU = 1e-5
"""Distance from such a bound within which others stay as they are; onnx2tf takes those within 1e-6 for it."""
BROADCASTING = ("Add", "Sub", "Mul", "Div", "Max", "Min", "Pow")
MOST_AXES = 4
"""Of what onnx2tf can unsqueeze."""
PATCHES = [0, 1, 3, 5, 2, 4]
"""Order of axes that cuts a map (batch, channels, rows, height, columns, width) into patches."""


def with_functions_inlined(model: onnx.ModelProto) -> onnx.ModelProto:
    """A model without those functions."""
    if not any(node.op_type in FUNCTIONS and not node.domain for node in model.graph.node):
        return model
    typed = copy.deepcopy(model)  # the inliner looks for types of constants there
    typed.graph.value_info.extend(
        onnx.helper.make_tensor_value_info(tensor.name, tensor.data_type, tensor.dims)
        for tensor in model.graph.initializer
    )
    typed = onnx.shape_inference.infer_shapes(typed)
    for node in typed.graph.node:  # whose default the inliner forgets
        if node.op_type == "Swish" and attribute(node, "alpha") is None:
            set_attributes(node, alpha=1.0)
    return inline_selected_functions(typed, [("", name) for name in FUNCTIONS], inline_schema_functions=True)


def with_onnx2tf_forms(model: onnx.ModelProto) -> onnx.ModelProto:
    """The same model, changed in place; its shapes are known and its constants folded."""
    graph = OnnxGraph(model)
    _join_slices(graph)
    write_places(graph)
    write_parameters(graph)
    write_spectra(graph)
    for node in graph.nodes("Resize"):
        write_uneven(graph, node)
    if graph.opset >= LAYER_NORM:
        write_layer_norms(graph)
    write_gelus(graph, approximate_too=True)
    for node in graph.nodes("Clip"):
        _keep_bounds(graph, node)
    for node in graph.nodes("Max", "Min"):
        _put_constant_first(graph, node)
    for node in graph.nodes("MatMul"):
        _turn_product(graph, node)
    for node in graph.nodes("Concat"):
        if len(node.input) == 1 and not graph.move_readers(node.output[0], node.input[0]):
            graph.replace(node.output[0], "Identity", list(node.input))
    for node in graph.nodes("Expand"):
        _leave_out_expand(graph, node)
    for node in graph.nodes("Pad"):
        _wrap(graph, node)
    for node in graph.nodes("Transpose"):
        _turn_twice(graph, node)
    for node in graph.nodes("Unsqueeze"):
        _reshape(graph, node)
    graph.finish()
    return model


def _reshape(graph: OnnxGraph, node: Any) -> None:
    """Write an Unsqueeze to more than four axes, as tf2onnx writes products of attention, as a Reshape."""
    shape = graph.shape(node.output[0])
    if shape is not None and len(shape) > MOST_AXES and min(shape) > 0:
        graph.replace(node.output[0], "Reshape", [node.input[0], graph.add_constant(np.array(shape, np.int64))])


def _join_slices(graph: OnnxGraph) -> None:
    """Write slices that divide an axis of a tensor, in their order, as one Split."""
    groups: dict[tuple[str, int], list[tuple[int, int, Any]]] = {}
    for node in graph.nodes("Slice"):
        if (part := _part(graph, node)) is not None:
            axis, begin, end = part
            groups.setdefault((node.input[0], axis), []).append((begin, end, node))
    for (source, axis), parts in groups.items():
        parts.sort(key=lambda part: part[:2])
        shape = graph.shape(source) or ()
        ends = [0, *(end for _, end, _ in parts)]
        if len(parts) < 2 or [begin for begin, _, _ in parts] != ends[:-1] or ends[-1] != shape[axis]:
            continue
        outputs = [node.output[0] for _, _, node in parts]
        for name, (_, _, node) in zip(outputs, parts, strict=True):
            graph.rename(node, name)
        sizes = graph.add_constant(np.diff(ends).astype(np.int64))
        graph.add_node("Split", [source, sizes], outputs, axis=axis)


def _part(graph: OnnxGraph, node: Any) -> tuple[int, int, int] | None:
    """The axis of a Slice of step 1, and the first and the last place + 1; None if it is another."""
    shape = graph.shape(node.input[0])
    bounds = [graph.constant(name) for name in node.input[1:]]
    if shape is None or min(shape, default=-1) < 0 or len(bounds) < 3 or any(b is None or b.size != 1 for b in bounds):
        return None
    begin, end, axis, *step = (int(b.item()) for b in bounds if b is not None)
    if step and step[0] != 1:
        return None
    axis %= len(shape)
    begin, end, _ = slice(begin, end).indices(shape[axis])
    return axis, begin, end


def _keep_bounds(graph: OnnxGraph, node: Any) -> None:
    """Write a Clip with a bound next to that of a ReLU as Max and Min, whose constants come first."""
    limits = [graph.constant(name) if name else None for name in node.input[1:]]
    if not any(limit is not None and _is_near_relu(limit) for limit in limits):
        return
    if any(name and limit is None for name, limit in zip(node.input[1:], limits, strict=True)):
        return
    value = node.input[0]
    bounds = [(kind, limit) for kind, limit in zip(("Max", "Min"), limits, strict=False) if limit is not None]
    for kind, limit in bounds[:-1]:
        value = graph.add(kind, [_add_bound(graph, node, limit), value])
    kind, limit = bounds[-1]
    graph.replace(node.output[0], kind, [_add_bound(graph, node, limit), value])


def _put_constant_first(graph: OnnxGraph, node: Any) -> None:
    """Write a Max or Min with bounds next to that of a ReLU as one of two inputs, the constant first."""
    constants = [limit for name in node.input if (limit := graph.constant(name)) is not None]
    computed = [name for name in node.input if graph.constant(name) is None]
    if len(computed) != 1 or any(limit.size != 1 for limit in constants):
        return
    choose = np.max if node.op_type == "Max" else np.min
    limit = choose([limit.item() for limit in constants]).astype(constants[0].dtype)
    if _is_near_relu(limit):
        graph.replace(node.output[0], node.op_type, [_add_bound(graph, node, limit), computed[0]])


def _add_bound(graph: OnnxGraph, node: Any, limit: Any) -> str:
    """A bound as a constant of one value a channel: onnx2tf takes Max and Min with single numbers for a ReLU."""
    shape = graph.shape(node.output[0]) or ()
    whole = (shape[1], *[1] * (len(shape) - 2)) if len(shape) > 1 and shape[1] > 0 else ()
    return graph.add_constant(np.full(whole, limit, limit.dtype))


def _is_near_relu(limit: Any) -> bool:
    if limit.size != 1:
        return False
    distance = min(abs(float(limit.item()) - bound) for bound in BOUNDS_OF_RELUS)
    return 0 < distance <= TAKEN_FOR_RELU


def _turn_product(graph: OnnxGraph, node: Any) -> None:
    """Write C X, of a constant matrix C, as the transpose of X' C'."""
    matrix = graph.constant(node.input[0])
    shape = graph.shape(node.input[1])
    if (
        matrix is None
        or matrix.ndim != 2
        or shape is None
        or len(shape) < 2
        or graph.constant(node.input[1]) is not None
    ):
        return
    perm = [*range(len(shape) - 2), len(shape) - 1, len(shape) - 2]
    turned = graph.add("Transpose", [node.input[1]], perm=perm)
    product = graph.add("MatMul", [turned, graph.add_constant(np.ascontiguousarray(matrix.T))])
    graph.replace(node.output[0], "Transpose", [product], perm=perm)


def _leave_out_expand(graph: OnnxGraph, node: Any) -> None:
    """Let the readers of an expanded tensor read it as it is, if each broadcasts it by itself."""
    readers = graph.readers(node.output[0])
    own = graph.shape(node.input[0])
    if own is None or any(reader is None or not _broadcasts(graph, reader, node.output[0], own) for reader in readers):
        return
    graph.move_readers(node.output[0], node.input[0])


def _broadcasts(graph: OnnxGraph, reader: Any, name: str, own: Sequence[int]) -> bool:
    """Whether a reader of an expanded tensor makes the same of one that is not."""
    if reader.op_type not in BROADCASTING or reader.domain:
        return False
    shapes = [own if other == name else graph.shape(other) for other in reader.input]
    output_shape = graph.shape(reader.output[0])
    known = [shape for shape in shapes if shape is not None and min(shape, default=1) > 0]
    return (
        len(known) == len(shapes)
        and output_shape is not None
        and np.broadcast_shapes(*map(tuple, known)) == output_shape
    )


def _wrap(graph: OnnxGraph, node: Any) -> None:
    """Write a Pad with values of the other side as slices and Concats, one axis after the other."""
    shape = graph.shape(node.input[0])
    pads = graph.constant(node.input[1]) if len(node.input) > 1 else None
    if attribute(node, "mode", b"constant") != b"wrap" or shape is None or min(shape) < 0:
        return
    if pads is None or len(node.input) > 3 or np.any(pads < 0) or np.any(pads.reshape(2, -1) > shape):
        return
    value = node.input[0]
    for axis, (before, after) in enumerate(pads.reshape(2, -1).T.tolist()):
        size = shape[axis]
        ends = [(size - before, size)] if before else []
        begins = [(0, after)] if after else []
        if ends or begins:
            left, right = ([_slice(graph, value, axis, *part) for part in parts] for parts in (ends, begins))
            value = graph.add("Concat", [*left, value, *right], axis=axis)
    graph.replace(node.output[0], "Identity", [value])


def _slice(graph: OnnxGraph, value: str, axis: int, begin: int, end: int) -> str:
    bounds = [graph.add_constant(np.array([number], np.int64)) for number in (begin, end, axis)]
    return graph.add("Slice", [value, *bounds])


def _turn_twice(graph: OnnxGraph, node: Any) -> None:
    """Write the turn that cuts a map into patches as two, if what follows keeps an axis of patches."""
    after = graph.only_reader(node.output[0], "Reshape")
    shape = graph.shape(after.output[0]) if after is not None else None
    if attribute(node, "perm") != PATCHES or shape is None or graph.maker(node.input[0], "Reshape") is None:
        return
    whole = graph.shape(node.input[0])
    if whole is None or shape[1:] == (whole[1] * whole[3] * whole[5], whole[2], whole[4]):
        return  # SpaceToDepth
    once = graph.add("Transpose", [node.input[0]], perm=[0, 1, 3, 2, 4, 5])
    graph.replace(node.output[0], "Transpose", [once], perm=[0, 1, 2, 5, 3, 4])
