"""max(0, min(6, x + 3)) / 6, as Keras and PyTorch exporters write it, becomes HardSigmoid.

ONNX Runtime runs Add, Clip and Mul or Div one after the other, with one pass over the values each; HardSigmoid is one
kernel, and where it follows a convolution it is computed inside it (ConvActivationFusion and NchwcTransformer,
onnxruntime/core/optimizer). The steps are not recognized (release 1.32).
"""

from __future__ import annotations

from typing import Any

import numpy as np

from edgepress.converters.to_onnx.graph import OnnxGraph


def rewrite(model: Any) -> int:
    """Replace the three steps; returns at how many places."""
    graph, changed = OnnxGraph(model), 0
    for clip in graph.nodes("Clip"):
        limits = [graph.scalar(name) for name in clip.input[1:3]]
        shifted, scaled = graph.maker(clip.input[0], "Add"), graph.only_reader(clip.output[0])
        if limits != [0.0, 6.0] or shifted is None or scaled is None or scaled.op_type not in ("Mul", "Div"):
            continue
        if graph.only_reader(shifted.output[0]) is None:
            continue
        first, second = graph.operand(shifted), graph.operand(scaled)
        if first is None or second is None:
            continue
        if any(c.size != 1 or c.dtype != np.float32 for c in (first[1], second[1])):
            continue
        if scaled.op_type == "Div" and scaled.input[0] != clip.output[0]:
            continue
        if graph.shape(first[0]) is None or graph.shape(first[0]) != graph.shape(scaled.output[0]):
            continue  # a constant of more axes would add some
        factor = float(second[1].ravel()[0])
        factor = 1 / factor if scaled.op_type == "Div" else factor
        if first[1].ravel()[0] != 3 or not np.isclose(factor, 1 / 6, rtol=1e-6):
            continue
        if None in graph.readers(scaled.output[0]):
            continue
        graph.move_readers(scaled.output[0], graph.add("HardSigmoid", [first[0]], alpha=1 / 6, beta=0.5))
        changed += 1
    if changed:
        graph.finish()
    return changed
