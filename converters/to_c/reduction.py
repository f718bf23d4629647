"""MEAN and REDUCE_MAX."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import numpy as np

from edgepress.converters.to_c.arithmetic import Integers, Range, multiplier_of, scale
from edgepress.converters.to_c.graph import Graph, Operation, Tensor
from edgepress.converters.to_c.step import Step
from edgepress.converters.to_c.window import Geometry

MOST_SHOWN = 16
"""Axes that an error names at most: a damaged file may have many."""


def mean(operation: Operation, inputs: Range) -> Step:
    """MEAN over axes that follow each other.

    Raises:
        ModelFileError: The axes do not, or a sum needs more than 32 bits.
    """
    source = operation.activation()
    output = operation.quantized(operation.output)
    axes = _axes_of(operation, source)
    if axes != list(range(axes[0], axes[-1] + 1)):
        raise operation.refuse(f"its axes are {axes} of {len(source.shape)}; accepted: neighbours")
    begin = axes[0]
    end = axes[-1] + 1
    outer, middle, inner = map(math.prod, (source.shape[:begin], source.shape[begin:end], source.shape[end:]))
    if output.size != outer * inner:
        raise operation.refuse(f"its output {list(output.shape)} does not fit its axes {axes}")
    multiplier, right = multiplier_of(source.scale / output.scale)
    # QuantizedMeanOrSum divides the multiplier, after it gave it as many more bits as the number of values has.
    more = min(middle.bit_length() - 1, 32, 31 - right)
    multiplier = (multiplier << max(0, more)) // middle
    right = right + more
    if more < 0 or (256 * middle) << max(0, -right) >= 2**31:
        raise operation.refuse(f"its sums of {middle} values may need more than 32 bits")

    def answer(values: Integers) -> Any:
        sums = (values.reshape(outer, middle, inner) - source.zero_point).sum(axis=1)
        scaled = scale(sums, multiplier, right) + output.zero_point
        return np.clip(scaled, -128, 127).reshape(output.shape)

    layer = {
        "outer": outer,
        "middle": middle,
        "inner": inner,
        "in_zero_point": source.zero_point,
        "zero_point": output.zero_point,
        "multiplier": multiplier,
        "right": right,
    }
    values = inputs.as_channels(inner).minus(source.zero_point)
    outputs = values.through(
        lambda ends: np.clip(scale(ends * middle, multiplier, right) + output.zero_point, -128, 127)
    )
    return Step(operation, "mean", (source,), output, layer, (0,), outputs, answer)


def maxima_in_runs(graph: Graph) -> Iterator[Operation]:
    """The operations of a graph; each REDUCE_MAX as one for each run of neighbouring axes, the last run first.

    Options `begin` and `end` say which axes those are. What is between has new numbers and all axes.
    """
    numbers = itertools.count(graph.free_index)
    for operation in graph.operations:
        if operation.kind != "REDUCE_MAX":
            yield operation
            continue
        source = operation.activation()
        first, *others = _runs(_axes_of(operation, source), source.shape)
        for begin, end in reversed(others):
            shape = (*source.shape[:begin], *(1,) * (end - begin), *source.shape[end:])
            between = replace(operation.output, index=next(numbers), shape=shape)
            options = {"begin": begin, "end": end}
            yield replace(operation, inputs=(source,), outputs=(between,), options=options)
            source = between
        yield replace(operation, inputs=(source,), options={"begin": first[0], "end": first[1]})


def maximum(operation: Operation, inputs: Range) -> Step:
    """REDUCE_MAX over axes that follow each other: a MAX_POOL_2D of one window a row.

    Raises:
        ModelFileError: The output does not fit, or is of another scale.
    """
    source = operation.activation()
    output = operation.quantized(operation.output)
    begin = operation.option("begin")
    end = operation.option("end")
    outer, middle, inner = map(math.prod, (source.shape[:begin], source.shape[begin:end], source.shape[end:]))
    if output.size != outer * inner:
        raise operation.refuse(f"its output {list(output.shape)} does not fit axes {begin} to {end - 1} of its input")
    if (source.scale, source.zero_point) != (output.scale, output.zero_point):
        raise operation.refuse("its output has another scale than its input")
    place = Geometry(outer, middle, inner, outer, 1, inner, 1, middle, 1, middle, 0, 0, 1, 1)

    def answer(values: Integers) -> Any:
        return values.reshape(outer, middle, inner).max(axis=1).reshape(output.shape)

    return Step(
        operation,
        "max_pool",
        (source,),
        output,
        {"geometry": place.fields(), "low": -128, "high": 127},
        (place.distance(by_channel=True),),
        inputs if end < len(source.shape) else inputs.joined(),
        answer,
    )


def _axes_of(operation: Operation, source: Tensor) -> list[int]:
    """The axes over which an operation reduces, from 0 and in order.

    Raises:
        ModelFileError: There are none, or the tensor does not have one of them.
    """
    data = operation.constant(1, "int32").data
    rank = len(source.shape)
    numbers = [] if data is None else data.ravel().tolist()
    axes = sorted({axis + rank * (axis < 0) for axis in numbers})
    if not axes or axes[0] < 0 or axes[-1] >= rank:
        raise operation.refuse(f"its axes are {numbers[:MOST_SHOWN]} of {rank}")
    return axes


def _runs(axes: list[int], shape: tuple[int, ...]) -> list[tuple[int, int]]:
    """The first axis and the one behind the last of each run; axes of one value do not divide a run."""
    runs = [(axes[0], axes[0] + 1)]
    for axis in axes[1:]:
        begin, end = runs[-1]
        if math.prod(shape[end:axis]) == 1:
            runs[-1] = begin, axis + 1
        else:
            runs.append((axis, axis + 1))
    return runs
