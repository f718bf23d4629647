"""The bytes of the input are read as quantized values, without a cast to float and back.

Cast to float, QuantizeLinear with a scale of 1 and a zero point of 0 changes nothing, and neither does an Add of -k in
8 bits whose result has a scale of 1 and a zero point of k; ONNX Runtime runs the kernels of both (release 1.32).
"""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx

from edgepress.converters.to_onnx.graph import OnnxGraph


def rewrite(model: Any) -> int:
    """Read the bytes themselves; returns at how many places."""
    graph, changed = OnnxGraph(model), 0
    for node in graph.nodes("QuantizeLinear"):
        cast = graph.maker(node.input[0], "Cast")
        if cast is None or _quantization(graph, node) != (1.0, 0) or not _is_bytes(graph, cast.input[0]):
            continue
        if graph.move_readers(node.output[0], cast.input[0]):
            changed += 1
    for node in graph.nodes("QuantizeLinear"):
        shifted = graph.maker(node.input[0], "Add")
        parts = [graph.maker(name, "DequantizeLinear") for name in shifted.input] if shifted is not None else []
        found = _quantization(graph, node)
        if None in parts or found is None or len(parts) != 2 or _quantization(graph, parts[0]) != (1.0, 0):
            continue
        stored, offset = graph.constant(parts[1].input[0]), _quantization(graph, parts[1])
        if stored is None or stored.size != 1 or offset is None or found[0] != 1:
            continue
        if not np.isclose((float(stored.ravel()[0]) - offset[1]) * offset[0], -found[1], rtol=1e-5, atol=1e-5):
            continue
        if graph.move_readers(node.output[0], parts[0].input[0]):
            changed += 1
    if changed:
        graph.finish()
    return changed


def _quantization(graph: OnnxGraph, node: Any) -> tuple[float, int] | None:
    """Scale and zero point of a node of unsigned bytes; None for others."""
    scale = graph.scalar(node.input[1])
    zero = graph.constant(node.input[2]) if len(node.input) > 2 else None
    if scale is None or zero is None or zero.size != 1 or zero.dtype != np.uint8:
        return None
    return scale, int(zero.ravel()[0])


def _is_bytes(graph: OnnxGraph, name: str) -> bool:
    """Whether a value is the input, of bytes, or a view of it."""
    while (maker := graph.maker(name)) is not None and maker.op_type in ("Transpose", "Reshape"):
        name = maker.input[0]
    source = next((v for v in graph.proto.input if v.name == name), None)
    return source is not None and source.type.tensor_type.elem_type == onnx.TensorProto.UINT8
