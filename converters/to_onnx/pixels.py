"""The ranges of pixels in a graph, which are known without calibration."""

from __future__ import annotations

from typing import Any

from edgepress.converters.to_onnx.graph import OnnxGraph


def ranges_of_pixels(model: Any, pixels: tuple[float, float]) -> dict[str, tuple[float, float]]:
    """Ranges of the pixels as float and minus the whole number, so that their scale is 1, whatever pixels were seen."""
    graph, found = OnnxGraph(model), {}
    for cast in graph.nodes("Cast"):
        start = cast.input[0]
        while (maker := graph.maker(start)) is not None and maker.op_type in ("Transpose", "Reshape"):
            start = maker.input[0]
        if start == graph.proto.input[0].name:
            found[cast.output[0]] = pixels
            shifted = graph.only_reader(cast.output[0], "Add")
            offset = graph.scalar(shifted.input[1]) if shifted is not None else None
            if offset is not None and offset == round(offset):
                found[shifted.output[0]] = (pixels[0] + offset, pixels[1] + offset)
    return found
