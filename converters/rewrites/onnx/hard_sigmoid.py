"""max(0, min(6, x + 3)) / 6, as Keras and PyTorch exporters write it, becomes HardSigmoid.

TensorFlow's converter adds the 3 to the bias of the convolution before it, so that only the limits and the factor are
left; these become HardSigmoid of another offset.
ONNX Runtime runs Add, Clip and Mul or Div one after the other, with one pass over the values each; HardSigmoid is one
kernel, and where it follows a convolution it is computed inside it (ConvActivationFusion and NchwcTransformer,
onnxruntime/core/optimizer). The steps are not recognized (release 1.32).
"""

from __future__ import annotations

import numpy as np

from edgepress.converters.to_onnx.graph import OnnxGraph


def rewrite(graph: OnnxGraph) -> int:
    """Replace the three steps by HardSigmoid; returns at how many places."""
    changed = 0
    for clip in graph.nodes("Clip"):
        limits = [graph.scalar(name) for name in clip.input[1:]]
        (clipped,) = clip.output
        scaled = graph.only_reader(clipped)
        if limits != [0.0, 6.0] or scaled is None or scaled.op_type not in ("Mul", "Div"):
            continue
        start = _start(graph, clip.input[0])
        second = graph.operand(scaled)
        if start is None or second is None or second[1].size != 1 or second[1].dtype != np.float32:
            continue
        if scaled.op_type == "Div" and scaled.input[0] != clipped:
            continue
        (value, beta), (result,) = start, scaled.output
        if graph.shape(value) is None or graph.shape(value) != graph.shape(result):
            continue  # a constant of more axes would add some
        factor = second[1].item()
        factor = 1 / factor if scaled.op_type == "Div" else factor
        if not np.isclose(factor, 1 / 6, rtol=1e-6):
            continue
        graph.replace(result, "HardSigmoid", [value], alpha=1 / 6, beta=beta)
        changed += 1
    return changed


def _start(graph: OnnxGraph, limited: str) -> tuple[str, float] | None:
    """The value to which 3 was added, and the offset that this makes; or the convolution whose bias holds the 3."""
    shifted = graph.maker(limited)
    if shifted is None or graph.only_reader(limited) is None:
        return None
    if shifted.op_type == "Conv" and not shifted.domain:
        return limited, 0.0
    sum_ = graph.operand(shifted) if shifted.op_type == "Add" and not shifted.domain else None
    if sum_ is None or sum_[1].size != 1 or sum_[1].item() != 3:
        return None
    return sum_[0], 0.5
