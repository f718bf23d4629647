"""Passes over ONNX models: inputs and outputs inspected and changed, an adapter in front, the last softmax left off."""

from __future__ import annotations

import copy
import re
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

import numpy as np

from edgepress.converters.adapter import End, InputAdapter, free_prefix, step_name
from edgepress.converters.errors import not_at_end
from edgepress.converters.freezing.frozen import INPUT, OUTPUT
from edgepress.converters.to_onnx.convert import finish

if TYPE_CHECKING:
    import onnx


_QUANTIZED = re.compile(r"Q(?!uick)|.*([Qq]uantize|Integer|NBits|Bnb4|FpQ4|Float8)")
"""Names of quantized operations, those of the standard and of ONNX Runtime; QuickGelu is a float operation."""
STANDARD = ("", "ai.onnx")


def quantized_operations(model: onnx.ModelProto) -> list[str]:
    """The kinds of quantized operations in a graph; a float model has none."""
    return sorted({node.op_type for node in model.graph.node if _QUANTIZED.match(node.op_type)})


def broken_weights(model: onnx.ModelProto) -> list[str]:
    """Names of the float32 weights that are NaN or infinite."""
    from onnx import TensorProto, numpy_helper

    weights = (tensor for tensor in model.graph.initializer if tensor.data_type == TensorProto.FLOAT)
    return [tensor.name for tensor in weights if not np.isfinite(numpy_helper.to_array(tensor)).all()]


_REQUANTIZE = ("QuantizeLinear", "DequantizeLinear")
COPIES = ("Identity", "Cast", "Reshape", "Flatten", "Squeeze", "Unsqueeze")


def last_operation(model: onnx.ModelProto) -> str:
    """Type of the operation that computes the output, ignoring copies and requantizing; "" if there is none."""
    node, _ = _find_producer(model.graph, model.graph.output[0].name)
    return node.op_type.removeprefix("QLinear") if node is not None else ""


def chosen_from(model: onnx.ModelProto) -> str:
    """Name of the scores of a model that returns the number of the largest; "" for another."""
    node, _ = _find_producer(model.graph, model.graph.output[0].name)
    return str(node.input[0]) if node is not None and node.op_type == "ArgMax" else ""


def output_scales(data: bytes) -> tuple[float, float]:
    """Scales of the output and of the input of a final softmax or sigmoid; 0 if there are none."""
    import onnx

    graph = onnx.load_from_string(data).graph
    node, scale = _find_producer(graph, graph.output[0].name)
    return scale, _find_producer(graph, node.input[0])[1] if node is not None and node.op_type in _ENDS else 0.0


_ENDS = ("Softmax", "Sigmoid")


def _find_producer(graph: onnx.GraphProto, name: str) -> tuple[Any, float]:
    """The node that computes a value, ignoring copies and changes of scale, and the scale on the way there, 0 if none.

    The node is None if the value is not computed.
    """
    import onnx

    producers = {name: node for node in graph.node for name in node.output}
    constants = {tensor.name: tensor for tensor in graph.initializer}
    scale = 0.0
    node = producers.get(name)
    while node is not None and node.op_type in (*COPIES, *_REQUANTIZE):
        if not scale and node.op_type.endswith("izeLinear") and node.input[1] in constants:
            scale = float(onnx.numpy_helper.to_array(constants[node.input[1]]).ravel()[0])
        node = producers.get(node.input[0])
    return node, scale


def before_end(data: bytes) -> bytes | None:
    """The model without its final softmax or sigmoid, with a float32 output; None if it does not end in one.

    It has no contract, because that of the whole model does not describe it.
    """
    import onnx

    model = onnx.load_from_string(data)
    graph = model.graph
    node, _ = _find_producer(graph, graph.output[0].name)
    if node is None or node.op_type not in _ENDS:
        return None
    name = f"{free_prefix({name for n in graph.node for name in n.output})}_logits"
    graph.node.append(onnx.helper.make_node("Cast", [node.input[0]], [name], name, to=onnx.TensorProto.FLOAT))
    sink = graph.output[0]
    sink.name = name
    sink.type.tensor_type.elem_type = onnx.TensorProto.FLOAT
    del model.metadata_props[:]
    return bytes(model.SerializeToString())


