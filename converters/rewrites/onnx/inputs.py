"""Rewrites of what stands between the input of an ONNX graph and its first convolution.

Cast to float, QuantizeLinear with a scale of 1 and a zero point of 0 changes nothing. A product or a sum with a number
changes the scale or the zero point alone, not the stored bytes, if the result has those that follow from it. ONNX
Runtime runs the kernels of all of them (release 1.32), and QLinearMul of a number is slower than Mul.

Scale and offset of the input, per channel, become part of the first convolution's weights.

A model normalizes its pixels in NHWC: Cast, Mul, Add, and Mul or Div again per channel; one that was exported from
PyTorch does so behind the Transpose. ONNX Runtime broadcasts a constant over the innermost axis of three values one
triple at a time, which takes a tenth of EfficientNetB0's time (BroadcastLooper,
onnxruntime/core/providers/cpu/math/element_wise_ops.h, and QLinearAdd alike, release 1.32). A scale goes into the
weights; what is left of the offset is added after the Transpose to NCHW, where each channel is one run of values. The
bytes are transposed, not the floats.

Offsets of the input become the zero point of its bytes, and the bytes go into the first convolution as they are.

Pixels minus a whole number k, quantized with a scale of 1, are the pixels with a zero point of k, so that the integers
that the convolution reads are the file's input. ONNX Runtime has no such rule; it casts to float, quantizes, and adds
an offset in 8 bits, which rounds. What k is off from the offset of each channel goes into the bias; where the
convolution pads, by zeros of the normalized image, these zeros are off by as much, a few grey levels.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import onnx

from edgepress.converters.adapter import EXACT
from edgepress.converters.arrays import Doubles, Floats
from edgepress.converters.to_onnx.graph import VIEWS, OnnxGraph, attribute, set_attributes, zeros_added

RATIO = 1e-3
"""Largest difference of two scales, as a share: 255 of them make a quarter of a step."""
HALF = 0.501
"""Largest difference of two zero points, because both a sum of whole steps and its zero point are rounded."""


def rewrite_input_bytes(graph: OnnxGraph) -> int:
    """Let readers of unchanged bytes read the input's own; returns at how many places."""
    changed = 0
    for node in graph.nodes("QuantizeLinear"):
        views = list[Any]()  # of the input as float
        while (maker := graph.maker(views[-1].input[0] if views else node.input[0])) is not None:
            if maker.op_type not in VIEWS or maker.domain or graph.only_reader(maker.output[0]) is None:
                break
            views.append(maker)
        if maker is None or maker.op_type != "Cast" or not _is_bytes(graph, maker.input[0]):
            continue
        if _quantization(graph, node) != (1.0, 0):
            continue
        bytes_of = views[0].output[0] if views else maker.input[0]
        if not graph.move_readers(node.output[0], bytes_of):
            continue
        if views:
            graph.feed(views[-1], 0, maker.input[0])
            del graph.proto.value_info[:]  # the views are of bytes now
        changed += 1
    for node in graph.nodes("QuantizeLinear"):
        bytes_of = _find_unchanged(graph, node)
        if bytes_of is not None and graph.move_readers(node.output[0], bytes_of):
            changed += 1
    return changed


def _find_unchanged(graph: OnnxGraph, node: Any) -> str | None:
    """The bytes that a node makes again of themselves, behind a product with a number or a sum; None for others."""
    step = graph.maker(node.input[0])
    if step is None or step.op_type not in ("Add", "Mul") or step.domain:
        return None
    parts = [graph.maker(name, "DequantizeLinear") for name in step.input]
    if None in parts:
        return None
    source = _quantization(graph, parts[0])
    result = _quantization(graph, node)
    number = _number(graph, parts[1])
    if source is None or result is None or number is None:
        return None
    scale, zero = (
        (source[0] * number, source[1]) if step.op_type == "Mul" else (source[0], source[1] - number / source[0])
    )
    same = abs(result[0] - scale) <= RATIO * scale and abs(result[1] - zero) <= HALF
    name: str = parts[0].input[0]
    return name if same else None


def _number(graph: OnnxGraph, node: Any) -> float | None:
    """The one number that a DequantizeLinear restores from a constant; None for others."""
    stored = graph.constant(node.input[0])
    scale = graph.scalar(node.input[1])
    zero = graph.scalar(node.input[2]) if len(node.input) > 2 else 0.0
    if stored is None or stored.size != 1 or scale is None or zero is None:
        return None
    return (float(stored.item()) - zero) * scale


def _quantization(graph: OnnxGraph, node: Any) -> tuple[float, int] | None:
    """Scale and zero point of a node of unsigned bytes; None for others."""
    scale = graph.scalar(node.input[1])
    zero = graph.constant(node.input[2]) if len(node.input) > 2 else None
    if scale is None or zero is None or zero.size != 1 or zero.dtype != np.uint8:
        return None
    return scale, int(zero.item())


def _is_bytes(graph: OnnxGraph, name: str) -> bool:
    """Whether a value is the input, of bytes, or a view of it."""
    while (maker := graph.maker(name)) is not None and maker.op_type in VIEWS:
        name = maker.input[0]
    source = next((v for v in graph.proto.input if v.name == name), None)
    return source is not None and source.type.tensor_type.elem_type == onnx.TensorProto.UINT8


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


def rewrite_input_scale(graph: OnnxGraph) -> int:
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
        elif (changed := _changed(graph, node, factor, offset, channels=(shape[-1], axis))) is not None:
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
    graph: OnnxGraph, node: Any, factor: Any, offset: Any, *, channels: tuple[int, int]
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


FARTHEST = 16
"""Grey levels that a channel's zero may be off by; with ImageNet's means it is 11, which costs no accuracy."""


def rewrite_input_zero(graph: OnnxGraph) -> int:
    """Let the offset be one whole number; returns 1 if there was one."""
    scaled = scaled_pixels(graph, least=0)
    if scaled is None:
        return 0
    zeros = -scaled.offset / scaled.factor
    whole = round(float(zeros.mean()))
    if not 0 <= whole <= 255 or np.abs(zeros - whole).max() > FARTHEST:
        return 0
    conv = scaled.conv
    bias = graph.constant(conv.input[2]) if len(conv.input) > 2 else np.float32(0)
    if bias is None:
        return 0
    moved = scale_weights(graph, scaled).astype(np.float64).sum((2, 3)) @ (whole - zeros)
    graph.feed(conv, 2, graph.add_constant((bias + moved).astype(np.float32)))
    shift(graph, scaled, np.array(-whole, np.float32))
    return 1
