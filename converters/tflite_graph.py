"""Small passes over a TFLite flatbuffer: what goes in, what comes out, and how its buffers are stored.

Each pass takes the bytes of a model with one input and one output and returns the bytes of another. litert-quantizer
works on files whose input and output are float32; these passes then give them the interface of the scheme table.
Buffers that litert-quantizer put behind the flatbuffer are brought inside, where the oldest interpreters look for them.

The opcodes and tables are those of the TFLite schema (tensorflow/compiler/mlir/lite/schema/schema.fbs).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from edgepress.converters.errors import ConversionError
from edgepress.runtime.errors import ModelFileError

if TYPE_CHECKING:
    from edgepress.converters.foreign_contract import Guess


_COPIES = ("CAST", "RESHAPE", "SQUEEZE", "EXPAND_DIMS")


def uint8_input(model: bytes) -> bytes:
    """Let a model with a float32 input take uint8, by a CAST in front of it."""
    from ai_edge_litert import schema_py_generated as fb

    root, graph = _read(model)
    old = graph.inputs[0]
    name, taken = graph.tensors[old].name + b"_uint8", {tensor.name for tensor in graph.tensors}
    while name in taken:  # litert-quantizer wants every name once
        name += b"_again"
    tensor = fb.TensorT(
        shape=graph.tensors[old].shape,
        type=fb.TensorType.UINT8,
        name=name,
        shapeSignature=graph.tensors[old].shapeSignature,
        hasRank=True,
    )
    new = _append(graph.tensors, tensor)
    options = fb.CastOptionsT(inDataType=fb.TensorType.UINT8, outDataType=fb.TensorType.FLOAT32)
    cast = fb.OperatorT(
        opcodeIndex=_opcode(root, fb.BuiltinOperator.CAST),
        inputs=[new],
        outputs=[old],
        builtinOptionsType=fb.BuiltinOptions.CastOptions,
        builtinOptions=options,
    )
    graph.operators.insert(0, cast)
    _redirect(root, graph, new, inputs=True)
    return _write(root)


def uint8_interface(model: bytes) -> bytes:
    """Let an int8 model that quantizes its float input and dequantizes its output take and give uint8.

    The QUANTIZE at the input becomes a shift of the zero point by 128, which costs next to nothing; the DEQUANTIZE at
    the output becomes the same. Scales stay: for pixels calibrated to 0-255 the input is (1, 0), raw pixels.

    Raises:
        ConversionError: The graph does not begin with QUANTIZE and end with DEQUANTIZE.
    """
    from ai_edge_litert import schema_py_generated as fb

    root, graph = _read(model)
    source, sink = graph.inputs[0], graph.outputs[0]
    first = [op for op in graph.operators if source in op.inputs]
    last = [op for op in graph.operators if sink in op.outputs]
    if {_code(root, op) for op in first} != {fb.BuiltinOperator.QUANTIZE} or {_code(root, op) for op in last} != {
        fb.BuiltinOperator.DEQUANTIZE
    }:
        names = ", ".join(_name(_code(root, op)) for op in first + last)
        raise ConversionError(
            f"tflite-int8 needs a graph that can be integer from end to end; at its ends stand: {names}.",
            "Use tflite-dynamic, or replace the operation that can't be quantized.",
        )
    for outer, inner in ((source, first[0].outputs[0]), (sink, last[0].inputs[0])):
        quantization = graph.tensors[inner].quantization
        graph.tensors[outer].type = fb.TensorType.UINT8
        graph.tensors[outer].quantization = fb.QuantizationParametersT(
            scale=list(quantization.scale), zeroPoint=[int(z) + 128 for z in quantization.zeroPoint]
        )
    last[0].opcodeIndex = _opcode(root, fb.BuiltinOperator.QUANTIZE)
    last[0].builtinOptionsType, last[0].builtinOptions = fb.BuiltinOptions.QuantizeOptions, fb.QuantizeOptionsT()
    return _write(root)


def clear_pot_scale(model: bytes) -> bytes:
    """Let ADD and SUB of an int16 model use any scale, not only powers of two.

    The flag `pot_scale_int16` is true by default in the schema, and kernels then refuse inputs whose scale is not a
    power of two (`add.cc`, `input1_shift`), which litert-quantizer's are not.
    """
    root, graph = _read(model)
    for op in graph.operators:
        if hasattr(op.builtinOptions, "potScaleInt16"):
            op.builtinOptions.potScaleInt16 = False
    return _write(root)


def inline_buffers(model: bytes) -> bytes:
    """The same model with all its buffers inside the flatbuffer."""
    return _write(_read(model)[0])


def with_metadata(model: bytes, name: str, data: bytes) -> bytes:
    """The same model with an entry in its table of metadata, instead of the one of that name if there is one."""
    from ai_edge_litert import schema_py_generated as fb

    root, _ = _read(model)
    buffer = fb.BufferT(data=np.frombuffer(data, np.uint8))
    root.metadata = root.metadata or []
    for entry in root.metadata:
        if entry.name == name.encode():
            root.buffers[entry.buffer] = buffer
            return _write(root)
    root.metadata.append(fb.MetadataT(name=name, buffer=_append(root.buffers, buffer)))
    return _write(root)


def operations(model: bytes) -> list[str]:
    """Names of the operations, in order; "CUSTOM:name" and "Flex..." ones are what no board's interpreter has."""
    root, graph = _read(model)
    return [_name(_code(root, op), root.operatorCodes[op.opcodeIndex].customCode) for op in graph.operators]


