"""Layer normalization written out in steps, found and written as one operation.

PyTorch writes (x - mean) / sqrt(variance + epsilon) * gamma + beta, TensorFlow x * s + (beta - mean * s) with
s = gamma / sqrt(variance + epsilon), and programs of people all that lies between. It is a dozen kernels. ONNX Runtime
has a kernel of the whole for the last axis; the Transposes around it meet those of what is before and behind.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np

from edgepress.converters.arrays import Array
from edgepress.converters.to_onnx.graph import OnnxGraph, attribute

LAYER_NORM = 17
"""The opset in which it is one operation."""
_ONE = np.ones(1, np.float32)
_ZERO = np.zeros(1, np.float32)


class _Norm(NamedTuple):
    """The parts of a layer normalization; gamma and beta as they are broadcast to the value."""

    value: str
    axis: int
    epsilon: float
    gamma: Array = _ONE
    beta: Array = _ZERO


def write_layer_norms(graph: OnnxGraph) -> int:
    """Replace the steps by LayerNormalization, which ONNX has from opset 17 on; returns at how many places."""
    changed = 0
    for node in graph.nodes("Add"):
        (result,) = node.output
        shape = graph.shape(result)
        norm = _direct(graph, node) or _expanded(graph, node)
        if norm is None or shape is None or graph.shape(norm.value) != shape:
            continue
        rank = len(shape)
        axis = norm.axis % rank
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
    if factor.dtype != np.float32 or factor.size not in (1, shape[axis]) or size == -1:
        return None
    return np.full(size, factor.ravel())


def _direct(graph: OnnxGraph, node: Any) -> _Norm | None:
    """The steps of (x - mean) / sqrt(variance + epsilon) * gamma + beta."""
    sum_ = graph.operand(node)
    product = graph.maker(sum_[0], "Mul") if sum_ is not None else None
    scaled = graph.operand(product) if product is not None else None
    if sum_ is None or scaled is None:
        return None
    for deviation, root in _quotients(graph, _maker(graph, scaled[0], "Div", "Mul")):
        off = _deviation(graph, deviation)
        spread = _spread(graph, root)
        if off is not None and spread is not None and off == spread[:2]:
            return _Norm(*spread, scaled[1], sum_[1])
    return None


def _quotients(graph: OnnxGraph, node: Any) -> Iterator[tuple[str, str]]:
    """What may be divided by what, whether by a division or a product."""
    if node is not None and node.op_type == "Div":
        yield node.input[0], node.input[1]
    elif node is not None and node.op_type == "Mul":
        for value, factor in (node.input, reversed(node.input)):
            if (root := _inverted(graph, factor)) is not None:
                yield value, root


def _inverted(graph: OnnxGraph, name: str) -> str | None:
    """What a value is one over."""
    node = _maker(graph, name, "Reciprocal", "Div")
    if node is None:
        return None
    is_inverse = node.op_type == "Reciprocal" or graph.scalar(node.input[0]) == 1
    return str(node.input[-1]) if is_inverse else None


def _expanded(graph: OnnxGraph, node: Any) -> _Norm | None:
    """The steps of x * s + (beta - mean * s), with s = gamma / sqrt(variance + epsilon)."""
    for first, second in (node.input, reversed(node.input)):
        scaled = graph.maker(first, "Mul")
        for value, factor in (scaled.input, reversed(scaled.input)) if scaled is not None else ():
            product = graph.maker(factor, "Mul")
            pair = graph.operand(product) if product is not None else None
            root = _inverted(graph, pair[0]) if pair is not None else None
            spread = _spread(graph, root) if root is not None else None
            shift = _shift(graph, _maker(graph, second, "Sub", "Add", "Mul"), factor)
            if pair and spread and shift and spread[:2] == shift[0] and spread[0] == value:
                return _Norm(*spread, pair[1], shift[1])
    return None


def _shift(graph: OnnxGraph, node: Any, factor: str) -> tuple[tuple[str, int], Array] | None:
    """What the mean is of, and beta, of beta - mean * factor, also as -mean * factor + beta or without beta."""
    if node is None:
        return None
    beta, product = _ZERO, node
    if node.op_type != "Mul":
        pair = graph.operand(node)
        is_turned = node.op_type == "Sub" and graph.constant(node.input[0]) is None
        product = graph.maker(pair[0], "Mul") if pair is not None and not is_turned else None
        beta = pair[1] if pair is not None else beta
    mean = next((name for name in product.input if name != factor), "") if product is not None else ""
    if node.op_type != "Sub":
        negated = _maker(graph, mean, "Neg")
        mean = negated.input[0] if negated is not None else ""
    value_and_axis = _mean_of(graph, _plain(graph, mean))
    return (value_and_axis, beta) if value_and_axis is not None and factor in product.input else None


def _spread(graph: OnnxGraph, root: str) -> tuple[str, int, float] | None:
    """The value, the axis and epsilon of sqrt(mean((x - mean)^2) + epsilon)."""
    node = graph.maker(root, "Sqrt")
    total = graph.maker(node.input[0], "Add") if node is not None else None
    sum_ = graph.operand(total) if total is not None else None
    if sum_ is None or sum_[1].size != 1:
        return None
    square = _mean_of(graph, sum_[0])
    off = _deviation(graph, _squared(graph, square[0])) if square is not None else None
    return (*off, float(sum_[1].item())) if square is not None and off is not None and off[1] == square[1] else None


def _squared(graph: OnnxGraph, name: str) -> str:
    """What a value is the square of; "" if of nothing."""
    node = _maker(graph, name, "Mul", "Pow")
    is_product = node is not None and node.op_type == "Mul" and node.input[0] == node.input[1]
    is_power = node is not None and node.op_type == "Pow" and graph.scalar(node.input[1]) == 2
    return str(node.input[0]) if is_product or is_power else ""


def _deviation(graph: OnnxGraph, name: str) -> tuple[str, int] | None:
    """The value and the axis of x - mean(x)."""
    node = graph.maker(name, "Sub")
    mean = _mean_of(graph, _plain(graph, node.input[1])) if node is not None else None
    return mean if mean is not None and mean[0] == node.input[0] else None


def _mean_of(graph: OnnxGraph, name: str) -> tuple[str, int] | None:
    """The value and the axis of a mean over one axis, which stays."""
    node = graph.maker(name, "ReduceMean")
    if node is None or not attribute(node, "keepdims", 1):
        return None
    constant = graph.constant(node.input[1]) if len(node.input) > 1 else None
    axes = attribute(node, "axes", ()) if constant is None else constant.tolist()
    shape = graph.shape(node.input[0])
    return (str(node.input[0]), axes[0] % len(shape)) if len(axes) == 1 and shape else None


def _maker(graph: OnnxGraph, name: str, *kinds: str) -> Any:
    """The node of one of some kinds that makes a value."""
    return next((node for kind in kinds if (node := graph.maker(name, kind)) is not None), None)


def _plain(graph: OnnxGraph, name: str) -> str:
    """What a Reshape to the shape that there is reads."""
    node = graph.maker(name, "Reshape")
    if node is None:
        return name
    shape = graph.shape(name)
    same = shape is not None and shape == graph.shape(node.input[0]) and -1 not in shape[1:]
    return str(node.input[0]) if same else name
