"""Layer normalization computes the differences from the mean once, and its factors go into the product behind it.

Keras' LayerNormalization arrives as ten operations, five of which make a tensor of the size of the input: the squared
differences, the factors of all values (RSQRT times gamma), two products with those, and their sum. Here it is

    d = x - mean(x)    y = d / sqrt(mean(d d) + epsilon)    and y gamma + beta,

four such tensors, or three where gamma is 1. Beta goes into the bias of the FULLY_CONNECTED or 1x1 CONV_2D that reads
it. (Gamma in its weights would save one more, but cost weights of 8 bits 1 dB: they have no scale for each input.)

In files whose other activations are integers, all of it stays float (`ISLAND`): XNNPACK has no integer kernels for
SQUARED_DIFFERENCE and RSQRT (LiteRT, tflite/delegates/xnnpack/xnnpack_delegate.cc, `VisitBinaryOp`), the built-in ones
are 50 times slower, and eight bits of a variance are few.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np

from edgepress.converters.arrays import Array
from edgepress.converters.rewrites.tflite.windows import activation, float_constant, result
from edgepress.converters.to_tflite.convert import ISLAND_MARK
from edgepress.converters.to_tflite.graph import Graph, only_reader


class _Norm(NamedTuple):
    """What was found of one normalization: its operations, input and output, and constants."""

    parts: tuple[Any, ...]
    source: int
    sink: int
    epsilon: int
    gamma: Array | None
    beta: Array | None


def find_layer_norm(graph: Graph) -> Iterator[_Norm]:
    """Every layer normalization."""
    for op in [op for op in graph.operators if graph.kind(op) == "SQUARED_DIFFERENCE"]:
        if (norm := _norm(graph, op)) is not None:
            yield norm


def _norm(graph: Graph, squared: Any) -> _Norm | None:
    """The normalization around a SQUARED_DIFFERENCE; None if there is none, or something else reads its parts."""
    readers = graph.readers()
    makers = graph.makers()
    pair = [int(i) for i in squared.inputs]
    mean: Any = next((makers[i] for i in pair if _is_mean(graph, makers.get(i), pair)), None)
    if mean is None:
        return None
    source = int(mean.inputs[0])
    average = result(mean)
    if graph.dtype(source) != np.float32:
        return None

    def follow(op: Any, kind: str) -> Any:
        """The only reader of what an operation makes, if it is of a kind."""
        after = None if op is None else only_reader(readers, result(op))
        return after if after is not None and graph.kind(after) == kind and not activation(after) else None

    variance = follow(squared, "MEAN")
    shifted: Any = follow(variance, "ADD") if _is_mean(graph, variance, [result(squared)]) else None
    root = follow(shifted, "RSQRT")
    if root is None:
        return None
    epsilon = next((int(i) for i in shifted.inputs if _scalar(graph, int(i))), None)
    scaled = follow(root, "MUL")
    gamma = None if scaled is None else _constant(graph, scaled, result(root), source)
    last = root if gamma is None else scaled
    factors = result(last)
    negated = next((op for op in readers[average] if op is not None and graph.kind(op) == "NEG"), None)
    shifts = average if negated is None else result(negated)
    products = readers.get(factors, [])
    direct = [op for op in products if _is_product(graph, op, source, factors)]
    moved = [op for op in products if _is_product(graph, op, shifts, factors)]
    if epsilon is None or (len(direct), len(moved), len(products)) != (1, 1, 2):
        return None
    (scaling,), (moving,) = direct, moved
    beta = None
    step = moving
    if negated is None:
        step = follow(moving, "SUB")
        beta = None if step is None else _constant(graph, step, result(moving), source)
        if beta is None or int(step.inputs[1]) != result(moving):
            return None
    elif (shift := follow(moving, "ADD")) is not None:
        beta = _constant(graph, shift, result(moving), source)
        step = moving if beta is None else shift
    sums = follow(scaling, "ADD")
    if sums is None or only_reader(readers, result(step)) is not sums:
        return None
    parts = [mean, negated, squared, variance, shifted, root, last, scaling, moving, step, sums]
    inner = {id(op): op for op in parts if op is not None}
    if any(id(op) not in inner for tensor in (average, shifts) for op in readers[tensor]):
        return None
    return _Norm(tuple(inner.values()), source, result(sums), epsilon, gamma, beta)


def _is_mean(graph: Graph, op: Any, among: list[int]) -> bool:
    """Whether an operation is the mean of one of these tensors over its last axis, which it keeps."""
    if (
        op is None
        or graph.kind(op) != "MEAN"
        or int(op.inputs[0]) not in among
        or not getattr(op.builtinOptions, "keepDims", False)
    ):
        return False
    axes = graph.constant(int(op.inputs[1]))
    rank = len(graph.shape(int(op.inputs[0])))
    return axes is not None and axes.ravel().tolist() in ([-1], [rank - 1])


def _scalar(graph: Graph, index: int) -> bool:
    values = graph.constant(index)
    return values is not None and values.size == 1


def _constant(graph: Graph, op: Any, other: int, source: int) -> Array | None:
    """The constant that an operation takes beside a tensor, one value a channel of the input; None if it is another."""
    inputs = [int(i) for i in op.inputs]
    if other not in inputs:
        return None
    values = graph.constant(inputs[1 - inputs.index(other)])
    *_, channels = graph.shape(source)
    if values is None or (values.size != 1 and (values.size, values.shape[-1]) != (channels, channels)):
        return None
    return np.broadcast_to(values.ravel(), channels)


def _is_product(graph: Graph, op: Any, *factors: int) -> bool:
    """Whether an operation, or what else reads a tensor, is the product of two."""
    return op is not None and graph.kind(op) == "MUL" and not activation(op) and {*map(int, op.inputs)} == {*factors}


def change_layer_norm(graph: Graph, norm: _Norm) -> None:
    """Write a layer normalization with the differences computed once."""
    shape = graph.shape(norm.source)
    name = f"{graph.prefix}_{ISLAND_MARK}_norm"
    one = (*shape[:-1], 1)
    axis = graph.add_constant(np.array([-1], np.int32))
    mean, variance, shifted, root = (graph.add_tensor(one, name) for _ in range(4))
    difference, square = (graph.add_tensor(shape, name) for _ in range(2))
    operations = [
        graph.operator("MEAN", [norm.source, axis], mean, keepDims=True),
        graph.operator("SUB", [norm.source, mean], difference),
        graph.operator("MUL", [difference, difference], square),
        graph.operator("MEAN", [square, axis], variance, keepDims=True),
        graph.operator("ADD", [variance, norm.epsilon], shifted),
        graph.operator("RSQRT", [shifted], root),
        graph.operator("MUL", [difference, root], norm.sink),
    ]
    after = only_reader(graph.readers(), norm.sink)
    gamma = None if norm.gamma is None or (norm.gamma == 1).all() else norm.gamma
    beta = norm.beta
    if beta is not None and after is not None and _takes_shift(graph, after, beta):
        beta = None
    for kind, constant in (("MUL", gamma), ("ADD", beta)):
        if constant is not None:
            operations[-1].outputs = [before := graph.add_tensor(shape, name)]
            operations.append(
                graph.operator(kind, [before, graph.add_constant(np.ascontiguousarray(constant))], norm.sink)
            )
    graph.rename(norm.sink, name)
    graph.replace(norm.parts[-1], *operations)
    for op in norm.parts[:-1]:
        graph.operators.remove(op)


def _takes_shift(graph: Graph, op: Any, shift: Array) -> bool:
    """Put a shift of an operation's input into its bias; False if it is not an operation that can take it."""
    kind = graph.kind(op)
    inputs = [int(i) for i in op.inputs]
    if kind not in ("FULLY_CONNECTED", "CONV_2D") or len(inputs) != 3:
        return False
    kernel = float_constant(graph, inputs[1])
    bias = graph.constant(inputs[2])
    if kernel is None or bias is None or kernel.shape[-1] != len(shift):
        return False
    if kind == "CONV_2D" and kernel.shape[1:3] != (1, 1):
        return False
    moved = (bias + (kernel @ shift).ravel()).astype(np.float32)
    op.inputs = [*inputs[:2], graph.add_constant(moved)]
    return True
