"""Pools (MaxPool 22, AveragePool 22, LpPool 22 and the global ones), and values read between places (GridSample 22).

Values read between places (GridSample 22) of images and volumes: look-ups of the neighbours, weighted.

Formulas: https://onnx.ai/onnx/operators/onnx__GridSample.html
"""

from __future__ import annotations

import functools
import itertools
import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import tensorflow as tf

from edgepress.converters.arrays import Array
from edgepress.converters.importers.convolutions import Pads, Windows, of_series, padded, windows_of
from edgepress.converters.importers.node import Node, Operation, Value, first, last, of_last

KERNELS: dict[tuple[str, int], Any] = {
    ("AVG", 2): tf.nn.avg_pool2d,
    ("AVG", 3): tf.nn.avg_pool3d,
    ("MAX", 2): tf.nn.max_pool2d,
    ("MAX", 3): tf.nn.max_pool3d,
}


def _windows(node: Node, value: Value) -> tuple[Windows, Pads]:
    """The windows of a pool, and the places that `ceil_mode` adds behind their pads."""
    if value.rank not in (4, 5):
        raise node.refused(f"its values have {value.rank} axes; 3 to 5 are supported")
    windows = windows_of(node, value.shape[2:], node.get("kernel_shape"))
    if not node.get("ceil_mode", 0) or node.get("auto_pad", "NOTSET") != "NOTSET":
        return windows, [(0, 0)] * len(windows.sizes)
    added = []
    for size, span, stride, (before, after) in zip(
        windows.sizes, windows.spans, windows.strides, windows.pads, strict=True
    ):
        count = math.ceil((size + before + after - span) / stride) + 1
        if (count - 1) * stride >= size + before:  # a window that would begin behind the values
            count -= 1
        added.append((0, max(0, (count - 1) * stride + span - size - before - after)))
    return windows, added


def _sums(first: Pads, second: Pads) -> Pads:
    return [(a + c, b + d) for (a, b), (c, d) in zip(first, second, strict=True)]


def _pooled(x: Any, windows: Windows, kind: str, padding: str = "VALID") -> Any:
    """The largest number or the mean of each window; one that is dilated is made of the parts that its places read."""
    if max(windows.dilations) == 1:
        pool = KERNELS[kind, len(windows.kernel)]
        return pool(x, windows.kernel, windows.strides, padding)
    ends = [
        (size - span) // stride * stride + 1
        for size, span, stride in zip(x.shape[1:-1], windows.spans, windows.strides, strict=True)
    ]
    parts = []
    for place in np.ndindex(*windows.kernel):
        begins = [tap * by for tap, by in zip(place, windows.dilations, strict=True)]
        slices = [slice(b, b + end, by) for b, end, by in zip(begins, ends, windows.strides, strict=True)]
        parts.append(x[(slice(None), *slices, slice(None))])
    if kind == "MAX":
        return functools.reduce(tf.maximum, parts)
    return functools.reduce(tf.add, parts) * np.float32(1 / len(parts))


@of_series
def max_pool(node: Node, value: Value) -> Value:
    """MaxPool (22), without the places of the largest values."""
    if len(node.outputs) > 1 and node.outputs[1]:
        raise node.refused("the places of the largest values, its second result, are read")
    windows, more = _windows(node, value)
    whole = replace(windows, pads=_sums(windows.pads, more))
    x = last(value)
    if whole.is_same and max(whole.dilations) == 1:
        return of_last(_pooled(x, whole, "MAX", "SAME"))
    return of_last(_pooled(padded(x, whole.pads, x.dtype.min), whole, "MAX"))


@of_series
def average_pool(node: Node, value: Value) -> Value:
    """AveragePool (22): pads count in the mean only with `count_include_pad`, places of `ceil_mode` never."""
    windows, more = _windows(node, value)
    whole = replace(windows, pads=_sums(windows.pads, more))
    counts_pads = bool(node.get("count_include_pad", 0))
    x = last(value)
    if whole.is_same and not counts_pads and max(whole.dilations) == 1:
        return of_last(_pooled(x, whole, "AVG", "SAME"))
    mean = _pooled(padded(x, whole.pads), whole, "AVG")
    counted = windows.pads if counts_pads else [(0, 0)] * len(windows.pads)
    if counted == whole.pads:
        return of_last(mean)
    return of_last(mean * (1 / _shares(whole, counted)))


def _shares(windows: Windows, counted: Pads) -> Array:
    """The share of each window that counts, (1, *places, 1): values, and of pads those that are `counted`."""
    ones = np.ones((1, *windows.sizes, 1), np.float32)
    behind = [(b - d, a - c) for (b, a), (d, c) in zip(windows.pads, counted, strict=True)]
    for pads, number in ((counted, 1), (behind, 0)):
        ones = np.pad(ones, [(0, 0), *pads, (0, 0)], constant_values=number)
    with tf.init_scope():
        return np.asarray(_pooled(tf.constant(ones), windows, "AVG"))


@of_series
def lp_pool(node: Node, value: Value) -> Value:
    """LpPool (22): pads are zeros, so that they count."""
    windows, more = _windows(node, value)
    power = node.get("p", 2)
    x = last(value)
    powers = tf.square(x) if power == 2 else tf.pow(tf.abs(x), float(power))
    mean = _pooled(padded(powers, _sums(windows.pads, more)), windows, "AVG")
    total = mean * float(np.prod(windows.kernel))
    return of_last(tf.sqrt(total) if power == 2 else tf.pow(total, 1 / power))


