"""Short names for what ONNX Runtime's quantizer adds to a model.

Around each quantized tensor it puts two nodes, two values, a scale and a zero point, each of which repeats the tensor's
name: two thirds of a small file. Names of tensors, layers and weights stay, because a diagnosis finds them by these.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from edgepress.converters.to_onnx.graph import OnnxGraph

if TYPE_CHECKING:
    import onnx


def shorten_names(model: onnx.ModelProto) -> None:
    """Rename, in place, the scales, zero points and values of quantized activations."""
    graph = OnnxGraph(model)
    pairs = graph.nodes("QuantizeLinear", "DequantizeLinear")
    used_names = set(_all_names(model.graph))
    new: dict[str, str] = {}
    for number, node in enumerate(pairs):
        node.name = ""
        if graph.constant(node.input[0]) is not None:
            continue
        value = "q" if node.op_type == "QuantizeLinear" else "d"
        for letter, name in zip(("s", "z", value), (*node.input[1:3], node.output[0]), strict=False):
            short = f"{letter}{number}"
            if short not in used_names and len(short) < len(name) and None not in graph.readers(name):
                new.setdefault(name, short)
    for node in model.graph.node:
        node.input[:] = [new.get(name, name) for name in node.input]
        node.output[:] = [new.get(name, name) for name in node.output]
    for tensor in model.graph.initializer:
        tensor.name = new.get(tensor.name, tensor.name)
    others = [value for value in model.graph.value_info if value.name not in new]
    del model.graph.value_info[:]
    model.graph.value_info.extend(others)


def _all_names(graph: onnx.GraphProto) -> Iterator[str]:
    """The names of a graph's values, and of those of the graphs inside its nodes."""
    for value in (*graph.input, *graph.initializer):
        yield value.name
    for node in graph.node:
        yield from (*node.input, *node.output)
        for attribute in node.attribute:
            for inner in (attribute.g, *attribute.graphs):
                yield from _all_names(inner)
