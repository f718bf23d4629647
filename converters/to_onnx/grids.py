"""Constants on grids of a QDQ model: weights of four bits, scales that suit a bias, values that are compared.

A weight is stored as INT4 (operator set 21) and unpacked by a Cast to int8, which ONNX Runtime computes once, when it
opens the file; from there on it is a file of int8 weights, with the same fused kernels and speed. With DequantizeLinear
of INT4 itself, which the standard means for it, ONNX Runtime 1.32 computes the convolution in float: MobileNetV2 at
64x64 takes 2.6 times as long (docs/decisions.md).
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from edgepress.converters.arrays import Array
from edgepress.converters.numeric.grids import LARGEST_BIAS, ONNX_AXES, round_to_grid, scales_for_bias
from edgepress.converters.numeric.statistics import Ranges
from edgepress.converters.to_onnx.graph import STANDARD, OnnxGraph, attribute
from edgepress.converters.to_tflite.constants import is_mark, on_grid
from edgepress.converters.to_tflite.grids import LEVELS, MIN_WEIGHTS, mostly_rounded

if TYPE_CHECKING:
    import onnx


OPSET = 21
"""The first operator set with INT4."""
IR_VERSION = 10
"""The first format with INT4."""


def four_bit_weights(model: onnx.ModelProto) -> dict[str, int]:
    """Names of the constant weights of a float model that get four bits, and the axis of their outputs.

    They are chosen as those of a TFLite file (`to_tflite.grids`).
    """
    graph = OnnxGraph(model)
    layers = [node for node in graph.nodes(*ONNX_AXES) if _weights(graph, node) is not None]
    candidates = [node for node in layers if _fits(graph, node)]
    weights = [values for node in candidates if (values := graph.constant(node.input[1])) is not None]
    if rounded := mostly_rounded(weights, [_axis(node) for node in candidates]):
        chosen = [node for node, is_rounded in zip(candidates, rounded, strict=True) if is_rounded]
    else:
        inner = {node.input[1] for node in layers[1:-1]}
        chosen = [node for node in candidates if node.input[1] in inner]
    return {node.input[1]: _axis(node) for node in chosen}


def with_coarse_weights(model: onnx.ModelProto, names: dict[str, int]) -> onnx.ModelProto:
    """The float model with these weights rounded to four bits, changed in place."""
    from onnx import numpy_helper

    for tensor in model.graph.initializer:
        if tensor.name in names:
            values = round_to_grid(numpy_helper.to_array(tensor), names[tensor.name], levels=LEVELS)
            tensor.CopyFrom(numpy_helper.from_array(values, tensor.name))
    return model


def pack(quantized: onnx.ModelProto, float_model: onnx.ModelProto, names: dict[str, int]) -> onnx.ModelProto:
    """A QDQ model of 8 bits with some of its weights in four.

    Args:
        quantized: The quantized model, changed in place.
        float_model: The model that it was made of, with rounded weights.
        names: Its weights to be stored in four bits, and the axis of their outputs.
    """
    from onnx import numpy_helper

    graph = OnnxGraph(quantized)
    packed_ones = 0
    sources = {t.name: numpy_helper.to_array(t) for t in float_model.graph.initializer if t.name in names}
    for pair in graph.nodes("DequantizeLinear"):
        name = pair.input[0].removesuffix("_quantized")
        if name not in sources or not _is_per_channel(graph, pair, sources[name], names[name]):
            continue
        steps = _store_steps(graph, pair, sources[name], names[name])
        graph.feed(pair, 0, store(graph, _integers(sources[name], steps, names[name]), f"{name}_int4"))
        packed_ones += 1
    if not packed_ones:
        return quantized
    graph.finish()
    return with_opset(quantized)


def store(graph: OnnxGraph, integers: Array, name: str) -> str:
    """Add integers of four bits, under a name that nothing has, and the Cast that unpacks them; what the Cast makes."""
    from onnx import TensorProto, helper

    tensor = helper.make_tensor(name, TensorProto.INT4, integers.shape, _nibbles(integers), raw=True)
    graph.proto.initializer.append(tensor)
    return graph.add("Cast", [name], to=TensorProto.INT8)


def with_opset(model: onnx.ModelProto) -> onnx.ModelProto:
    """The model in the first operator set and format that know four bits, if it is in an older one."""
    from onnx import version_converter

    if all(entry.version >= OPSET for entry in model.opset_import if entry.domain in STANDARD):
        return model
    newer = version_converter.convert_version(model, OPSET)
    newer.ir_version = max(newer.ir_version, IR_VERSION)
    return newer


def _weights(graph: OnnxGraph, node: Any) -> Array | None:
    values = graph.constant(node.input[1])
    return values if values is not None and values.dtype == np.float32 and values.ndim > 1 else None


def _axis(node: Any) -> int:
    """The axis of the outputs in the weights of a node."""
    return 0 if node.op_type == "Gemm" and attribute(node, "transB", 0) else ONNX_AXES[node.op_type]


def _fits(graph: OnnxGraph, node: Any) -> bool:
    """Whether it is a convolution or a product, not in groups, of weights of its own worth storing in four bits."""
    values = graph.constant(node.input[1])
    if values is None or values.size < MIN_WEIGHTS or len(graph.readers(node.input[1])) != 1:
        return False
    if graph.maker(node.input[1]) is not None:  # a Constant node: the quantizer looks at initializers alone
        return False
    return (
        attribute(node, "group", 1) == 1
        if node.op_type == "Conv"
        else values.ndim == 2 and node.op_type != "ConvTranspose"
    )


def _is_per_channel(graph: OnnxGraph, pair: Any, values: Array, axis: int) -> bool:
    """Whether the quantizer gave each output a scale of its own."""
    scale = graph.constant(pair.input[1])
    on = attribute(pair, "axis", 1) % values.ndim
    return scale is not None and scale.shape == (values.shape[axis],) and on == axis % values.ndim


def _steps(values: Array, axis: int) -> Array:
    """The step of each output, float32, shape (outputs,)."""
    others = tuple(i for i in range(values.ndim) if i != axis % values.ndim)
    largest = np.abs(values).max(axis=others)
    return np.asarray(np.where(largest > 0, largest / LEVELS, 1), np.float32)


def _integers(values: Array, steps: Array, axis: int) -> Array:
    """The weights in steps, int8, -7 to 7."""
    shape = [-1 if i == axis % values.ndim else 1 for i in range(values.ndim)]
    return np.clip(np.rint(values / steps.reshape(shape)), -LEVELS, LEVELS).astype(np.int8)


def _store_steps(graph: OnnxGraph, pair: Any, values: Array, axis: int) -> Array:
    """Give a weight's pair the steps of four bits, and the biases that its readers add the same ones; the steps.

    Those of eight bits are smaller, unless they were widened for a bias (`to_onnx.grids`).
    """
    old = graph.constant(pair.input[1])
    assert old is not None
    new = np.maximum(_steps(values, axis), old)
    graph.feed(pair, 1, graph.add_constant(new))
    for node in graph.readers(pair.output[0]):
        bias = graph.maker(node.input[2], "DequantizeLinear") if node is not None and len(node.input) > 2 else None
        stored, scale = (graph.constant(bias.input[place]) for place in (0, 1)) if bias is not None else (None, None)
        if stored is None or scale is None or scale.shape != old.shape:
            continue
        ratio = new.astype(np.float64) / old
        graph.feed(bias, 0, graph.add_constant(np.rint(stored / ratio).astype(stored.dtype)))
        graph.feed(bias, 1, graph.add_constant((scale * ratio).astype(np.float32)))
    return new


def _nibbles(integers: Array) -> bytes:
    """Four bits each, the first of two in the lower half of a byte."""
    flat = integers.ravel().view(np.uint8) & 15
    flat = np.append(flat, np.zeros(flat.size % 2, np.uint8))
    return bytes(flat[0::2] | (flat[1::2] << 4))


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
    _feed(graph, node, 1, weights, integers=name, scales=new_scales.reshape(scales.shape))
    stored_name = graph.add_constant(new_bias)
    _feed(
        graph, node, 2, bias, integers=stored_name, scales=new_bias_scale.reshape(bias_scale.shape).astype(np.float32)
    )
    return True


def _feed(graph: OnnxGraph, node: Any, place: int, pair: Any, *, integers: str, scales: Array) -> None:
    """Let a node read other integers, by a pair of its own like one that others may read."""
    inputs = [integers, graph.add_constant(scales), *pair.input[2:]]
    graph.feed(node, place, graph.add("DequantizeLinear", inputs, axis=attribute(pair, "axis", 1)))


COMPARISONS = ("Equal", "Greater", "GreaterOrEqual", "Less", "LessOrEqual")
"""Operations that compare two values."""


def put_marks_on_grids(model: onnx.ModelProto, ranges: Ranges) -> None:
    """Change a quantized model, in place, so that marks are compared on the grid of the values.

    Args:
        model: A QDQ model.
        ranges: Ranges of the float model's values by name.
    """
    graph = OnnxGraph(model)
    places = [
        _put_on_grid(graph, node, constant, values, ranges=ranges)
        for node in graph.nodes(*COMPARISONS)
        for constant, values in ((0, 1), (1, 0))
    ]
    if any(places):
        graph.finish()


def _put_on_grid(graph: OnnxGraph, node: Any, constant: int, values: int, *, ranges: Ranges) -> bool:
    """Put one operand of a comparison on the grid of the other, if that is computed; whether it was changed."""
    real = _real_values(graph, node.input[constant])
    dequantized = graph.maker(node.input[values], "DequantizeLinear")
    quantized = None if dequantized is None else graph.maker(dequantized.input[0], "QuantizeLinear")
    if real is None or quantized is None or quantized.input[0] not in ranges:
        return False
    scale, zero = (graph.constant(name) for name in dequantized.input[1:3])
    if scale is None or zero is None or scale.size != 1:
        return False
    step, middle = np.float32(scale.ravel()[0]), float(zero.ravel()[0])
    to_grid = partial(on_grid, scale=float(step), zero=middle, dtype=zero.dtype)
    if not is_mark(real, ranges[quantized.input[0]], to_grid):
        return False
    graph.feed(node, constant, graph.add_constant((to_grid(real) - middle).astype(np.float32) * step))
    return True


def _real_values(graph: OnnxGraph, name: str) -> Array | None:
    """A constant's real values; None if it is none."""
    maker = graph.maker(name, "DequantizeLinear")
    if maker is None:
        return graph.constant(name)
    integers, scale, zero = (graph.constant(name) for name in maker.input[:3])
    return None if integers is None or scale is None or zero is None else (integers.astype(np.float64) - zero) * scale