def quantized_tensors(model: bytes) -> list[str]:
    """Names of the tensors that are stored with a scale; a float model has none."""
    _, graph = _read(model)
    scales = [t.quantization.scale if t.quantization is not None else None for t in graph.tensors]
    return [
        (t.name or b"unnamed").decode(errors="replace")
        for t, scale in zip(graph.tensors, scales, strict=True)
        if scale is not None and len(scale)
    ]


def last_operation(model: bytes) -> str:
    """Name of the operation that computes the output, behind those that only copy it; "" if there is none."""
    root, graph = _read(model)
    producers = {int(i): op for op in graph.operators for i in op.outputs}
    op = producers.get(int(graph.outputs[0]))
    while op is not None and _name(_code(root, op)) in _COPIES and int(op.inputs[0]) in producers:
        op = producers[int(op.inputs[0])]
    return _name(_code(root, op)) if op is not None else ""


def float_input(model: bytes) -> bytes:
    """Let a model that casts its input to float, as `uint8_input` makes it, take float32: the CAST is taken away.

    A model that does not begin so comes back as it was.
    """
    from ai_edge_litert import schema_py_generated as fb

    root, graph = _read(model)
    readers = [op for op in graph.operators if graph.inputs[0] in op.inputs]
    if len(readers) != 1 or _code(root, readers[0]) != fb.BuiltinOperator.CAST:
        return model
    inner = int(readers[0].outputs[0])
    if graph.tensors[inner].type != fb.TensorType.FLOAT32:
        return model
    graph.operators.remove(readers[0])
    _redirect(root, graph, inner, inputs=True)
    return _write(root)


def output_of(model: bytes, operation: str) -> Any:
    """Name of what the first operation of a kind gives, which tells the layer that it comes from."""
    root, graph = _read(model)
    for op in graph.operators:
        if _name(_code(root, op), root.operatorCodes[op.opcodeIndex].customCode) == operation:
            return (graph.tensors[op.outputs[0]].name or b"tensor %d" % op.outputs[0]).decode(errors="replace")
    return ""


