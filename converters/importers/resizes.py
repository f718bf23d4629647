"""Resize (19) and Upsample (9): TFLite's own operations where they read the same places, else look-ups or products.

A Resize is linear along each axis, so what TFLite lacks (cubic ones, uneven scales, `antialias`, crops) is a product
with a constant matrix for each axis. Coordinates are computed in float32, as ONNX Runtime does. Formulas:
https://onnx.ai/onnx/operators/onnx__Resize.html
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import tensorflow as tf

from edgepress.converters.arrays import Array
from edgepress.converters.importers.node import Node, Operation, Value, constant, in_order, last, of_last

SPACE = (2, 3)
"""The axes of ONNX that TFLite's operations resize."""
ROUNDINGS: dict[str, Callable[[Array], Array]] = {
    "ceil": np.ceil,
    "floor": np.floor,
    "round_prefer_ceil": lambda x: np.floor(x + np.float32(0.5)),
    "round_prefer_floor": lambda x: np.ceil(x - np.float32(0.5)),
}
ALIGNED = [(False, False), (False, True), (True, False)]
"""TensorFlow's ways to place pixels: `align_corners` and `half_pixel_centers`."""


@dataclass(frozen=True)
class Axis:
    """How an axis is resized.

    Attributes:
        size: Before.
        new: After.
        scale: New size over old one, as given.
        crop: First and last place that is read, as shares; for `tf_crop_and_resize` alone.
    """

    size: int
    new: int
    scale: np.float32
    crop: tuple[float, float] = (0.0, 1.0)

    @property
    def changes(self) -> bool:
        """Whether anything is done along it."""
        return self.new != self.size or self.scale != 1 or self.crop != (0.0, 1.0)


def resize(node: Node, value: Value, *given: Value | None) -> Value:
    """Resize, and the older Upsample."""
    axes = {number: axis for number, axis in _axes(node, value, given).items() if axis.changes}
    mode = node.get("mode", "nearest")
    outside: dict[int, Array] = {}
    places = {}
    for number, axis in axes.items():
        places[number] = _places(node, axis)
        if _way(node) == "tf_crop_and_resize":
            outside[number] = (places[number] < 0) | (places[number] > axis.size - 1)
    made = (_nearest if mode == "nearest" else _weighted)(node, value, axes, places)
    if any(each.any() for each in outside.values()):
        mask = np.zeros(made.shape, bool)
        for number, each in outside.items():
            mask |= each.reshape([-1 if axis == number else 1 for axis in range(value.rank)])
        filler = np.asarray(node.get("extrapolation_value", 0.0), value.dtype)
        return made.like(tf.where(in_order(constant(mask), made.order), filler, made.tensor))
    return made


def _axes(node: Node, value: Value, given: Sequence[Value | None]) -> dict[int, Axis]:
    """How each axis is resized."""
    held = [None if each is None or 0 in each.shape else node.known(each, "size").stored for each in given]
    if node.kind == "Upsample" or node.opset < 11:
        roi, scales, sizes = None, held[0] if held else np.array(node.get("scales"), np.float32), None
    else:
        roi, scales, sizes = [*held, None, None, None][:3]
    numbers = [axis % value.rank for axis in node.get("axes") or range(value.rank)]
    before = [value.shape[axis] for axis in numbers]
    if sizes is not None:
        wanted = np.asarray(sizes)
        policy = node.get("keep_aspect_ratio_policy", "stretch")
        ratios = wanted.astype(np.float32) / np.array(before, np.float32)
        if policy != "stretch":
            ratio = min(ratios) if policy == "not_larger" else max(ratios)
            ratios = np.full(len(numbers), ratio, np.float32)
            wanted = np.floor(ratio * np.array(before, np.float32) + 0.5)
    elif scales is not None:
        ratios = np.asarray(scales, np.float32)
        wanted = np.floor(ratios * np.array(before, np.float32))
    else:
        raise node.refused("it has neither scales nor sizes")
    crops = [(0.0, 1.0)] * len(numbers)
    if roi is not None and _way(node) == "tf_crop_and_resize":
        crops = [(float(begin), float(end)) for begin, end in np.reshape(roi, (2, -1)).T]
    rows = zip(numbers, before, wanted.astype(int).tolist(), ratios, crops, strict=True)
    return {number: Axis(*each) for number, *each in rows}


def _way(node: Node) -> str:
    """How places are reckoned; before opset 11, there was one way."""
    default = "half_pixel" if node.opset >= 11 and node.kind == "Resize" else "asymmetric"
    return str(node.get("coordinate_transformation_mode", default))


def _places(node: Node, axis: Axis) -> Any:
    """Where each new value lies among the old ones, float32."""
    x = np.arange(axis.new, dtype=np.float32)
    half = np.float32(0.5)
    way = _way(node)
    if way == "align_corners" and axis.scale * np.float32(axis.size) != axis.new:
        # The standard counts with the uneven size, ONNX Runtime with the rounded one.
        raise node.refused(f"it aligns corners and makes {axis.new} of {axis.size} places by a scale of {axis.scale}")
    match way:
        case "half_pixel":
            return (x + half) / axis.scale - half
        case "half_pixel_symmetric":
            exact = axis.scale * np.float32(axis.size)
            offset = np.float32(axis.size / 2) * (1 - np.float32(axis.new) / exact)
            return offset + (x + half) / axis.scale - half
        case "pytorch_half_pixel":
            return (x + half) / axis.scale - half if axis.new > 1 else x
        case "align_corners":
            return x * np.float32(axis.size - 1) / np.float32(axis.new - 1) if axis.new > 1 else x
        case "asymmetric":
            return x / axis.scale
        case "tf_crop_and_resize":
            begin, end = (np.float32(share) for share in axis.crop)
            if axis.new > 1:
                return begin * (axis.size - 1) + x * (end - begin) * (axis.size - 1) / np.float32(axis.new - 1)
            return half * (begin + end) * (axis.size - 1) + x
    raise node.refused(f"it places pixels by {way}")


