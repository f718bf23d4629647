"""Zeros that a Pad adds in front of convolutions become their own padding.

ONNX Runtime does so where one convolution reads the Pad (PadFusion, onnxruntime/core/optimizer/pad_fusion.cc, since
release 1.17); NASNet's are read by two. A Pad is a copy, and in files of 8 bits it is computed in float, between
DequantizeLinear and QuantizeLinear.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from edgepress.converters.to_onnx.graph import OnnxGraph, attribute, set_attributes, zeros_added


def rewrite(graph: OnnxGraph) -> int:
    """Leave out Pads that only convolutions read; returns how many."""
    changed = 0
    for pad in graph.nodes("Pad"):
        (padded,) = pad.output
        added = zeros_added(graph, pad, (2, 3))
        readers = graph.readers(padded)
        if added is None or not readers or not all(_has_own_pads(graph, node) for node in readers):
            continue
        for conv in readers:
            pads = np.array(attribute(conv, "pads", [0] * 4)) + added.ravel()
            set_attributes(conv, pads=pads.tolist())
        graph.move_readers(padded, pad.input[0])
        changed += 1
    return changed


def _has_own_pads(graph: OnnxGraph, node: Any) -> bool:
    """Whether a node is a convolution that pads what it reads by given numbers."""
    if node is None or node.op_type != "Conv" or node.domain:
        return False
    return graph.constant(node.input[1]) is not None and attribute(node, "auto_pad", b"NOTSET") == b"NOTSET"
