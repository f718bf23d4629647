"""ADD, SUB, MUL, DIV, SQUARED_DIFFERENCE, MAXIMUM and MINIMUM: operations of two tensors."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import numpy as np

from edgepress.converters.to_c.arithmetic import (
    Integers,
    Range,
    activation_range,
    divide,
    inverse,
    multiplier_of,
    multiply_high,
    scale,
)
from edgepress.converters.to_c.graph import Graph, Operation, Tensor
from edgepress.converters.to_c.step import SEPARATE, Step

Function = Callable[..., Any]
_OF_TWO = ("ADD", "DIV", "MAXIMUM", "MINIMUM", "MUL", "PRELU", "SQUARED_DIFFERENCE", "SUB")
"""Operations of two tensors, either of which may be repeated."""
_ADD_BITS = 20
"""Fractional bits that the operands of a sum get."""

_DIFFERENCE_BITS = 7
"""Fractional bits that the operands of a squared difference get."""
_MOST_SQUARE = (255 << _DIFFERENCE_BITS) ** 2
"""Largest squared difference: each operand is halved."""
_LEAST_HEADROOM = 22
"""Bits, fewer by one than those by which DIV shifts a number of 9 bits to the left at least."""


class _Factors:
    """What a kernel multiplies its first operand, its second one and the result by.

    Attributes:
        pairs: A multiplier and a shift to the right for each.
        fields: The same as fields of the kernel.
    """

    def __init__(self, first: float, second: float, result: float) -> None:
        self.pairs = [multiplier_of(factor) for factor in (first, second, result)]
        names = [f"{name}{of}" for name in ("multiplier", "right") for of in ("0", "1", "")]
        self.fields = dict(zip(names, itertools.chain(*zip(*self.pairs, strict=True)), strict=True))


def add(operation: Operation, _: Range) -> Step:
    """ADD or SUB.

    Raises:
        ModelFileError: The operands have an unknown broadcast or activation, or a scale does not fit 32 bits.
    """
    a, b, output = operands_of(operation)
    low, high = activation_range(operation, output)
    sign = -1 if operation.kind == "SUB" else 1
    twice = 2 * max(a.scale, b.scale)
    factors = _Factors(a.scale / twice, b.scale / twice, twice / ((1 << _ADD_BITS) * output.scale))
    (m0, right0), (m1, right1), (m, right) = factors.pairs
    if right < 0:
        raise operation.refuse(f"its output scale {output.scale} is too small for its inputs'")

    def answer(x: Integers, y: Integers) -> Any:
        total = _term(x, a.zero_point, m0, right0) + sign * _term(y, b.zero_point, m1, right1)
        return np.clip(divide(multiply_high(total, m), right) + output.zero_point, low, high).reshape(output.shape)

    layer = counts_of(a, b, output) | factors.fields | {"sign": sign, "low": low, "high": high}
    return step_of_two(operation, "add", layer, (a, b), answer=answer)


def _term(values: Integers, zero_point: int, multiplier: int, right: int) -> Integers:
    term: Integers = divide(multiply_high((values - zero_point) << _ADD_BITS, multiplier), right)
    return term


def multiply(operation: Operation, _: Range) -> Step:
    """MUL.

    Raises:
        ModelFileError: As of `add`.
    """
    a, b, output = operands_of(operation)
    low, high = activation_range(operation, output)
    multiplier, right = multiplier_of(a.scale * b.scale / output.scale)
    if 255 * 255 << max(0, -right) >= 2**31:
        raise operation.refuse(f"its output scale {output.scale} is too small for its inputs'")

    def answer(x: Integers, y: Integers) -> Any:
        product = (x - a.zero_point) * (y - b.zero_point)
        return np.clip(scale(product, multiplier, right) + output.zero_point, low, high).reshape(output.shape)

    layer = counts_of(a, b, output) | {"multiplier": multiplier, "right": right, "low": low, "high": high}
    return step_of_two(operation, "mul", layer, (a, b), answer=answer)


def divide_tensors(operation: Operation, _: Range) -> Step:
    """DIV, by reciprocals in integers.

    TFLM does not define a quotient by 0, which has no bound here, nor one so small that it shifts by 32 bits and more,
    which is 0 here.

    Raises:
        ModelFileError: As of `add`.
    """
    a, b, output = operands_of(operation)
    low, high = activation_range(operation, output)
    with np.errstate(over="ignore", under="ignore", divide="ignore"):
        real = float(a.scales[0] / (b.scales[0] * output.scales[0]))
    if not math.isfinite(real):
        raise operation.refuse(f"its scales are {a.scale}, {b.scale} and {output.scale}")
    multiplier, right = multiplier_of(real)
    if right < -_LEAST_HEADROOM:
        raise operation.refuse(f"its output scale {output.scale} is too small for its inputs'")

    def answer(x: Integers, y: Integers) -> Any:
        over, under = np.broadcast_arrays(x - a.zero_point, y - b.zero_point)
        over, under = np.where(under < 0, -over, over), np.abs(under)
        bits = np.frexp(under)[1].astype(np.int64)
        up = np.where(over < 0, 32 - np.frexp(2 * np.abs(over) - 1)[1], 31 - np.frexp(over)[1])
        scaled = multiply_high(multiply_high(over << up, inverse((under << (32 - bits)) - (1 << 31))), multiplier)
        shift = right + up + bits - 1
        quotient = np.where(shift > 31, 0, divide(scaled, np.clip(shift, 0, 31)))
        quotient = np.where(under == 0, 256 * np.sign(over), np.where(over == 0, 0, quotient))
        return np.clip(quotient + output.zero_point, low, high).reshape(output.shape)

    layer = counts_of(a, b, output) | {"multiplier": multiplier, "right": right, "low": low, "high": high}
    return step_of_two(operation, "div", layer, (a, b), answer=answer)


def squared_difference(operation: Operation, _: Range) -> Step:
    """SQUARED_DIFFERENCE.

    Raises:
        ModelFileError: As of `add`.
    """
    a, b, output = operands_of(operation)
    twice = 2 * max(a.scale, b.scale)
    of_squares = twice * twice / ((1 << 2 * _DIFFERENCE_BITS) * output.scale)
    factors = _Factors(a.scale / twice, b.scale / twice, of_squares)
    (m0, right0), (m1, right1), (m, right) = factors.pairs
    if _MOST_SQUARE << max(0, -right) >= 2**31:
        raise operation.refuse(f"its output scale {output.scale} is too small for its inputs'")

    def answer(x: Integers, y: Integers) -> Any:
        first = scale((x - a.zero_point) << _DIFFERENCE_BITS, m0, right0)
        difference = first - scale((y - b.zero_point) << _DIFFERENCE_BITS, m1, right1)
        squares = scale(difference * difference, m, right)
        return np.clip(squares + output.zero_point, -128, 127).reshape(output.shape)

    layer = counts_of(a, b, output) | factors.fields | {"low": -128, "high": 127}
    return step_of_two(operation, "squared_difference", layer, (a, b), answer=answer)


def bound(operation: Operation, _: Range) -> Step:
    """MAXIMUM or MINIMUM.

    Raises:
        ModelFileError: As of `operands_of`, or a tensor has another scale.
    """
    a, b, output = operands_of(operation)
    if len({(tensor.scale, tensor.zero_point) for tensor in (a, b, output)}) > 1:
        raise operation.refuse("an input has another scale than its output")
    is_maximum = operation.kind == "MAXIMUM"
    choose = np.maximum if is_maximum else np.minimum
    layer = {"count": output.size, "count0": a.size, "count1": b.size, "largest": int(is_maximum)}
    distances = tuple(0 if tensor.size == output.size else SEPARATE for tensor in (a, b))
    outputs = Range.of(-128, 127, output.shape[-1] if output.shape else 1)

    def answer(x: Integers, y: Integers) -> Any:
        return choose(x, y).reshape(output.shape)

    return Step(operation, "bound", (a, b), output, layer, distances, outputs, answer)


def whole_operands(graph: Graph) -> Iterator[Operation]:
    """The operations of a graph; operands that are not repeated along their first axes alone are repeated before.

    Constants are stored as often as they are used; of an activation, another operation makes a tensor of the output's
    shape, which has a new number.
    """
    numbers = itertools.count(graph.free_index)
    for operation in graph.operations:
        if operation.kind not in _OF_TWO or len(operation.inputs) != 2 or len(operation.outputs) != 1:
            yield operation
            continue
        shape = operation.output.shape
        inputs = list(operation.inputs)
        for place, tensor in enumerate(inputs):
            if tensor is None or _is_end(tensor.shape, shape) or not is_repeated_to(tensor.shape, shape):
                continue
            if tensor.data is not None:
                repeated = np.broadcast_to(tensor.data, shape)  # a view
                inputs[place] = replace(tensor, shape=shape, data=repeated)
                continue
            whole = replace(tensor, index=next(numbers), shape=shape)
            yield Operation(operation.index, "BROADCAST_TO", (tensor,), (whole,), {})
            inputs[place] = whole
        yield replace(operation, inputs=tuple(inputs))


def is_repeated_to(shape: tuple[int, ...], whole: tuple[int, ...]) -> bool:
    """Whether a shape becomes another one by repeating axes of 1 and those that it lacks in front."""
    return len(shape) <= len(whole) and all(a in (1, b) for a, b in zip(shape[::-1], whole[::-1], strict=False))


def _is_end(shape: tuple[int, ...], whole: tuple[int, ...]) -> bool:
    """Whether a shape, without axes of 1 in front, is the end of another one."""
    sizes = list(shape)
    while sizes and sizes[0] == 1:
        sizes.pop(0)
    return sizes == list(whole[len(whole) - len(sizes) :])


def operands_of(operation: Operation) -> tuple[Tensor, Tensor, Tensor]:
    """Both operands and the output. An operand's shape must be the end of the output's, so that it is repeated.

    Raises:
        ModelFileError: It is not, there are not two operands, or both are constant.
    """
    if len(operation.inputs) != 2 or None in operation.inputs:
        raise operation.refuse(f"it has {len(operation.inputs)} inputs; accepted: 2")
    output = operation.quantized(operation.output)
    a, b = (operation.quantized(tensor) for tensor in operation.inputs if tensor is not None)
    fit = _is_end(a.shape, output.shape) and _is_end(b.shape, output.shape)
    if not fit or max(a.size, b.size) != output.size:
        raise operation.refuse(f"it joins {list(a.shape)} and {list(b.shape)} to {list(output.shape)}")
    if a.data is not None and b.data is not None:
        raise operation.refuse("both its inputs are constant")
    return a, b, output


def counts_of(a: Tensor, b: Tensor, output: Tensor) -> dict[str, int]:
    """The fields of a kernel of two operands."""
    return {
        "count": output.size,
        "count0": a.size,
        "count1": b.size,
        "zero_point0": a.zero_point,
        "zero_point1": b.zero_point,
        "zero_point": output.zero_point,
    }


def step_of_two(
    operation: Operation, kernel: str, layer: dict[str, int], operands: tuple[Tensor, Tensor], *, answer: Function
) -> Step:
    """A step of two operands, whose layer says from where to where outputs reach."""
    output = operation.output
    distances = tuple(0 if tensor.size == output.size else SEPARATE for tensor in operands)
    outputs = Range.of(layer["low"], layer["high"], output.shape[-1] if output.shape else 1)
    return Step(operation, kernel, operands, output, layer, distances, outputs, answer)
