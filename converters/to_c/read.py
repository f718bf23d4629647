"""Read a `.tflite` file into an integer graph; whatever its bytes are, a read is in bounds or an error.

The fields' numbers are those of TensorFlow Lite's schema (tensorflow/compiler/mlir/lite/schema/schema.fbs).
"""

from __future__ import annotations

import math
import struct
from pathlib import Path

import numpy as np

from edgepress.converters.to_c.graph import REPLACE, Array, Graph, Operation, State, Tensor, unsupported
from edgepress.converters.to_c.recurrent import LSTM, states_of
from edgepress.converters.to_c.state import ASSIGN, CALL_ONCE, Variables
from edgepress.converters.to_tflite.flatbuffer import VARIABLES, builtin_name
from edgepress.converters.to_tflite.metadata import FlatTable, root
from edgepress.runtime.errors import parsing
from edgepress.runtime.flatbuffer import check_model

DTYPES = {0: "float32", 1: "float16", 2: "int32", 3: "uint8", 4: "int64", 6: "bool", 7: "int16", 9: "int8", 17: "int4"}
READ = ("int8", "uint8", "int32")
"""Types whose constants are read."""
KINDS = {
    0: "ADD", 1: "AVERAGE_POOL_2D", 2: "CONCATENATION", 3: "CONV_2D", 4: "DEPTHWISE_CONV_2D", 9: "FULLY_CONNECTED",
    14: "LOGISTIC", 17: "MAX_POOL_2D", 18: "MUL", 19: "RELU", 21: "RELU6", 22: "RESHAPE", 23: "RESIZE_BILINEAR",
    25: "SOFTMAX", 28: "TANH", 34: "PAD", 39: "TRANSPOSE", 40: "MEAN", 41: "SUB", 42: "DIV", 43: "SQUEEZE", 44: LSTM,
    45: "STRIDED_SLICE", 47: "EXP", 49: "SPLIT", 54: "PRELU", 55: "MAXIMUM", 57: "MINIMUM", 59: "NEG", 65: "SLICE",
    67: "TRANSPOSE_CONV", 70: "EXPAND_DIMS", 73: "LOG", 75: "SQRT", 76: "RSQRT", 82: "REDUCE_MAX", 83: "PACK",
    88: "UNPACK", 97: "RESIZE_NEAREST_NEIGHBOR", 98: "LEAKY_RELU", 99: "SQUARED_DIFFERENCE", 101: "ABS", 102: "SPLIT_V",
    111: "ELU", 114: "QUANTIZE", 117: "HARD_SWISH", 126: "BATCH_MATMUL", 129: "CALL_ONCE", 130: "BROADCAST_TO",
    142: "VAR_HANDLE", 143: "READ_VARIABLE", 144: "ASSIGN_VARIABLE", 150: "GELU",
}  # fmt: skip
"""Operations that are supported, by their number in the schema's BuiltinOperator."""
LIST = 'docs/microcontrollers.md, "What is accepted",'
"""Where users find these operations."""
_POOL = {"padding": (0, "<b"), "stride_x": (1, "<i"), "stride_y": (2, "<i"), "kernel_width": (3, "<i")}
_POOL |= {"kernel_height": (4, "<i"), "activation": (5, "<b")}
_CONV = {"padding": (0, "<b"), "stride_x": (1, "<i"), "stride_y": (2, "<i")}
OPTIONS = {
    "ADD": (11, {"activation": (0, "<b")}),
    "AVERAGE_POOL_2D": (5, _POOL),
    "BATCH_MATMUL": (101, {"left_turned": (0, "<b"), "right_turned": (1, "<b")}),
    "CONCATENATION": (10, {"axis": (0, "<i"), "activation": (1, "<b")}),
    "CONV_2D": (1, _CONV | {"activation": (3, "<b"), "dilation_x": (4, "<i"), "dilation_y": (5, "<i")}),
    "DEPTHWISE_CONV_2D": (2, _CONV | {"activation": (4, "<b"), "dilation_x": (5, "<i"), "dilation_y": (6, "<i")}),
    "DIV": (29, {"activation": (0, "<b")}),
    "FULLY_CONNECTED": (8, {"activation": (0, "<b"), "weights_format": (1, "<b")}),
    "GELU": (116, {"approximate": (0, "<b")}),
    "LEAKY_RELU": (75, {"alpha": (0, "<f")}),
    "MAX_POOL_2D": (5, _POOL),
    "MUL": (21, {"activation": (0, "<b")}),
    "PACK": (59, {"axis": (1, "<i")}),
    "RESIZE_BILINEAR": (15, {"align_corners": (2, "<b"), "half_pixel_centers": (3, "<b")}),
    "RESIZE_NEAREST_NEIGHBOR": (74, {"align_corners": (0, "<b"), "half_pixel_centers": (1, "<b")}),
    "SOFTMAX": (9, {"beta": (0, "<f")}),
    "STRIDED_SLICE": (
        32,
        {name: (field, "<i") for field, name in enumerate(("begin", "end", "ellipsis", "new", "shrink"))}
        | {"offset": (5, "<b")},
    ),
    "SUB": (28, {"activation": (0, "<b")}),
    "TRANSPOSE_CONV": (49, _CONV | {"activation": (3, "<b")}),
    LSTM: (71, {"activation": (0, "<b"), "cell_clip": (1, "<f"), "time_major": (3, "<b")}),
    "UNPACK": (64, {"axis": (1, "<i")}),
}
"""By operation, the number of its options in the schema's BuiltinOptions, and the field and format of those used."""
MAX_BYTES = 1 << 24
"""Most bytes of a tensor: more than the memory of any microcontroller."""
MAX_OPERATIONS = 2000
MAX_AXES = 8
"""Most axes of a tensor."""
_LIST = 1 << 16
"""Most items of a list of tensors, and of a shape."""


