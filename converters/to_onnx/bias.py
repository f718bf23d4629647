"""Layers of a QDQ model whose scales do not suit the bias (`edgepress.converters.grids`)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from edgepress.converters.arrays import Array
from edgepress.converters.grids import LARGEST_BIAS, scales_for_bias
from edgepress.converters.to_onnx.four_bits import store
from edgepress.converters.to_onnx.graph import OnnxGraph, attribute

if TYPE_CHECKING:
    import onnx

LAYERS = ("Conv", "ConvTranspose", "Gemm")
"""Operations with a bias of their own."""


def biases_of(model: onnx.ModelProto) -> dict[str, Array]:
    """The constant biases of a float model's convolutions and dense layers, by their names."""
    graph = OnnxGraph(model)
    names = [node.input[2] for node in graph.nodes(*LAYERS) if len(node.input) > 2]
    return {name: values for name in names if (values := graph.constant(name)) is not None}


def fit_biases(model: onnx.ModelProto, biases: Mapping[str, Array]) -> None:
    """Change a quantized model, in place, so that each bias is held well and its sum with products does not overflow.

    ONNX Runtime's quantizer widens scales only until the bias itself fits into 32 bits.

    Args:
        model: A QDQ model.
        biases: The biases of the float model that it was made of (`biases_of`).
    """
    graph = OnnxGraph(model)
    changed = [_fit(graph, node, biases) for node in graph.nodes(*LAYERS) if len(node.input) > 2]
    if any(changed):
        graph.finish()


def _fit(graph: OnnxGraph, node: Any, biases: Mapping[str, Array]) -> bool:
    """Give a layer scales of weights that suit its bias; whether it was changed."""
    source, weights, bias = pairs = [graph.maker(name, "DequantizeLinear") for name in node.input[:3]]
    if None in pairs:
        return False
    source_scale = graph.constant(source.input[1])
    scales = graph.constant(weights.input[1])
    cast = graph.maker(weights.input[0], "Cast")  # of integers of four bits
    integers = graph.constant(cast.input[0] if cast else weights.input[0])
    stored, bias_scale = (graph.constant(name) for name in bias.input[:2])
    if source_scale is None or source_scale.size != 1 or integers is None or scales is None:
        return False
    real_bias = biases.get(bias.input[0].removesuffix("_quantized"))
    if real_bias is None or stored is None or bias_scale is None or stored.dtype != np.int32:
        return False
    if scales.size not in (1, real_bias.size):  # channels in groups share scales
        return False
    axis = attribute(weights, "axis", 1) % integers.ndim if scales.ndim else 0
    old_scales = np.atleast_1d(scales)
    real_bias = real_bias.astype(np.float64)
    new_integers, new_scales = scales_for_bias(
        integers.astype(np.int8),
        old_scales,
        real_bias,
        float(source_scale.ravel()[0]),
        largest=LARGEST_BIAS[stored.dtype],
        axis=axis,
    )
    if np.array_equal(new_scales, old_scales):
        return False
    new_bias_scale = source_scale.ravel()[0] * new_scales
    new_bias = np.rint(real_bias / new_bias_scale).astype(np.int32)
    name = store(graph, new_integers, f"{cast.input[0]}_wide") if cast else graph.add_constant(new_integers)
    _feed(graph, node, 1, weights, name, new_scales.reshape(scales.shape))
    stored_name = graph.add_constant(new_bias)
    _feed(graph, node, 2, bias, stored_name, new_bias_scale.reshape(bias_scale.shape).astype(np.float32))
    return True


def _feed(graph: OnnxGraph, node: Any, place: int, pair: Any, integers: str, scales: Array) -> None:
    """Let a node read other integers, by a pair of its own like one that others may read."""
    inputs = [integers, graph.add_constant(scales), *pair.input[2:]]
    graph.feed(node, place, graph.add("DequantizeLinear", inputs, axis=attribute(pair, "axis", 1)))
