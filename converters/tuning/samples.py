"""Samples of what a layer reads: for some places of its outputs, all values that are multiplied there."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt

from edgepress.converters.graph.step import Step

Array = npt.NDArray[Any]
LEAST, MOST, BYTES = 256, 4096, 64 << 20
"""Samples of a layer, if it has as many, and their size in memory."""


def sampler(step: Step, items: int, seed: int = 0) -> Callable[[Array], Array]:
    """A function that draws samples, shape (samples, values), of a layer's input; of each input, at the same places.

    The values are in the order of the layer's weights: samples @ weights.reshape(outputs, -1).T are its outputs.

    Args:
        step: A CONV_2D without groups, or a FULLY_CONNECTED.
        items: Number of items of the inputs.
        seed: Decides which places are drawn.
    """
    _, *kernel = step.constants[1].shape
    size = int(np.prod(kernel))
    if step.kind == "FULLY_CONNECTED":
        places = _drawn(items * int(np.prod(step.input_shapes[0])) // size, size, seed)
        return lambda values: values.reshape(-1, size)[places]
    height, width = step.shape[1:3]
    places = _drawn(items * height * width, size, seed)
    item, rest = np.divmod(places, height * width)
    o, (row, column) = step.options, np.divmod(rest, width)
    rows = row[:, np.newaxis] * o.strideH + np.arange(kernel[0]) * o.dilationHFactor
    columns = column[:, np.newaxis] * o.strideW + np.arange(kernel[1]) * o.dilationWFactor
    edges = (
        _edges(step, 1, kernel[0], o.strideH, o.dilationHFactor),
        _edges(step, 2, kernel[1], o.strideW, o.dilationWFactor),
    )

    def patches(values: Array) -> Array:
        padded = np.pad(values, [(0, 0), *edges, (0, 0)])
        found = padded[item[:, np.newaxis, np.newaxis], rows[:, :, np.newaxis], columns[:, np.newaxis]]
        return np.ascontiguousarray(found.reshape(len(places), size))

    return patches


def _drawn(count: int, size: int, seed: int) -> npt.NDArray[np.int64]:
    most = max(LEAST, min(MOST, BYTES // (4 * size)))
    if count <= most:
        return np.arange(count)
    return np.sort(np.random.default_rng(seed).choice(count, most, replace=False))


def _edges(step: Step, axis: int, taps: int, stride: int, dilation: int) -> tuple[int, int]:
    """Zeros before and behind the input's values along an axis."""
    if step.options.padding:  # VALID
        return 0, 0
    missing = (step.shape[axis] - 1) * stride + (taps - 1) * dilation + 1 - step.input_shapes[0][axis]
    return max(missing, 0) // 2, max(missing, 0) - max(missing, 0) // 2
