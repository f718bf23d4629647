"""A Relu of 8 bits that reads a value which others read too becomes a Clip of its bytes.

Between DequantizeLinear and QuantizeLinear, ONNX Runtime runs three kernels for it: it drops a Relu behind an operation
whose only reader it is, and has no kernel for others (release 1.32). The result keeps scale and zero point of what is
read, so that nothing is rounded again; a Pad by zeros behind it is one of bytes as well.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from edgepress.converters.to_onnx.graph import OnnxGraph, attribute

_READERS = ("Conv", "Add", "Mul", "Concat", "Pad", "GlobalAveragePool", "Relu", "MatMul")
"""What may read the result: operations whose own result has its own scale."""


def rewrite(graph: OnnxGraph) -> int:
    """Replace Relus whose input others read too; returns how many."""
    changed = 0
    for relu in graph.nodes("Relu"):
        (value,), (result,) = relu.input, relu.output
        before = graph.maker(value, "DequantizeLinear")
        after = graph.only_reader(result, "QuantizeLinear")
        if before is None or after is None or len(before.input) < 3:
            continue
        zero = graph.constant(before.input[2])
        if graph.scalar(before.input[1]) is None or zero is None or zero.size != 1 or zero.dtype != np.uint8:
            continue
        if not _may_change(graph, after):
            continue
        clipped = graph.add("Clip", [before.input[0], graph.add_constant(zero.reshape(()))])
        _follow(graph, after, clipped, list(before.input[1:]))
        changed += 1
    return changed


def _may_change(graph: OnnxGraph, quantize: Any) -> bool:
    """Whether all that reads a quantized value can take it in another scale."""
    if len(quantize.input) < 3 or graph.scalar(quantize.input[1]) is None:
        return False
    for dequantize in graph.readers(quantize.output[0]):
        if dequantize is None or dequantize.op_type != "DequantizeLinear":
            return False
        for node in graph.readers(dequantize.output[0]):
            if node is None or node.op_type not in _READERS or node.domain:
                return False
            if node.op_type == "Conv" and (node.input[0] != dequantize.output[0] or not _bias(graph, node)):
                return False
            if node.op_type == "Pad":
                padded = graph.only_reader(node.output[0], "QuantizeLinear")
                zeros = attribute(node, "mode", b"constant") == b"constant" and len(node.input) in (2, 3)
                zeros = zeros and (len(node.input) == 2 or not node.input[2] or graph.scalar(node.input[2]) == 0)
                if not zeros or padded is None or not _may_change(graph, padded):
                    return False
    return True


def _bias(graph: OnnxGraph, conv: Any) -> bool:
    """Whether a convolution has no bias, or one that can be given another scale."""
    if len(conv.input) < 3:
        return True
    bias = graph.maker(conv.input[2], "DequantizeLinear")
    return bias is not None and all(graph.constant(name) is not None for name in bias.input)


def _follow(graph: OnnxGraph, quantize: Any, stored: str, scale: list[str]) -> None:
    """Let all that reads a quantized value read another, of another scale."""
    old = graph.scalar(quantize.input[1])
    new = graph.scalar(scale[0])
    assert old is not None
    assert new is not None
    for dequantize in graph.readers(quantize.output[0]):
        for place, name in enumerate([stored, *scale]):
            graph.feed(dequantize, place, name)
        for node in graph.readers(dequantize.output[0]):
            if node.op_type == "Conv" and len(node.input) > 2:
                _rescale(graph, node, new / old)
            elif node.op_type == "Pad":
                zero = graph.constant(scale[1])
                assert zero is not None
                padded = graph.add("Pad", [stored, node.input[1], graph.add_constant(zero.reshape(()))])
                _follow(graph, graph.only_reader(node.output[0]), padded, scale)


def _rescale(graph: OnnxGraph, conv: Any, factor: float) -> None:
    """Multiply the scale of a stored bias, which is the input's times the weights', by a factor."""
    old = graph.maker(conv.input[2])
    stored = graph.constant(old.input[0])
    scale = graph.constant(old.input[1])
    assert stored is not None
    assert scale is not None
    limit = np.iinfo(np.int32).max
    changed = np.clip(np.round(stored / factor), -limit, limit).astype(np.int32)
    names = [graph.add_constant(changed), graph.add_constant((scale * factor).astype(np.float32)), *old.input[2:]]
    attributes = {a.name: attribute(old, a.name) for a in old.attribute}
    graph.feed(conv, 2, graph.add("DequantizeLinear", names, **attributes))
