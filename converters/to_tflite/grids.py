"""Constants on grids of a TFLite model: biases and scales that integer kernels can take, layers of four bits.

What integer kernels can do with the scales of a convolution or dense layer.

A sum of products is multiplied by (scale of the input * scale of the weights / scale of the output). XNNPACK accepts
factors below 256 (xnn_define_tensor and `xnn_create_convolution2d_nhwc_qs8_qc8w`, src/operators/convolution-nhwc.c);
of a file that has larger ones, LiteRT 2.3 frees memory twice and ends the process.

Which layers of a TFLite graph get weights of four bits, where a scheme stores them so.

Those whose weights were rounded to four bits before (`ptq.four_bits` chooses them) get four bits. Where none were,
the first and the last layer keep eight bits, as is usual (Krishnamoorthi 2018, arXiv:1806.08342). Depthwise
convolutions always do: they hold few weights, and litert-quantizer knows no four bits for them.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from edgepress.converters.arrays import Array
from edgepress.converters.errors import ScaleError
from edgepress.converters.numeric.grids import LARGEST_BIAS, scales_for_bias
from edgepress.converters.to_tflite import flatbuffer as flat
from edgepress.converters.to_tflite.graph import Graph

LEAST_FACTOR = 2.0**-30
"""Least factor from a sum to the output: below 2^-31, kernels take it for 0 (`QuantizeMultiplier` in LiteRT's
kernels/internal/quantization_util.cc), and the bias is lost with the products."""
CLIPPED = 2.0**31
"""Where litert-quantizer clips the integers of every bias, also of those that it stores with 64 bits."""
LAYERS = {
    "CONV_2D": (0, 1, 2),
    "DEPTHWISE_CONV_2D": (0, 1, 2),
    "FULLY_CONNECTED": (0, 1, 2),
    "TRANSPOSE_CONV": (2, 1, 3),
}
"""Operations with a bias: the places of the layer's input, of its weights and of its bias."""
INT4 = 17
"""Of the schema's `TensorType`."""
INT4_FACTOR = 16
"""How many times a sum XNNPACK's kernels of 4-bit weights hold, because they read these as the upper bits of a byte."""


def with_fitting_biases(model: bytes, float_model: bytes) -> bytes:
    """A quantized model in which each bias fits; the same bytes if all do.

    Args:
        model: What litert-quantizer made of `float_model`.
        float_model: The float model, whose constants have the same names.
    """
    graph = Graph(model)
    source = Graph(float_model)
    constants = {source.name(index): index for index in range(len(source.table.tensors))}
    changed = False
    for op in graph.operators:
        places = LAYERS.get(graph.kind(op), ())
        if not places or len(op.inputs) <= places[-1] or op.inputs[places[-1]] < 0:
            continue
        bias = source.constant(constants.get(graph.name(int(op.inputs[places[-1]])), -1))
        if bias is not None:
            changed |= _fit(graph, op, places, bias.astype(np.float64))
    return graph.to_bytes() if changed else model


def _fit(graph: Graph, op: Any, places: Sequence[int], bias: Array) -> bool:
    """Give a layer scales of weights that suit its bias, and its whole bias; whether it was changed."""
    source, weights, stored = (int(op.inputs[place]) for place in places)
    largest = LARGEST_BIAS.get(graph.dtype(stored) or np.dtype(np.float32))
    (source_scale, _), (scales, _) = graph.scales(source), graph.scales(weights)
    output_scale, _ = graph.scales(int(op.outputs[0]))
    if largest is None or not (len(source_scale) == len(output_scale) == 1 and scales):
        return False
    tensor = graph.table.tensors[weights]
    if graph.root.buffers[tensor.buffer].data is None:
        return False  # weights are computed
    if tensor.type == INT4:
        largest /= INT4_FACTOR
    axis = int(tensor.quantization.quantizedDimension)
    old_scales = np.array(scales, np.float32)
    integers, new_scales = scales_for_bias(
        _integers(graph, weights),
        old_scales,
        bias,
        source_scale[0],
        largest=largest,
        least=LEAST_FACTOR * output_scale[0] / source_scale[0],
        axis=axis,
    )
    bias_scales = np.float32(source_scale[0]) * new_scales
    new_bias = np.rint(bias / bias_scales)
    if np.array_equal(new_scales, old_scales) and np.abs(new_bias).max() < CLIPPED:
        return False
    held = _packed(integers) if tensor.type == INT4 else integers
    inputs = [int(index) for index in op.inputs]
    inputs[places[1]] = _add_like(graph, weights, held, new_scales, axis=axis)
    inputs[places[2]] = _add_like(graph, stored, new_bias.astype(graph.dtype(stored)), bias_scales, axis=0)
    op.inputs = inputs
    return True


def _integers(graph: Graph, index: int) -> Array:
    """The integers of weights, int8; 4-bit ones are unpacked."""
    if graph.table.tensors[index].type != INT4:
        values = graph.constant(index)
        assert values is not None, "a layer that litert-quantizer has quantized has constant weights"
        return values
    data = np.asarray(graph.root.buffers[graph.table.tensors[index].buffer].data, np.uint8)
    nibbles = np.stack([data & 15, data >> 4], axis=1).ravel()[: int(np.prod(graph.shape(index)))]
    return ((nibbles ^ 8).astype(np.int8) - 8).reshape(graph.shape(index))


