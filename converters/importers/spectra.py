"""Fourier transforms (DFT 20, STFT 17) as products with constant matrices; complex numbers are pairs on the last axis.

An STFT becomes a convolution, whose filters are the rows of the transform times the window. Quantized files compute
both in float where a power follows (`to_tflite.float_chains`).
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import tensorflow as tf

from edgepress.converters.arrays import Array
from edgepress.converters.importers.node import Node, Operation
from edgepress.converters.importers.values import Value, first, in_order, plain

TRANSFORMS: dict[tuple[bool, bool], Callable[..., Array]] = {
    (False, False): np.fft.fft,
    (False, True): np.fft.rfft,
    (True, False): np.fft.ifft,
    (True, True): np.fft.irfft,
}
"""By whether a transform is inverse, and whether it leaves out the half that follows from the other."""
MOST = 1 << 25
"""Numbers of the largest matrix, 128 MiB: that of 4096 real numbers."""


def fourier_transform(node: Node, value: Value, length: Value | None = None, axis: Value | None = None) -> Value:
    """DFT."""
    (number,) = [node.get("axis", 1 if node.opset < 20 else -2)] if axis is None else node.numbers(axis, "axis")
    number %= value.rank
    size, parts = value.shape[number], value.shape[-1]
    (taps,) = [None] if length is None else node.numbers(length, "length")
    if 2 * size * parts * (taps or size) > MOST:
        raise node.refused(f"its matrix would have more than {MOST:,} numbers")
    kind = bool(node.get("inverse", 0)), bool(node.get("onesided", 0))
    matrix = _matrix(np.eye(size), parts, kind, taps)
    order = (*(each for each in range(value.rank - 1) if each != number), number, value.rank - 1)
    moved = tf.convert_to_tensor(in_order(value, order))
    flat = tf.reshape(moved, [*moved.shape[:-2], size * parts])
    product = tf.matmul(flat, matrix.reshape(size * parts, -1))
    return Value(tf.reshape(product, [*moved.shape[:-2], *matrix.shape[1:]]), order)


def short_time_fourier_transform(
    node: Node, value: Value, step: Value, window: Value | None = None, length: Value | None = None
) -> Value:
    """STFT of real numbers, (batch, places) or (batch, places, 1)."""
    if value.shape[2:] not in ((), (1,)):
        raise node.refused("it transforms complex numbers")
    (stride,) = node.numbers(step, "step")
    taps = None if length is None else node.numbers(length, "length")[0]
    weights = np.ones(taps or 0) if window is None else node.known(window, "window").stored.astype(np.float64)
    if not weights.size or taps not in (None, weights.size) or 2 * weights.size**2 > MOST:
        raise node.refused(f"its frames have {taps} places and its window {weights.size}")
    matrix = _matrix(np.diag(weights), 1, (False, bool(node.get("onesided", 1))), None)
    batch, places = value.shape[:2]
    series = tf.reshape(first(value), [batch, 1, places, 1])
    filters = matrix.reshape(1, weights.size, 1, -1)
    frames = tf.nn.conv2d(series, filters, [1, stride], "VALID")
    return plain(tf.reshape(frames, [batch, frames.shape[2], *matrix.shape[1:]]))


def _matrix(rows: Array, parts: int, kind: tuple[bool, bool], length: int | None) -> Array:
    """What a transform makes of each of some rows, for real numbers or for both parts of complex ones.

    Returns:
        float32, `(rows x parts, places, parts of the result)`.
    """
    made = TRANSFORMS[kind](rows if parts == 1 else np.kron(rows, [[1], [1j]]), length, axis=1)
    halves = [made] if kind == (True, True) else [made.real, made.imag]
    return np.stack(halves, axis=-1).astype(np.float32)


SPECTRA: dict[str, Operation] = {"DFT": fourier_transform, "STFT": short_time_fourier_transform}