def of_one_item(model: onnx.ModelProto) -> onnx.ModelProto:
    """A copy of a model that takes a batch of 1, so that shapes which depend on the batch can be computed."""
    one = copy.deepcopy(model)
    del one.graph.value_info[:]
    for value in (*one.graph.input, *one.graph.output):
        value.type.tensor_type.shape.dim[0].dim_value = 1
    return one


def float_inputs(model: onnx.ModelProto) -> onnx.ModelProto:
    """The model, or a copy whose inputs of bytes that are cast to float32 first, as converted files do, are float32."""
    import onnx

    whole = copy.deepcopy(model)
    graph = whole.graph
    for value in graph.input:
        readers = [node for node in graph.node if value.name in node.input]
        casts = [node for node in readers if node.op_type == "Cast" and node.attribute[0].i == onnx.TensorProto.FLOAT]
        if value.type.tensor_type.elem_type == onnx.TensorProto.UINT8 and readers and casts == readers:
            value.type.tensor_type.elem_type = onnx.TensorProto.FLOAT
            for node in casts:
                node.op_type = "Identity"
                del node.attribute[:]
    return whole


def flat_output(model: onnx.ModelProto, outputs: int) -> onnx.ModelProto:
    """A copy of a model whose output, of another shape, is (batch, outputs)."""
    import onnx

    whole = copy.deepcopy(model)
    graph = whole.graph
    old = model.graph.output[0]
    name = f"{free_prefix(_names(graph))}_flat"
    graph.initializer.append(onnx.numpy_helper.from_array(np.array([-1, outputs], np.int64), f"{name}_shape"))
    graph.node.append(onnx.helper.make_node("Reshape", [old.name, f"{name}_shape"], [name], f"{name}_end"))
    batch = graph.input[0].type.tensor_type.shape.dim[0]
    size = batch.dim_value if batch.HasField("dim_value") else batch.dim_param or None
    del graph.output[:]
    graph.output.append(onnx.helper.make_tensor_value_info(name, old.type.tensor_type.elem_type, [size, outputs]))
    return whole


def prepend_adapter(model: onnx.ModelProto, adapter: InputAdapter) -> onnx.ModelProto:
    """A copy of a float model with the adapter's steps in front of it, so that it takes its items, and its end."""
    import onnx

    whole = copy.deepcopy(model)
    graph = whole.graph
    prefix = free_prefix(_names(graph))
    for place, part in enumerate(adapter.inputs):
        _put_in_front(whole, part, f"{prefix}_{place}" if place else prefix, place)
    if adapter.end:
        sink = graph.output[0]
        kind, options = ("Softmax", {"axis": -1}) if adapter.end == "softmax" else ("Sigmoid", {})
        node = onnx.helper.make_node(kind, [sink.name], [f"{prefix}_scores"], f"{prefix}_end", **options)
        graph.node.append(node)
        sink.name = f"{prefix}_scores"
    return finish(whole)


_KINDS = {"mean": "ReduceMean", "min": "ReduceMin", "max": "ReduceMax", "maximum": "Max"}
"""ONNX' names of steps that are not the step's own in title case."""