def read(path: Path) -> Graph:
    """Read a file.

    Raises:
        ModelFileError: It is damaged, or not an integer-only file with one input and one output.
    """
    with parsing(path):
        content = path.read_bytes()
        check_model(path, content)
        return _graph(content)


def _graph(content: bytes) -> Graph:
    model = root(content)
    graphs = model.tables(2)
    buffers = model.tables(4)
    kinds = [_kind(code) for code in model.tables(1)]
    graph = graphs[0]
    tensors = [_tensor(number, table, buffers, content) for number, table in enumerate(graph.tables(0))]
    variables = Variables(len(tensors))
    if len(graphs) > 1:
        _begin(variables, graphs, kinds, buffers, content=content)
    ends = [_integers(graph, field, content) for field in (1, 2)]
    if any(len(end) != 1 for end in ends):
        counts = f"it has {len(ends[0])} inputs and {len(ends[1])} outputs; accepted: 1 and 1"
        hint = "No conversion changes that; boards with Linux run files of several inputs: edgepress bundle."
        raise unsupported("this file", counts, hint)
    tables = graph.tables(3)
    if len(tables) > MAX_OPERATIONS:
        raise unsupported("this file", f"it has {len(tables)} operations; accepted: up to {MAX_OPERATIONS}")
    operations = []
    for number, table in enumerate(tables):
        kind = kinds[table.number(0, "<I")]
        if kind not in VARIABLES:
            _check_kind(kind, number)
            operations.append(_operation(number, table, kind, tensors, content=content))
            continue
        inputs, outputs = ([_named(tensors, i) for i in _integers(table, field, content)] for field in (1, 2))
        operation = variables.operation(number, kind, table, inputs, outputs)
        if operation is not None:
            _check_tensors(operation)
            operations.append(operation)
    source, result = (_named(tensors, end[0]) for end in ends)
    states = (*variables.states.values(), *states_of(operations))
    for tensor in (source, *(state.tensor for state in states)):
        problem = _problem(tensor)
        if problem is not None:
            raise unsupported("this file", problem)
    _check_order(source, result, operations, states)
    return Graph(source, result, tuple(operations), states)


def _begin(
    variables: Variables, graphs: list[FlatTable], kinds: list[str], buffers: list[FlatTable], *, content: bytes
) -> None:
    """Read the first values of variables, if that is all that a second graph is for.

    Raises:
        ModelFileError: There are more graphs, or another use of the second one.
    """
    called = [table for table in graphs[0].tables(3) if kinds[table.number(0, "<I")] == CALL_ONCE]
    if len(graphs) != 2 or [table.table(4).number(0, "<i") for table in called] != [1]:
        raise unsupported("this file", f"it has {len(graphs)} graphs (control flow); accepted: 1, or 2 with variables")
    tensors = [_tensor(number, table, buffers, content) for number, table in enumerate(graphs[1].tables(0))]
    tables = graphs[1].tables(3)
    variables.begin(
        [
            (kinds[table.number(0, "<I")], table, _integers(table, 1, content), _integers(table, 2, content))
            for table in tables
        ],
        tensors,
    )


def _kind(code: FlatTable) -> str:
    number = max(code.number(0, "<b"), code.number(3, "<i"))
    name = code.string(1)
    return KINDS.get(number) or (f"custom operation {name}" if name else builtin_name(number))


def _check_kind(kind: str, number: int) -> None:
    """Refuse an operation of a kind that is not read; `number` counts from 0."""
    if kind not in KINDS.values():
        raise unsupported(f"operation {number} ({kind})", f"{LIST} names those that it supports", REPLACE)


