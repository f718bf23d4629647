"""Look into a TFLite flatbuffer with the standard library, for what interpreters do not check or do not report."""

from __future__ import annotations

import math
import struct
from collections.abc import Iterator
from pathlib import Path

from edgepress.runtime.errors import ModelFileError, parsing

_BYTES = {0: 4, 1: 2, 2: 4, 3: 1, 4: 8, 6: 1, 7: 2, 8: 8, 9: 1, 10: 8, 11: 16, 12: 8, 15: 4, 16: 2, 18: 2}
"""Bytes of an element by the schema's TensorType, of those with whole ones."""
_LEAST = {3: 0, 9: -128}
"""Least values of the types of 8 bits, uint8 and int8, by the same numbers."""
_BUFFERS = 4  # these three are fields of the root table
_GRAPHS = 2
_CODES = 1
_CALL_ONCE = 129  # of the schema's BuiltinOperator, as the next one
_ASSIGN_VARIABLE = 144
_CALLS = {
    31: (3, 16, (0,)), 118: (3, 92, (0, 1)), 119: (3, 93, (0, 1)), 129: (3, 103, (0,)),
    173: (11, 5, (4,)), 174: (11, 6, (1,)), 190: (11, 7, (6,)), 198: (11, 13, (5,)), 199: (11, 14, (2,)),
    200: (11, 15, (0, 1)), 206: (11, 21, (1,)), 209: (11, 23, (0,)),
}  # fmt: skip
"""Operations that call other graphs: the field for the type of their options, that type, and the options that say which
graphs: an index, or in `_LISTS` a vector of them."""
_LISTS = 173, 209
MAX_DEPTH = 64
"""Most graphs that may call each other in a row: an interpreter goes one deeper on its stack for each."""


class Flatbuffer:
    """A flatbuffer, whose tables are their positions, 0 where a table or field is missing.

    Methods raise struct.error where an offset leads out of the file, and ValueError if the vectors read have more
    elements than the file has bytes: tables may share a vector, and an interpreter copies it for each.
    """

    def __init__(self, data: bytes) -> None:
        self.data = data
        self._left = len(data)
        self.root = self.number(0)

    def number(self, at: int, form: str = "<I") -> int:
        """The number at a position."""
        return int(struct.unpack_from(form, self.data, at)[0])

    def at(self, table: int, index: int) -> int:
        """The position of a table's field."""
        if not table:
            return 0
        fields = table - self.number(table, "<i")
        offset = self.number(fields + 4 + 2 * index, "<H") if 4 + 2 * index < self.number(fields, "<H") else 0
        return table + offset if offset else 0

    def value(self, table: int, index: int, form: str) -> int:
        """The number in a table's field, 0 by default."""
        at = self.at(table, index)
        return self.number(at, form) if at else 0

    def inner(self, table: int, index: int) -> int:
        """The position that a table's field points to: a table, or the length of a vector."""
        at = self.at(table, index)
        return at + self.number(at) if at else 0

    def length(self, table: int, index: int) -> int:
        """The elements of a table's vector, 0 if it is missing."""
        vector = self.inner(table, index)
        self._left -= (size := self.number(vector) if vector else 0)
        if self._left < 0:
            raise ValueError("its vectors have more elements than it has bytes")
        return size

    def tables(self, table: int, index: int) -> Iterator[int]:
        """The tables of a vector of them."""
        start = self.inner(table, index) + 4
        for at in range(start, start + 4 * self.length(table, index), 4):
            yield at + self.number(at)

    def numbers(self, table: int, index: int, form: str = "i") -> tuple[int, ...]:
        """A vector of int32, or of another form of `struct`."""
        size = self.length(table, index)
        return struct.unpack_from(f"<{size}{form}", self.data, self.inner(table, index) + 4) if size else ()

    def codes(self) -> list[int]:
        """The BuiltinOperator of each kind of operation."""
        return [max(self.value(c, 0, "<b"), self.value(c, 3, "<i")) for c in self.tables(self.root, _CODES)]


def check_model(path: Path, data: bytes) -> None:
    """Refuse a file that would crash an interpreter or take far more memory than its size: see the functions below.

    Raises:
        ModelFileError: It is such a file, or an offset leads out of it.
    """
    with parsing(path):
        _check_tensors(path, Flatbuffer(data))
        _check_calls(Flatbuffer(data))