def prepared(model: bytes, guess: Guess, *, softmax: bool) -> bytes:
    """Put in front of a float model what `guess` says it needs, and softmax behind it if that is asked for.

    The result takes the contract's items as float32: GATHER turns the channels around, MUL and ADD scale, TRANSPOSE
    brings channels first, RESHAPE gives the model's own shape.
    """
    from ai_edge_litert import schema_py_generated as fb

    root, graph = _read(model)
    builtin, options = fb.BuiltinOperator, fb.BuiltinOptions
    front: list[Any] = []
    shape = [1, *guess.contract.input.shape]
    taken = {(tensor.name or b"").decode(errors="replace") for tensor in graph.tensors}
    prefix = "edgepress"
    while any(name.startswith(f"{prefix}_") for name in taken):  # a file that edgepress made, made into another
        prefix += "_again"
    last = new_input = _tensor(graph, shape, f"{prefix}_input")

    def step(code: int, kind: int, option: Any, inputs: list[int], shape: list[int]) -> int:
        out = _tensor(graph, shape, f"{prefix}_{_name(code).lower()}")
        front.append(
            fb.OperatorT(
                opcodeIndex=_opcode(root, code),
                inputs=inputs,
                outputs=[out],
                builtinOptionsType=kind,
                builtinOptions=option,
            )
        )
        return out

    def constant(values: Any, dtype: Any) -> int:
        return _constant(root, graph, np.asarray(values, dtype), prefix)

    if guess.bgr:
        option = fb.GatherOptionsT(axis=3)
        last = step(builtin.GATHER, options.GatherOptions, option, [last, constant([2, 1, 0], np.int32)], shape)
    if guess.scales:
        factor, offset = constant(guess.factor, np.float32), constant(guess.offset, np.float32)
        last = step(builtin.MUL, options.MulOptions, fb.MulOptionsT(), [last, factor], shape)
        last = step(builtin.ADD, options.AddOptions, fb.AddOptionsT(), [last, offset], shape)
    if guess.channels_first:
        shape = [shape[i] for i in (0, 3, 1, 2)]
        order = constant([0, 3, 1, 2], np.int32)
        last = step(builtin.TRANSPOSE, options.TransposeOptions, fb.TransposeOptionsT(), [last, order], shape)
    if shape[1:] != list(guess.model_shape):
        shape = [1, *guess.model_shape]
        option = fb.ReshapeOptionsT(newShape=shape)
        last = step(builtin.RESHAPE, options.ReshapeOptions, option, [last, constant(shape, np.int32)], shape)
    if front:
        front[-1].outputs = [graph.inputs[0]]  # the last step fills what was the input
        graph.operators[:0] = front
        _redirect(root, graph, new_input, inputs=True)
    if softmax:
        old = graph.outputs[0]
        out = _tensor(graph, list(graph.tensors[old].shape), f"{prefix}_softmax")
        graph.operators.append(
            fb.OperatorT(
                opcodeIndex=_opcode(root, builtin.SOFTMAX),
                inputs=[old],
                outputs=[out],
                builtinOptionsType=options.SoftmaxOptions,
                builtinOptions=fb.SoftmaxOptionsT(beta=1.0),
            )
        )
        _redirect(root, graph, out, inputs=False)
    return _write(root)


def _tensor(graph: Any, shape: list[int], name: str, buffer: int = 0, type: int = 0) -> int:
    from ai_edge_litert import schema_py_generated as fb

    return _append(graph.tensors, fb.TensorT(shape=shape, type=type, buffer=buffer, name=name.encode(), hasRank=True))


def _constant(root: Any, graph: Any, values: npt.NDArray[Any], prefix: str) -> int:
    from ai_edge_litert import schema_py_generated as fb

    kind = fb.TensorType.INT32 if values.dtype == np.int32 else fb.TensorType.FLOAT32
    buffer = _append(root.buffers, fb.BufferT(data=np.frombuffer(values.tobytes(), np.uint8)))
    return _tensor(graph, list(values.shape), f"{prefix}_constant_{buffer}", buffer, kind)


