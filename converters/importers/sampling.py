"""Values read between places (GridSample 22) of images and volumes: look-ups of the neighbours, weighted.

Formulas: https://onnx.ai/onnx/operators/onnx__GridSample.html
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from edgepress.converters.importers.node import Node, Operation
from edgepress.converters.importers.values import Value, first, last, of_last

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
