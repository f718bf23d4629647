"""Read a `.tflite` file without an interpreter: its graph, constants and metadata.

The flatbuffer is read in place, table by table, so that a damaged file takes no more memory than its size: an offset or
a vector that leads out of the file is an error.
"""

from __future__ import annotations

import io
import zipfile
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from edgepress.converters.contract.hints import Size, fixed_shape
from edgepress.converters.contract.metadata import tflite_metadata
from edgepress.converters.errors import ConversionError
from edgepress.converters.inspection import graph as g
from edgepress.converters.inspection.describe import describe, island_implementations
from edgepress.converters.inspection.report import Inspection, Port, Runtime, Weight, metadata_dict
from edgepress.converters.inspection.versions import Use, oldest_release, on_pypi, required_version
from edgepress.converters.numeric import macs
from edgepress.converters.to_tflite import interface
from edgepress.converters.to_tflite.flatbuffer import names_of
from edgepress.runtime.contract import read_contract
from edgepress.runtime.errors import InputError

CONVERSIONS = ("QUANTIZE", "DEQUANTIZE", "CAST", "FAKE_QUANT", "DENSIFY")
DATA_AT = {"SPLIT": 1, "TRANSPOSE_CONV": 2}
"""Index of an operation's data among its inputs, if not 0."""
CUSTOM = "CUSTOM:"
"""Prefix of the names of custom operations in an inspection."""
FLEX = "Flex"
"""Prefix of the names of custom operations that the Flex delegate computes by TensorFlow."""


def read(path: Path, size: Size | None = None) -> Inspection:
    """Describe a `.tflite` file, for an input of `size` if it leaves sizes free.

    Raises:
        ModelFileError: It is damaged, or holds a contract that is.
        InputError: `size` does not fit its input.
    """
    contract = read_contract(path)
    content = path.read_bytes()
    fixed_content = content if size is None else _resize_input(path, content, size)
    inspection = _inspect(path, content, fixed_content)
    return inspection.replace(contract=contract, metadata={} if contract else metadata_dict(tflite_metadata(content)))


def _resize_input(path: Path, content: bytes, size: Size) -> bytes:
    try:
        shape = interface.item_shape(content)
        fixed = fixed_shape(shape, size, str(path))
        return interface.with_shape(content, fixed, str(path), fold=False) if None in shape else content
    except ConversionError as e:
        raise InputError(f"--size can't be used for {path}. {e.message}", "Leave --size out.") from e


def _inspect(path: Path, content: bytes, fixed_content: bytes) -> Inspection:
    """Describe a file by its content, and by that of the same graph with fixed sizes."""
    from ai_edge_litert import schema_py_generated as fb

    root = fb.Model.GetRootAs(fixed_content, 0)
    # A tensor may refer to a missing buffer; it is then an activation.
    buffers = defaultdict(
        int, enumerate(_buffer_size(b, len(fixed_content)) for b in _elements(root.BuffersLength(), root.Buffers))
    )
    codes = [_name_and_version(code, fb) for code in _elements(root.OperatorCodesLength(), root.OperatorCodes)]
    subgraphs = list(_elements(root.SubgraphsLength(), root.Subgraphs))
    types = {number: name.lower() for number, name in names_of(fb.TensorType).items()}
    values = {}
    weights = {}
    steps = list[g.InspectedStep]()
    for number, sub in enumerate(subgraphs):
        tensors = list(_elements(sub.TensorsLength(), sub.Tensors))
        keys = [f"{number}:{i}" for i in range(len(tensors))]
        for key, tensor in zip(keys, tensors, strict=True):
            value = _value(tensor, types, buffers)
            size = buffers[tensor.Buffer()]
            values[key] = value
            if value.constant and tensor.Buffer() not in weights:
                weights[tensor.Buffer()] = Weight(
                    name=_text(tensor.Name()), shape=value.shape or (), dtype=value.dtype, size_bytes=size
                )
        for op in _elements(sub.OperatorsLength(), sub.Operators):
            steps.append(_step(op, codes, keys=keys, tensors=tensors, values=values, index=len(steps)))
    inputs, outputs = (_ints(subgraphs[0], field) for field in ("Inputs", "Outputs"))
    main = subgraphs[0].OperatorsLength()
    graph = g.InspectedGraph(tuple(steps), values, tuple(f"0:{i}" for i in inputs), tuple(f"0:{i}" for i in outputs))
    items = g.fixed_batch(graph)
    islands = island_implementations(graph)
    figures = describe(graph, conversions=CONVERSIONS, islands=islands, main=main, items=items)
    if len(subgraphs) > 1:
        figures["notes"] += (
            f"{len(subgraphs)} graphs (control flow): each is counted as if it ran once; peak memory is the first's.",
        )
    custom = dict.fromkeys(s.operation.removeprefix(CUSTOM) for s in steps if s.operation.startswith(CUSTOM))
    metadata = [m.Buffer() for m in _elements(root.MetadataLength(), root.Metadata)]
    return Inspection(
        file=str(path),
        format="tflite",
        size_bytes=len(content),
        producer=_text(root.Description()),
        inputs=tuple(_port(subgraphs[0].Tensors(i), types) for i in inputs),
        outputs=tuple(_port(subgraphs[0].Tensors(i), types) for i in outputs),
        metadata_bytes=_appended_bytes(content) + sum(buffers[b] for b in {*metadata} - {*weights}),
        weights=tuple(sorted(weights.values(), key=lambda w: -w.size_bytes)),
        custom_operations=tuple(c for c in custom if not c.startswith(FLEX)),
        flex_operations=tuple(c for c in custom if c.startswith(FLEX)),
        runtime=_runtime(graph),
        **figures,
    )


