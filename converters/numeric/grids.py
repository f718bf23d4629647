"""Weights on grids of eight or four bits, in NumPy, independently of the quantizers; and grids that suit a bias.

A kernel adds the bias as an integer of the scale (scale of the input * scale of the weights). Where a channel's weights
or the layer's inputs are nearly 0, because the channel or the one before it is dead, that scale is so small that the
integer overflows, and the quantizers clip it: the channel then has another bias. Here, as in TFLiteConverter, such
channels get a larger scale. Their weights lose bits, which matters little: what they add is small beside the bias.
Where all weights of a channel are 0, any scale suits them, and ONNX Runtime's quantizer takes 1, which may be too
coarse for the bias.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from edgepress.converters.arrays import Array, Floats

LEVELS = 127
ONNX_AXES = {"Conv": 0, "ConvTranspose": 1, "MatMul": -1, "Gemm": 1}
"""Axis of the output channels of a kernel, by operation; that of a transposed Gemm is 0."""
SMALLEST = 1e-20
"""Smallest scale of weights that are all 0, so that no product of scales is 0 in float32."""
LARGEST_BIAS = {np.dtype(np.int32): 2.0**30, np.dtype(np.int64): 2.0**46}
"""Largest integer of a bias by its type. Half of int32 is left to the products that are added to it; kernels of 16 bits
accept sums of 48 bits (`MultiplyByQuantizedMultiplier` in LiteRT's kernels/internal/common.cc)."""


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


def scales_for_bias(
    weights: Array,
    scales: Floats,
    bias: npt.NDArray[np.float64],
    source: float,
    *,
    largest: float,
    least: float = 0.0,
    axis: int = 0,
) -> tuple[Array, Floats]:
    """Integers and scales of weights with which the integers of the bias are at most `largest`.

    Args:
        weights: Integers of the weights.
        scales: Their scales, float32, shape (channels,), or (1,) if all channels share one.
        bias: The bias, shape (channels,).
        source: Scale of the layer's input, above 0.
        largest: Largest integer of the bias (`LARGEST_BIAS`).
        least: Least scale of weights that the kernel accepts.
        axis: The axis of the channels in the weights.

    Returns:
        Weights of the same type and shape, and scales of the same shape. Channels whose bias fits are unchanged, unless
        all their weights are 0.
    """
    needed = np.maximum(np.abs(bias) / (largest * source), least)
    if len(scales) == 1:
        needed = needed.max(keepdims=True)
    others = tuple(n for n in range(weights.ndim) if len(scales) == 1 or n != axis)
    zero = ~weights.any(axis=others).ravel() & (needed > 0)
    suitable = np.maximum(np.where(zero, SMALLEST, scales), needed).astype(np.float32)
    shape = [1] * weights.ndim
    shape[axis] = len(scales)
    return np.rint(weights * (scales / suitable).reshape(shape)).astype(weights.dtype), suitable
