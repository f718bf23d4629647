"""PAD works on whole lines of an image instead of pixels, where no convolution takes it in.

XNNPACK pads in pieces of the innermost axes (src/operators/constant-pad-nd.c), of which only those without zeros are
joined: rows and columns of an image with zeros around it are padded pixel by pixel, 5-6 ns each. After a RESHAPE of
(height, width, channels) to (height, width * channels) a piece is a line. A PAD that only one convolution without
zeros of its own reads costs nothing, because XNNPACK gives its zeros to the convolution (src/subgraph.c,
`xnn_subgraph_fusion`), and is left alone.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from edgepress.converters.rewrites.tflite.windows import VALID, is_image, result, spatial_pads
from edgepress.converters.to_tflite.graph import Graph, only_reader

_CONVOLUTIONS = ("CONV_2D", "DEPTHWISE_CONV_2D")


def matches(graph: Graph) -> list[Any]:
    """Every PAD of an image that no convolution takes in."""
    return [op for op in graph.operators if _by_pixels(graph, op)]


def _by_pixels(graph: Graph, op: Any) -> bool:
    pads = spatial_pads(graph, op)
    if pads is None or not any(pads[1]) or graph.dtype(int(op.inputs[0])) != np.float32:
        return False
    if not is_image(graph, int(op.inputs[0])):
        return False
    readers = graph.readers()
    reader = only_reader(readers, result(op))
    if reader is not None and graph.kind(reader) in _CONVOLUTIONS and reader.builtinOptions.padding == VALID:
        return False
    return result(op) in readers


def change(graph: Graph, op: Any) -> None:
    """Let a PAD work on lines."""
    pads = spatial_pads(graph, op)
    assert pads is not None
    rows, (left, right) = pads
    source = int(op.inputs[0])
    output = result(op)
    (batch, height, width, channels), name = graph.shape(source), graph.name(output)
    amounts = np.array([(0, 0), rows, (left * channels, right * channels)], np.int32)
    lines = graph.add_tensor((batch, height, width * channels), f"{name}_lines")
    padded = graph.add_tensor((amounts.sum(1) + graph.shape(lines)).tolist(), f"{name}_padded_lines")
    operations = [graph.reshape(source, lines), graph.operator("PAD", [lines, graph.add_constant(amounts)], padded)]
    readers = graph.readers()[output]
    if all(reader is not None and graph.kind(reader) == "RESHAPE" for reader in readers):
        for reader in readers:
            reader.inputs = [padded, *reader.inputs[1:]]
    else:
        operations.append(graph.reshape(padded, output))
    graph.replace(op, *operations)
