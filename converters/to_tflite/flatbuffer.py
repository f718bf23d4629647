"""Read a TFLite flatbuffer into Python objects, change them, and write them back.

The opcodes and tables are those of the TFLite schema (tensorflow/compiler/mlir/lite/schema/schema.fbs).
"""

from __future__ import annotations

import functools
import hashlib
import itertools
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from edgepress.converters.arrays import Array
from edgepress.converters.errors import ConversionError
from edgepress.runtime.errors import ModelFileError, reason_of

FLOAT32 = 0
"""Of the schema's `TensorType`, as those that follow."""
FLOAT16 = 1
UINT8 = 3
BOOL = 6
COMPLEX64 = 8
INT4 = 17
"""Two values in each byte, the first in its lower half."""
DTYPES = {0: np.float32, 1: np.float16, 2: np.int32, 3: np.uint8, 4: np.int64, 6: np.bool_, 7: np.int16, 9: np.int8}
"""NumPy types by the schema's `TensorType`."""
TYPES: dict[np.dtype[Any], int] = {np.dtype(dtype): number for number, dtype in DTYPES.items()}
"""The reverse."""
IDENTIFIER = b"TFL3"
"""Bytes 4 to 7 of a file."""


def is_tflite(content: bytes) -> bool:
    """Whether a file's content begins like a TFLite flatbuffer."""
    return content[4:8] == IDENTIFIER


def tensor(graph: Any, shape: list[int], name: str, *, buffer: int = 0, type: int = FLOAT32) -> int:
    """Add a tensor to a graph and return its index; `buffer` 0 is the empty one."""
    from ai_edge_litert import schema_py_generated as fb

    return append(graph.tensors, fb.TensorT(shape=shape, type=type, buffer=buffer, name=name.encode(), hasRank=True))


def constant(root: Any, graph: Any, values: Array, prefix: str) -> int:
    """Add a constant tensor with its values and return its index.

    Its name is made of its values. Constants are looked up by name in files that were made from one graph by different
    steps, so a name that two steps give to different constants would exchange them.
    """
    digest = hashlib.sha256(f"{values.dtype}{values.shape}".encode() + values.tobytes()).hexdigest()[:16]
    name = unique_name(graph, f"{prefix}_{digest}")
    return tensor(graph, list(values.shape), name, buffer=add_buffer(root, values), type=TYPES[values.dtype])


def unique_name(graph: Any, name: str) -> str:
    """The name, with a number at its end if a tensor has it; litert-quantizer needs unique ones."""
    used_names = {other.name for other in graph.tensors}
    if name.encode() not in used_names:
        return name
    return next(new for number in itertools.count(2) if (new := f"{name}_{number}").encode() not in used_names)


def add_buffer(root: Any, values: Array) -> int:
    """Add a buffer with the bytes of an array and return its index."""
    from ai_edge_litert import schema_py_generated as fb

    return append(root.buffers, fb.BufferT(data=np.frombuffer(values.tobytes(), np.uint8)))


def quantization(scales: Sequence[float], zero_points: Sequence[int], axis: int = 0) -> Any:
    """Quantization parameters of a tensor: real value = scale * (stored value - zero point)."""
    from ai_edge_litert import schema_py_generated as fb

    return fb.QuantizationParametersT(
        scale=list(scales), zeroPoint=[int(z) for z in zero_points], quantizedDimension=axis
    )


def add_graph(root: Any, name: str) -> Any:
    """Add a graph without tensors and operations to a model."""
    from ai_edge_litert import schema_py_generated as fb

    graph = fb.SubGraphT(tensors=[], operators=[], name=name.encode(), inputs=[], outputs=[])
    root.subgraphs.append(graph)
    return graph


def redirect(root: Any, graph: Any, new: int, *, inputs: bool, place: int = 0) -> None:
    """Make a tensor the graph's input or output at a place, in its signatures too."""
    side = "inputs" if inputs else "outputs"
    ends = [int(i) for i in getattr(graph, side)]
    old = ends[place]
    setattr(graph, side, [*ends[:place], new, *ends[place + 1 :]])
    for signature in root.signatureDefs or []:
        for item in getattr(signature, side):
            item.tensorIndex = new if item.tensorIndex == old else item.tensorIndex


CONTROL_FLOW = ("CALL", "IF", "WHILE")
"""Operations that run other graphs."""
VARIABLES = ("CALL_ONCE", "VAR_HANDLE", "READ_VARIABLE", "ASSIGN_VARIABLE")
"""Operations on what a model keeps."""


def _check_indices(root: Any, graph: Any) -> None:
    """Look up everything that a graph refers to by index; raises IndexError if one is out of range."""
    for tensor in graph.tensors:
        root.buffers[tensor.buffer]
    for operation in graph.operators:
        root.operatorCodes[operation.opcodeIndex]
        for ends in (operation.inputs, operation.outputs):
            for index in ends if ends is not None else ():
                graph.tensors[index]
    for index in (*graph.inputs, *graph.outputs):
        graph.tensors[index]