def _packed(integers: Array) -> Array:
    """Integers of 4 bits, two a byte, the first one in the lower bits."""
    nibbles = np.append(integers.ravel() & 15, np.zeros(integers.size % 2, np.int8)).astype(np.uint8)
    return np.asarray(nibbles[::2] | nibbles[1::2] << 4)


def _add_like(graph: Graph, index: int, values: Array, scales: Array, *, axis: int) -> int:
    """Add a constant of the same name, shape and type as another, with other values and scales; its index."""
    new = graph.add_tensor(graph.shape(index), graph.name(index), like=index)
    tensor = graph.table.tensors[new]
    old = graph.table.tensors[index]
    old.name, tensor.name = tensor.name, old.name
    tensor.buffer = flat.add_buffer(graph.root, values)
    tensor.quantization = flat.quantization([float(scale) for scale in scales], [0] * len(scales), axis)
    return new


LARGEST = 255.0
"""Largest factor that all kernels accept."""


def requantization(
    source: float, weights: npt.NDArray[np.floating[Any]], output: float
) -> npt.NDArray[np.floating[Any]]:
    """The factor of each channel from the scales of the input, of the weights, shape (channels,), and of the output."""
    return np.asarray(source * weights / output)


def refuse_scales(model: bytes) -> None:
    """Refuse a quantized TFLite model that kernels can't compute.

    Raises:
        ConversionError: A factor is too large; the message names its tensor.
    """
    graph = Graph(model)
    for op in graph.operators:
        if graph.kind(op) not in ("CONV_2D", "DEPTHWISE_CONV_2D", "FULLY_CONNECTED"):
            continue
        (source, _), (weights, _) = (graph.scales(int(i)) for i in op.inputs[:2])
        output, _ = graph.scales(int(op.outputs[0]))
        if not (len(source) == len(output) == 1 and weights and output[0] > 0):
            continue
        if np.max(requantization(source[0], np.array(weights), output[0])) > LARGEST:
            raise ScaleError(
                f"The weights of {graph.output_name(op)} have channels whose scales are too far apart for "
                "integer kernels.",
                "Use a scheme that computes in float, such as tflite-float16.",
            )


LEVELS = 7
"""The largest weight of a channel is this many steps of four bits: -7 to 7. litert-quantizer uses the same."""
ON_GRID = 1e-3
"""Steps by which a weight on the grid may differ from a whole number of them: products with float32 scales round."""
MIN_WEIGHTS = 256
"""Layers of fewer weights keep eight bits: there is nothing to gain."""
WEIGHTED = ("CONV_2D", "DEPTHWISE_CONV_2D", "TRANSPOSE_CONV", "FULLY_CONNECTED")


def four_bit_candidates(graph: Graph) -> list[Any]:
    """The operations of a float graph whose weights may get four bits, in their order."""
    readers = graph.readers()
    return [op for op in _weighted(graph) if _fits(graph, op) and len(readers[int(op.inputs[1])]) == 1]


def four_bit_layers(graph: Graph) -> list[Any]:
    """The operations of a float graph whose weights get four bits, in their order."""
    candidates = four_bit_candidates(graph)
    weights = [graph.constant(int(op.inputs[1])) for op in candidates]
    if rounded := mostly_rounded([values for values in weights if values is not None]):
        return [op for op, is_rounded in zip(candidates, rounded, strict=True) if is_rounded]
    inner = {id(op) for op in _weighted(graph)[1:-1]}
    return [op for op in candidates if id(op) in inner]


def mostly_rounded(weights: Sequence[Array], axes: Sequence[int] | None = None) -> list[bool]:
    """Whether the weights of each layer lie on a grid of four bits; [] if those that do are the lesser part.

    Args:
        weights: Those of layers that may get four bits.
        axes: The axis of each layer's outputs; None: 0.
    """
    rounded = [is_on_grid(v, axis) for v, axis in zip(weights, axes or [0] * len(weights), strict=True)]
    size = sum(values.size for values, is_rounded in zip(weights, rounded, strict=True) if is_rounded)
    return rounded if 2 * size > sum(values.size for values in weights) else []


def is_on_grid(values: Array, axis: int) -> bool:
    """Whether weights are whole steps of four bits, of which the largest of each output has 7."""
    flat = np.moveaxis(values, axis, 0).reshape(values.shape[axis], -1)
    step = np.abs(flat).max(axis=1, keepdims=True) / LEVELS
    steps = flat / np.where(step > 0, step, 1)
    return bool(np.all(np.abs(steps - np.rint(steps)) < ON_GRID))


def four_bit_names(model: bytes) -> list[str]:
    """Names of what these operations of a file compute."""
    graph = Graph(model)
    return [graph.output_name(op) for op in four_bit_layers(graph)]


def _weighted(graph: Graph) -> list[Any]:
    return [op for op in graph.operators if graph.kind(op) in WEIGHTED and _weights(graph, op) is not None]


def _weights(graph: Graph, op: Any) -> Any:
    values = graph.constant(int(op.inputs[1])) if len(op.inputs) > 1 else None
    return values if values is not None and values.dtype == np.float32 else None


def _fits(graph: Graph, op: Any) -> bool:
    """Whether it is a convolution or a dense layer, not in groups, of weights worth storing in four bits."""
    kind = graph.kind(op)
    data = graph.shape(int(op.inputs[0]))
    weights = graph.shape(int(op.inputs[1]))
    if int(np.prod(weights)) < MIN_WEIGHTS:
        return False
    return kind == "FULLY_CONNECTED" or (kind == "CONV_2D" and len(data) == 4 and data[3] == weights[3])
