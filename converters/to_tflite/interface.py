"""Passes that set the types of the input and output of a TFLite file, as the table of schemes requires them.

litert-quantizer works on files whose input and output are float32, and leaves them so.
"""

from __future__ import annotations

from typing import Any

from edgepress.converters.adapter import free_prefix
from edgepress.converters.errors import ConversionError
from edgepress.converters.statistics import Ranges
from edgepress.converters.to_tflite import flatbuffer as flat
from edgepress.converters.to_tflite.passes import REQUANTIZE, last_operation, type_unread


def uint8_input(model: bytes) -> bytes:
    """Let a model with an input of another type take uint8, by adding a CAST."""
    root, graph = flat.read(model)
    if graph.tensors[graph.inputs[0]].type == flat.UINT8:
        return flat.write(root)
    source = graph.tensors[graph.inputs[0]]
    used_names = {tensor.name for tensor in graph.tensors}
    name = source.name + b"_uint8"
    while name in used_names:  # litert-quantizer needs unique names
        name += b"_again"
    new = flat.tensor(graph, source.shape, name.decode(), type=flat.UINT8)
    graph.tensors[new].shapeSignature = source.shapeSignature
    types = {"inDataType": flat.UINT8, "outDataType": source.type}
    graph.operators.insert(0, flat.operator(root, "CAST", [new], graph.inputs[0], **types))
    flat.redirect(root, graph, new, inputs=True)
    return flat.write(root)


def uint8_interface(model: bytes, ranges: Ranges, *, float_input: bool = False) -> bytes:
    """Let an int8 model with float ends take and return uint8.

    An input of another type, such as the int32 of tokens, stays.

    A QUANTIZE at the input becomes a shift of the zero point by 128, which costs next to nothing; a DEQUANTIZE at the
    output becomes the same. Scales stay: for pixels calibrated to 0-255 the input is (1, 0), raw pixels. Where the
    operation at an end stayed float, such as a fused LSTM, a DEQUANTIZE or QUANTIZE by the calibrated range is put
    there.

    Args:
        model: A model with a float32 input and output.
        ranges: What was measured on the float model.
        float_input: Whether an input that operations in float read stays float32, which loses nothing.

    Raises:
        ConversionError: The quantizer left the whole model float.
    """
    root, graph = flat.read(model)
    type_unread(root, graph)
    source = int(graph.inputs[0])
    sink = int(graph.outputs[0])
    readers = [op for op in graph.operators if source in op.inputs]
    makers = [op for op in graph.operators if sink in op.outputs]
    kinds = {flat.kind(root, op) for op in graph.operators}
    if not kinds & {*REQUANTIZE}:
        raise ConversionError(
            f"The quantizer supports none of its operations: {', '.join(sorted(kinds))}.", "Use another scheme."
        )
    if graph.tensors[source].type != flat.FLOAT32:
        pass  # integers, which are not quantized
    elif {flat.kind(root, op) for op in readers} == {"QUANTIZE"}:
        _as_uint8(graph, source, _shift_to_uint8(graph.tensors[readers[0].outputs[0]].quantization))
    elif not float_input:
        outer = _beside(graph, source)
        _as_uint8(graph, outer, _quantization(*ranges[graph.tensors[source].name.decode()]))
        graph.operators.insert(0, flat.operator(root, "DEQUANTIZE", [outer], source))
        flat.redirect(root, graph, outer, inputs=True)
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
