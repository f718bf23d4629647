"""Fourier transforms, which onnx2tf 2.6.9 does not convert, as products with constant matrices.

Complex numbers are pairs along the last axis. A DFT becomes a MatMul over pairs and places, so that transforms of
complex numbers and inverse ones are products, too. An STFT becomes a Conv, whose filters are the rows of the transform
times the window. Quantized files compute both in float where a power follows (`to_tflite.float_chains`).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from edgepress.converters.arrays import Array
from edgepress.converters.to_onnx.graph import OnnxGraph, attribute

TRANSFORMS: dict[tuple[bool, bool], Callable[..., Array]] = {
    (False, False): np.fft.fft,
    (False, True): np.fft.rfft,
    (True, False): np.fft.ifft,
    (True, True): np.fft.irfft,
}
"""By whether a transform is inverse, and whether it leaves out the half that follows from the other."""
MOST = 1 << 25
"""Numbers of the largest matrix, 128 MiB: that of 4096 real numbers."""


def write_spectra(graph: OnnxGraph) -> None:
    """Write transforms of known shapes and lengths that need no matrix above `MOST`; others stay."""
    for node in graph.nodes("DFT"):
        _multiply(graph, node)
    for node in graph.nodes("STFT"):
        _filter(graph, node)


def _multiply(graph: OnnxGraph, node: Any) -> None:
    shape = graph.shape(node.input[0])
    length, axis = (_number(graph, node, place) for place in (1, 2))
    if shape is None or min(shape) < 1 or "" in (length, axis):
        return
    axis = attribute(node, "axis", 1 if graph.opset < 20 else -2) if axis is None else axis
    axis %= len(shape)
    order = [*(other for other in range(len(shape) - 1) if other != axis), axis, len(shape) - 1]
    size, parts = shape[axis], shape[-1]
    if 2 * size * parts * (length or size) > MOST:
        return
    kind = bool(attribute(node, "inverse", 0)), bool(attribute(node, "onesided", 0))
    matrix = _matrix(np.eye(size), parts, kind, length)
    outer = [shape[place] for place in order[:-2]]
    turned = graph.add("Transpose", [node.input[0]], perm=order)
    flat = _reshape(graph, turned, [*outer, size * parts])
    product = graph.add("MatMul", [flat, graph.add_constant(matrix.reshape(size * parts, -1))])
    pairs = _reshape(graph, product, [*outer, *matrix.shape[1:]])
    graph.replace(node.output[0], "Transpose", [pairs], perm=[int(place) for place in np.argsort(order)])


def _filter(graph: OnnxGraph, node: Any) -> None:
    shape = graph.shape(node.input[0])
    step, length = (_number(graph, node, place) for place in (1, 3))
    window = graph.constant(node.input[2]) if len(node.input) > 2 and node.input[2] else np.ones(length or 0)
    if shape is None or min(shape) < 1 or shape[2:] not in ((), (1,)) or window is None or not step or length == "":
        return
    if not window.size or length not in (None, window.size) or 2 * window.size**2 > MOST:
        return
    matrix = _matrix(np.diag(window.astype(np.float64)), 1, (False, bool(attribute(node, "onesided", 1))), None)
    filters = matrix.reshape(window.size, 1, -1).T
    series = _reshape(graph, node.input[0], [shape[0], 1, shape[1]])
    filtered = graph.add("Conv", [series, graph.add_constant(filters)], strides=[step])
    frames = (shape[1] - window.size) // step + 1
    halves = _reshape(graph, filtered, [shape[0], *matrix.shape[1:], frames])
    graph.replace(node.output[0], "Transpose", [halves], perm=[0, 3, 1, 2])


def _matrix(rows: Array, parts: int, kind: tuple[bool, bool], length: int | None) -> Array:
    """What a transform makes of each of some rows, for real numbers or for both parts of complex ones.

    Returns:
        float32, `(rows x parts, places, parts of the result)`.
    """
    made = TRANSFORMS[kind](rows if parts == 1 else np.kron(rows, [[1], [1j]]), length, axis=1)
    halves = [made] if kind == (True, True) else [made.real, made.imag]
    return np.stack(halves, axis=-1).astype(np.float32)


def _number(graph: OnnxGraph, node: Any, place: int) -> Any:
    """A constant input; None if it is left out, "" if it is computed."""
    if len(node.input) <= place or not node.input[place]:
        return None
    value = graph.scalar(node.input[place])
    return "" if value is None else int(value)


def _reshape(graph: OnnxGraph, name: str, shape: list[int]) -> str:
    return graph.add("Reshape", [name, graph.add_constant(np.array(shape, np.int64))])
