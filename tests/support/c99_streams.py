"""Graphs that keep something between calls, as files that take a stream do, drawn from a name."""

from __future__ import annotations

from typing import Any

import numpy as np
from c99_graphs import Maker

from edgepress.converters.to_tflite import flatbuffer as flat

RESOURCE = 13
"""Of the schema's `TensorType`."""
INT8 = 9


class Stream(Maker):
    """A maker whose graph has variables."""

    def __init__(self, name: str, shape: tuple[int, ...]) -> None:
        from ai_edge_litert import schema_py_generated as fb

        super().__init__(name, shape)
        self.first = fb.SubGraphT(tensors=[], operators=[], name=b"first", inputs=[], outputs=[])
        self.net.root.subgraphs.append(self.first)
        self._operate("CALL_ONCE", [], None, initSubgraphIndex=1)
        self.count = 0

    def _operate(self, kind: str, inputs: list[int], output: int | None, *, graph: Any = None, **options: Any) -> None:
        operator = flat.operator(self.net.root, kind, inputs, output, **options)
        (graph or self.net.graph).operators.append(operator)

    def _handle(self, graph: Any, name: str) -> int:
        handle = flat.tensor(graph, [], f"{name}_{len(graph.tensors)}", type=RESOURCE)
        self._operate("VAR_HANDLE", [], handle, graph=graph, sharedName=name)
        return handle

    def variable(self, shape: tuple[int, ...], *, first: str = "zero") -> tuple[int, str]:
        """A variable of the scale and zero point of `at`, shape without the batch: its handle and name."""
        name = f"kept{self.count}"
        self.count += 1
        zero = int(self.net.graph.tensors[self.at].quantization.zeroPoint[0])
        values = np.full((1, *shape), zero, np.int8)
        if first == "drawn":
            values = self.chance.integers(-128, 128, (1, *shape)).astype(np.int8)
        value = flat.tensor(
            self.first, [1, *shape], f"{name}_first", buffer=flat.add_buffer(self.net.root, values), type=INT8
        )
        self.first.tensors[value].quantization = flat.quantization([self.scale], [zero])
        target = self._handle(self.first, name)
        self._operate("ASSIGN_VARIABLE", [target, value], None, graph=self.first)
        return self._handle(self.net.graph, name), name

    def read(self, handle: int, shape: tuple[int, ...]) -> int:
        """What a variable holds."""
        zero = int(self.net.graph.tensors[self.at].quantization.zeroPoint[0])
        value = self.net.tensor((1, *shape), self.scale, zero)
        self._operate("READ_VARIABLE", [handle], value)
        return value

    def assign(self, handle: int, value: int) -> None:
        """Change what a variable holds."""
        self._operate("ASSIGN_VARIABLE", [handle, value], None)

    def window(self, keep: int, *, first: str = "zero") -> None:
        """Put what was kept of the last `keep` rows before those of `at`, and keep the last ones."""
        source = self.at
        rows = self.shape[0]
        shape = (keep, *self.shape[1:])
        handle, _ = self.variable(shape, first=first)
        self.at, self.shape = self.read(handle, shape), shape
        self.concatenate([source], 1)
        joined, whole = self.at, self.shape
        part(self, self.one("STRIDED_SLICE", "SLICE"), 1, rows, keep)
        self.assign(handle, self.at)
        self.at, self.shape = joined, whole

    def model(self) -> bytes:
        """The file, whose output is `at`."""
        return self.net.model(self.at)


def part(m: Maker, kind: str, axis: int, begin: int, length: int) -> Maker:
    """A part along an axis by SLICE or STRIDED_SLICE."""
    zero = int(m.net.graph.tensors[m.at].quantization.zeroPoint[0])
    whole = (1, *m.shape)
    begins = [begin if each == axis else 0 for each in range(len(whole))]
    shape = [length if each == axis else size for each, size in enumerate(whole)]
    ends = [begin + size for begin, size in zip(begins, shape, strict=True)]
    inputs = [m.at, m.net.constant(np.array(begins, np.int32))]
    if kind == "SLICE":
        inputs.append(m.net.constant(np.array(shape, np.int32)))
        m._add(kind, inputs, tuple(shape[1:]), m.scale, zero)
        return m
    masks = dict.fromkeys(("ellipsisMask", "newAxisMask", "shrinkAxisMask"), 0)
    masks["beginMask"] = sum(1 << each for each, value in enumerate(begins) if value == 0 and m.one(True, False))
    masks["endMask"] = sum(1 << each for each, end in enumerate(ends) if end == whole[each] and m.one(True, False))
    inputs += [m.net.constant(np.array(values, np.int32)) for values in (ends, [1] * len(whole))]
    m._add(kind, inputs, tuple(shape[1:]), m.scale, zero, **masks)
    return m


