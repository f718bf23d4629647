"""Passes that set the types of the inputs and output of a TFLite file, as the table of schemes requires them.

litert-quantizer works on files whose input and output are float32, and leaves them so.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from edgepress.converters.adapter import free_prefix
from edgepress.converters.errors import ConversionError
from edgepress.converters.statistics import Ranges
from edgepress.converters.to_tflite import flatbuffer as flat
from edgepress.converters.to_tflite.graph import Graph
from edgepress.converters.to_tflite.passes import REQUANTIZE, last_operation, type_unread
from edgepress.runtime.input_record import inputs_of
from edgepress.runtime.input_spec import InputSpec

Uint8 = bool | Sequence[int]
"""Whether the input, or all inputs, hold pixels; or the places of those of several that do."""


def uint8_input(model: bytes, pixels: Uint8 = True) -> bytes:
    """Let a model with inputs of another type take uint8, by adding a CAST to each of `pixels`."""
    root, graph = flat.read(model)
    for place in range(len(graph.inputs)):
        if _has_pixels(pixels, place) and graph.tensors[graph.inputs[place]].type != flat.UINT8:
            _cast_input(root, graph, place)
    return flat.write(root)


def with_pixels(spec: InputSpec) -> Uint8:
    """Which inputs of a file hold pixels."""
    if inputs := inputs_of(spec):
        return [place for place, each in enumerate(inputs) if each.is_image]
    return spec.is_image


def input_scales(model: bytes) -> dict[str, tuple[float, int]]:
    """Scale and zero point of each input by its name; (1, 0) of one that is not quantized."""
    graph = Graph(model)
    scales = {graph.name(int(index)): graph.scales(int(index)) for index in graph.table.inputs}
    return {name: (scale[0], zero[0]) if scale else (1.0, 0) for name, (scale, zero) in scales.items()}


def with_input_names(model: bytes, names: Sequence[str]) -> bytes:
    """The same model whose inputs, if they are several, have these names; other tensors of one get a longer one."""
    if len(names) < 2:
        return model
    root, graph = flat.read(model)
    places = dict(zip(map(int, graph.inputs), names, strict=True))
    for index, tensor in enumerate(graph.tensors):
        if index not in places and tensor.name in {name.encode() for name in names}:
            tensor.name = flat.unique_name(graph, f"{tensor.name.decode()}_inner").encode()
    for index, name in places.items():
        graph.tensors[index].name = name.encode()
    root.signatureDefs = []
    return flat.write(root)


def _has_pixels(pixels: Uint8, place: int) -> bool:
    return pixels if isinstance(pixels, bool) else place in pixels


def _cast_input(root: Any, graph: Any, place: int) -> None:
    source = graph.tensors[graph.inputs[place]]
    used_names = {tensor.name for tensor in graph.tensors}
    name = source.name + b"_uint8"
    while name in used_names:  # litert-quantizer needs unique names
        name += b"_again"
    new = flat.tensor(graph, source.shape, name.decode(), type=flat.UINT8)
    graph.tensors[new].shapeSignature = source.shapeSignature
    types = {"inDataType": flat.UINT8, "outDataType": source.type}
    old = graph.inputs[place]
    graph.operators.insert(0, flat.operator(root, "CAST", [new], old, **types))
    flat.redirect(root, graph, new, inputs=True, place=place)
    if len(graph.inputs) > 1:  # which callers know by name
        source.name, graph.tensors[new].name = graph.tensors[new].name, source.name


def uint8_interface(model: bytes, ranges: Ranges, *, float_input: bool = False, pixels: Uint8 = False) -> bytes:
    """Let an int8 model with float ends take and return uint8.

    An input of another type, such as the int32 of tokens, stays.

    A QUANTIZE at the input becomes a shift of the zero point by 128, which costs next to nothing; a DEQUANTIZE at the
    output becomes the same. Scales stay: for pixels calibrated to 0-255 the input is (1, 0), raw pixels. Where the
    operation at an end stayed float, such as a fused LSTM, a DEQUANTIZE or QUANTIZE by the calibrated range is put
    there.

    Args:
        model: A model with a float32 input and output.
        ranges: What was measured on the float model.
        float_input: Whether an input that operations in float read stays float32, which loses nothing, unless it holds
            pixels.
        pixels: The inputs that do.

    Raises:
        ConversionError: The quantizer left the whole model float.
    """
    root, graph = flat.read(model)
    type_unread(root, graph)
    sink = int(graph.outputs[0])
    makers = [op for op in graph.operators if sink in op.outputs]
    kinds = {flat.kind(root, op) for op in graph.operators}
    if not kinds & {*REQUANTIZE}:
        raise ConversionError(
            f"The quantizer supports none of its operations: {', '.join(sorted(kinds))}.", "Use another scheme."
        )
    for place in range(len(graph.inputs)):
        _take_uint8(root, graph, place, ranges, in_float=float_input and not _has_pixels(pixels, place))
    if [flat.kind(root, op) for op in makers] == ["DEQUANTIZE"]:
        (last,) = makers
        _as_uint8(graph, sink, _shift_to_uint8(graph.tensors[last.inputs[0]].quantization))
        graph.operators[graph.operators.index(last)] = flat.operator(root, "QUANTIZE", list(last.inputs), sink)
    else:
        outer = _beside(graph, sink)
        probabilities = last_operation(model) in ("SOFTMAX", "LOGISTIC")
        scores = (0.0, 255 / 256) if probabilities else ranges[graph.tensors[sink].name.decode()]
        _as_uint8(graph, outer, _quantization(*scores))
        graph.operators.append(flat.operator(root, "QUANTIZE", [sink], outer))
        flat.redirect(root, graph, outer, inputs=False)
    return flat.write(root)


def _take_uint8(root: Any, graph: Any, place: int, ranges: Ranges, *, in_float: bool) -> None:
    """Let an input take uint8, unless it holds integers, or is read by operations in float and may stay so."""
    source = int(graph.inputs[place])
    readers = [op for op in graph.operators if source in op.inputs]
    if graph.tensors[source].type != flat.FLOAT32:
        return  # integers, which are not quantized
    if {flat.kind(root, op) for op in readers} == {"QUANTIZE"}:
        _as_uint8(graph, source, _shift_to_uint8(graph.tensors[readers[0].outputs[0]].quantization))
    elif not in_float:
        name = graph.tensors[source].name
        outer = _beside(graph, source)
        _as_uint8(graph, outer, _quantization(*ranges[name.decode()]))
        graph.operators.insert(0, flat.operator(root, "DEQUANTIZE", [outer], source))
        flat.redirect(root, graph, outer, inputs=True, place=place)
        if len(graph.inputs) > 1:  # which callers know by name
            graph.tensors[source].name, graph.tensors[outer].name = graph.tensors[outer].name, name


def _beside(graph: Any, index: int) -> int:
    """A new tensor of the shape of another."""
    tensor = graph.tensors[index]
    names = {t.name for t in graph.tensors}
    prefix = free_prefix([name.decode(errors="replace") for name in names])
    new = flat.tensor(graph, list(tensor.shape), f"{prefix}_end_{index}")
    graph.tensors[new].shapeSignature = tensor.shapeSignature
    return new


def _as_uint8(graph: Any, index: int, quantization: Any) -> None:
    graph.tensors[index].type = flat.UINT8
    graph.tensors[index].quantization = quantization


def _shift_to_uint8(quantization: Any) -> Any:
    """int8 parameters as those of the same values in uint8."""
    return flat.quantization(quantization.scale, [int(z) + 128 for z in quantization.zeroPoint])


def _quantization(low: float, high: float) -> Any:
    """uint8 parameters for a range, widened to hold 0, which an integer has to stand for exactly."""
    low = min(low, 0.0)
    high = max(high, 0.0)
    scale = (high - low) / 255 or 1.0
    return flat.quantization([scale], [round(-low / scale)])