def _put_in_front(model: onnx.ModelProto, adapter: InputAdapter, prefix: str, place: int) -> None:
    """The adapter's steps in front of an input."""
    from onnx import TensorProto, helper, numpy_helper

    graph = model.graph
    source = graph.input[place]
    front: list[Any] = []
    results = [f"{prefix}_input"]

    def add(kind: str, constant: Any = None, *, of: tuple[int, ...] = (1,), name: str = "", **attributes: Any) -> None:
        inputs = [results[-back] for back in of]
        out = name or f"{prefix}_{len(front)}_{kind}"
        if constant is not None:
            inputs.append(f"{out}_constant")
            graph.initializer.append(numpy_helper.from_array(np.asarray(constant), inputs[-1]))
        front.append(helper.make_node(kind, inputs, [out], out, **attributes))
        results.append(out)

    if adapter.item.is_integer:  # as the model takes it
        return
    pixels = adapter.item.is_image
    if pixels:
        add("Cast", to=TensorProto.FLOAT)
    version = next(o.version for o in model.opset_import if o.domain in STANDARD)
    for number, step in enumerate(adapter.steps, 1):
        whole = np.array([] if step.values is None else step.values, np.int64)
        match step.kind:
            case "gather":
                add("Gather", whole, axis=3)
            case "transpose":
                add("Transpose", perm=list(whole))
            case "reshape":
                add("Reshape", np.array([0, *whole], np.int64))
            case "mean" | "min" | "max":
                axes: dict[str, Any] = {"constant": whole} if version >= 18 else {"axes": list(whole)}
                add(_KINDS[step.kind], of=step.of, name=step_name(prefix, step, number), keepdims=1, **axes)
            case _:
                name = step_name(prefix, step, number) if step.exact else ""
                add(_KINDS.get(step.kind, step.kind.title()), step.values, of=step.of, name=name)
    if source.type.tensor_type.elem_type != TensorProto.FLOAT:
        add("Cast", to=source.type.tensor_type.elem_type)
    if not front:
        return
    front[-1].output[0] = source.name
    if not any(a.HasField("g") or a.graphs for node in graph.node for a in node.attribute):  # which may read it, too
        name = source.name
        source.name = f"{prefix}_taken"
        _rename([*front, *graph.node], name, source.name)
        _rename(front, f"{prefix}_input", name)
    nodes = [*front, *graph.node]
    del graph.node[:]
    graph.node.extend(nodes)
    batch = source.type.tensor_type.shape.dim[0].dim_value or None
    kind = TensorProto.UINT8 if pixels else TensorProto.FLOAT
    graph.value_info.append(source)
    source.CopyFrom(helper.make_tensor_value_info(front[0].input[0], kind, [batch, *adapter.item.shape]))


def _names(graph: onnx.GraphProto) -> set[str]:
    """All names that values have."""
    names = {name for node in graph.node for name in (*node.input, *node.output)}
    return names | {tensor.name for tensor in graph.initializer}


def _rename(nodes: Iterable[Any], old: str, new: str) -> None:
    for node in nodes:
        for names in (node.input, node.output):
            names[:] = [new if name == old else name for name in names]


def name_ends(model: onnx.ModelProto) -> None:
    """Give the input and the output the names that they have in all ONNX files made here, unless others have them.

    Several inputs keep the names by which callers know them.
    """
    graph = model.graph
    used_names = _names(graph) | {value.name for value in graph.input}
    for value, name in ((graph.output[0], OUTPUT), *([(graph.input[0], INPUT)] if len(graph.input) == 1 else [])):
        if name not in used_names:
            _rename(graph.node, value.name, name)
            value.name = name


def without_end(model: onnx.ModelProto, end: End) -> onnx.ModelProto:
    """A copy of a float model without its final softmax or sigmoid, so that it returns logits; copies behind it stay.

    Raises:
        ConversionError: It does not end in one of this kind.
    """
    whole = copy.deepcopy(model)
    graph = whole.graph
    makers = {name: node for node in graph.node for name in node.output}
    node = makers.get(graph.output[0].name)
    while node is not None and node.op_type in COPIES:
        node = makers.get(node.input[0])
    if node is None or node.op_type != end.title():
        raise not_at_end(end)
    scores = node.output[0]
    logits = node.input[0]
    graph.node.remove(node)
    for reader in graph.node:
        for place, name in enumerate(reader.input):
            if name == scores:
                reader.input[place] = logits
    if graph.output[0].name == scores:
        graph.output[0].name = logits
    return finish(whole)
