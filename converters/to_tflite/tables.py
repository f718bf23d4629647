"""Checked reads of any flatbuffer's tables: whatever the bytes are, a read is in bounds or an error.

Errors are `struct.error`, ValueError and IndexError, which the caller turns into an error with the file's name.
"""

from __future__ import annotations

import struct


class FlatTable:
    """A table in a flatbuffer, with checked reads; a field that is not there is zero, empty, or a table without fields.

    The format: https://flatbuffers.dev/internals.
    """

    __slots__ = ("_data", "_position")

    def __init__(self, data: bytes, position: int) -> None:
        self._data = data
        self._position = position

    def number(self, field: int, format: str) -> int:
        """A scalar, by its `struct` format."""
        at = self._at(field)
        return self._read(format, at) if at else 0

    def table(self, field: int) -> FlatTable:
        """A table."""
        at = self._at(field)
        return FlatTable(self._data, self._target(at)) if at else NOTHING

    def tables(self, field: int) -> list[FlatTable]:
        """A vector of tables."""
        start, count = self.vector(field, 4, most=1 << 16)
        return [FlatTable(self._data, self._target(start + 4 * i)) for i in range(count)]

    def floats(self, field: int) -> tuple[float, ...]:
        """A vector of float32."""
        start, count = self.vector(field, 4, most=1 << 12)
        return struct.unpack_from(f"<{count}f", self._data, start)

    def string(self, field: int) -> str:
        """A string."""
        start, size = self.vector(field, 1, most=1 << 10)
        return self._data[start : start + size].decode(errors="replace")

    def vector(self, field: int, width: int, *, most: int) -> tuple[int, int]:
        """Where a vector's data begin, and how many items of `width` bytes it has; more than `most` are an error."""
        at = self._at(field)
        if not at:
            return 0, 0
        start = self._target(at)
        count = self._read("<I", start)
        if count > most or start + 4 + width * count > len(self._data):
            raise ValueError(f"a vector of {count} items is too long")
        return start + 4, count

    def _at(self, field: int) -> int:
        vtable = self._position - self._read("<i", self._position)
        slot = 4 + 2 * field
        offset = self._read("<H", vtable + slot) if slot < self._read("<H", vtable) else 0
        return self._position + offset if offset else 0

    def _target(self, at: int) -> int:
        return at + self._read("<I", at)

    def _read(self, format: str, at: int) -> int:
        if at < 0:
            raise ValueError("an offset leads before the file")
        value: int = struct.unpack_from(format, self._data, at)[0]
        return value


NOTHING = FlatTable(struct.pack("<HHi", 4, 4, 4), 4)
"""A table without fields: an empty vtable, and the offset back to it."""


def root(data: bytes) -> FlatTable:
    """The table that a flatbuffer begins with."""
    return FlatTable(data, int.from_bytes(data[:4], "little"))


def first(tables: list[FlatTable]) -> FlatTable:
    """The first of several tables, or one without fields."""
    return tables[0] if tables else NOTHING
