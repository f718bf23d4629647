"""Layer normalization over the channels, as TensorFlow writes it, becomes LayerNormalization.

It is a dozen kernels over (N, C, H, W) with means over C, one for each step. ONNX Runtime has a kernel of the whole
for the last axis; the Transposes around it meet those of what is before and behind. LayerNormFusion
(onnxruntime/core/optimizer/layer_norm_fusion.cc, release 1.32) knows the last axis and other steps only.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from edgepress.converters.arrays import Array
from edgepress.converters.to_onnx.graph import OnnxGraph, attribute


class _NormSteps(NamedTuple):
    """The parts of a layer normalization; gamma and beta as they are broadcast to the value."""

    value: str
    axis: int
    gamma: Array
    beta: Array
    epsilon: float


def rewrite(graph: OnnxGraph) -> int:
    """Replace the steps; returns at how many places."""
    changed = 0
    for node in graph.nodes("Add"):
        (result,) = node.output
        shape = graph.shape(result)
        norm = _match(graph, node)
        if norm is None or shape is None or graph.shape(norm.value) != shape or graph.opset < 17:
            continue
        rank = len(shape)
        axis = norm.axis % len(shape)
        gamma, beta = (_along(v, rank, axis, shape[axis]) for v in (norm.gamma, norm.beta))
        if gamma is None or beta is None:
            continue
        inputs = [norm.value, graph.add_constant(gamma), graph.add_constant(beta)]
        options: dict[str, Any] = {"axis": -1, "epsilon": norm.epsilon}
        if axis == rank - 1:
            graph.replace(result, "LayerNormalization", inputs, **options)
        else:
            to_last = [*(i for i in range(rank) if i != axis), axis]
            inputs[0] = graph.add("Transpose", inputs[:1], perm=to_last)
            value = graph.add("LayerNormalization", inputs, **options)
            graph.replace(result, "Transpose", [value], perm=np.argsort(to_last).tolist())
        changed += 1
    return changed


def _along(factor: Array, rank: int, axis: int, size: int) -> Array | None:
    """A float32 constant as a vector along an axis; None if it differs along others, or is of another type."""
    shape = (1,) * (rank - factor.ndim) + factor.shape
    if factor.dtype != np.float32 or factor.size != shape[axis] or size == -1:
        return None
    return np.full(size, factor.ravel())


def _match(graph: OnnxGraph, node: Any) -> _NormSteps | None:
    """The steps of x * s + (beta - mean * s), with s = gamma / sqrt(variance + epsilon); None for others."""
    for first, second in (node.input, reversed(node.input)):
        scaled = graph.maker(first, "Mul")
        shift = graph.maker(second)
        if scaled is None or shift is None:
            continue
        for value, factor in (scaled.input, reversed(scaled.input)):
            parts = _factor(graph, value, factor)
            beta = _shift(graph, shift, factor, parts[0]) if parts is not None else None
            if parts is not None and beta is not None:
                _, axis, gamma, epsilon = parts
                return _NormSteps(value, axis, gamma, beta, epsilon)
    return None


def _factor(graph: OnnxGraph, value: str, factor: str) -> tuple[str, int, Array, float] | None:
    """The mean, its axis, gamma and epsilon of gamma / sqrt(variance + epsilon)."""
    product = graph.maker(factor, "Mul")
    pair = graph.operand(product) if product is not None else None
    inverse = graph.maker(pair[0], "Reciprocal") if pair is not None else None
    total = _before(graph, _before(graph, inverse, "Sqrt"), "Add")
    sum_ = graph.operand(total) if total is not None else None
    variance = graph.maker(sum_[0], "ReduceMean") if sum_ is not None else None
    square = _before(graph, variance, "Mul")
    off = _before(graph, square, "Sub")
    if pair is None or sum_ is None or off is None or sum_[1].size != 1 or len(set(square.input)) != 1:
        return None
    minuend, subtrahend = off.input
    mean = graph.maker(_plain(graph, subtrahend), "ReduceMean")
    if mean is None or minuend != value or mean.input[0] != value:
        return None
    axes = attribute(mean, "axes")
    if axes is None or len(axes) != 1 or attribute(variance, "axes") != axes:
        return None
    if not attribute(mean, "keepdims", 1) or not attribute(variance, "keepdims", 1):
        return None
    return str(mean.output[0]), int(axes[0]), pair[1], float(sum_[1].item())


def _before(graph: OnnxGraph, node: Any, kind: str) -> Any:
    """The node of a kind that makes what another reads; None if there is none, or no other."""
    return graph.maker(node.input[0], kind) if node is not None else None


def _plain(graph: OnnxGraph, name: str) -> str:
    """What a Reshape to the shape that there is reads."""
    node = graph.maker(name, "Reshape")
    if node is None:
        return name
    shape = graph.shape(name)
    same = shape is not None and shape == graph.shape(node.input[0]) and -1 not in shape[1:]
    return str(node.input[0]) if same else name


def _shift(graph: OnnxGraph, shift: Any, factor: str, mean: str) -> Array | None:
    """Beta of beta - mean * factor."""
    if shift.op_type == "Sub":
        constant, moved = shift.input
        beta = graph.constant(constant)
        product = graph.maker(moved, "Mul")
        ok = product is not None and sorted(product.input) == sorted((mean, factor))
        return beta if ok else None
    if shift.op_type != "Mul" or factor not in shift.input:
        return None
    negated = graph.maker(next((n for n in shift.input if n != factor), ""), "Neg")
    return np.zeros(1, np.float32) if negated is not None and negated.input[0] == mean else None
