"""Scenes: whether an image is of another scene than one before it, by their thumbnails.

Scenes differ less where a camera shows less contrast, so what is asked of a difference is relative to that. A board
asks this of every image: NumPy adds the pixels in a few calls, and the 64 numbers that are left are compared without
it, in a fraction of the instructions (`benchmarks/memory/drift_cost.py`).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    import numpy.typing as npt

    Floats = npt.NDArray[np.float64]

SIDE = 8
"""Height and width of a thumbnail."""
NEW_SCENE = 25.0
"""Root mean square difference of two thumbnails, grey levels of 255, from which on an image is of another scene."""
NEW_PATTERN = 0.6
"""The same without their mean levels, relative to the larger standard deviation of the two."""
LEAST_PATTERN = 4.0
"""Least such difference, grey levels; noise is below it."""
MOST_NARROW = SIDE * 256
"""Rows of an image up to which the sums of a part's rows, of at most 257 pixels of 255, fit into 16 bits."""


def is_other_scene(small: Sequence[float], last: Sequence[float]) -> bool:
    """Whether a thumbnail, as `parts_of` returns it, is of another scene than `last`: `other_scene` of one pair."""
    root = math.sqrt(len(small))
    change = math.dist(small, last) / root
    if change >= NEW_SCENE:
        return True
    means = sum(small) / len(small), sum(last) / len(last)
    pattern = math.sqrt(max(0.0, change**2 - (means[0] - means[1]) ** 2))
    if pattern < LEAST_PATTERN:
        return False
    pairs = zip((small, last), means, strict=True)
    contrast = max(math.dist(levels, [mean] * len(levels)) / root for levels, mean in pairs)
    return pattern >= NEW_PATTERN * contrast


def other_scene(small: npt.NDArray[Any], last: npt.NDArray[Any]) -> npt.NDArray[np.bool_]:
    """Whether thumbnails, shape (..., parts), are of other scenes than `last`, of this shape: bool, (...)."""
    change = small - last
    contrast = np.maximum(small.std(axis=-1), last.std(axis=-1))
    pattern = change.std(axis=-1) >= np.maximum(LEAST_PATTERN, NEW_PATTERN * contrast)
    return np.asarray(pattern | (np.sqrt(np.mean(change**2, axis=-1)) >= NEW_SCENE))


def thumbnail(item: npt.NDArray[Any]) -> Floats:
    """Mean grey levels of at most 8 x 8 parts of an image, (height, width, channels): float64."""
    height, width, channels = item.shape
    wide: Any = np.uint32 if item.dtype == np.uint8 else np.float64  # whole numbers are exact
    narrow = np.uint16 if item.dtype == np.uint8 and height <= MOST_NARROW else wide
    bands = _add_parts(item.reshape(height, width * channels), height, 1, axis=0, kind=narrow)
    return np.asarray(_add_parts(bands, width, channels, axis=1, kind=wide) / _pixels(height, width, channels))


def parts_of(item: npt.NDArray[Any]) -> list[float]:
    """The same as a list, row by row."""
    parts: list[float] = thumbnail(item).ravel().tolist()
    return parts


def _add_parts(values: npt.NDArray[Any], size: int, channels: int, *, axis: int, kind: Any) -> npt.NDArray[Any]:
    """Sums of the parts of an axis of `size` times `channels` numbers; parts of one size are added faster."""
    if size % SIDE:
        starts = [channels * start for start in _limits(size)[:-1]]
        return np.asarray(np.add.reduceat(values, starts, axis=axis, dtype=kind))
    split = values.reshape(*values.shape[:axis], SIDE, -1, *values.shape[axis + 1 :])
    return np.asarray(split.sum(axis=axis + 1, dtype=kind))


@lru_cache(maxsize=8)
def _limits(size: int) -> tuple[int, ...]:
    """Where the parts of a side begin, in ascending order, and where the last ends."""
    parts = min(SIDE, size)
    return (*(part * size // parts for part in range(parts)), size)


@lru_cache(maxsize=8)
def _pixels(height: int, width: int, channels: int) -> Floats:
    """How many numbers are in each part: float64, (rows, columns)."""
    return np.asarray(channels * np.outer(np.diff(_limits(height)), np.diff(_limits(width))), np.float64)
