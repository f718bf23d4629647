"""Tensors of 8 bits in a TFLite graph that rewrites change."""

from __future__ import annotations

import numpy as np

from edgepress.converters.arrays import Array
from edgepress.converters.to_tflite import flatbuffer as flat
from edgepress.converters.to_tflite.flatbuffer import TYPES
from edgepress.converters.to_tflite.graph import Graph


def is_int8(graph: Graph, *tensors: int) -> bool:
    """Whether all of the tensors are int8, each with one scale."""
    return all(graph.dtype(tensor) == np.int8 and has_one_scale(graph, tensor) for tensor in tensors)


def has_one_scale(graph: Graph, tensor: int) -> bool:
    """Whether a tensor is quantized with one scale, which is a positive number."""
    scales, zeros = graph.scales(tensor)
    return len(scales) == len(zeros) == 1 and bool(0 < scales[0] < np.inf)


def real_values(graph: Graph, tensor: int) -> Array | None:
    """The real values of a constant with one scale, float32; None if the tensor is none."""
    values = graph.constant(tensor)
    if values is None:
        return None
    (scale,), (zero,) = graph.scales(tensor)
    return (values.astype(np.float32) - np.float32(zero)) * np.float32(scale)


def add_int8(graph: Graph, shape: tuple[int, ...], name: str, *, scale: float, zero: int) -> int:
    """Add an int8 tensor that an operation will make; returns its index."""
    return _quantize(graph, graph.add_tensor(shape, name), scale, zero)


def add_scalar(graph: Graph, value: float) -> int:
    """Add a constant of one positive number in int8; returns its index."""
    return add_int8_constant(graph, np.array([127], np.int8), value / 127)


def add_int8_constant(graph: Graph, values: Array, scale: float) -> int:
    """Add a constant whose zero point is 0; returns its index."""
    return _quantize(graph, graph.add_constant(values), scale, 0)


def _quantize(graph: Graph, tensor: int, scale: float, zero: int) -> int:
    entry = graph.table.tensors[tensor]
    entry.type = TYPES[np.dtype(np.int8)]
    entry.quantization = flat.quantization([scale], [zero])
    return tensor
