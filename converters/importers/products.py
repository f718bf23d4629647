"""Products of matrices: Gemm (13), MatMul (13), Einsum (12), and Fourier transforms (DFT 20, STFT 17) as such.

Fourier transforms (DFT 20, STFT 17) as products with constant matrices; complex numbers are pairs on the last axis.

An STFT becomes a convolution, whose filters are the rows of the transform times the window. Quantized files compute
both in float where a power follows (`to_tflite.float_layers`).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import tensorflow as tf

from edgepress.converters.arrays import Array
from edgepress.converters.importers.node import Node, Operation, Value, first, in_order, own_order, plain


def gemm(node: Node, left: Value, right: Value, added: Value | None = None) -> Value:
    """Gemm (13)."""
    alpha = node.get("alpha", 1.0)
    beta = node.get("beta", 1.0)
    factors = [_flat(node, left), _flat(node, right)]
    if alpha != 1 and right.is_constant:
        factors[1] = factors[1] * np.asarray(alpha, right.dtype)
        alpha = 1
    product = tf.matmul(*factors, transpose_a=bool(node.get("transA", 0)), transpose_b=bool(node.get("transB", 0)))
    product = product if alpha == 1 else product * alpha
    if added is None or beta == 0:
        return plain(product)
    if added.is_constant:
        return plain(product + added.stored * np.asarray(beta, added.dtype))
    return plain(product + (first(added) if beta == 1 else first(added) * beta))


def _flat(node: Node, value: Value) -> Any:
    """A matrix; before opset 7, other values were flattened."""
    if value.rank != 2 and node.opset >= 7:
        raise node.refused(f"it multiplies {value.rank} axes instead of matrices")
    whole = in_order(value, own_order(value.rank))
    return whole if value.rank == 2 else tf.reshape(whole, [value.shape[0], -1])


def matmul(node: Node, left: Value, right: Value) -> Value:
    """MatMul (13); the order of a factor's last two axes does not matter to it."""
    if left.is_constant and left.rank == 2 and right.rank >= 2 and not right.is_constant:
        return _multiply_from_left(left, right)
    factors = [left, right]
    x = first(left)
    x = x[tf.newaxis] if left.rank == 1 else x
    turned = (*own_order(right.rank)[:-2], right.rank - 1, right.rank - 2)
    is_turned = right.rank > 1 and not right.is_constant and right.order == turned
    y = right.stored if is_turned else in_order(right, own_order(right.rank))
    y = tf.convert_to_tensor(y)[:, tf.newaxis] if right.rank == 1 else y
    product = tf.matmul(x, y, transpose_b=is_turned)
    for axis, factor in zip((-2, -1), factors, strict=True):
        if factor.rank == 1:
            place = axis if axis == -2 and right.rank > 1 else -1
            product = tf.squeeze(product, place)
    return plain(product)


def _multiply_from_left(left: Value, right: Value) -> Value:
    """C X, of a constant matrix C, as the transpose of X' C': TFLite's integer products take no constant first one."""
    rank = right.rank
    turned = (*own_order(rank)[:-2], rank - 1, rank - 2)
    product = tf.matmul(tf.convert_to_tensor(in_order(right, turned)), np.ascontiguousarray(left.stored.T))
    return Value(product, turned)


def einsum(node: Node, *values: Value) -> Value:
    """Einsum (12), of more than two factors from the left, as ONNX Runtime computes it."""
    factors, arrow, result = node.get("equation").replace(" ", "").partition("->")
    terms = factors.split(",")
    if not arrow:
        letters = sorted({letter for letter in factors if letter.isalpha()})
        result = ("..." if "..." in factors else "") + "".join(c for c in letters if factors.count(c) == 1)
    term, whole = terms[0], first(values[0])
    for place in range(1, len(terms)):
        later = result if place + 1 == len(terms) else result + "".join(terms[place + 1 :])
        kept = "".join(c for c in dict.fromkeys(term + terms[place]) if c in later and c.isalpha())
        kept = result if place + 1 == len(terms) else ("..." if "..." in term + terms[place] else "") + kept
        whole = tf.einsum(f"{term},{terms[place]}->{kept}", whole, first(values[place]))
        term = kept
    return plain(tf.einsum(f"{term}->{result}", whole) if len(terms) == 1 else whole)


PRODUCTS: dict[str, Operation] = {"Einsum": einsum, "Gemm": gemm, "MatMul": matmul}


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
