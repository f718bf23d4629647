"""Reshape and Squeeze chains that change nothing are left out.

tf2onnx puts a Reshape in front of each convolution of a squeeze-and-excitation block, (N, C, 1, 1) to itself. ONNX
Runtime keeps it, because the batch is free and it does not prove that the shapes are equal, and a Reshape ends its
blocked layout: a ReorderOutput before it, a ReorderInput behind it (NchwcTransformer,
onnxruntime/core/optimizer/nchwc_transformer.cc), and in files of 8 bits a pair of Transposes.
"""

from __future__ import annotations

from edgepress.converters.to_onnx.graph import OnnxGraph

_KINDS = ("Reshape", "Squeeze", "Unsqueeze", "Flatten")


def rewrite(graph: OnnxGraph) -> int:
    """Leave out chains that end in the shape they began with; returns how many."""
    changed = 0
    for node in graph.nodes("Reshape"):
        (result,) = node.output
        shape = graph.shape(result)
        start = node.input[0]
        if shape is None or -1 in shape[1:]:  # where only the first is free, equal sizes mean an equal batch
            continue
        source = None
        while True:
            if graph.shape(start) == shape:
                source = start
            maker = graph.maker(start)
            if maker is None or maker.op_type not in _KINDS or maker.domain:
                break
            start = maker.input[0]
        if source is not None and graph.move_readers(result, source):
            changed += 1
    return changed
