"""Graphs of transposed, cut and multiplied matrices, drawn from a name."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from c99_graphs import Maker


class Matrices(Maker):
    """A maker with these operations."""

    def zero_point(self) -> int:
        """That of the last tensor."""
        return int(self.net.graph.tensors[self.at].quantization.zeroPoint[0])

    def transpose(self, *order: int) -> Matrices:
        """TRANSPOSE of (batch, *shape)."""
        at = self.net.constant(np.array(order, np.int32))
        whole = (1, *self.shape)
        shape = tuple(whole[axis] for axis in order)
        assert shape[0] == 1, "a graph has one item"
        self._add("TRANSPOSE", [self.at, at], shape[1:], self.scale, self.zero_point())
        return self

    def cut(self, *parts: tuple[int, int], strided: bool) -> Matrices:
        """SLICE or STRIDED_SLICE of all axes but the batch: where each part begins and how much of it is kept."""
        begins = np.array([0, *(begin for begin, _ in parts)], np.int32)
        sizes = np.array([1, *(length for _, length in parts)], np.int32)
        shape, zero = tuple(length for _, length in parts), self.zero_point()
        given = [self.at, self.net.constant(begins)]
        if strided:
            given += [self.net.constant(begins + sizes), self.net.constant(np.ones_like(begins))]
            masks = dict.fromkeys(("beginMask", "endMask", "ellipsisMask", "newAxisMask", "shrinkAxisMask"), 0)
            self._add("STRIDED_SLICE", given, shape, self.scale, zero, table="StridedSlice", **masks)
        else:
            self._add("SLICE", [*given, self.net.constant(sizes)], shape, self.scale, zero, table="Slice")
        return self

    def times(self, other: int, *, turned: tuple[bool, bool], factor: float = 1.0) -> Matrices:
        """BATCH_MATMUL by another tensor."""
        right = self.net.graph.tensors[other]
        rows, depth = self.shape[-2:][:: -1 if turned[0] else 1]
        columns = int(right.shape[-2 if turned[1] else -1])
        scale = self.scale * float(right.quantization.scale[0]) * 73 * depth**0.5 / factor
        self._add(
            "BATCH_MATMUL", [self.at, other], (*self.shape[:-2], rows, columns), scale, self.zero(),
            table="BatchMatMul", adjX=turned[0], adjY=turned[1], asymmetricQuantizeInputs=False,
        )  # fmt: skip
        return self


def _transposed(name: str) -> bytes:
    m = Matrices(name, (0, 0, 0))
    m = Matrices(name, tuple(int(size) for size in m.chance.integers(1, 8, m.one(2, 3, 3))))
    return m.transpose(0, *(1 + int(axis) for axis in m.chance.permutation(len(m.shape)))).model()


def _cut(name: str) -> bytes:
    """Two or three axes that are cut at once."""
    m = Matrices(name, (0, 0, 0))
    m = Matrices(name, tuple(int(size) for size in m.chance.integers(2, 9, 3)))
    kept = [int(m.chance.integers(1, size + 1)) for size in m.shape]
    begins = [int(m.chance.integers(0, size - length + 1)) for size, length in zip(m.shape, kept, strict=True)]
    return m.cut(*zip(begins, kept, strict=True), strided=m.one(True, False)).model()


def product_of(m: Matrices, turned: tuple[bool, bool], columns: int) -> Matrices:
    """A product of the last tensor, shape (*heads, height, width), and of what a dense layer makes of it."""
    source, scale, shape = m.at, m.scale, m.shape
    heads = shape[:-2]
    depth = shape[-2] if turned[0] else shape[-1]
    m.flat().dense(int(np.prod(heads, initial=1)) * depth * columns)
    to = [1, *heads, *((columns, depth) if turned[1] else (depth, columns))]
    zero = m.zero_point()
    at = m.net.constant(np.array(to, np.int32))
    m._add("RESHAPE", [m.at, at], tuple(to[1:]), m.scale, zero, newShape=to)
    other = m.at
    m.at, m.scale, m.shape = source, scale, shape
    return m.times(other, turned=turned, factor=m.one(0.3, 1.0, 3.0))


def _product(name: str) -> bytes:
    """A product of two dense layers' outputs, either of which may be turned."""
    m = Matrices(name, (0, 0))
    heads = m.one((), (), (2,), (3,))
    m = Matrices(name, (*heads, m.one(1, 3, 6), m.one(1, 4, 5, 9)))
    turned = m.one((False, False), (False, True), (True, False), (True, True))
    return product_of(m, turned, m.one(1, 2, 7)).model()


def _attention(name: str) -> bytes:
    """One head of attention, behind which rows are joined."""
    m = Matrices(name, (6, 5))
    made = []
    for _ in range(3):
        at, scale, shape = m.at, m.scale, m.shape
        m.dense(4, rows=True)
        made.append(m.at)
        m.at, m.scale, m.shape = at, scale, shape
    query, key, value = made
    m.at, m.shape, m.scale = query, (6, 4), float(m.net.graph.tensors[query].quantization.scale[0])
    m.times(key, turned=(False, True)).end("SOFTMAX", beta=1.0)
    m.times(value, turned=(False, False))
    return m.transpose(0, 2, 1).flat().dense(3).model()


def _absolute(name: str) -> bytes:
    """ABS to the same scale, or to another one."""
    m = Matrices(name, (16, 16))
    return m.activate("ABS", m.one(1.0, 1.0, 0.4, 2.5)).model()


def bound_of(m: Matrices) -> Matrices:
    """MAXIMUM or MINIMUM of an image with a constant that may be repeated, or with what was computed before."""
    kept, scale, zero, shape = m.at, m.scale, m.zero_point(), m.shape
    other = m.one(shape, shape[-1:], (1,), None)
    if other is None:
        m.conv(shape[-1], (3, 3))
        m._add("QUANTIZE", [m.at], m.shape, scale, zero)
        pair = [m.at, kept]
    else:
        pair = [m.at, m.net.constant(m.chance.integers(-128, 128, other).astype(np.int8), [scale], zero)]
    m._add(m.one("MAXIMUM", "MINIMUM"), pair[:: m.one(1, -1)], shape, scale, zero, table="MaximumMinimum")
    return m


GRAPHS: dict[str, Callable[[str], bytes]] = {
    **{f"turned-{n}": _transposed for n in range(14)},
    "turned-flat": lambda name: Matrices(name, (1, 7)).transpose(0, 2, 1).model(),
    **{f"cut-{n}": _cut for n in range(12)},
    **{f"product-{n}": _product for n in range(20)},
    **{f"attention-{n}": _attention for n in range(3)},
    **{f"bound-{n}": lambda name: bound_of(Matrices(name, (4, 3, 5))).model() for n in range(10)},
    **{f"absolute-{n}": _absolute for n in range(4)},
}
