"""Scale and offset of the input, per channel, become part of the first convolution's weights.

A model normalizes its pixels in NHWC: Cast, Mul, Add, and Mul or Div again per channel. ONNX Runtime broadcasts a
constant over the innermost axis of three values one triple at a time, which takes a tenth of EfficientNetB0's time
(BroadcastLooper, onnxruntime/core/providers/cpu/math/element_wise_ops.h, and QLinearAdd alike, release 1.32). A scale
goes into the weights; what is left of the offset is added after the Transpose to NCHW, where each channel is one run of
values. The bytes are transposed, not the floats.
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


class Scaled(NamedTuple):
    """Pixels that become `factor` * pixel + `offset`, per channel, padded by zeros, on their way to a convolution."""

    source: str
    transpose: Any
    conv: Any
    factor: Values
    offset: Values
    pads: npt.NDArray[np.int64]


def rewrite(graph: OnnxGraph) -> int:
    """Move the scale; returns 1 if there was one."""
    scaled = scaled_pixels(graph)
    if scaled is None:
        return 0
    scale_weights(graph, scaled)
    shift(graph, scaled, (scaled.offset / scaled.factor).astype(np.float32).reshape(1, -1, 1, 1))
    return 1


def scaled_pixels(graph: OnnxGraph, *, least: int = 1) -> Scaled | None:
    """The steps from an input of bytes to its first convolution; None if they are others than these, or too few."""
    (source,) = graph.proto.input if len(graph.proto.input) == 1 else (None,)
    if source is None or source.type.tensor_type.elem_type != onnx.TensorProto.UINT8:
        return None
    shape = graph.shape(source.name)
    cast = graph.only_reader(source.name, "Cast")
    if shape is None or len(shape) != 4 or cast is None or attribute(cast, "to") != onnx.TensorProto.FLOAT:
        return None
    steps = 0
    pads = np.zeros((2, 2), np.int64)
    factor, offset = np.ones(1), np.zeros(1)
    node = graph.only_reader(cast.output[0])
    while node is not None and node.op_type in ("Mul", "Div", "Add", "Sub"):
        pair = graph.operand(node)
        if EXACT.match(cast.name) or EXACT.match(node.name) or node.domain or pair is None:
            return None
        constant = pair[1].astype(np.float64)
        aligned = (1,) * (4 - constant.ndim) + constant.shape
        if aligned not in ((1, 1, 1, 1), (1, 1, 1, shape[-1])) or not np.isfinite(constant).all():
            return None
        changed = _step(node.op_type, constant.ravel(), factor, offset, first=node.input[0] == pair[0])
        if changed is None:
            return None
        (factor, offset), steps = changed, steps + 1
        node = graph.only_reader(node.output[0])
    if node is not None and node.op_type == "Pad":
        padded = zeros_added(graph, node, (1, 2))
        if padded is None:
            return None
        pads = padded
        node = graph.only_reader(node.output[0])
    if steps < least or node is None or node.op_type != "Transpose" or attribute(node, "perm") != [0, 3, 1, 2]:
        return None
    conv = graph.only_reader(node.output[0])
    if conv is not None and conv.op_type == "Pad":
        padded = zeros_added(graph, conv, (2, 3))
        if padded is None:
            return None
        pads = pads + padded
        conv = graph.only_reader(conv.output[0])
    if conv is None or conv.op_type != "Conv" or attribute(conv, "group", 1) != 1 or conv.domain:
        return None
    weights = graph.constant(conv.input[1])
    if weights is None or attribute(conv, "auto_pad", b"NOTSET") != b"NOTSET":
        return None
    factor, offset = (np.broadcast_to(v, weights.shape[1:2]) for v in (factor, offset))
    if not factor.all():
        return None
    return Scaled(source.name, node, conv, factor, offset, pads)


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
