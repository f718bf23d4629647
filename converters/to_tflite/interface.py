"""The input and output of a TFLite file: their types as its scheme requires, and free sizes fixed.

litert-quantizer works on files whose input and output are float32, and leaves them so.

Fix the sizes that a TFLite file's input leaves free: the interpreter resizes, and the shapes go into the file.

Operations that compute a shape (SHAPE and what follows from it) become constants, because boards and quantizers expect
a graph whose shapes are known before it runs.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import Any

import numpy as np

from edgepress.converters.adapter import free_prefix
from edgepress.converters.errors import ConversionError
from edgepress.converters.numeric.statistics import Ranges
from edgepress.converters.to_tflite import flatbuffer as flat
from edgepress.converters.to_tflite.graph import Graph
from edgepress.converters.to_tflite.passes import REQUANTIZE, last_operation, type_unread
from edgepress.runtime.errors import InputError, first_line
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


def item_shape(model: bytes) -> tuple[int | None, ...]:
    """Shape of one item that a model takes in its first input; None where the file leaves a size free."""
    _, graph = flat.read(model)
    source = graph.tensors[graph.inputs[0]]
    shape = source.shape if source.shape is not None else []
    signature = shape if source.shapeSignature is None else source.shapeSignature
    return tuple(None if free < 0 else int(size) for size, free in zip(shape[1:], signature[1:], strict=True))


def with_shape(model: bytes, shape: tuple[int, ...], where: str, *, fold: bool = True) -> bytes:
    """The model of a file (`where`) for items of this shape, with the shapes of all tensors that follow from it.

    `fold` makes constants of the operations that compute shapes.

    Raises:
        InputError: The interpreter can't run it at this shape.
        ConversionError: It has several inputs.
    """
    from ai_edge_litert.interpreter import Interpreter, OpResolverType

    root, graph = flat.read(model)
    if len(graph.inputs) > 1:
        raise ConversionError(f"{where} has {len(graph.inputs)} inputs; only one can be resized.", "Leave out --size.")
    with warnings.catch_warnings(action="ignore"):  # that keeping every tensor takes memory: it is what we want
        # A delegate would not report the shapes, or values, of tensors inside its part.
        interpreter = Interpreter(
            model_content=model,
            experimental_op_resolver_type=OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES,
            experimental_preserve_all_tensors=True,
        )
    source = interpreter.get_input_details()[0]
    batch = int(source["shape"][0])
    try:
        interpreter.resize_tensor_input(source["index"], [batch, *shape])
        interpreter.allocate_tensors()
        interpreter.set_tensor(source["index"], np.zeros([batch, *shape], source["dtype"]))
        interpreter.invoke()  # some shapes are known only then
    except (ValueError, RuntimeError) as e:
        raise InputError(
            f"{where} does not take items of shape {list(shape)}: {first_line(e)}.",
            "Give another size, or export the model with an input of fixed size.",
        ) from e
    sizes = {details["index"]: details["shape"].tolist() for details in interpreter.get_tensor_details()}
    for index, tensor in enumerate(graph.tensors):
        tensor.shape = sizes.get(index, tensor.shape)
        tensor.shapeSignature = None
    if fold:
        _fold_shapes(root, graph, interpreter)
    return flat.write(root)


def _fold_shapes(root: Any, graph: Any, interpreter: Any) -> None:
    """Replace what SHAPE operations lead to by constants, with the values that the interpreter computed."""
    computed = {int(i) for op in graph.operators for i in op.outputs} | {int(i) for i in graph.inputs}
    constants = {i for i, tensor in enumerate(graph.tensors) if i not in computed and not tensor.isVariable} | {-1}
    known = set[int]()
    left = []
    for op in graph.operators:
        inputs = {int(i) for i in op.inputs}
        kind = flat.kind(root, op)
        if kind in ("SHAPE", "RANK") or (inputs & known and inputs <= known | constants):
            known |= {int(i) for i in op.outputs}
        else:
            left.append(op)
    for index in sorted(known & {int(i) for op in left for i in op.inputs}):
        values = np.ascontiguousarray(interpreter.get_tensor(index))
        graph.tensors[index].buffer = flat.add_buffer(root, values)
    if not known & {int(i) for i in graph.outputs}:
        graph.operators = left
