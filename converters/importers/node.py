"""A node of an ONNX graph and its values, as importing functions see them: tensors in any order of axes, and constants.

Values of an ONNX graph on their way to TensorFlow: tensors whose axes may be stored in any order, and constants.

An ONNX graph has the channels of images first; TFLite's kernels take them last. Each value here says which of its axes
is stored where, so that an operation takes the order that it finds where it can, and a Transpose costs nothing until
something needs an order. Images keep their channels last from one convolution to the next.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import tensorflow as tf

from edgepress.converters.arrays import Array
from edgepress.converters.errors import ConversionError

Order = tuple[int, ...]


@dataclass(frozen=True)
class Value:
    """A value of the graph.

    Attributes:
        stored: A tensor of TensorFlow of a known shape, or the array of a constant.
        order: The axis of ONNX that is stored at each place; a constant has its own order.
    """

    stored: Any
    order: Order

    @property
    def is_constant(self) -> bool:
        """Whether it is known now."""
        return isinstance(self.stored, np.ndarray)

    @property
    def shape(self) -> tuple[int, ...]:
        """Its shape in ONNX."""
        sizes = tuple(self.stored.shape)
        return tuple(sizes[self.order.index(axis)] for axis in range(len(sizes)))

    @property
    def rank(self) -> int:
        """Number of axes."""
        return len(self.order)

    @property
    def dtype(self) -> Any:
        """Its type, as NumPy's."""
        return self.stored.dtype if self.is_constant else self.stored.dtype.as_numpy_dtype

    @property
    def is_float(self) -> bool:
        """Whether it holds real numbers."""
        return bool(np.issubdtype(self.dtype, np.floating))

    @property
    def tensor(self) -> Any:
        """What is stored, as a tensor."""
        return tf.constant(self.stored) if self.is_constant else self.stored

    def place(self, axis: int) -> int:
        """Where an axis of ONNX, which may count from the end, is stored."""
        return self.order.index(axis % self.rank)

    def like(self, stored: Any) -> Value:
        """Another value in the same order."""
        return Value(stored, self.order)


def constant(values: Any) -> Value:
    """A constant."""
    array = np.asarray(values)
    return Value(array, own_order(array.ndim))


def plain(tensor: Any) -> Value:
    """A tensor whose axes are stored in ONNX' order."""
    return Value(tensor, own_order(len(tensor.shape)))


def own_order(rank: int) -> Order:
    """ONNX' order."""
    return tuple(range(rank))


def last_order(rank: int) -> Order:
    """The order with the channels, ONNX' second axis, last."""
    return (0, *range(2, rank), 1) if rank > 2 else own_order(rank)


def in_order(value: Value, order: Order) -> Any:
    """What a value stores, tensor or array, in another order of axes."""
    perm = [value.order.index(axis) for axis in order]
    if perm == sorted(perm):
        return value.stored
    if value.is_constant:
        return value.stored.transpose(perm)
    sizes = value.stored.shape
    long = [place for place in perm if sizes[place] != 1]
    if long == sorted(long):
        return tf.reshape(value.stored, [sizes[place] for place in perm])
    return tf.transpose(value.stored, perm)


def first(value: Value) -> Any:
    """A value as a tensor in ONNX' order."""
    return tf.convert_to_tensor(in_order(value, own_order(value.rank)))


def last(value: Value) -> Any:
    """A value as a tensor with its channels last."""
    return tf.convert_to_tensor(in_order(value, last_order(value.rank)))


def of_last(tensor: Any) -> Value:
    """A value of a tensor with its channels last."""
    return Value(tensor, last_order(len(tensor.shape)))


def with_rank(value: Value, rank: int) -> Value:
    """A value with axes of size 1 in front, as broadcasting adds them."""
    added = rank - value.rank
    if not added:
        return value
    if value.is_constant:
        return constant(value.stored.reshape((1,) * added + value.stored.shape))
    order = (*range(added), *(axis + added for axis in value.order))
    return Value(tf.reshape(value.stored, (1,) * added + tuple(value.stored.shape)), order)


def aligned(values: Sequence[Value]) -> tuple[Order, list[Any]]:
    """Values to be broadcast, as tensors in one order: that of the largest one that is computed."""
    rank = max(value.rank for value in values)
    computed = [value for value in values if not value.is_constant] or list(values)
    leader = with_rank(max(computed, key=lambda value: (value.rank, np.prod(value.shape))), rank)
    return leader.order, [tf.convert_to_tensor(in_order(with_rank(value, rank), leader.order)) for value in values]


def integers(value: Value) -> list[int]:
    """The whole numbers of a constant."""
    return [int(number) for number in np.ravel(value.stored)]


def filled(shape: Sequence[int], number: Any, dtype: Any) -> Array:
    """An array of one number."""
    return np.full(tuple(shape), number, dtype)


Results = Value | tuple[Value, ...]
Operation = Callable[..., Results]
"""What makes the results of a node: takes the node and its inputs, None for those that are left out."""

_ONNX_ONLY = "ONNX schemes may still work."


class UnsupportedError(ConversionError):
    """An operation that is not imported, or not in this form."""


@dataclass(frozen=True)
class Node:
    """A node.

    Attributes:
        kind: Its operation.
        name: Its own name, or that of its first result.
        attributes: By name; texts as `str`, graphs as protocol buffers.
        opset: Version of the standard operations.
        outputs: Whether each of its results has a name, so that something may read it.
    """

    kind: str
    name: str
    attributes: Mapping[str, Any]
    opset: int
    outputs: tuple[bool, ...] = (True,)

    def get(self, name: str, default: Any = None) -> Any:
        """An attribute, or its default."""
        return self.attributes.get(name, default)

    def refused(self, why: str) -> UnsupportedError:
        """The error of this node."""
        return UnsupportedError(f"{self.kind} ({self.name}) can't be converted to TFLite: {why}.", _ONNX_ONLY)

    def numbers(self, value: Value, what: str) -> list[int]:
        """The whole numbers of an input.

        Raises:
            UnsupportedError: They are computed.
        """
        return integers(self.known(value, what))

    def known(self, value: Value, what: str) -> Value:
        """An input that has to be constant.

        Raises:
            UnsupportedError: It is computed.
        """
        if not value.is_constant:
            raise self.refused(f"its {what} is computed, not constant")
        return value

    def axes(self, given: Value | None, attribute: str = "axes") -> list[int] | None:
        """Axes that newer opsets take as an input and older ones as an attribute; None if there are none."""
        if given is not None:
            return self.numbers(given, attribute)
        axes = self.get(attribute)
        return None if axes is None else [int(axis) for axis in axes]
