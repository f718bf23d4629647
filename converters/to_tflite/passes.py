"""Small passes over a TFLite flatbuffer: adapters, shape of the output, metadata, and storage of buffers.

Each pass takes the bytes of a model with one input and one output and returns the bytes of another. Buffers that
litert-quantizer stored after the flatbuffer are moved inside, where old interpreters look for them.
"""

from __future__ import annotations

import re
from typing import Any

import numpy as np

from edgepress.converters.adapter import End, InputAdapter, free_prefix, step_name
from edgepress.converters.errors import ConversionError, not_at_end
from edgepress.converters.to_tflite import flatbuffer as flat

_WEIGHTED = ("CONV_2D", "DEPTHWISE_CONV_2D", "FULLY_CONNECTED")
_PRODUCT = re.compile(rb".*/(convolution|depthwise|separable_conv2d|Conv2D|MatMul|BiasAdd)\w*$")
"""Matches the names that TensorFlow gives to what layers with weights compute."""

_COPIES = ("CAST", "RESHAPE", "SQUEEZE", "EXPAND_DIMS")
REQUANTIZE = ("QUANTIZE", "DEQUANTIZE")


def int16_kernels(model: bytes) -> bytes:
    """Let ADD and SUB with int16 activations use any scale, not only powers of two.

    The flag `pot_scale_int16` is true by default in the schema, and kernels then refuse inputs whose scale is not a
    power of two (`add.cc`, `input1_shift`), which litert-quantizer's are not.
    """
    root, graph = flat.read(model)
    type_unread(root, graph)
    for op in graph.operators:
        if hasattr(op.builtinOptions, "potScaleInt16"):
            op.builtinOptions.potScaleInt16 = False
    return flat.write(root)


def type_unread(root: Any, graph: Any) -> None:
    """Give outputs of a split that no operation reads the type of its other outputs.

    litert-quantizer leaves them float (such as the forget gate of an LSTM's first step, whose state is zero), and
    XNNPACK refuses a SPLIT with two types: "failed to delegate SPLIT node".
    """
    read = {int(i) for op in graph.operators for i in op.inputs} | {int(i) for i in graph.outputs}
    for op in graph.operators:
        if flat.kind(root, op) in ("SPLIT", "SPLIT_V", "UNPACK"):
            for beside in [graph.tensors[i] for i in op.outputs if int(i) in read][:1]:
                for unread in (graph.tensors[i] for i in op.outputs if int(i) not in read):
                    unread.type = beside.type
                    unread.quantization = beside.quantization


def inline_buffers(model: bytes) -> bytes:
    """The same model with all its buffers inside the flatbuffer."""
    return flat.write(flat.read(model)[0])


def with_metadata(model: bytes, name: str, data: bytes) -> bytes:
    """The same model with an entry in its table of metadata, replacing one of the same name."""
    from ai_edge_litert import schema_py_generated as fb

    root, _ = flat.read(model)
    buffer = fb.BufferT(data=np.frombuffer(data, np.uint8))
    root.metadata = root.metadata or []
    for entry in root.metadata:
        if entry.name == name.encode():
            root.buffers[entry.buffer] = buffer
            return flat.write(root)
    root.metadata.append(fb.MetadataT(name=name, buffer=flat.append(root.buffers, buffer)))
    return flat.write(root)


def operations(model: bytes) -> list[str]:
    """Names of the operations, in order; interpreters on boards lack "CUSTOM:name" and "Flex..." ones."""
    root, graph = flat.read(model)
    return [flat.kind(root, op) for op in graph.operators]


def quantized_tensors(model: bytes) -> list[str]:
    """Names of the tensors that are stored with a scale; a float model has none."""
    _, graph = flat.read(model)
    stored = [t for t in graph.tensors if t.quantization is not None and t.quantization.scale is not None]
    return [(t.name or b"unnamed").decode(errors="replace") for t in stored if len(t.quantization.scale)]


def input_storage(model: bytes) -> tuple[str, tuple[float, int]] | None:
    """Type, scale and zero point of an input that is stored as integers; None of a float one."""
    _, graph = flat.read(model)
    source = graph.tensors[graph.inputs[0]]
    quantization = source.quantization
    if source.type == flat.FLOAT32 or quantization is None or quantization.scale is None or not len(quantization.scale):
        return None
    return np.dtype(flat.DTYPES[source.type]).name, (float(quantization.scale[0]), int(quantization.zeroPoint[0]))


def last_operation(model: bytes) -> str:
    """Name of the operation that computes the output, ignoring copies and requantizing; "" if there is none."""
    root, graph = flat.read(model)
    _, op = _find_producer(root, graph, int(graph.outputs[0]))
    return flat.kind(root, op) if op is not None else ""


def chosen_from(model: bytes) -> str:
    """Name of the scores of a model that returns the number of the largest; "" for another."""
    root, graph = flat.read(model)
    _, op = _find_producer(root, graph, int(graph.outputs[0]))
    if op is None or flat.kind(root, op) != "ARG_MAX":
        return ""
    return str((graph.tensors[op.inputs[0]].name or b"").decode(errors="replace"))


