"""Operations that leave bytes as they are give way to the bytes: the input's cast to float, a factor, a shift.

Cast to float, QuantizeLinear with a scale of 1 and a zero point of 0 changes nothing. A product or a sum with a number
changes the scale or the zero point alone, not the stored bytes, if the result has those that follow from it. ONNX
Runtime runs the kernels of all of them (release 1.32), and QLinearMul of a number is slower than Mul.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx

from edgepress.converters.to_onnx.graph import VIEWS, OnnxGraph

RATIO = 1e-3
"""Largest difference of two scales, as a share: 255 of them make a quarter of a step."""
HALF = 0.501
"""Largest difference of two zero points, because both a sum of whole steps and its zero point are rounded."""


def rewrite(graph: OnnxGraph) -> int:
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
