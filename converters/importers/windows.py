"""Where the windows of convolutions and pools lie, and series as images of one row.

What `auto_pad`, `pads`, `ceil_mode` and `output_shape` mean: https://onnx.ai/onnx/operators/onnx__Conv.html and the
pages of ConvTranspose and AveragePool.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import tensorflow as tf

from edgepress.converters.importers.node import Node, Operation
from edgepress.converters.importers.values import Value, constant, last, of_last

Pads = list[tuple[int, int]]
"""Places added before and behind, for each axis of space."""
PER_AXIS = ("dilations", "kernel_shape", "output_padding", "output_shape", "strides")
"""Attributes with a number for each axis of space."""


@dataclass(frozen=True)
class Windows:
    """The windows of an operation over some axes of space.

    Attributes:
        sizes: Of the values.
        kernel: Of a window.
        strides: Steps between windows.
        dilations: Steps between the values of a window.
        pads: Places added around the values.
    """

    sizes: tuple[int, ...]
    kernel: tuple[int, ...]
    strides: tuple[int, ...]
    dilations: tuple[int, ...]
    pads: Pads

    @property
    def spans(self) -> tuple[int, ...]:
        """What a window spans along each axis."""
        return tuple((taps - 1) * by + 1 for taps, by in zip(self.kernel, self.dilations, strict=True))

    @property
    def same(self) -> Pads:
        """The pads that TensorFlow calls SAME."""
        return _same_pads(self.sizes, self.spans, self.strides)

    @property
    def is_padded(self) -> bool:
        """Whether there are pads."""
        return any(map(any, self.pads))

    @property
    def is_same(self) -> bool:
        """Whether these are the pads that TensorFlow calls SAME, and not none."""
        return self.is_padded and self.pads == self.same


def windows_of(node: Node, sizes: Sequence[int], kernel: Sequence[int]) -> Windows:
    """The windows of a Conv or a pool.

    Args:
        node: The node.
        sizes: Of the axes of space.
        kernel: Size of a window.
    """
    axes = len(sizes)
    strides = tuple(node.get("strides") or [1] * axes)
    dilations = tuple(node.get("dilations") or [1] * axes)
    bare = Windows(tuple(sizes), tuple(kernel), strides, dilations, [(0, 0)] * axes)
    if not len(kernel) == len(strides) == len(dilations) == axes:
        raise node.refused(f"its windows do not have the {axes} axes of its values")
    match node.get("auto_pad", "NOTSET"):
        case "SAME_UPPER":
            pads = bare.same
        case "SAME_LOWER":
            pads = [(after, before) for before, after in bare.same]
        case "VALID":
            pads = bare.pads
        case _:
            flat = node.get("pads") or [0] * 2 * axes
            pads = list(zip(flat[:axes], flat[axes:], strict=True))
    return replace(bare, pads=pads)


def _same_pads(sizes: Sequence[int], spans: Sequence[int], strides: Sequence[int]) -> Pads:
    totals = [
        max(0, (-(-size // stride) - 1) * stride + span - size)
        for size, span, stride in zip(sizes, spans, strides, strict=True)
    ]
    return [(total // 2, total - total // 2) for total in totals]


def padded(tensor: Any, pads: Pads, value: float = 0.0) -> Any:
    """A tensor with its channels last, with places added around; fewer than none cut places off."""
    cut = tuple(slice(max(0, -before), min(0, after) or None) for before, after in pads)
    if any(before < 0 or after < 0 for before, after in pads):
        tensor = tensor[(slice(None), *cut, slice(None))]
    added = [(max(0, before), max(0, after)) for before, after in pads]
    if not any(map(any, added)):
        return tensor
    return filled_around(tensor, [(0, 0), *added, (0, 0)], value)


def filled_around(tensor: Any, amounts: Pads, value: float) -> Any:
    """A tensor with a number around it; TFLite's quantizers know zeros alone, and need the operation for them."""
    if value == 0:
        return tf.pad(tensor, amounts)
    return tf.pad(tensor, amounts, constant_values=tf.constant(value, tensor.dtype))


def of_series(operation: Operation) -> Operation:
    """Let an operation on images take series, too: as images of one row."""

    @functools.wraps(operation)
    def whole(node: Node, value: Value, *others: Value | None) -> Any:
        if value.rank != 3:
            return operation(node, value, *others)
        attributes = {name: [1, *each] if name in PER_AXIS else each for name, each in node.attributes.items()}
        if pads := attributes.get("pads"):
            attributes["pads"] = [0, pads[0], 0, pads[1]]
        image = of_last(tf.expand_dims(last(value), 1))
        result = operation(replace(node, attributes=attributes), image, *map(_with_row, others))
        assert isinstance(result, Value)
        return of_last(tf.squeeze(last(result), 1))

    return whole


def _with_row(weights: Value | None) -> Value | None:
    """Weights of a convolution of series as those of one of images; others stay."""
    if weights is None or weights.rank != 3:
        return weights
    if weights.is_constant:
        return constant(weights.stored[:, :, None])
    order = (*(axis + (axis > 1) for axis in weights.order), 2)
    return Value(tf.expand_dims(weights.stored, -1), order)
