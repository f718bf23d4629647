"""The ONNX graph that is written for a TFLite graph, operation by operation, under the names of its tensors.

TFLite's images are (N, H, W, C), ONNX' are (N, C, H, W). A tensor is kept in the order in which its operation makes it,
and is turned only where another order is asked for, so that Transposes stay at the ends of the net and where TFLite's
own order counts (RESHAPE). A tensor's values carry its name in whatever order it is made first; what is added carries a
name that holds it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import onnx
from onnx import helper, numpy_helper

from edgepress.converters.arrays import Array
from edgepress.converters.to_tflite.flatbuffer import COMPLEX64
from edgepress.converters.to_tflite.graph import Graph

Order = tuple[int, ...]
"""The axes of TFLite's tensor in the order in which they are stored."""
READ_FIRST = (
    *("CONV_2D", "DEPTHWISE_CONV_2D", "TRANSPOSE_CONV", "AVERAGE_POOL_2D", "MAX_POOL_2D"),
    *("RESIZE_BILINEAR", "RESIZE_NEAREST_NEIGHBOR", "DEPTH_TO_SPACE", "SPACE_TO_DEPTH"),
)
"""Kinds of operations whose ONNX form takes channels first."""
IMAGE = 4
"""Number of axes of an image."""
MATRIX = 2
"""Number of axes of a matrix."""
_ACTIVATIONS = {1: "RELU", 2: "RELU_N1_TO_1", 3: "RELU6"}
"""Operations by the schema's `ActivationFunctionType`; LiteRT's kernels leave its others out without an error."""

TensorIndices = list[int]
"""Indices of the tensors that an operation reads or makes."""


class UnsupportedError(Exception):
    """The graph has something that is not expressed here; the message names it."""


def plain(rank: int) -> Order:
    """TFLite's own order."""
    return tuple(range(rank))


def channels_first(rank: int) -> Order:
    """Channels, TFLite's last axis, behind the batch; TFLite's own order for fewer than three axes."""
    return (0, rank - 1, *range(1, rank - 1)) if rank > 2 else plain(rank)