def _redirect(root: Any, graph: Any, new: int, *, inputs: bool) -> None:
    """Make a tensor the graph's input or output, in its signatures too."""
    side = "inputs" if inputs else "outputs"
    (old,) = getattr(graph, side)
    setattr(graph, side, [new])
    for signature in root.signatureDefs or []:
        for item in getattr(signature, side):
            item.tensorIndex = new if item.tensorIndex == old else item.tensorIndex


def _follow(root: Any, graph: Any) -> None:
    """Look up all that a graph refers to by number; an IndexError if a number is too large."""
    for tensor in graph.tensors:
        root.buffers[tensor.buffer]
    for operation in graph.operators:
        root.operatorCodes[operation.opcodeIndex]
        for ends in (operation.inputs, operation.outputs):
            for index in ends if ends is not None else ():
                graph.tensors[index]
    for index in (*graph.inputs, *graph.outputs):
        graph.tensors[index]


def _read(model: bytes) -> tuple[Any, Any]:
    from ai_edge_litert import schema_py_generated as fb

    try:
        root = fb.ModelT.InitFromObj(fb.Model.GetRootAs(model, 0))
        graphs = [(len(g.inputs), len(g.outputs)) for g in root.subgraphs]
        root.buffers = root.buffers or [fb.BufferT()]
        root.signatureDefs = root.signatureDefs or []  # litert-quantizer walks over them without asking
        for code in root.operatorCodes:  # older files fill the older field alone, and litert-quantizer reads the newer
            code.builtinCode = max(code.builtinCode, code.deprecatedBuiltinCode)
        for buffer in root.buffers:
            if buffer.offset:  # stored behind the flatbuffer
                buffer.data = np.frombuffer(model, np.uint8, buffer.size, buffer.offset)
                buffer.offset = buffer.size = 0
        for graph in root.subgraphs:
            _follow(root, graph)
    except Exception as e:  # on damaged bytes, flatbuffers raises what Python raises for wrong indices and types
        raise ModelFileError(f"The TFLite model is damaged or cut off: {e}.", "Copy or export it again.") from e
    if graphs != [(1, 1)]:
        raise ConversionError(
            f"A model of one graph with one input and one output is needed; found (inputs, outputs) {graphs}.",
            "Control flow and several inputs can't be converted.",
        )
    return root, root.subgraphs[0]


def _write(root: Any) -> bytes:
    import flatbuffers

    class Aligned(flatbuffers.Builder):  # type: ignore[misc]
        """Puts bytes where the schema wants a buffer's (`force_align: 16`), which its Python classes ignore."""

        def StartVector(self, elemSize: int, numElems: int, alignment: int) -> Any:  # noqa: N802, N803
            return super().StartVector(elemSize, numElems, 16 if elemSize == 1 else alignment)

    builder = Aligned(1 << 20)
    builder.Finish(root.Pack(builder), b"TFL3")
    return bytes(builder.Output())


def _append(items: list[Any], item: Any) -> int:
    items.append(item)
    return len(items) - 1


def _code(root: Any, op: Any) -> int:
    code = root.operatorCodes[op.opcodeIndex]
    return int(max(code.builtinCode, code.deprecatedBuiltinCode))


def _opcode(root: Any, builtin: int) -> int:
    from ai_edge_litert import schema_py_generated as fb

    for index, code in enumerate(root.operatorCodes):
        if max(code.builtinCode, code.deprecatedBuiltinCode) == builtin:
            return index
    # Below 127 both fields hold the code, so that interpreters older than the wider field read it too.
    return _append(
        root.operatorCodes, fb.OperatorCodeT(builtinCode=builtin, deprecatedBuiltinCode=min(builtin, 127), version=1)
    )


def _name(code: int, custom: bytes | None = None) -> str:
    from ai_edge_litert import schema_py_generated as fb

    if custom:
        return f"CUSTOM:{custom.decode(errors='replace')}"
    return next((k for k, v in vars(fb.BuiltinOperator).items() if v == code), str(code))
