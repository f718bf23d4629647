"""Parts of a tensor: SLICE, STRIDED_SLICE, SPLIT, SPLIT_V and UNPACK; and PACK as a CONCATENATION."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator
from dataclasses import replace

import numpy as np

from edgepress.converters.to_c.arithmetic import Integers, Range
from edgepress.converters.to_c.graph import Graph, Operation, Tensor
from edgepress.converters.to_c.step import Step

MOST_PARTS = 64
"""Outputs of one operation at most."""
SPLITTING = {"SPLIT": (1, 0), "SPLIT_V": (0, 2), "UNPACK": (0, None)}
"""Operations of several outputs: the places of the tensor and of the axis among the inputs, None if it is an option."""


def one_output_each(operation: Operation) -> Iterator[Operation]:
    """An operation of several parts as one operation a part; PACK as a CONCATENATION; any other as it is.

    Raises:
        ModelFileError: The parts do not make up the tensor, or are of another scale.
    """
    if operation.kind == "PACK":
        yield _concatenation_of(operation)
        return
    if operation.kind not in SPLITTING:
        yield operation
        return
    place, axis_place = SPLITTING[operation.kind]
    source = operation.inputs[place] if place < len(operation.inputs) else None
    if source is None or source.data is not None or not 1 <= len(operation.outputs) <= MOST_PARTS:
        raise operation.refuse(f"it makes {len(operation.outputs)} parts; accepted: 1 to {MOST_PARTS} of an activation")
    axis = operation.option("axis") if axis_place is None else integers_of(operation, axis_place, 1)[0]
    axis = _axis_of(operation, axis, len(source.shape))
    begin = 0
    for output in operation.outputs:
        length = 1 if operation.kind == "UNPACK" else output.shape[axis] if axis < len(output.shape) else 0
        options = {"axis": axis, "begin": begin, "length": length}
        yield replace(operation, inputs=(source,), outputs=(output,), options=options)
        begin += length
    if begin != source.shape[axis]:
        raise operation.refuse(f"its outputs have {begin} in the place of {source.shape[axis]}")


def part(operation: Operation, inputs: Range) -> Step:
    """The step of an operation of one part.

    Raises:
        ModelFileError: It changes more than that.
    """
    source = operation.activation()
    output = operation.quantized(operation.output)
    axis, begin, length = (operation.option(name) for name in ("axis", "begin", "length"))
    return step_of_part(operation, source, output, axis, begin=begin, length=length, inputs=inputs)


def step_of_part(
    operation: Operation, source: Tensor, output: Tensor, axis: int, *, begin: int, length: int, inputs: Range
) -> Step:
    """The step that copies a part of a tensor.

    Args:
        operation: The operation.
        source: The tensor.
        output: The part; its shape may lack axes of one.
        axis: The axis that is cut.
        begin: The first of its places that is kept.
        length: How many are.
        inputs: What the tensor can be.

    Raises:
        ModelFileError: The output is not the part, or of another scale.
    """
    shape = (*source.shape[:axis], length, *source.shape[axis + 1 :])
    same = (source.scale, source.zero_point) == (output.scale, output.zero_point)
    if math.prod(shape) != output.size or not (0 <= begin <= source.shape[axis] - length) or not same:
        raise operation.refuse(f"its output, {list(output.shape)}, is not a part of {list(source.shape)}")
    inner = math.prod(source.shape[axis + 1 :])
    layer = {
        "rows": math.prod(source.shape[:axis]),
        "whole": source.shape[axis] * inner,
        "first": begin * inner,
        "bytes": length * inner,
    }
    if axis == len(source.shape) - 1:
        kept = slice(begin, begin + length)
        outputs = Range(inputs.low[kept], inputs.high[kept])
    else:
        outputs = inputs

    def answer(values: Integers) -> Integers:
        return np.take(values.reshape(source.shape), range(begin, begin + length), axis).reshape(output.shape)

    return Step(operation, "slice", (source,), output, layer, (0,), outputs, answer)


def one_axis_each(graph: Graph) -> Iterator[Operation]:
    """The operations of a graph; SLICE and STRIDED_SLICE as one for each axis that they cut.

    Options `axis`, `begin` and `length` say what is kept. What is between has new numbers.

    Raises:
        ModelFileError: One keeps every n-th place of an axis alone, or does more than cutting.
    """
    numbers = itertools.count(graph.free_index)
    for operation in graph.operations:
        if operation.kind not in ("SLICE", "STRIDED_SLICE"):
            yield operation
            continue
        source = operation.activation()
        *others, last = _cuts(operation, source)
        for axis, begin, length in others:
            shape = (*source.shape[:axis], length, *source.shape[axis + 1 :])
            between = replace(operation.output, index=next(numbers), shape=shape)
            options = {"axis": axis, "begin": begin, "length": length}
            yield replace(operation, inputs=(source,), outputs=(between,), options=options)
            source = between
        axis, begin, length = last
        yield replace(operation, inputs=(source,), options={"axis": axis, "begin": begin, "length": length})


def _cuts(operation: Operation, source: Tensor) -> list[tuple[int, int, int]]:
    """Each axis that SLICE or STRIDED_SLICE cuts, its first place and how many are kept; the last axis if none is."""
    rank = len(source.shape)
    if operation.kind == "SLICE":
        begins = integers_of(operation, 1, rank)
        sizes = integers_of(operation, 2, rank)
        ends = [
            size if count < 0 else begin + count for begin, count, size in zip(begins, sizes, source.shape, strict=True)
        ]
    else:
        begins, ends = _strided_ends(operation, source)
    cut = [axis for axis in range(rank) if (begins[axis], ends[axis]) != (0, source.shape[axis])] or [rank - 1]
    cuts = [(axis, begins[axis], ends[axis] - begins[axis]) for axis in cut]
    if any(length < 1 for _, _, length in cuts):
        raise operation.refuse(f"it keeps nothing of {list(source.shape)}")
    return cuts


def _strided_ends(operation: Operation, source: Tensor) -> tuple[list[int], list[int]]:
    """The first place of each axis that STRIDED_SLICE keeps, and the one behind the last."""
    rank = len(source.shape)
    if operation.option("ellipsis") or operation.option("new") or operation.option("offset"):
        raise operation.refuse("it has an ellipsis, new axes or offsets")
    begins = integers_of(operation, 1, rank)
    ends = integers_of(operation, 2, rank)
    if any(step != 1 for step in integers_of(operation, 3, rank)):
        raise operation.refuse("it takes every n-th value; accepted: all")
    for axis, size in enumerate(source.shape):
        begins[axis] = 0 if operation.option("begin") >> axis & 1 else _place_of(begins[axis], size)
        ends[axis] = size if operation.option("end") >> axis & 1 else _place_of(ends[axis], size)
        if operation.option("shrink") >> axis & 1:
            ends[axis] = begins[axis] + 1
    return begins, ends


def _place_of(number: int, size: int) -> int:
    """A place of an axis, which negative numbers count from its end."""
    return min(max(number + size if number < 0 else number, 0), size)


def _concatenation_of(operation: Operation) -> Operation:
    """PACK as the CONCATENATION of tensors that have an axis of one more."""
    output = operation.output
    axis = _axis_of(operation, operation.option("axis"), len(output.shape))
    shape = (*output.shape[:axis], 1, *output.shape[axis + 1 :])
    inputs = []
    for tensor in operation.inputs:
        if tensor is None or tensor.size != math.prod(shape):
            raise operation.refuse("an input does not fit its output")
        inputs.append(replace(tensor, shape=shape))
    return replace(operation, kind="CONCATENATION", inputs=tuple(inputs), options={"axis": axis, "activation": 0})


def integers_of(operation: Operation, place: int, count: int) -> list[int]:
    """The values of a constant input of so many whole numbers."""
    data = operation.constant(place, "int32").data
    if data is None or data.size != count:
        raise operation.refuse(f"its input {place} does not have {count} numbers")
    return [int(value) for value in data.ravel()]


def _axis_of(operation: Operation, axis: int, rank: int) -> int:
    """An axis, from 0.

    Raises:
        ModelFileError: There is no such axis.
    """
    if not -rank <= axis < rank:
        raise operation.refuse(f"its axis is {axis}, of {rank}")
    return axis % rank
