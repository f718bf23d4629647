"""The ranges of pixels in a graph, which are known without calibration."""

from __future__ import annotations

from typing import Any

from edgepress.converters.to_onnx.graph import OnnxGraph

VIEWS = ("Transpose", "Reshape")
"""Operations that hold the values that they read."""


def ranges_of_pixels(model: Any, pixels: tuple[float, float]) -> dict[str, tuple[float, float]]:
    """Ranges of the pixels as float, and scaled and shifted by numbers, whatever pixels were seen."""
    graph, found = OnnxGraph(model), {}
    for cast in graph.nodes("Cast"):
        start = cast.input[0]
        while (maker := graph.maker(start)) is not None and maker.op_type in VIEWS:
            start = maker.input[0]
        if start == graph.proto.input[0].name:
            found[cast.output[0]] = (low, high) = pixels
            node = graph.only_reader(cast.output[0])
            while node is not None and node.op_type in ("Add", "Mul", *VIEWS):
                if node.op_type in VIEWS:
                    found[node.output[0]] = (low, high)
                    node = graph.only_reader(node.output[0])
                    continue
                if (parts := graph.operand(node)) is None:
                    break
                constant = float(parts[1].ravel()[0]) if parts[1].size == 1 else 0.0
                if constant == 0 or (node.op_type == "Mul" and constant < 0):
                    break
                low, high = (f + constant if node.op_type == "Add" else f * constant for f in (low, high))
                found[node.output[0]] = (low, high)
                node = graph.only_reader(node.output[0])
    return found