def _fits_kernel(value: Value, axes: dict[int, Axis]) -> bool:
    return value.rank == 4 and {*axes} <= {*SPACE}


def _nearest(node: Node, value: Value, axes: dict[int, Axis], places: dict[int, Array]) -> Value:
    default = "round_prefer_floor" if node.opset >= 11 and node.kind == "Resize" else "floor"
    round_ = ROUNDINGS[node.get("nearest_mode", default)]
    chosen = {n: np.clip(round_(places[n]), 0, axis.size - 1).astype(np.int32) for n, axis in axes.items()}
    if _fits_kernel(value, axes):
        for corners, centers in ALIGNED:
            kernel = {n: _kernel_places(axis, corners=corners, centers=centers) for n, axis in axes.items()}
            is_rounded = corners or centers
            if all(np.array_equal(np.floor(kernel[n] + 0.5 * is_rounded), chosen[n]) for n in axes):
                resized = tf.compat.v1.image.resize_nearest_neighbor
                return _by_kernel(resized, value, axes, align_corners=corners, half_pixel_centers=centers)
    x = value.tensor
    for number, each in chosen.items():
        x = tf.gather(x, each, axis=value.place(number))
    return value.like(x)


def _kernel_places(axis: Axis, *, corners: bool, centers: bool) -> Any:
    """Where TFLite's kernels read (tflite/kernels/internal/reference/resize_bilinear.h)."""
    x = np.arange(axis.new, dtype=np.float32)
    if corners and axis.new > 1:
        return x * (np.float32(axis.size - 1) / np.float32(axis.new - 1))
    scale = np.float32(axis.size) / np.float32(axis.new)
    half = np.float32(0.5)
    return (x + half) * scale - half if centers else x * scale


def _by_kernel(resized: Any, value: Value, axes: dict[int, Axis], **options: bool) -> Value:
    sizes = [axes[number].new if number in axes else value.shape[number] for number in SPACE]
    return of_last(resized(last(value), sizes, **options))


def _weighted(node: Node, value: Value, axes: dict[int, Axis], places: dict[int, Array]) -> Value:
    """Linear and cubic ones."""
    matrices = {number: _matrix(node, axis, places[number]) for number, axis in axes.items()}
    if node.get("mode") == "linear" and _fits_kernel(value, axes):
        for corners, centers in ALIGNED:
            kernel = {
                n: _linear(axis, _kernel_places(axis, corners=corners, centers=centers)) for n, axis in axes.items()
            }
            if all(np.allclose(kernel[n], matrices[n], rtol=0, atol=1e-5) for n in axes):
                resized = tf.compat.v1.image.resize_bilinear
                return _by_kernel(resized, value, axes, align_corners=corners, half_pixel_centers=centers)
    for number, matrix in matrices.items():
        order = (*(axis for axis in value.order if axis != number), number)
        value = Value(tf.matmul(tf.convert_to_tensor(in_order(value, order)), matrix), order)
    return value


def _linear(axis: Axis, places: Array) -> Array:
    return _spread(axis, places, _tent, reach=1, shrink=1.0, drops=False)


def _matrix(node: Node, axis: Axis, places: Array) -> Array:
    """What each new value takes of each old one, (old, new), float32."""
    shrink = min(float(axis.scale), 1.0) if node.get("antialias", 0) else 1.0
    drops = bool(node.get("exclude_outside", 0))
    if node.get("mode") == "linear":
        return _spread(axis, places, _tent, reach=1, shrink=shrink, drops=drops)
    a = node.get("cubic_coeff_a", -0.75)
    return _spread(axis, places, lambda x: _cubic(x, a), reach=2, shrink=shrink, drops=drops)


def _tent(x: Array) -> Any:
    return np.clip(1 - np.abs(x), 0, 1)


def _cubic(x: Array, a: float) -> Any:
    """Keys' kernel (1981)."""
    x = np.abs(x)
    near = (a + 2) * x**3 - (a + 3) * x**2 + 1
    far = a * x**3 - 5 * a * x**2 + 8 * a * x - 4 * a
    return np.where(x <= 1, near, np.where(x < 2, far, 0.0))


def _spread(axis: Axis, places: Array, kernel: Any, *, reach: int, shrink: float, drops: bool) -> Array:
    """A matrix of a kernel around places; beyond the ends, the values there, or none with `drops`."""
    matrix = np.zeros((axis.size, axis.new))
    base = np.floor(places)
    wide = int(np.ceil(reach / shrink))
    offsets = np.arange(-wide, wide + 1)
    taps = base + offsets[:, None]
    weights = kernel((taps - places) * shrink)
    weights = np.where((taps < 0) | (taps >= axis.size), 0.0, weights) if drops else weights
    if drops or shrink < 1:
        weights = weights / weights.sum(axis=0)
    rows = np.clip(taps, 0, axis.size - 1).astype(int)
    for row, weight in zip(rows, weights, strict=True):
        np.add.at(matrix, (row, np.arange(axis.new)), weight)
    return matrix.astype(np.float32)


RESIZES: dict[str, Operation] = {"Resize": resize, "Upsample": resize}
