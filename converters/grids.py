"""Weights on grids of eight or four bits, in NumPy, independently of the quantizers."""

from __future__ import annotations

import numpy as np

from edgepress.converters.arrays import Floats

LEVELS = 127
ONNX_AXES = {"Conv": 0, "ConvTranspose": 1, "MatMul": -1, "Gemm": 1}
"""Axis of the output channels of a kernel, by operation; that of a transposed Gemm is 0."""


def round_to_grid(values: Floats, axis: int | None, *, symmetric: bool = True, levels: int = LEVELS) -> Floats:
    """Values as eight bits hold them, or four.

    Args:
        values: Weights of any shape.
        axis: The axis along which each index has a scale of its own; None for one scale.
        symmetric: Whether 0 is the middle: -127 to 127 steps; else 0 to 255 steps from the smallest value or 0.
        levels: Steps of the largest value: 127 of eight bits, 7 of four.
    """
    others = None if axis is None else tuple(i for i in range(values.ndim) if i != axis % values.ndim)
    low, high = (f(values, axis=others, keepdims=True) for f in (np.min, np.max))
    if symmetric:
        step = np.maximum(-low, high) / levels
    else:
        step = (np.maximum(high, 0) - np.minimum(low, 0)) / (2 * levels + 1)
    step = np.where(step > 0, step, 1)
    return np.asarray(np.rint(values / step) * step, np.float32)