def _check_tensors(path: Path, flat: Flatbuffer) -> None:
    """Refuse constants that are longer than their shapes: kernels then write beyond memory (tensorflow#124982).

    Refuse zero points that the type of their tensor lacks, too: LiteRT 2.3.0 ends with SIGSEGV at a QUANTIZE of them.
    The lengths of the vectors that interpreters copy are read, so that their sum is limited.
    """
    if not flat.inner(flat.root, _GRAPHS):  # LiteRT refuses an empty list of them, and ends with SIGSEGV without one
        raise ValueError("it has no graphs")
    sizes = [flat.number(v) if (v := flat.inner(b, 0)) else 0 for b in flat.tables(flat.root, _BUFFERS)]
    for graph in flat.tables(flat.root, _GRAPHS):
        for operation in flat.tables(graph, 3):
            for field in (1, 2):  # inputs and outputs
                flat.length(operation, field)
        for tensor in flat.tables(graph, 0):
            buffer = flat.value(tensor, 2, "<I")
            kind = flat.value(tensor, 1, "<b")
            width = _BYTES.get(kind, 0)
            shape = flat.numbers(tensor, 0)
            quantization = flat.inner(tensor, 4)
            for field in (0, 1, 2, 3):  # least, greatest, scales, zero points
                flat.length(quantization, field)
            least = _LEAST.get(kind)
            if least is not None and any(not least <= z <= least + 255 for z in flat.numbers(quantization, 3, "q")):
                raise ModelFileError(
                    f"{path} is damaged: a tensor of 8 bits has a zero point outside of {least} to {least + 255}.",
                    "Copy or convert it again.",
                )
            if not (stored := sizes[buffer] if buffer < len(sizes) else 0) or not width or flat.at(tensor, 6):
                continue
            if stored > (needed := width * math.prod(shape)):
                raise ModelFileError(
                    f"{path} is damaged: a constant of shape {list(shape)} takes {needed} bytes, and {stored} are "
                    "stored.",
                    "Copy or convert it again.",
                )


def _check_calls(flat: Flatbuffer) -> None:
    """Refuse graphs that call themselves, directly or by others: interpreters end with SIGSEGV."""
    codes = flat.codes()
    if not _CALLS.keys() & codes:
        return
    called = [
        {index for op in flat.tables(graph, 3) for index in _called_graphs(flat, codes[flat.value(op, 0, "<I")], op)}
        for graph in flat.tables(flat.root, _GRAPHS)
    ]
    if beyond := {index for indices in called for index in indices if not 0 <= index < len(called)}:
        raise ValueError(f"an operation calls graph {min(beyond)} of {len(called)}")
    left = dict(enumerate(called))
    for _ in range(MAX_DEPTH):  # those that call none that is left
        left = {n: indices for n, indices in left.items() if not indices.isdisjoint(left)}
    if left:
        raise ValueError(f"its graphs call each other in a circle, or more than {MAX_DEPTH} in a row")


def _called_graphs(flat: Flatbuffer, code: int, operation: int) -> tuple[int, ...]:
    """The graphs that an operation calls. An interpreter takes options of another type than its for zeros."""
    if code not in _CALLS:
        return ()
    field, kind, indices = _CALLS[code]
    options = flat.inner(operation, field + 1) if flat.value(operation, field, "<B") == kind else 0
    return flat.numbers(options, indices[0]) if code in _LISTS else tuple(flat.value(options, i, "<i") for i in indices)


def has_variables(path: Path, data: bytes) -> bool:
    """Whether a file has variable tensors, the state of a recurrent layer, which interpreters do not report."""
    with parsing(path):
        flat = Flatbuffer(data)
        graphs = flat.tables(flat.root, _GRAPHS)
        return any(flat.value(tensor, 5, "<b") for graph in graphs for tensor in flat.tables(graph, 0))


def assigns_resources(path: Path, data: bytes) -> bool:
    """Whether a file writes resource variables, other than to initialize them; interpreters can't reset these."""
    with parsing(path):
        flat = Flatbuffer(data)
        codes = flat.codes()
        graphs = [
            [(codes[flat.value(op, 0, "<I")], op) for op in flat.tables(graph, 3)]
            for graph in flat.tables(flat.root, _GRAPHS)
        ]
        first = {flat.value(flat.inner(op, 4), 0, "<i") for ops in graphs for code, op in ops if code == _CALL_ONCE}
        return any(code == _ASSIGN_VARIABLE for n, ops in enumerate(graphs) if n not in first for code, _ in ops)


def unsupported_operations(path: Path, data: bytes) -> ModelFileError | None:
    """The error for a file with operations that no interpreter has; None if all of them are built in."""
    with parsing(path):
        flat = Flatbuffer(data)
        names = []
        for code in flat.tables(flat.root, _CODES):
            if text := flat.inner(code, 1):
                names.append(data[text + 4 : text + 4 + flat.number(text)].decode(errors="replace"))
    for operation, chip in (("edgetpu-custom-op", "Edge TPU"), ("ethos-u", "Ethos-U")):
        if operation in names:
            problem = f"{path} is compiled for an {chip} (operation {operation}), and runs nowhere else."
            return ModelFileError(problem, "Give the file that it was compiled from.")
    if flex := [name for name in names if name.startswith("Flex")]:
        hint = "Export it with built-in operations only (TFLITE_BUILTINS)."
        return ModelFileError(f"{path} needs operations of TensorFlow itself: {', '.join(flex)}.", hint)
    if not names:
        return None
    hint = "Export it with built-in operations only."
    return ModelFileError(f"{path} has custom operations, which interpreters lack: {', '.join(names)}.", hint)