def read(model: bytes, *, several: bool = False) -> tuple[Any, Any]:
    """A model's tables as objects: the root, and its one graph, of one output or `several`.

    Raises:
        ModelFileError: The bytes are damaged.
        ConversionError: There are several graphs or outputs, or there is no input.
    """
    from ai_edge_litert import schema_py_generated as fb

    try:
        root = fb.ModelT.InitFromObj(fb.Model.GetRootAs(model, 0))
        graphs = [(len(g.inputs), len(g.outputs)) for g in root.subgraphs]
        root.buffers = root.buffers or [fb.BufferT()]
        root.signatureDefs = root.signatureDefs or []  # litert-quantizer iterates over them without a check
        for code in root.operatorCodes:  # old files fill only the older field, and litert-quantizer reads the newer
            code.builtinCode = max(code.builtinCode, code.deprecatedBuiltinCode)
        for buffer in root.buffers:
            if buffer.offset:  # stored after the flatbuffer
                buffer.data = np.frombuffer(model, np.uint8, buffer.size, buffer.offset)
                buffer.offset = buffer.size = 0
        for graph in root.subgraphs:
            _check_indices(root, graph)
    except Exception as e:  # on damaged bytes, flatbuffers raises what Python raises for wrong indices and types
        problem = f"The TFLite model is damaged or cut off: {reason_of(e)}."
        raise ModelFileError(problem, "Copy or export it again.") from e
    if len(graphs) != 1 or not graphs[0][0] or (graphs[0][1] != 1 and not several):
        raise _refusal_of_graphs(root, graphs)
    return root, root.subgraphs[0]


def _refusal_of_graphs(root: Any, graphs: list[tuple[int, int]]) -> ConversionError:
    """Why a model with several graphs or outputs is refused."""
    kinds = {kind(root, op) for graph in root.subgraphs[:1] for op in graph.operators}
    signatures = [(s.signatureKey or b"").decode(errors="replace") for s in root.signatureDefs]
    if flow := sorted(kinds.intersection(CONTROL_FLOW)):
        problem = f"has control flow ({', '.join(flow)})"
        hint = "Convert the model that it was made from; recurrent layers can be built with unroll=True."
    elif kinds.intersection(VARIABLES):
        problem = "keeps variables from one call to the next"
        hint = "Convert the model that it was made from, without what it remembers."
    elif len(signatures) > 1:
        problem = f"has {len(signatures)} signatures ({', '.join(signatures)})"
        hint = "Save the function that classifies alone."
    else:
        problem = f"has graphs with (inputs, outputs) {graphs}"
        hint = "Save it with one output."
    return ConversionError(f"The model must be one graph with inputs and one output, but {problem}.", hint)


def write(root: Any) -> bytes:
    """The bytes of a model."""
    import flatbuffers

    # Below 127 the older field holds the code, too. litert-quantizer leaves it 0 in operations that it adds, which
    # readers of that field, such as OpenVINO, take for ADD ("Chosen Builtin Option is not accessible").
    for code in root.operatorCodes:
        code.deprecatedBuiltinCode = min(code.builtinCode, 127)

    class Aligned(flatbuffers.Builder):  # type: ignore[misc]
        """Aligns bytes as the schema requires for buffers (`force_align: 16`), which its Python classes ignore."""

        def StartVector(self, elemSize: int, numElems: int, alignment: int) -> Any:  # noqa: N802, N803
            return super().StartVector(elemSize, numElems, 16 if elemSize == 1 else alignment)

    weights = sum(len(buffer.data) for buffer in root.buffers if buffer.data is not None)
    builder = Aligned(weights + (1 << 20))  # room for all of it, because growing copies everything
    builder.Finish(root.Pack(builder), IDENTIFIER)
    return bytes(memoryview(builder.Bytes)[builder.Head() :])


def append(items: list[Any], item: Any) -> int:
    """Append an item and return its index."""
    items.append(item)
    return len(items) - 1


def opcode(root: Any, builtin: int) -> int:
    """Index of a kind of operation in the file's table of kinds, added if missing."""
    from ai_edge_litert import schema_py_generated as fb

    for index, code in enumerate(root.operatorCodes):
        if code.builtinCode == builtin:
            return index
    return append(root.operatorCodes, fb.OperatorCodeT(builtinCode=builtin, version=1))


_SHARED = {
    **dict.fromkeys(("MEAN", "REDUCE_MIN", "REDUCE_MAX"), "Reducer"),
    **dict.fromkeys(("MAXIMUM", "MINIMUM"), "MaximumMinimum"),
    **dict.fromkeys(("AVERAGE_POOL_2D", "MAX_POOL_2D"), "Pool2D"),
}
"""Beginnings of tables of options that are shared: their names are not those of the operations."""


def operator(root: Any, kind: str, inputs: list[int], output: int | None, **options: Any) -> Any:
    """An operation of a built-in kind, such as "MUL", with the options of its table in the schema.

    Raises:
        KeyError: There are options, and the schema has no table of them for this kind.
    """
    from ai_edge_litert import schema_py_generated as fb

    operation = fb.OperatorT(
        opcodeIndex=opcode(root, getattr(fb.BuiltinOperator, kind)),
        inputs=inputs,
        outputs=[] if output is None else [output],
    )
    tables = {name.lower(): (number, name) for number, name in names_of(fb.BuiltinOptions).items()}
    key = f"{_SHARED.get(kind, kind)}Options".replace("_", "").lower()
    if options or key in tables:  # LOGISTIC and SQRT have none
        operation.builtinOptionsType, table = tables[key]
        operation.builtinOptions = getattr(fb, f"{table}T")(**options)
    return operation


def kind(root: Any, op: Any) -> str:
    """Name of an operation's kind; "CUSTOM:name" of one that is not built in."""
    code = root.operatorCodes[op.opcodeIndex]
    if code.customCode:
        return f"CUSTOM:{code.customCode.decode(errors='replace')}"
    return builtin_name(code.builtinCode)  # `read` fills the code


def builtin_name(number: int) -> str:
    """Name of a built-in operation's kind by its number, also of one that the schema does not have."""
    from ai_edge_litert import schema_py_generated as fb

    return names_of(fb.BuiltinOperator).get(number, f"builtin operation {number}")


@functools.cache
def names_of(table: type) -> Mapping[int, str]:
    """Names of the members of one of the schema's enumerations, by their numbers."""
    return {n: name for name, n in vars(table).items() if not name.startswith("_")}  # Python adds __firstlineno__