def parts(m: Maker, kind: str, axis: int, lengths: list[int]) -> list[int]:
    """The parts along an axis by SPLIT, SPLIT_V or UNPACK."""
    zero = int(m.net.graph.tensors[m.at].quantization.zeroPoint[0])
    place = m.net.constant(np.array(axis, np.int32)) if kind != "UNPACK" else -1
    inputs = {"SPLIT": [place, m.at], "UNPACK": [m.at]}.get(kind, [])
    if kind == "SPLIT_V":
        inputs = [m.at, m.net.constant(np.array(lengths, np.int32)), place]
    options = {"SPLIT": {"numSplits": len(lengths)}, "SPLIT_V": {"numSplits": len(lengths)}}.get(
        kind, {"num": len(lengths), "axis": axis}
    )
    whole = [1, *m.shape]
    shapes = [[*whole[:axis], *([] if kind == "UNPACK" else [length]), *whole[axis + 1 :]] for length in lengths]
    first = m.net.op(kind, inputs, shapes[0], m.scale, zero, **options)
    others = [m.net.tensor(shape, m.scale, zero) for shape in shapes[1:]]
    m.net.graph.operators[-1].outputs = [first, *others]
    return [first, *others]


def sliced(name: str) -> bytes:
    """A convolution, of whose output a part goes on."""
    m = Maker(name, (Maker(name, (0, 0, 0)).one(5, 6), 7, 8))
    m.conv(9, (2, 2))
    axis = m.one(1, 2, 3)
    size = m.shape[axis - 1]
    length = int(m.chance.integers(1, size))
    part(m, m.one("SLICE", "STRIDED_SLICE"), axis, int(m.chance.integers(0, size - length + 1)), length)
    return m.conv(4, (1, 1)).model()


def split(name: str) -> bytes:
    """Parts of a tensor in another order, one of them changed."""
    m = Maker(name, (4, 6, 3)).conv(8, (1, 1))
    kind = m.one("SPLIT", "SPLIT_V", "UNPACK")
    axis = {"UNPACK": 1}.get(kind, m.one(2, 3))
    size = m.shape[axis - 1]
    lengths = {"SPLIT": [size // 2] * 2, "SPLIT_V": [1, 3, size - 4], "UNPACK": [1] * size}[kind]
    outputs = parts(m, kind, axis, lengths)
    shape = list(m.shape)
    if kind == "UNPACK":
        zero = int(m.net.graph.tensors[m.at].quantization.zeroPoint[0])
        at = m.one(1, 2)
        packed = [1, *shape[1:]]
        packed.insert(at, size)
        m.at = m.net.op("PACK", outputs[::-1], packed, m.scale, zero, valuesCount=size, axis=at)
        m.shape = tuple(packed[1:])
        return m.conv(3, (1, 1)).model()
    shape[axis - 1] = lengths[-1]
    m.at, m.shape = outputs[-1], tuple(shape)
    return m.concatenate(outputs[:-1], axis).conv(3, (1, 1)).model()


def stream(name: str) -> bytes:
    """Convolutions over a stream of a few rows a call, with two or three that keep earlier rows."""
    drawn = Maker(name, (0, 0, 0))
    rows, width, channels = drawn.one(1, 2, 3), drawn.one(1, 1, 4), drawn.one(3, 5, 8)
    m = Stream(name, (rows, width, channels))
    for _ in range(m.one(2, 3)):
        keep = int(m.chance.integers(1, 5))
        m.window(keep, first=m.one("zero", "drawn"))
        height = m.shape[0] - m.one(0, 1) if m.shape[0] > 2 else m.shape[0]
        if m.one(True, False):
            m.conv(m.one(4, 7), (height, 1), same=False, activation=m.one(0, 1))
        else:
            m.depthwise(1, (height, 1), same=False).conv(m.one(4, 6), (1, 1))
    return m.model()


def stream_of_values(name: str) -> bytes:
    """Differences to the last item, of which a second variable keeps the sum; what is read was written or not."""
    m = Stream(name, (2, 5, 3))
    kept = m.at
    handle, _ = m.variable(m.shape, first=m.one("zero", "drawn"))
    other, _ = m.variable(m.shape)
    before = m.read(handle, m.shape)
    if m.one(True, False):
        m.assign(handle, kept)
        m.assign(other, kept)
        after = m.read(handle, m.shape)
    else:
        after = m.read(other, m.shape)
        m.assign(other, kept)
        m.assign(handle, kept)
    m.join("SUB", before)
    kept, m.at, m.scale = m.at, after, 0.05
    return m.join("ADD", kept).model()
