"""TRANSPOSE, BROADCAST_TO and BATCH_MATMUL, of which attention is made."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from edgepress.converters.to_c.arithmetic import Integers, Range, multiplier_of, scale
from edgepress.converters.to_c.elementwise import is_repeated_to
from edgepress.converters.to_c.graph import Operation, Tensor
from edgepress.converters.to_c.slicing import integers_of
from edgepress.converters.to_c.step import SEPARATE, Step

MOST_DEPTH = 1 << 15
"""Most products of a sum: each is below 2^16, and the sum has 32 bits."""


def transpose(operation: Operation, inputs: Range) -> Step:
    """TRANSPOSE: axes that stay neighbours are copied as one.

    Raises:
        ModelFileError: The order is none of its axes, or the output is of another shape or scale.
    """
    source = operation.activation()
    output = operation.quantized(operation.output)
    order = integers_of(operation, 1, len(source.shape))
    if sorted(order) != [*range(len(source.shape))]:
        raise operation.refuse(f"its order of axes is {order}")
    same = (source.scale, source.zero_point) == (output.scale, output.zero_point)
    if output.shape != tuple(source.shape[axis] for axis in order) or not same:
        raise operation.refuse(f"its output, {list(output.shape)}, is not {list(source.shape)} in the order {order}")
    strides = _strides(source.shape)
    layer = _copied(output, [strides[axis] for axis in order])
    keeps_channels = order[-1:] == [len(order) - 1]
    mixed = Range.of(int(np.min(inputs.low)), int(np.max(inputs.high)), output.shape[-1])
    return Step(
        operation,
        "transpose",
        (source,),
        output,
        layer,
        (SEPARATE,),
        inputs if keeps_channels else mixed,
        lambda values: values.reshape(source.shape).transpose(order),
    )


def broadcast(operation: Operation, inputs: Range) -> Step:
    """BROADCAST_TO: axes of 1 are repeated.

    Raises:
        ModelFileError: The output is of another shape than the one that is asked for, or of another scale.
    """
    source = operation.activation()
    output = operation.quantized(operation.output)
    if len(operation.inputs) > 1:
        asked = integers_of(operation, 1, len(output.shape))
        if tuple(asked) != output.shape:
            raise operation.refuse(f"its output is {list(output.shape)}, and is to be {asked}")
    shape = (1,) * (len(output.shape) - len(source.shape)) + source.shape
    same = (source.scale, source.zero_point) == (output.scale, output.zero_point)
    if not is_repeated_to(source.shape, output.shape) or not same:
        raise operation.refuse(f"its output, {list(output.shape)}, is not {list(source.shape)} repeated")
    steps = [step if size > 1 else 0 for size, step in zip(shape, _strides(shape), strict=True)]
    return Step(
        operation,
        "transpose",
        (source,),
        output,
        _copied(output, steps),
        (SEPARATE,),
        inputs.as_channels(output.shape[-1] if output.shape else 1),
        lambda values: np.broadcast_to(values.reshape(shape), output.shape),
    )


def _strides(shape: tuple[int, ...]) -> list[int]:
    return [math.prod(shape[axis + 1 :]) for axis in range(len(shape))]


def _copied(output: Tensor, steps: list[int]) -> dict[str, Any]:
    """The fields of the kernel for an output and the bytes of the input from one number of each axis to the next.

    Neighbours that lie alike are one axis, and axes of 1 are none.
    """
    axes: list[tuple[int, int]] = []
    for size, step in zip(output.shape, steps, strict=True):
        if size == 1:
            continue
        if axes and axes[-1][1] == size * step:
            axes[-1] = (axes[-1][0] * size, step)
        else:
            axes.append((size, step))
    block = axes.pop()[0] if axes and axes[-1][1] == 1 else 1
    return {
        "count": output.size,
        "axes": len(axes),
        "bytes": block,
        "sizes": np.array([size for size, _ in axes] or [1], np.int32),
        "steps": np.array([step for _, step in axes] or [0], np.int32),
    }


def batch_matmul(operation: Operation, _: Range) -> Step:
    """BATCH_MATMUL of two activations; a side with one matrix is repeated.

    Raises:
        ModelFileError: The shapes do not fit, a sum is too long, or the output scale is too small.
    """
    if len(operation.inputs) != 2 or any(tensor is None or tensor.data is not None for tensor in operation.inputs):
        raise operation.refuse("it does not multiply two activations")
    left, right = (operation.quantized(tensor) for tensor in operation.inputs if tensor is not None)
    output = operation.quantized(operation.output)
    rows, depth = _matrix(operation, left, is_turned=bool(operation.option("left_turned")))
    columns, right_depth = _matrix(operation, right, is_turned=not operation.option("right_turned"))
    pairs = output.size // (rows * columns)
    counts = [tensor.size // (side * depth) for tensor, side in ((left, rows), (right, columns))]
    fits = right_depth == depth and output.shape[-2:] == (rows, columns)
    fits &= max(counts) == pairs and (1 in counts or left.shape[:-2] == right.shape[:-2])
    if not fits:
        raise operation.refuse(f"it multiplies {list(left.shape)} by {list(right.shape)} to {list(output.shape)}")
    multiplier, shift = multiplier_of(left.scale * right.scale / output.scale)
    bound = depth * 255 * 255
    if depth > MOST_DEPTH or bound << max(0, -shift) >= 2**31:
        raise operation.refuse(f"its sums of {depth} products, scaled to {output.scale}, may need more than 32 bits")

    def answer(x: Integers, y: Integers) -> Any:
        a = (x - left.zero_point).reshape(counts[0], *left.shape[-2:])
        b = (y - right.zero_point).reshape(counts[1], *right.shape[-2:])
        a = a.swapaxes(1, 2) if operation.option("left_turned") else a
        b = b.swapaxes(1, 2) if operation.option("right_turned") else b
        scaled = scale(a @ b, multiplier, shift) + output.zero_point
        return np.clip(scaled, -128, 127).reshape(output.shape)

    row, deep = (1, rows) if operation.option("left_turned") else (depth, 1)
    column, deep_right = (depth, 1) if operation.option("right_turned") else (1, columns)
    layer = {
        "pairs": pairs,
        "rows": rows,
        "columns": columns,
        "depth": depth,
        "whole0": rows * depth if counts[0] > 1 else 0,
        "whole1": columns * depth if counts[1] > 1 else 0,
        "row0": row,
        "deep0": deep,
        "column1": column,
        "deep1": deep_right,
        "zero_point0": left.zero_point,
        "zero_point1": right.zero_point,
        "zero_point": output.zero_point,
        "multiplier": multiplier,
        "right": shift,
        "low": -128,
        "high": 127,
    }
    outputs = Range.of(-128, 127, columns)
    macs = pairs * rows * columns * depth
    distances = (SEPARATE, SEPARATE)
    return Step(operation, "batch_matmul", (left, right), output, layer, distances, outputs, answer, macs=macs)


def _matrix(operation: Operation, tensor: Tensor, *, is_turned: bool) -> tuple[int, int]:
    """The side of a matrix that the output has, and the one along which products are summed.

    Raises:
        ModelFileError: It has one axis.
    """
    if len(tensor.shape) < 2:
        raise operation.refuse(f"an input has the shape {list(tensor.shape)}; accepted: matrices")
    height, width = tensor.shape[-2:]
    return (width, height) if is_turned else (height, width)
