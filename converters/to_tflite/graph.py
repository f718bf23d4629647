"""A TFLite graph that rewrites change in place: its operations by what they read and make, its constants as arrays."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from edgepress.converters.adapter import free_prefix
from edgepress.converters.arrays import Array, Floats
from edgepress.converters.to_tflite import flatbuffer as flat


class Graph:
    """The one graph of a model.

    Attributes:
        root: The tables of the file, as `flatbuffer.read` returns them.
        table: That of the graph.
        prefix: A beginning for the names of new tensors, which no other name has.
    """

    def __init__(self, model: bytes) -> None:
        self.root, self.table = flat.read(model)
        self.prefix = free_prefix([self.name(i) for i in range(len(self.table.tensors))])

    def to_bytes(self) -> bytes:
        """The changed model, without the tensors that nothing uses any more."""
        self._drop_unused()
        return flat.write(self.root)

    def _drop_unused(self) -> None:
        table = self.table
        fields = ("inputs", "outputs", "intermediates")
        read = {int(i) for op in self.operators for field in fields for i in _indices(op, field)}
        named = {int(i.tensorIndex) for s in self.root.signatureDefs for i in (*(s.inputs or ()), *(s.outputs or ()))}
        used = sorted((read | named | {int(i) for i in (*table.inputs, *table.outputs)}) - {-1})
        place = {old: new for new, old in enumerate(used)} | {-1: -1}
        table.tensors = [table.tensors[i] for i in used]
        for op in self.operators:
            for field in fields:
                setattr(op, field, [place[i] for i in _indices(op, field)])
        for side in ("inputs", "outputs"):
            setattr(table, side, [place[int(i)] for i in getattr(table, side)])
            for item in (item for signature in self.root.signatureDefs for item in getattr(signature, side) or ()):
                item.tensorIndex = place[int(item.tensorIndex)]
        used_buffers = {tensor.buffer for tensor in table.tensors} | {
            entry.buffer for entry in self.root.metadata or []
        }
        for number, buffer in enumerate(self.root.buffers):
            if number not in used_buffers:
                buffer.data = None

    @property
    def operators(self) -> list[Any]:
        """The operations, in the order in which they run."""
        operators: list[Any] = self.table.operators
        return operators

    def kind(self, op: Any) -> str:
        """Name of an operation's kind, such as "CONV_2D"."""
        return flat.kind(self.root, op)

    def readers(self) -> dict[int, list[Any]]:
        """The operations that read each tensor; the graph's output has one more reader, None."""
        readers: dict[int, list[Any]] = {int(i): [None] for i in self.table.outputs}
        for op in self.operators:
            for index in dict.fromkeys(int(i) for i in op.inputs):
                readers.setdefault(index, []).append(op)
        return readers

    def makers(self) -> dict[int, Any]:
        """The operation that makes each tensor."""
        return {int(i): op for op in self.operators for i in op.outputs}

    def name(self, index: int) -> str:
        """Name of a tensor."""
        return (self.table.tensors[index].name or b"").decode(errors="replace")

    def output_name(self, op: Any) -> str:
        """Name of the first tensor that an operation makes."""
        return self.name(int(op.outputs[0]))

    def rename(self, index: int, name: str) -> None:
        """Give a tensor another name; litert-quantizer needs unique ones, so it may end in a number."""
        self.table.tensors[index].name = flat.unique_name(self.table, name).encode()

    def shape(self, index: int) -> tuple[int, ...]:
        """Shape of a tensor."""
        shape = self.table.tensors[index].shape
        return () if shape is None else tuple(int(n) for n in shape)

    def dtype(self, index: int) -> np.dtype[Any] | None:
        """Type of a tensor's elements; None for types that NumPy lacks."""
        dtype = flat.DTYPES.get(self.table.tensors[index].type)
        return None if dtype is None else np.dtype(dtype)

    def scales(self, index: int) -> tuple[list[float], list[int]]:
        """Scales and zero points of a tensor, one each unless it is quantized per channel; empty if it is not."""
        quantization = self.table.tensors[index].quantization
        if quantization is None or quantization.scale is None:
            return [], []
        return [float(s) for s in quantization.scale], [int(z) for z in quantization.zeroPoint]

    def constant(self, index: int) -> Array | None:
        """Values of a constant as stored, not dequantized; None if the tensor is none."""
        if index < 0:
            return None
        dtype = self.dtype(index)
        data = self.root.buffers[self.table.tensors[index].buffer].data
        if dtype is None or data is None or not len(data):
            return None
        return np.frombuffer(np.asarray(data, np.uint8).tobytes(), dtype).reshape(self.shape(index))

    def stored(self, index: int) -> Array | None:
        """Values of a constant as stored, those of four bits as int8; None if the tensor is none."""
        if index < 0 or self.table.tensors[index].type != flat.INT4:
            return self.constant(index)
        data = self.root.buffers[self.table.tensors[index].buffer].data
        if data is None or not len(data):
            return None
        packed = np.asarray(data, np.uint8)
        halves = np.stack([packed & 15, packed >> 4], axis=1).ravel().astype(np.int8)
        shape = self.shape(index)
        return np.asarray(np.where(halves > 7, halves - 16, halves)[: int(np.prod(shape))].reshape(shape))

    def constant_scale(self, index: int, ndim: int) -> tuple[Floats, Floats]:
        """Scale and zero point of a quantized constant of so many axes, of shapes that broadcast with its values."""
        scales, zeros = self.scales(index)
        shape = [1] * ndim
        whole = tuple(shape)
        if len(scales) > 1 and ndim:
            shape[int(self.table.tensors[index].quantization.quantizedDimension)] = len(scales)
        zero = np.array(zeros or [0], np.float32)
        return np.array(scales, np.float32).reshape(shape), zero.reshape(shape if len(zeros) == len(scales) else whole)

    def real_values(self, index: int) -> Floats | None:
        """Values that a quantized constant stands for; None if the tensor is no quantized constant."""
        values = self.stored(index)
        if values is None or not self.scales(index)[0]:
            return None
        scale, zero = self.constant_scale(index, values.ndim)
        return np.asarray((values.astype(np.float32) - zero) * scale, np.float32)

    def add_constant(self, values: Array, name: str = "") -> int:
        """Add a constant of its own buffer, which is named after its values if there is no name; returns its index."""
        index = flat.constant(self.root, self.table, values, self.prefix)
        if name:
            self.rename(index, name)
        return index

    def add_tensor(self, shape: Sequence[int], name: str, like: int | None = None) -> int:
        """Add a tensor that an operation will make: float32, or of the type and quantization of another (`like`)."""
        index = flat.tensor(self.table, list(shape), flat.unique_name(self.table, name))
        if like is not None:
            new = self.table.tensors[index]
            old = self.table.tensors[like]
            new.type = old.type
            new.quantization = old.quantization
        return index

    def operator(self, kind: str, inputs: Sequence[int], output: int, **options: Any) -> Any:
        """A new operation of a built-in kind, which the caller puts into `operators`."""
        return flat.operator(self.root, kind, list(inputs), output, **options)

    def reshape(self, source: int, output: int) -> Any:
        """A new RESHAPE of one tensor to the shape of another, which the caller puts into `operators`."""
        shape = self.shape(output)
        return self.operator(
            "RESHAPE", [source, self.add_constant(np.array(shape, np.int32))], output, newShape=list(shape)
        )

    def insert_before(self, op: Any, *new: Any) -> None:
        """Put operations in front of another."""
        at = self.position(op)
        self.operators[at:at] = new

    def replace(self, op: Any, *new: Any) -> None:
        """Put operations in the place of another."""
        at = self.position(op)
        self.operators[at : at + 1] = new

    def position(self, op: Any) -> int:
        """Place of an operation."""
        return next(i for i, other in enumerate(self.operators) if other is op)


def same_padding(size: int, kernel: int, stride: int, dilation: int = 1) -> tuple[int, int]:
    """The zeros of `padding: SAME` before and after an axis (LiteRT, tflite/kernels/padding.h).

    The function there is `ComputePaddingWithOffset`.
    """
    total = max(0, (-(-size // stride) - 1) * stride + dilation * (kernel - 1) + 1 - size)
    return total // 2, total - total // 2


def only_reader(readers: dict[int, list[Any]], tensor: int) -> Any:
    """The only reader of a tensor; None if there are others, or none."""
    own = readers.get(tensor, [])
    return own[0] if len(own) == 1 else None


def _indices(op: Any, field: str) -> list[int]:
    """The tensors in a field of an operation, which may be missing; -1 stands for none."""
    field_values = getattr(op, field)
    return [] if field_values is None else [int(i) for i in field_values]