def output_scales(model: bytes) -> tuple[float, float]:
    """Scales of the output and of the input of a final softmax or sigmoid; 0 if there are none."""
    root, graph = flat.read(model)

    def scale(tensor: int) -> float:
        quantization = graph.tensors[tensor].quantization
        return float(quantization.scale[0]) if quantization is not None and quantization.scale is not None else 0.0

    output = int(graph.outputs[0])
    end = _end(root, graph)
    if end is None:
        return scale(output), 0.0
    return scale(output), scale(int(end.inputs[0])) or scale(_find_producer(root, graph, int(end.inputs[0]))[0])


def before_end(model: bytes) -> bytes | None:
    """The model without its final softmax or sigmoid, with a float32 output; None if it does not end in one."""
    root, graph = flat.read(model)
    end = _end(root, graph)
    if end is None:
        return None
    index = int(end.inputs[0])
    output = graph.tensors[graph.outputs[0]]
    if list(graph.tensors[index].shape) != list(output.shape):
        return None
    del graph.operators[graph.operators.index(end) :]
    if graph.tensors[index].type != flat.FLOAT32:
        name = f"{free_prefix([(t.name or b'').decode(errors='replace') for t in graph.tensors])}_logits"
        new = flat.tensor(graph, list(output.shape), name)
        graph.operators.append(flat.operator(root, "DEQUANTIZE", [index], new))
        index = new
    flat.redirect(root, graph, index, inputs=False)
    return flat.write(root)


def without_end(model: bytes, end: End) -> bytes:
    """A float model without its final softmax or sigmoid, so that it returns logits; copies behind it stay.

    Raises:
        ConversionError: It does not end in one of this kind, or its softmax has a factor.
    """
    root, graph = flat.read(model)
    op = _end(root, graph)
    if op is None or flat.kind(root, op) != {"softmax": "SOFTMAX", "sigmoid": "LOGISTIC"}[end]:
        raise not_at_end(end)
    if end == "softmax" and op.builtinOptions.beta != 1:
        raise ConversionError(f"Its softmax multiplies by {op.builtinOptions.beta:g}.", "Leave out --output logits.")
    logits = int(op.inputs[0])
    scores = int(op.outputs[0])
    graph.operators.remove(op)
    for reader in graph.operators:
        reader.inputs = [logits if int(i) == scores else int(i) for i in reader.inputs]
    if int(graph.outputs[0]) == scores:
        flat.redirect(root, graph, logits, inputs=False)
    return flat.write(root)


def _find_producer(root: Any, graph: Any, tensor: int) -> tuple[int, Any]:
    """The tensor that one was copied or requantized from, and the operation that computes it, None if there is none."""
    producers = {int(i): op for op in graph.operators for i in op.outputs}
    while (op := producers.get(tensor)) is not None and flat.kind(root, op) in (*_COPIES, *REQUANTIZE):
        tensor = int(op.inputs[0])
    return tensor, op


def _end(root: Any, graph: Any) -> Any:
    """The final softmax or sigmoid; None if the model does not end in one."""
    _, op = _find_producer(root, graph, int(graph.outputs[0]))
    return op if op is not None and flat.kind(root, op) in ("SOFTMAX", "LOGISTIC") else None


def float_input(model: bytes) -> bytes:
    """Undo `uint8_input`: without the CAST at its input, a model takes float32. Other models are returned unchanged.

    So are a CAST from float16 there, and one to float16 at the output, removed.
    """
    root, graph = flat.read(model)
    ends = [op for op in graph.operators if graph.outputs[0] in op.outputs and flat.kind(root, op) == "CAST"]
    if ends and graph.tensors[graph.outputs[0]].type == flat.FLOAT16:
        graph.operators.remove(ends[0])
        flat.redirect(root, graph, int(ends[0].inputs[0]), inputs=False)
        model = flat.write(root)
    changed = [place for place in range(len(graph.inputs)) if _drop_cast(root, graph, place)]
    return flat.write(root) if changed else model


def _drop_cast(root: Any, graph: Any, place: int) -> bool:
    """Remove the operation that makes float32 of an input, which then is of that type; False if there is none."""
    source = graph.tensors[graph.inputs[place]]
    readers = [op for op in graph.operators if graph.inputs[place] in op.inputs]
    half = source.type == flat.FLOAT16
    if len(readers) != 1 or flat.kind(root, readers[0]) not in ("CAST", *(("DEQUANTIZE",) if half else ())):
        return False
    inner = int(readers[0].outputs[0])
    if graph.tensors[inner].type != flat.FLOAT32:
        return False
    graph.operators.remove(readers[0])
    flat.redirect(root, graph, inner, inputs=True, place=place)
    if len(graph.inputs) > 1:  # which callers know by name
        source.name, graph.tensors[inner].name = graph.tensors[inner].name, source.name
    return True