def _buffer_size(buffer: Any, file_size: int) -> int:
    if buffer.Offset() > 1:  # after the flatbuffer, where litert-quantizer stores it
        if buffer.Offset() + buffer.Size() > file_size:
            raise ValueError(f"a buffer ends at {buffer.Offset() + buffer.Size()} of {file_size} bytes")
        return int(buffer.Size())
    return 0 if buffer.DataIsNone() or not buffer.DataLength() else len(buffer.DataAsNumpy())


def _name_and_version(code: Any, fb: Any) -> tuple[str, int]:
    """The name of a kind of operation, and its version."""
    number = max(code.BuiltinCode(), code.DeprecatedBuiltinCode())
    if code.CustomCode():
        return CUSTOM + _text(code.CustomCode()), code.Version()
    return names_of(fb.BuiltinOperator).get(number, f"builtin {number}"), code.Version()


def _value(tensor: Any, types: dict[int, str], buffers: Mapping[int, int]) -> g.Value:
    quantization = tensor.Quantization()
    size = buffers[tensor.Buffer()]
    scales = 0 if quantization is None else quantization.ScaleLength()
    value = g.Value(
        shape=tuple(_ints(tensor, "Shape")),
        dtype=types[tensor.Type()],
        constant=size > 0,
        quantized=scales > 0,
        per_channel=scales > 1,
        variable=bool(tensor.IsVariable()),
    )
    if size and tensor.Sparsity() is None and value.size_bytes not in (None, size):
        raise ValueError(f"{_text(tensor.Name())} needs {value.size_bytes} bytes and has {size}")
    return value


def _step(
    op: Any,
    codes: list[tuple[str, int]],
    *,
    keys: list[str],
    tensors: list[Any],
    values: dict[str, g.Value],
    index: int,
) -> g.InspectedStep:
    operation, version = codes[op.OpcodeIndex()]
    inputs = tuple(keys[i] if i >= 0 else "" for i in _ints(op, "Inputs"))
    outputs = _ints(op, "Outputs")
    shapes = [g.shape_of(values.get(name)) for name in inputs]
    if operation == "BATCH_MATMUL" and shapes and _transposes(op):
        shapes[0] = macs.transpose_shape(shapes[0])
    multiplied = macs.count(macs.TFLITE, operation, shapes, values[keys[outputs[0]]].shape if outputs else None)
    return g.InspectedStep(
        operation=operation,
        name=_text(tensors[outputs[0]].Name()).partition(";")[0] if outputs else "",
        inputs=inputs,
        outputs=tuple(keys[i] for i in outputs),
        version=version,
        macs=None if operation.startswith(CUSTOM) else multiplied,
        index=index,
    )


def _transposes(op: Any) -> bool:
    """Whether a BATCH_MATMUL transposes its left matrix."""
    from ai_edge_litert import schema_py_generated as fb

    if (table := op.BuiltinOptions()) is None or op.BuiltinOptionsType() != fb.BuiltinOptions.BatchMatMulOptions:
        return False
    options = fb.BatchMatMulOptions()
    options.Init(table.Bytes, table.Pos)
    return bool(options.AdjX())


def _port(tensor: Any, types: dict[int, str]) -> Port:
    quantization = tensor.Quantization()
    one = quantization is not None and quantization.ScaleLength() == 1
    free = _ints(tensor, "ShapeSignature")
    shape = _ints(tensor, "Shape")
    return Port(
        name=_text(tensor.Name()),
        shape=tuple(None if f < 0 else n for n, f in zip(shape, free or shape, strict=True)),
        dtype=types[tensor.Type()],
        scale=float(quantization.Scale(0)) if one else None,
        zero_point=int(quantization.ZeroPoint(0)) if one and quantization.ZeroPointLength() else None,
    )


def _runtime(graph: g.InspectedGraph) -> Runtime:
    known = g.known_beforehand(graph)
    uses = {}
    for step in graph.steps:
        position = min(DATA_AT.get(step.operation, 0), len(step.inputs) - 1)
        data = graph.values.get(step.inputs[position]) if step.inputs else None
        weights = g.weights_of(graph, step, known)
        output = graph.values.get(next(iter(step.outputs), ""))
        scaled = [weights] if step.operation not in ("QUANTIZE", "DEQUANTIZE") else [data, output]
        use = Use(
            step.operation,
            step.version or 1,
            data.dtype if data else "",
            weights.dtype if weights and weights is not data else "",
            output.dtype if output else "",
            any(v.per_channel for v in scaled if v),
        )
        uses[use] = oldest_release(use)
    releases = [r for r in uses.values() if r]
    required = max(releases, default=(1, 5))
    unknown = [f"{u.operation} version {required_version(u)}" for u, r in uses.items() if r is None]
    names = on_pypi(required) | {"tensorflow_lite": ".".join(map(str, required))}
    return Runtime(
        releases=dict.fromkeys(names) if unknown else names,
        because=tuple(dict.fromkeys(str(u) for u, r in uses.items() if r == required)),
        unknown=tuple(dict.fromkeys(unknown)),
    )


def _appended_bytes(content: bytes) -> int:
    """Bytes of the zip after the model, 0 if there is none."""
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            return len(content) - min((m.header_offset for m in archive.infolist()), default=len(content))
    except zipfile.BadZipFile:
        return 0


def _elements(length: int, get: Callable[[int], Any]) -> Iterator[Any]:
    """The elements of a vector, by its length and its accessor."""
    return (get(i) for i in range(length))


def _ints(table: Any, field: str) -> list[int]:
    """A vector of integers; NumPy raises an error if it is longer than the file."""
    return [int(n) for n in getattr(table, f"{field}AsNumpy")()] if getattr(table, f"{field}Length")() else []


def _text(value: bytes | None) -> str:
    return (value or b"").decode(errors="replace")