def global_pool(node: Node, value: Value) -> Value:
    """GlobalAveragePool and GlobalMaxPool (22)."""
    reduce = tf.reduce_mean if node.kind == "GlobalAveragePool" else tf.reduce_max
    places = [value.place(axis) for axis in range(2, value.rank)]
    return value.like(reduce(value.tensor, places, keepdims=True))


def global_lp_pool(node: Node, value: Value) -> Value:
    """GlobalLpPool (22)."""
    power = float(node.get("p", 2))
    places = [value.place(axis) for axis in range(2, value.rank)]
    total = tf.reduce_sum(tf.pow(tf.abs(value.tensor), power), places, keepdims=True)
    return value.like(tf.pow(total, 1 / power))


POOLS: dict[str, Operation] = {
    "AveragePool": average_pool,
    "GlobalAveragePool": global_pool,
    "GlobalLpPool": global_lp_pool,
    "GlobalMaxPool": global_pool,
    "LpPool": lp_pool,
    "MaxPool": max_pool,
}


CUBIC_A = -0.75
"""The coefficient of Keys' kernel (1981)."""


def grid_sample(node: Node, value: Value, grid: Value) -> Value:
    """GridSample: the grid counts from -1 to 1 along each axis of space, the last axis first."""
    x = last(value)
    sizes = x.shape[1:-1]
    mode = {"bilinear": "linear", "bicubic": "cubic"}.get(node.get("mode", "linear"), node.get("mode", "linear"))
    padding = node.get("padding_mode", "zeros")
    aligned = bool(node.get("align_corners", 0))
    if mode == "cubic" and len(sizes) != 2:
        raise node.refused("it is cubic over volumes")
    places = [
        _place(share, size, aligned=aligned)
        for share, size in zip(reversed(tf.unstack(first(grid), axis=-1)), sizes, strict=True)
    ]
    if padding != "zeros" and mode != "cubic":
        places = [_bounded(p, size, padding, aligned=aligned) for p, size in zip(places, sizes, strict=True)]
    taps = [_taps(place, mode) for place in places]
    total = None
    for chosen in itertools.product(*taps):
        indices = [index for index, _ in chosen]
        part = _read(x, indices, sizes, padding, aligned=aligned)
        weight = np.float32(1)
        for _, each in chosen:
            weight = weight * each
        part = part * tf.expand_dims(weight, -1) if mode != "nearest" else part
        total = part if total is None else total + part
    return of_last(total)


def _place(share: Any, size: int, *, aligned: bool) -> Any:
    return (share + 1) * ((size - 1) / 2) if aligned else ((share + 1) * size - 1) / 2


def _taps(place: Any, mode: str) -> list[tuple[Any, Any]]:
    """The neighbours of places and their weights."""
    if mode == "nearest":
        return [(tf.round(place), 1.0)]
    base = tf.floor(place)
    share = place - base
    if mode == "linear":
        return [(base, 1 - share), (base + 1, share)]
    return [(base + offset, _cubic(tf.abs(share - offset), near=offset in (0, 1))) for offset in (-1, 0, 1, 2)]


def _cubic(x: Any, *, near: bool) -> Any:
    a = CUBIC_A
    return ((a + 2) * x - (a + 3)) * x * x + 1 if near else ((a * x - 5 * a) * x + 8 * a) * x - 4 * a


def _bounded(place: Any, size: int, padding: str, *, aligned: bool) -> Any:
    """Places inside an axis: the nearest ones, or the mirrored ones."""
    if padding == "reflection":
        low = 0.0 if aligned else -0.5
        span = size - 1.0 if aligned else float(size)
        if span > 0:
            away = tf.abs(place - low)
            turns = tf.floor(away / span)
            rest = away - turns * span
            is_odd = turns - 2 * tf.floor(turns / 2)
            place = low + rest + is_odd * (span - 2 * rest)
    return tf.clip_by_value(place, 0.0, size - 1.0)


def _read(x: Any, indices: Sequence[Any], sizes: Sequence[int], padding: str, *, aligned: bool) -> Any:
    """Values at whole places, (batch, *places, channels); outside, as `padding_mode` says."""
    inside = None
    whole = []
    for index, size in zip(indices, sizes, strict=True):
        if padding == "zeros":
            is_in = tf.logical_and(index >= 0, index <= size - 1)
            inside = is_in if inside is None else tf.logical_and(inside, is_in)
            index = tf.clip_by_value(index, 0.0, size - 1.0)
        else:
            index = _bounded(index, size, padding, aligned=aligned)
        whole.append(tf.cast(index, tf.int32))
    shape = whole[0].shape
    batch = np.broadcast_to(np.arange(shape[0], dtype=np.int32).reshape(-1, *[1] * (len(shape) - 1)), shape)
    values = tf.gather_nd(x, tf.stack([tf.constant(batch), *whole], axis=-1))
    return values if inside is None else values * tf.expand_dims(tf.cast(inside, x.dtype), -1)


SAMPLING: dict[str, Operation] = {"GridSample": grid_sample}