def flat_output(model: bytes, outputs: int) -> bytes:
    """The same model with an output of shape [1, outputs] instead of another, such as [1, outputs, 1, 1]."""
    root, graph = flat.read(model)
    old = graph.tensors[graph.outputs[0]]
    prefix = free_prefix([(tensor.name or b"").decode(errors="replace") for tensor in graph.tensors])
    sizes = flat.constant(root, graph, np.array([1, outputs], np.int32), prefix)
    new = flat.tensor(graph, [1, outputs], f"{prefix}_flat", type=old.type)
    graph.operators.append(flat.operator(root, "RESHAPE", [int(graph.outputs[0]), sizes], new, newShape=[1, outputs]))
    flat.redirect(root, graph, new, inputs=False)
    return flat.write(root)


def output_of(model: bytes, operation: str) -> Any:
    """Name of the output of the first operation of a kind, which names the layer that it comes from."""
    root, graph = flat.read(model)
    for op in graph.operators:
        if flat.kind(root, op) == operation:
            return (graph.tensors[op.outputs[0]].name or b"tensor %d" % op.outputs[0]).decode(errors="replace")
    return ""


def prepend_adapter(model: bytes, adapter: InputAdapter) -> bytes:
    """A float model with the adapter's steps in front of it, so that it takes its items as float32, and its end."""
    root, graph = flat.read(model)
    prefix = free_prefix([(tensor.name or b"").decode(errors="replace") for tensor in graph.tensors])
    for place, part in enumerate(adapter.inputs):
        _put_in_front(root, graph, part, f"{prefix}_{place}" if place else prefix, place=place)
    if adapter.end:
        old = graph.outputs[0]
        new = flat.tensor(graph, list(graph.tensors[old].shape), f"{prefix}_scores")
        kind, beta = ("SOFTMAX", {"beta": 1.0}) if adapter.end == "softmax" else ("LOGISTIC", {})
        graph.operators.append(flat.operator(root, kind, [old], new, **beta))
        flat.redirect(root, graph, new, inputs=False)
    return flat.write(root)


def _put_in_front(root: Any, graph: Any, adapter: InputAdapter, prefix: str, *, place: int) -> None:
    """The adapter's steps in front of an input."""
    front: list[Any] = []
    steps = adapter.steps
    old_input = int(graph.inputs[place])
    results = [flat.tensor(graph, [1, *adapter.item.shape], f"{prefix}_input")] if steps else []
    for number, step in enumerate(steps, 1):
        shape: list[int] = [1, *step.shape]
        values = np.array(shape, np.int32) if step.kind == "reshape" else step.values
        inputs = [results[-back] for back in step.of]
        if values is not None:
            inputs.append(flat.constant(root, graph, values, prefix))
        name = step_name(prefix, step, number)
        if number < len(steps):
            results.append(flat.tensor(graph, shape, name))
        else:  # the last step fills what was the input
            results.append(old_input)
            if step.exact:
                graph.tensors[old_input].name = name.encode()
        options: dict[str, dict[str, Any]] = {"gather": {"axis": 3}, "reshape": {"newShape": shape}}
        options |= {name: {"keepDims": True} for name in ("mean", "min", "max")}
        kind = {"min": "REDUCE_MIN", "max": "REDUCE_MAX"}.get(step.kind, step.kind.upper())
        front.append(flat.operator(root, kind, inputs, results[-1], **options.get(step.kind, {})))
    if front:
        graph.operators[:0] = front
        flat.redirect(root, graph, results[0], inputs=True, place=place)
        if len(graph.inputs) > 1:  # which callers know by name
            old, new = graph.tensors[old_input], graph.tensors[results[0]]
            old.name, new.name = new.name, old.name


def with_short_names(model: bytes) -> bytes:
    """The same model, each tensor called by one of the names that TensorFlow's converter joined by ";".

    The converter joins the names of all operations that it fused to one, two hundred characters in MobileNets. They are
    a tenth of a small net's file, and more in ONNX files, which repeat them. What a layer with weights makes is called
    by that layer, anything else by the first name. The model's name, which they all begin with, is left out. No two
    tensors get the same, and the input and the output keep theirs.
    """
    root, graph = flat.read(model)
    weighted = {int(i) for op in graph.operators if flat.kind(root, op) in _WEIGHTED for i in op.outputs}
    ends = {int(i) for i in (*graph.inputs, *graph.outputs)}
    chosen: dict[int, bytes] = {}
    for index in sorted(set(range(len(graph.tensors))) - ends, key=lambda i: i not in weighted):
        parts = (graph.tensors[index].name or b"").split(b";")
        chosen[index] = next(filter(_PRODUCT.match, parts), parts[0]) if index in weighted else parts[0]
    models = {name.partition(b"/")[0] for name in chosen.values() if b"/" in name}
    shared = models.pop() + b"/" if len(models) == 1 else b""
    used_names = {graph.tensors[i].name for i in ends}
    for index, whole in chosen.items():
        name = whole.removeprefix(shared)
        number = 0
        while name in used_names:
            number += 1
            name = whole.removeprefix(shared) + f"_{number}".encode()
        used_names.add(name)
        graph.tensors[index].name = name
    return flat.write(root)
