"""Scale and offset of the input, per channel, become part of the first convolution's weights.

A model normalizes its pixels in NHWC: Cast, Mul, Add, and Mul or Div again per channel; one that was exported from
PyTorch does so behind the Transpose. ONNX Runtime broadcasts a constant over the innermost axis of three values one
triple at a time, which takes a tenth of EfficientNetB0's time (BroadcastLooper,
onnxruntime/core/providers/cpu/math/element_wise_ops.h, and QLinearAdd alike, release 1.32). A scale goes into the
weights; what is left of the offset is added after the Transpose to NCHW, where each channel is one run of values. The
bytes are transposed, not the floats.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import onnx

from edgepress.converters.adapter import EXACT
from edgepress.converters.arrays import Doubles, Floats
from edgepress.converters.to_onnx.graph import OnnxGraph, attribute, set_attributes, zeros_added

Values = Doubles
HOLDING_BYTES = (
    *(onnx.TensorProto.UINT8, onnx.TensorProto.INT32, onnx.TensorProto.INT64),
    *(onnx.TensorProto.FLOAT16, onnx.TensorProto.FLOAT),
)
"""Types to which a Cast leaves each byte as it is."""


class Scaled(NamedTuple):
    """Pixels that become `factor` * pixel + `offset`, per channel, padded by zeros, on their way to a convolution."""

    source: str
    conv: Any
    factor: Values
    offset: Values
    pads: npt.NDArray[np.int64]


def rewrite(graph: OnnxGraph) -> int:
    """Move the input's scale into the first convolution; returns 1 if there was one."""
    scaled = scaled_pixels(graph)
    if scaled is None:
        return 0
    scale_weights(graph, scaled)
    shift(graph, scaled, (scaled.offset / scaled.factor).astype(np.float32).reshape(1, -1, 1, 1))
    return 1


def scaled_pixels(graph: OnnxGraph, *, least: int = 1) -> Scaled | None:
    """The steps from an input of bytes to its first convolution; None if they are others than these, or too few.

    Casts, the Transpose to NCHW and steps of arithmetic in any order, then Pads with zeros, of which one may lie in
    front of the Transpose.
    """
    (source,) = graph.proto.input if len(graph.proto.input) == 1 else (None,)
    if source is None or source.type.tensor_type.elem_type != onnx.TensorProto.UINT8:
        return None
    shape = graph.shape(source.name)
    if shape is None or len(shape) != 4:
        return None
    steps = 0
    pads: npt.NDArray[np.int64] | None = None
    factor, offset = np.ones(1), np.zeros(1)
    has_cast = is_turned = False
    node = graph.only_reader(source.name)
    while node is not None and node.op_type != "Conv" and not node.domain and not EXACT.match(node.name):
        axis = 1 if is_turned else 3
        if node.op_type == "Cast" and not steps and attribute(node, "to") in HOLDING_BYTES:
            has_cast = attribute(node, "to") == onnx.TensorProto.FLOAT
        elif node.op_type == "Transpose" and not is_turned and attribute(node, "perm") == [0, 3, 1, 2]:
            is_turned = True
        elif node.op_type == "Pad":
            padded = zeros_added(graph, node, (2, 3) if is_turned else (1, 2))
            if padded is None:
                return None
            pads = padded if pads is None else pads + padded
        elif not has_cast or pads is not None:
            return None
        elif (changed := _changed(graph, node, factor, offset, (shape[-1], axis))) is not None:
            (factor, offset), steps = changed, steps + 1
        else:
            return None
        node = graph.only_reader(node.output[0])
    if steps < least or node is None or node.op_type != "Conv" or not (has_cast and is_turned):
        return None
    weights = graph.constant(node.input[1])
    if attribute(node, "group", 1) != 1 or node.domain or weights is None:
        return None
    factor, offset = (np.broadcast_to(v, weights.shape[1:2]) for v in (factor, offset))
    if attribute(node, "auto_pad", b"NOTSET") != b"NOTSET" or not factor.all():
        return None
    return Scaled(source.name, node, factor, offset, np.zeros((2, 2), np.int64) if pads is None else pads)


def _changed(
    graph: OnnxGraph, node: Any, factor: Any, offset: Any, channels: tuple[int, int]
) -> tuple[Values, Values] | None:
    """Factor and offset after a step; None if it is another.

    Args:
        graph: The graph.
        node: The step.
        factor: Those so far.
        offset: Those so far.
        channels: Number of channels, and the axis on which a constant has one value for each.
    """
    pair = graph.operand(node)
    if pair is None:
        return None
    constant = pair[1].astype(np.float64)
    aligned = (1,) * (4 - constant.ndim) + constant.shape
    one_each = [1, 1, 1, 1]
    one_each[channels[1]] = channels[0]
    if list(aligned) not in ([1, 1, 1, 1], one_each) or not np.isfinite(constant).all():
        return None
    return _step(node.op_type, constant.ravel(), factor, offset, first=node.input[0] == pair[0])


def _step(kind: str, constant: Values, factor: Any, offset: Any, *, first: bool) -> tuple[Values, Values] | None:
    """Factor and offset after one more step; None if it is none of this kind."""
    match kind:
        case "Mul":
            return factor * constant, offset * constant
        case "Div" if first and constant.all():
            return factor / constant, offset / constant
        case "Add":
            return factor, offset + constant
        case "Sub" if first:
            return factor, offset - constant
        case "Sub":
            return -factor, constant - offset
    return None


def scale_weights(graph: OnnxGraph, steps: Scaled) -> Floats:
    """Multiply the convolution's weights by the factor; returns the new ones."""
    weights = graph.constant(steps.conv.input[1])
    assert weights is not None
    scaled: Floats = (weights * steps.factor.reshape(1, -1, 1, 1)).astype(np.float32)
    graph.feed(steps.conv, 1, graph.add_constant(scaled))
    return scaled


def shift(graph: OnnxGraph, steps: Scaled, offset: Floats) -> None:
    """Let the convolution read the bytes, transposed, as float, plus an offset if it is not 0, and do the padding."""
    turned = graph.add("Transpose", [steps.source], perm=[0, 3, 1, 2])
    value = graph.add("Cast", [turned], to=onnx.TensorProto.FLOAT)
    if offset.any():
        value = graph.add("Add", [value, graph.add_constant(offset)])
    graph.feed(steps.conv, 0, value)
    pads = np.array(attribute(steps.conv, "pads", [0] * 4)) + steps.pads.ravel()
    set_attributes(steps.conv, pads=pads.tolist())
