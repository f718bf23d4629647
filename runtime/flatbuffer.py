"""Look into a TFLite flatbuffer with the standard library, for what interpreters do not check or do not report."""

from __future__ import annotations

import math
import struct
from collections.abc import Iterator
from pathlib import Path

from edgepress.runtime.errors import ModelFileError, parsing

_BYTES = {0: 4, 1: 2, 2: 4, 3: 1, 4: 8, 6: 1, 7: 2, 8: 8, 9: 1, 10: 8, 11: 16, 12: 8, 15: 4, 16: 2, 18: 2}
"""Bytes of an element by the schema's TensorType, of those with whole ones."""
_BUFFERS, _GRAPHS, _CODES = 4, 2, 1
"""Fields of the root table."""
_CALL_ONCE, _ASSIGN_VARIABLE = 129, 144
"""Of the schema's BuiltinOperator."""


class Flatbuffer:
    """A flatbuffer, whose tables are their positions, 0 where a table or field is missing.

    Methods raise struct.error where an offset leads out of the file.
    """

    def __init__(self, data: bytes) -> None:
        self.data = data
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

    def tables(self, table: int, index: int) -> Iterator[int]:
        """The tables of a vector of them."""
        vector = self.inner(table, index)
        for at in range(vector + 4, vector + 4 + 4 * self.number(vector) if vector else 0, 4):
            yield at + self.number(at)


def check_constants(path: Path, data: bytes) -> None:
    """Refuse a file whose constants are longer than their shapes: kernels then write beyond memory (tensorflow#124982).

    Raises:
        ModelFileError: There is such a constant, or an offset leads out of the file.
    """
    with parsing(path):
        flat = Flatbuffer(data)
        sizes = [flat.number(v) if (v := flat.inner(b, 0)) else 0 for b in flat.tables(flat.root, _BUFFERS)]
        for graph in flat.tables(flat.root, _GRAPHS):
            for tensor in flat.tables(graph, 0):
                buffer, width = flat.value(tensor, 2, "<I"), _BYTES.get(flat.value(tensor, 1, "<b"), 0)
                if not (stored := sizes[buffer] if buffer < len(sizes) else 0) or not width or flat.at(tensor, 6):
                    continue
                shape, vector = (), flat.inner(tensor, 0)
                if vector:
                    shape = struct.unpack_from(f"<{flat.number(vector)}i", data, vector + 4)
                if stored > (needed := width * math.prod(shape)):
                    raise ModelFileError(
                        f"{path} is damaged: a constant of shape {list(shape)} takes {needed} bytes, and {stored} are "
                        "stored.",
                        "Copy or convert it again.",
                    )


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
        codes = [max(flat.value(c, 0, "<b"), flat.value(c, 3, "<i")) for c in flat.tables(flat.root, _CODES)]
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
    if "edgetpu-custom-op" in names:
        hint = "Give the file that it was compiled from; its name lacks _edgetpu."
        return ModelFileError(f"{path} is compiled for an Edge TPU (operation edgetpu-custom-op).", hint)
    if flex := [name for name in names if name.startswith("Flex")]:
        hint = "Export it with built-in operations only (TFLITE_BUILTINS)."
        return ModelFileError(f"{path} needs operations of TensorFlow itself: {', '.join(flex)}.", hint)
    if not names:
        return None
    hint = "Export it with built-in operations only."
    return ModelFileError(f"{path} has custom operations, which interpreters lack: {', '.join(names)}.", hint)