def _operation(number: int, table: FlatTable, kind: str, tensors: list[Tensor], *, content: bytes) -> Operation:
    inputs = tuple(None if i == -1 else _named(tensors, i) for i in _integers(table, 1, content))
    outputs = tuple(_named(tensors, i) for i in _integers(table, 2, content))
    expected, fields = OPTIONS.get(kind, (0, {}))
    if fields and table.number(3, "<B") != expected:
        raise ValueError(f"operation {number} ({kind}) lacks its options")
    stored_options = table.table(4)
    options = {name: stored_options.number(field, format) for name, (field, format) in fields.items()}
    if "dilation_x" in options:  # 1 by default in the schema, where a missing field is 0
        options |= {name: options[name] or 1 for name in ("dilation_x", "dilation_y")}
    operation = Operation(number, kind, inputs, outputs, options)
    _check_tensors(operation)
    return operation


def _check_tensors(operation: Operation) -> None:
    """Refuse an operation of tensors that are of other types, too large or empty."""
    for tensor in (*operation.inputs, *operation.outputs):
        problem = None if tensor is None else _problem(tensor)
        if problem is not None:
            raise operation.refuse(problem)


def _problem(tensor: Tensor) -> str | None:
    """Why a tensor can't be read: another type, too large or empty; None if it can."""
    if tensor.dtype not in READ and not (tensor.is_variable and tensor.dtype == "int16"):
        return f"it computes in {tensor.dtype}; accepted: integers of 8 bits"
    if not (0 < tensor.size <= MAX_BYTES and min(tensor.shape, default=1) > 0):
        return f"a tensor has the shape {list(tensor.shape)}; accepted: up to {MAX_BYTES} values"
    if len(tensor.shape) > MAX_AXES:
        return f"a tensor has {len(tensor.shape)} axes; accepted: up to {MAX_AXES}"
    return None


def _tensor(number: int, table: FlatTable, buffers: list[FlatTable], content: bytes) -> Tensor:
    shape = _integers(table, 0, content)
    quantization = table.table(4)
    dtype = DTYPES.get(code := table.number(1, "<b"), f"type {code}")
    scales = np.asarray(quantization.floats(2), np.float32)
    zero_points = np.zeros(len(scales), np.int64)
    start, count = quantization.vector(3, 8, most=_LIST)
    if count:
        zero_points = np.frombuffer(content, "<i8", count, start).copy()
    if len(zero_points) != len(scales) or not (np.isfinite(scales).all() and (scales > 0).all()):
        raise ValueError(f"tensor {number} has damaged scales")
    data = _data(buffers[table.number(2, "<I")], content, shape, dtype)
    axis = quantization.number(6, "<i")
    variable = bool(table.number(5, "<b"))
    return Tensor(number, table.string(3), shape, dtype, scales, zero_points, axis, data, variable)


def _data(buffer: FlatTable, content: bytes, shape: tuple[int, ...], dtype: str) -> Array | None:
    """The values of a constant; None of an activation. Some converters store large ones behind the flatbuffer."""
    start, count = buffer.vector(0, 1, most=len(content))
    if (offset := buffer.number(1, "<Q")) > 1:
        start = offset
        count = buffer.number(2, "<Q")
    if not count or dtype not in READ:
        return None
    kind = np.dtype(dtype).newbyteorder("<")
    if count != math.prod(shape) * kind.itemsize or start + count > len(content):
        raise ValueError(f"a constant of shape {list(shape)} has {count} bytes")
    return np.frombuffer(content, kind, math.prod(shape), start).reshape(shape).astype(dtype, copy=False)


def _integers(table: FlatTable, field: int, content: bytes) -> tuple[int, ...]:
    start, count = table.vector(field, 4, most=_LIST)
    return struct.unpack_from(f"<{count}i", content, start)


def _named(tensors: list[Tensor], index: int) -> Tensor:
    if not 0 <= index < len(tensors):
        raise ValueError(f"there is no tensor {index}")
    return tensors[index]


def _check_order(source: Tensor, result: Tensor, operations: list[Operation], states: tuple[State, ...]) -> None:
    """Every activation is computed once and before it is used, and constants never."""
    if source.data is not None or result.data is not None:
        raise ValueError("its input or output is constant")
    kept = {state.tensor.index for state in states}
    known = {source.index} | kept
    for operation in operations:
        for tensor in operation.inputs:
            if tensor is not None and tensor.data is None and tensor.index not in known:
                raise ValueError(f"operation {operation.index} uses tensor {tensor.index} before it is computed")
        for tensor in operation.outputs:
            if tensor.index in kept and operation.kind == ASSIGN:
                continue
            if tensor.data is not None or tensor.index in known:
                raise ValueError(f"tensor {tensor.index} is computed twice")
            known.add(tensor.index)
    if result.index not in known or result.index in {source.index, *kept}:
        raise ValueError("nothing computes its output")
