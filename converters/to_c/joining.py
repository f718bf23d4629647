"""CONCATENATION: two tensors at a time, so that one kernel joins any number."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator
from dataclasses import replace

import numpy as np

from edgepress.converters.to_c.arithmetic import Range
from edgepress.converters.to_c.graph import Graph, Operation, Tensor
from edgepress.converters.to_c.step import Step

MOST_INPUTS = 64
"""Tensors that one operation joins at most."""


def in_pairs(graph: Graph) -> Iterator[Operation]:
    """The operations of a graph; those that join more than two tensors as several, whose outputs have new numbers."""
    numbers = itertools.count(graph.free_index)
    for operation in graph.operations:
        if operation.kind != "CONCATENATION" or len(operation.inputs) < 3 or None in operation.inputs:
            yield operation
            continue
        _check(operation)
        axis = _axis(operation)
        first, *others, last = (tensor for tensor in operation.inputs if tensor is not None)
        for other in others:
            joined = first.shape[axis] + other.shape[axis]
            shape = (*first.shape[:axis], joined, *first.shape[axis + 1 :])
            both = replace(operation.output, index=next(numbers), shape=shape)
            yield replace(operation, inputs=(first, other), outputs=(both,))
            first = both
        yield replace(operation, inputs=(first, last))


def concatenation(operation: Operation, _: Range) -> Step:
    """CONCATENATION of two tensors.

    Raises:
        ModelFileError: A tensor is constant, or has another scale than the output or a shape that does not fit.
    """
    _check(operation)
    output = operation.quantized(operation.output)
    a, b = (operation.quantized(tensor) for tensor in operation.inputs if tensor is not None)
    axis = _axis(operation)
    rows = math.prod(output.shape[:axis])
    sizes = a.size // rows, b.size // rows
    layer = {"rows": rows, "bytes0": sizes[0], "bytes1": sizes[1]}
    # Row r of both is read when row r of the output is written, and nothing of the output lies behind it yet.
    distances = (rows - 1) * sizes[1], rows * sizes[0]
    outputs = Range.of(-128, 127, output.shape[-1] if output.shape else 1)
    return Step(
        operation,
        "concatenation",
        (a, b),
        output,
        layer,
        distances,
        outputs,
        lambda x, y: np.concatenate([x.reshape(a.shape), y.reshape(b.shape)], axis),
    )


def _axis(operation: Operation) -> int:
    """The axis along which tensors are joined, from 0.

    Raises:
        ModelFileError: The output has no such axis.
    """
    axis = operation.option("axis")
    rank = len(operation.output.shape)
    if not -rank <= axis < rank:
        raise operation.refuse(f"its axis is {axis}, of {rank}")
    return axis % rank


def _check(operation: Operation) -> None:
    """Raise ModelFileError unless activations of one scale, whose shapes fit, are joined, and nothing else is done."""
    inputs = operation.inputs
    output = operation.output
    if not 2 <= len(inputs) <= MOST_INPUTS:
        raise operation.refuse(f"it has {len(inputs)} inputs; accepted: 2 to {MOST_INPUTS}")
    if operation.option("activation"):
        raise operation.refuse("it has an activation")
    axis = _axis(operation)
    total = 0
    for tensor in inputs:
        if tensor is None or tensor.data is not None:
            raise operation.refuse("an input is constant")
        if not _has_same_scale(operation.quantized(tensor), operation.quantized(output)):
            raise operation.refuse("an input has another scale than its output")
        if len(tensor.shape) != len(output.shape) or _without(tensor, axis) != _without(output, axis):
            raise operation.refuse(f"it joins {list(tensor.shape)} to {list(output.shape)}")
        total += tensor.shape[axis]
    if total != output.shape[axis]:
        raise operation.refuse(f"its inputs have {total} in the place of {output.shape[axis]}")


def _has_same_scale(a: Tensor, b: Tensor) -> bool:
    return (a.scale, a.zero_point) == (b.scale, b.zero_point)


def _without(tensor: Tensor, axis: int) -> tuple[int, ...]:
    return (*tensor.shape[:axis], *tensor.shape[axis + 1 :])
