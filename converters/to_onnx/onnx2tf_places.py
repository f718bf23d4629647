"""The places that a Resize or a Slice reads, where onnx2tf 2.6.9 does not know them.

Of the ways to choose the nearest pixel, it takes some for others and refuses some: where they choose the pixels that
TFLite's own operation does, they are written in the way that it converts, else as Gathers. It refuses slices of
negative steps: these are Gathers, too.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import onnx

from edgepress.converters.to_onnx.graph import OnnxGraph, attribute

Places = npt.NDArray[np.int64]


def write_places(graph: OnnxGraph) -> None:
    """Write such nodes anew; shapes are known."""
    for node in graph.nodes("Resize"):
        _choose_pixels(graph, node)
    for node in graph.nodes("Slice"):
        _turn_back(graph, node)


def _choose_pixels(graph: OnnxGraph, node: Any) -> None:
    """Write a Resize of images to the nearest pixel."""
    shape, new_shape = graph.shape(node.input[0]), graph.shape(node.output[0])
    way = attribute(node, "coordinate_transformation_mode", b"half_pixel"), attribute(node, "nearest_mode", b"")
    is_nearest = attribute(node, "mode", b"nearest") == b"nearest" and way != (b"asymmetric", b"floor")
    may_leave = way[0] == b"tf_crop_and_resize"  # the image, for pixels of a given value
    if not is_nearest or may_leave or attribute(node, "axes") is not None:
        return
    if shape is None or new_shape is None or len(shape) != 4 or min(*shape, *new_shape) < 1:
        return
    places = _nearest(graph, node, shape[2:]) if shape[:2] == new_shape[:2] else None
    if places is None:
        return
    plain = [np.arange(new) * old // new for old, new in zip(shape[2:], new_shape[2:], strict=True)]
    if all(map(np.array_equal, places, plain)):
        options = {"mode": "nearest", "coordinate_transformation_mode": "asymmetric", "nearest_mode": "floor"}
        sizes = graph.add_constant(np.array(new_shape, np.int64))
        graph.replace(node.output[0], "Resize", [node.input[0], "", "", sizes], **options)
    else:
        _gather(graph, node, dict(zip((2, 3), places, strict=True)))


def _nearest(graph: OnnxGraph, node: Any, size: tuple[int, ...]) -> list[Places] | None:
    """The rows and the columns that a Resize reads, told by what ONNX Runtime makes of their numbers."""
    import onnxruntime

    names = [name for name in node.input[1:] if name]
    constants = {name: value for name in names if (value := graph.constant(name)) is not None}
    if len(constants) < len(set(names)):
        return None
    whole = [1, 1, *size]
    alone = [
        onnx.numpy_helper.from_array(np.concatenate([np.ones_like(v[:2]), v[2:]]), n) for n, v in constants.items()
    ]
    ends = [onnx.helper.make_tensor_value_info("numbers", onnx.TensorProto.FLOAT, whole)]
    ends.append(onnx.helper.make_tensor_value_info("chosen", onnx.TensorProto.FLOAT, None))
    resize = onnx.NodeProto(op_type="Resize", input=["numbers", *node.input[1:]], output=["chosen"])
    resize.attribute.extend(node.attribute)
    model = onnx.helper.make_model(
        onnx.helper.make_graph([resize], "places", ends[:1], ends[1:], alone),
        opset_imports=[onnx.helper.make_opsetid("", graph.opset)],
        ir_version=8,
    )
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    numbers = np.indices(size).astype(np.float32).reshape(2, *whole)
    rows, columns = (session.run(None, {"numbers": each})[0][0, 0].astype(np.int64) for each in numbers)
    return [rows[:, 0], columns[0]]


def _turn_back(graph: OnnxGraph, node: Any) -> None:
    """Write a Slice with a negative step."""
    shape = graph.shape(node.input[0])
    bounds = [graph.constant(name) if name else None for name in node.input[1:]]
    if shape is None or len(bounds) != 4:
        return
    begins, ends, axes, steps = bounds
    if begins is None or ends is None or steps is None or (axes is None and node.input[3]):
        return
    numbers = range(len(begins)) if axes is None else axes.tolist()
    parts = list(zip(begins.tolist(), ends.tolist(), numbers, steps.tolist(), strict=True))
    if all(step > 0 for *_, step in parts) or min(shape) < 1:
        return
    places: dict[int, Places] = {}
    for begin, end, axis, step in parts:
        size = shape[axis]
        first = max(begin, -size) if step < 0 else begin  # ONNX bounds it, NumPy takes nothing
        last = None if step < 0 and end < -size else end  # which ONNX writes for "to the first"
        places[axis % len(shape)] = np.arange(size)[slice(first, last, step)]
    _gather(graph, node, places)


def _gather(graph: OnnxGraph, node: Any, places: dict[int, Places]) -> None:
    """Let a node's output be made of some places along some axes of its first input."""
    value = node.input[0]
    shape = graph.shape(value) or ()
    moved = [(axis, each) for axis, each in places.items() if not np.array_equal(each, np.arange(shape[axis]))]
    for axis, each in moved:
        value = graph.add("Gather", [value, graph.add_constant(each.astype(np.int64))], axis=axis)
    graph.replace(node.output[0], "Identity", [value])
