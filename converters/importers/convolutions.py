"""Convolutions of series, images and volumes (Conv 22, ConvTranspose 22), channels last, and where windows lie.

Where the windows of convolutions and pools lie, and series as images of one row.

What `auto_pad`, `pads`, `ceil_mode` and `output_shape` mean: https://onnx.ai/onnx/operators/onnx__Conv.html and the
pages of ConvTranspose and AveragePool.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import tensorflow as tf

from edgepress.converters.arrays import Array
from edgepress.converters.importers.node import Node, Operation, Value, constant, in_order, last, of_last

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


CONVOLVE = {2: tf.nn.conv2d, 3: tf.nn.conv3d}
CONVOLVE_BACK = {2: tf.nn.conv2d_transpose, 3: tf.nn.conv3d_transpose}


@of_series
def conv(node: Node, value: Value, weights: Value, bias: Value | None = None) -> Value:
    """Conv (22)."""
    space = _axes_of_space(node, value)
    channels = value.shape[1]
    groups = node.get("group", 1)
    if groups * weights.shape[1] != channels or weights.shape[0] % groups:
        raise node.refused(f"its weights {list(weights.shape)} do not fit {channels} channels in {groups} groups")
    windows = windows_of(node, value.shape[2:], weights.shape[2:])
    padding = "SAME" if windows.is_same else "VALID"
    x = last(value) if windows.is_same else padded(last(value), windows.pads)
    if space == 3:
        made = _convolve_volumes(node, x, weights, windows, padding=padding)
    elif 1 < groups == channels and _has_kernel(windows):
        made = _convolve_each(node, x, weights, windows, padding=padding)
    else:
        kernel = in_order(weights, (2, 3, 1, 0))
        made = tf.nn.conv2d(x, kernel, windows.strides, padding, dilations=windows.dilations)
    return of_last(_with_bias(made, bias))


def _axes_of_space(node: Node, value: Value) -> int:
    if value.rank not in (4, 5):
        raise node.refused(f"its values have {value.rank} axes; 3 to 5 are supported")
    return value.rank - 2


def _has_kernel(windows: Windows) -> bool:
    """Whether TensorFlow has a kernel of depthwise convolutions with such steps."""
    return len({*windows.strides}) == 1 and (max(windows.strides) == 1 or max(windows.dilations) == 1)


def _convolve_each(node: Node, x: Any, weights: Value, windows: Windows, *, padding: str) -> Any:
    """A depthwise convolution."""
    groups = x.shape[-1]
    whole = node.known(weights, "kernel").stored
    kernel = whole[:, 0].reshape(groups, -1, *windows.kernel).transpose(2, 3, 0, 1)
    return tf.nn.depthwise_conv2d(x, kernel, [1, *windows.strides, 1], padding, dilations=windows.dilations)


def _convolve_volumes(node: Node, x: Any, weights: Value, windows: Windows, *, padding: str) -> Any:
    """A convolution of volumes, whose dilations are zeros in the kernel: TensorFlow has none on a CPU."""
    groups = node.get("group", 1)
    whole = _dilated(node.known(weights, "kernel").stored, windows.dilations)
    strides = [1, *windows.strides, 1]
    parts = zip(tf.split(x, groups, -1), np.split(whole, groups), strict=True)
    made = [tf.nn.conv3d(part, kernel.transpose(2, 3, 4, 1, 0), strides, padding) for part, kernel in parts]
    return made[0] if groups == 1 else tf.concat(made, -1)


def _dilated(kernel: Array, dilations: Sequence[int]) -> Array:
    """A kernel, axes of space last, with zeros between its values."""
    if max(dilations) == 1:
        return kernel
    sizes = [(taps - 1) * by + 1 for taps, by in zip(kernel.shape[2:], dilations, strict=True)]
    filled = np.zeros((*kernel.shape[:2], *sizes), kernel.dtype)
    filled[(slice(None), slice(None), *(slice(None, None, by) for by in dilations))] = kernel
    return filled


def _with_bias(x: Any, bias: Value | None) -> Any:
    return x if bias is None else tf.nn.bias_add(x, bias.tensor)


@of_series
def conv_transpose(node: Node, value: Value, weights: Value, bias: Value | None = None) -> Value:
    """ConvTranspose (22): all that a window reaches is computed, and what `pads` name is cut off."""
    space = _axes_of_space(node, value)
    groups = node.get("group", 1)
    windows = windows_of(node, value.shape[2:], weights.shape[2:])
    kernel = _dilated(node.known(weights, "kernel").stored, windows.dilations)
    full = tuple(
        (size - 1) * stride + span
        for size, stride, span in zip(windows.sizes, windows.strides, windows.spans, strict=True)
    )
    crops = _crops(node, windows, full)
    sizes = [whole - before - after for whole, (before, after) in zip(full, crops, strict=True)]
    is_same = _is_same(windows, crops, sizes)
    padding = "SAME" if is_same else "VALID"
    perm = (*range(2, 2 + space), 1, 0)
    target = [value.shape[0], *(sizes if is_same else full), kernel.shape[1]]
    parts = zip(tf.split(last(value), groups, -1), np.split(kernel, groups), strict=True)
    made = [CONVOLVE_BACK[space](part, each.transpose(perm), target, windows.strides, padding) for part, each in parts]
    whole = made[0] if groups == 1 else tf.concat(made, -1)
    if not is_same:
        whole = padded(whole, [(-before, -after) for before, after in crops])
    return of_last(_with_bias(whole, bias))


def _is_same(windows: Windows, crops: Pads, sizes: Sequence[int]) -> bool:
    """Whether what is left is what TensorFlow calls SAME."""
    scaled = [size * stride for size, stride in zip(windows.sizes, windows.strides, strict=True)]
    totals = [max(0, span - stride) for span, stride in zip(windows.spans, windows.strides, strict=True)]
    return [*sizes] == scaled and crops == [(total // 2, total - total // 2) for total in totals]


def _crops(node: Node, windows: Windows, full: tuple[int, ...]) -> Pads:
    """What is cut off before and behind; less than nothing where the result has more places than windows reach."""
    added = node.get("output_padding") or [0] * len(full)
    shape = node.get("output_shape")
    mode = node.get("auto_pad", "NOTSET")
    if not shape and mode not in ("SAME_UPPER", "SAME_LOWER"):
        return [(before, after - more) for (before, after), more in zip(windows.pads, added, strict=True)]
    scaled = [size * stride for size, stride in zip(windows.sizes, windows.strides, strict=True)]
    targets = shape[-len(full) :] if shape else scaled
    crops = []
    for whole, more, target in zip(full, added, targets, strict=True):
        total = whole + more - target
        half = total // 2 if mode == "SAME_UPPER" else total - total // 2
        crops.append((half, total - half - more))
    return crops


CONVOLUTIONS: dict[str, Operation] = {"Conv": conv, "ConvTranspose": conv_transpose}