class Emission:
    """A graph in the making.

    Args:
        tflite: The TFLite graph.
        activate: Writes a function of one value: its kind, the value and the name of the result.

    Attributes:
        tflite: The TFLite graph.
        options: Options of the operation that is being written.
    """

    def __init__(self, tflite: Graph, activate: Callable[[Emission, str, str, str], object]) -> None:
        self.tflite = tflite
        self._activate = activate
        self.options: Any = None
        self._readers = tflite.readers()
        self._taken = {tflite.name(i) for i in range(len(tflite.table.tensors))}
        self._ends = {int(i) for i in (*tflite.table.inputs, *tflite.table.outputs)}
        self._stored: dict[int, dict[Order, str]] = {}
        self._constants: dict[int, Array] = {}
        self._views: dict[int, int] = {}
        self._numbers: dict[str, str] = {}
        self._nodes: list[Any] = []
        self._tensors: dict[str, Any] = {}
        self._used: dict[tuple[int, Order, tuple[int, ...]], str] = {}
        for index in map(int, tflite.table.inputs):
            self._stored[index] = {plain(len(self.shape(index))): self.name(index)}

    def write(self, table: dict[str, Write]) -> onnx.ModelProto:
        """The model, after every operation was written by the function of its kind.

        Raises:
            UnsupportedError: A kind has no function, or is used in a way that its function does not know.
        """
        for op in self.tflite.operators:
            kind = self.tflite.kind(op)
            if kind not in table:
                raise UnsupportedError(kind)
            self.options = op.builtinOptions
            table[kind](self, [int(i) for i in op.inputs], [int(i) for i in op.outputs])
        for index in map(int, self.tflite.table.outputs):
            self._end(index)
        self._drop_unread()
        graph = helper.make_graph(
            self._nodes,
            "edgepress",
            [self._value(int(i)) for i in self.tflite.table.inputs],
            [self._value(int(i)) for i in self.tflite.table.outputs],
            list(self._tensors.values()),
        )
        return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)

    def _drop_unread(self) -> None:
        read = {self.name(int(i)) for i in self.tflite.table.outputs}
        nodes = []
        for node in reversed(self._nodes):
            if read.intersection(node.output):
                nodes.append(node)
                read.update(node.input)
        self._nodes = nodes[::-1]
        self._tensors = {name: tensor for name, tensor in self._tensors.items() if name in read}

    def _end(self, index: int) -> None:
        """Let the output have its name, and TFLite's order."""
        shape = self.shape(index)
        (order, source), *_ = self._stored.get(index, {(): ""}).items()
        if not source:
            raise UnsupportedError("an output that nothing computes")
        if order != plain(len(shape)):
            self._transpose(source, order, plain(len(shape)), shape, name=self.name(index))
        elif source != self.name(index):  # a copy of another value
            self.node("Identity", [source], self.name(index))

    def _value(self, index: int) -> Any:
        kind = helper.np_dtype_to_tensor_dtype(self.dtype(index))
        return helper.make_tensor_value_info(self.name(index), kind, self.shape(index))

    # What is known of TFLite's tensors

    def name(self, index: int) -> str:
        """Name of a tensor."""
        return self.tflite.name(index)

    def shape(self, index: int) -> tuple[int, ...]:
        """Shape of a tensor, in TFLite's order."""
        return self.tflite.shape(index)

    def dtype(self, index: int) -> np.dtype[Any]:
        """Type of a tensor's elements."""
        dtype = self.tflite.dtype(index)
        if dtype is None or dtype.kind not in "fib" or self.tflite.scales(index)[0]:
            raise UnsupportedError(f"the type of {self.name(index)}")
        return dtype

    def is_complex(self, index: int) -> bool:
        """Whether a tensor holds complex numbers, which are pairs along one more axis at the end here."""
        return bool(self.tflite.table.tensors[index].type == COMPLEX64)

    def option(self, name: str, default: Any = 0) -> Any:
        """An option of the operation that is being written; the schema's default if its table is missing."""
        return getattr(self.options, name, default)

    def constant(self, index: int) -> Array | None:
        """Values of a constant, in TFLite's order; None if the tensor is none."""
        if index in self._constants or index < 0:
            return self._constants.get(index)
        values = self.tflite.constant(index)
        if values is not None and (
            self.tflite.scales(index)[0] or self.tflite.table.tensors[index].sparsity is not None
        ):
            raise UnsupportedError("quantized or sparse weights")
        return values

    def known(self, index: int) -> Array:
        """Values of a tensor that must be a constant."""
        values = self.constant(index)
        if values is None:
            raise UnsupportedError(f"{self.name(index)}, which is computed")
        return values

    def read_first(self, index: int) -> bool:
        """Whether an operation that takes channels first reads a tensor."""
        return any(op is not None and self.tflite.kind(op) in READ_FIRST for op in self._readers.get(index, []))

    def read_by(self, index: int, *kinds: str) -> bool:
        """Whether an operation of some kinds reads a tensor."""
        return any(op is not None and self.tflite.kind(op) in kinds for op in self._readers.get(index, []))

    # Where they are in the ONNX graph

    def order(self, index: int) -> Order:
        """The order in which a tensor was made."""
        if index not in self._stored:
            return plain(len(self.shape(index)))
        return next(iter(self._stored[index]))

    def has(self, index: int, order: Order) -> bool:
        """Whether a tensor is there in an order, or can be had without a node, because it is a constant."""
        return self.constant(index) is not None or order in self._stored.get(index, {})

    def in_order(self, index: int, order: Order | None = None) -> str:
        """Name of a tensor's values in an order, TFLite's own unless given; turned if they are not there."""
        shape = self.shape(index)
        order = order or plain(len(shape))
        if (value := self.constant(index)) is not None:
            return self.stored(index, value.transpose(order), order)
        if index not in self._stored:
            raise UnsupportedError(f"{self.name(index)}, which nothing computes")
        copies = self._stored[index]
        if order not in copies:
            (old, source), *_ = copies.items()
            ends = "last" if order == plain(len(shape)) else "first"
            turned = self.fresh(f"channels_{ends}_of_{self.name(index)}")  # which no name in `EXACT` begins like
            copies[order] = self._transpose(source, old, order, shape, name=turned)
        return copies[order]

    def _transpose(self, source: str, old: Order, new: Order, shape: tuple[int, ...], *, name: str) -> str:
        perm = [old.index(axis) for axis in new]
        if same_memory(old, new, shape):
            return self.node("Reshape", [source, self.sizes([shape[axis] for axis in new])], name)
        return self.node("Transpose", [source], name, perm=perm)

    def make(self, index: int, order: Order, write: Callable[[str], object]) -> None:
        """Let `write` make a tensor's values in an order under a name that it is given; what TFLite fuses follows."""
        name = self.reserve(index, order)
        fused = self.option("fusedActivationFunction")
        if not fused:
            write(name)
        else:
            linear = self.step(index, "linear")
            write(linear)
            self._activate(self, _ACTIVATIONS.get(fused, "a fused activation"), linear, name)

    def reserve(self, index: int, order: Order) -> str:
        """The name under which a node must make a tensor's values in an order."""
        self.dtype(index)
        turned = index in self._ends and order != plain(len(order))  # to TFLite's order in the end
        self._stored[index] = {order: self.step(index, "channels_first") if turned else self.name(index)}
        return self._stored[index][order]

    def alias(self, index: int, source: str, order: Order | None = None) -> None:
        """Let a tensor's values be those that are there already."""
        self._stored[index] = {order or plain(len(self.shape(index))): source}

    def note_view(self, index: int, source: int) -> None:
        """Note that a tensor holds another's values in their order."""
        self._views[index] = source

    def view_of(self, index: int, shape: tuple[int, ...]) -> int | None:
        """The tensor of a shape that another is a view of, or the other itself; None if there is none.

        TensorFlow's converter drops a batch of 1 that broadcasting adds again, which a free batch does not allow.
        """
        at: int | None = index
        while at is not None and self.shape(at) != shape:
            at = self._views.get(at)
        return at

    def fold(self, index: int, value: Array) -> None:
        """Let a tensor be a constant, because its operation reads constants only."""
        self._constants[index] = value

    # What is written

    def fresh(self, name: str) -> str:
        """A name that nothing has, beginning with another."""
        while name in self._taken:
            name += "_"
        self._taken.add(name)
        return name

    def node(self, kind: str, inputs: Sequence[str], output: str, **attributes: Any) -> str:
        """Write a node, which is called like what it makes; returns that name."""
        self._nodes.append(helper.make_node(kind, inputs, [output], output, **attributes))
        return output

    def nodes_of(self, kind: str, inputs: Sequence[str], outputs: Sequence[str], **attributes: Any) -> None:
        """Write a node of several outputs, which is called like the first."""
        self._nodes.append(helper.make_node(kind, inputs, outputs, outputs[0], **attributes))

    def step(self, index: int, word: str) -> str:
        """A name for a value on the way to a tensor."""
        return self.fresh(f"{self.name(index)}_{word}")

    def stored(self, index: int, value: Array, order: Order = ()) -> str:
        """A constant tensor's values in some form, under its own name if it is the first one; returns the name."""
        key = (index, order, value.shape)
        if key not in self._used:
            name = self.name(index)
            self._used[key] = name = self.fresh(f"{name}_as_read") if name in self._tensors else name
            self._add(name, value)
        return self._used[key]

    def extra(self, value: Array, name: str) -> str:
        """A constant that TFLite's graph does not have; returns its name."""
        name = self.fresh(name)
        self._add(name, value)
        return name

    def _add(self, name: str, value: Array) -> None:
        self._tensors[name] = numpy_helper.from_array(np.asarray(value, order="C"), name)

    def sizes(self, shape: Sequence[int]) -> str:
        """A constant shape, whose first size, that of the batch, is left to be computed."""
        return self._share_constant("shape_" + "x".join(map(str, shape[1:])), np.array([-1, *shape[1:]], np.int64))

    def scalar(self, value: float) -> str:
        """A constant number; returns its name."""
        number = np.array(value, np.float32)
        return self._share_constant(f"number_{number}", number)

    def _share_constant(self, wanted: str, value: Array) -> str:
        if wanted not in self._numbers:
            self._numbers[wanted] = self.extra(value, wanted)
        return self._numbers[wanted]


Write = Callable[[Emission, TensorIndices, TensorIndices], None]
"""Writes an operation: takes its inputs and its outputs."""


def same_memory(old: Order, new: Order, shape: Sequence[int]) -> bool:
    """Whether turning moves nothing, because only axes of size 1 change places; a batch is not one of them."""
    moved = [[axis for axis in order if axis == 0 or shape[axis] != 1] for order in (old, new)]
    return moved[0] == moved[1]


def common_order(e: Emission, inputs: Sequence[int], rank: int) -> Order:
    """The order in which several tensors are there; channels first if each is there in another."""
    first = channels_first(rank)
    own = plain(rank)
    computed = [i for i in inputs if e.constant(i) is None and len(e.shape(i)) == rank]
    if not all(e.has(i, own) for i in computed):
        return first
    return e.order(computed[0]) if computed and all(e.has(i, first) for i in computed) else own
