"""Operations whose output is a function of one number of 8 bits, each by a table of its 256 values.

In integers, as TFLM's kernels: QUANTIZE, LOGISTIC, TANH, RSQRT and NEG. In float32, as the tables that TFLM (ELU) and
LiteRT (EXP, GELU, LOG, SQRT) compute: tflite/kernels/internal/common.h, `LUTPopulate`; elementwise.cc, `SqrtEval`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from edgepress.converters.to_c.arithmetic import (
    Integers,
    Range,
    divide,
    exp,
    inverse,
    inverse_difference,
    inverse_root,
    multiplier_of,
    scale,
)
from edgepress.converters.to_c.graph import Array, Operation, Tensor
from edgepress.converters.to_c.step import Step

Function = Callable[[Integers], Any]
Reals = npt.NDArray[np.float32]
WITHOUT_TFLM = ("EXP", "GELU", "LOG", "NEG", "SQRT")
"""Operations without an int8 kernel in TFLM: their answers are those of LiteRT's reference kernels."""
_BYTES = "int8", "uint8"
_SIGMOID_BITS = 4
"""Whole bits of the argument of LOGISTIC and TANH."""
_ROOT_BITS = 20
"""Fractional bits that RSQRT computes with before it scales."""
_ROOT_HALF = np.float32(math.sqrt(0.5))
"""1 / sqrt(2), in GELU."""
_GELU_SLOPE = np.float32(math.sqrt(2 / math.pi))
"""sqrt(2 / pi), in the approximate GELU."""
_GELU_CUBE = np.float32(0.044715)
"""Factor of x^3 in the approximate GELU."""


def quantize(operation: Operation, inputs: Range) -> Step:
    """QUANTIZE between types of 8 bits.

    Raises:
        ModelFileError: A type is another one.
    """
    source = operation.activation(_BYTES)
    output = operation.quantized(operation.output, _BYTES)
    multiplier, right = multiplier_of(source.scale / output.scale)
    if 256 << max(0, -right) >= 2**31:
        raise operation.refuse(f"its output scale {output.scale} is too small for its input's")
    least = 0 if output.dtype == "uint8" else -128

    def function(values: Integers) -> Any:
        scaled = scale(values - source.zero_point, multiplier, right) + output.zero_point
        return np.clip(scaled, least, least + 255)

    return table_step(operation, source, output, function, inputs)


def logistic(operation: Operation, inputs: Range) -> Step:
    """LOGISTIC.

    Raises:
        ModelFileError: Its output is not quantized as TFLM needs it.
    """

    def of_argument(argument: int) -> int:
        positive = int(inverse(exp(-abs(argument), _SIGMOID_BITS)))
        result = 1 << 30 if argument == 0 else positive if argument > 0 else 2**31 - 1 - positive
        return int(divide(result, 23)) - 128

    return _sigmoid(operation, inputs, (1 / 256, -128), of_argument)


def tanh(operation: Operation, inputs: Range) -> Step:
    """TANH.

    Raises:
        ModelFileError: Its output is not quantized as TFLM needs it.
    """

    def of_argument(argument: int) -> int:
        positive = int(inverse_difference(exp(-abs(argument), _SIGMOID_BITS + 1)))  # of twice the argument
        return int(divide(0 if argument == 0 else positive if argument > 0 else -positive, 24))

    return _sigmoid(operation, inputs, (1 / 128, 0), of_argument)


def _sigmoid(operation: Operation, inputs: Range, ends: tuple[float, int], of_argument: Callable[[int], int]) -> Step:
    """A function that levels off, of a number with `_SIGMOID_BITS` integer bits; `ends`: its output's quantization."""
    source = operation.activation()
    output = operation.quantized(operation.output)
    if (output.scale, output.zero_point) != ends:
        raise operation.refuse(f"its output has scale {output.scale} and zero point {output.zero_point}")
    multiplier, right = multiplier_of(source.scale * 2 ** (31 - _SIGMOID_BITS))
    if right > 0 or -right > 30:
        raise operation.refuse(f"its input has the scale {source.scale}")
    radius = (2**_SIGMOID_BITS - 1) * 2 ** (31 - _SIGMOID_BITS) // 2**-right

    def one(value: int) -> int:
        if abs(value) >= radius:
            return 127 if value > 0 else -128
        return min(max(of_argument(int(scale(value, multiplier, right))), -128), 127)

    def function(values: Integers) -> Any:
        return np.array([one(int(value)) for value in values.ravel() - source.zero_point], np.int64).reshape(
            values.shape
        )

    return table_step(operation, source, output, function, inputs)


def rsqrt(operation: Operation, inputs: Range) -> Step:
    """RSQRT. TFLM ends with an error at a number below 0, which is taken for 0 here: the largest output.

    Raises:
        ModelFileError: Its scales are too large or small for 32 bits.
    """
    source, output = ends_of(operation)
    with np.errstate(under="ignore", over="ignore"):
        product = float(np.sqrt(source.scales[0]) * output.scales[0])
    multiplier, right = multiplier_of(1 / product) if product > 0 else (0, -_ROOT_BITS)
    right += _ROOT_BITS
    if not -10 <= right <= 31:
        raise operation.refuse(f"its scales are {source.scale} and {output.scale}")
    roots = [inverse_root(steps) for steps in range(1, 256)]
    scaled = np.array([scale(scale(1, root, shift - _ROOT_BITS), multiplier, right) for root, shift in roots])

    def function(values: Integers) -> Any:
        steps = values - source.zero_point
        answers = np.clip(scaled[np.maximum(steps, 1) - 1] + output.zero_point, -128, 127)
        return np.where(steps > 0, answers, 127)

    return table_step(operation, source, output, function, inputs)


def negative(operation: Operation, inputs: Range) -> Step:
    """NEG, by LiteRT: of stored numbers, and -128 stays -128.

    Raises:
        ModelFileError: Its scales differ, or a zero point is not 0, so that stored numbers would mean something else.
    """
    source, output = ends_of(operation)
    if (source.scale, source.zero_point, output.zero_point) != (output.scale, 0, 0):
        ends = ", ".join(f"{each.scale} and {each.zero_point}" for each in (source, output))
        raise operation.refuse(f"its scales and zero points are {ends}; accepted: one scale, zero points of 0")
    return table_step(operation, source, output, lambda values: np.where(values == -128, -128, -values), inputs)


def of_reals(operation: Operation, inputs: Range) -> Step:
    """ELU, EXP, GELU and LOG: real numbers in float32, rounded to the nearest step, halves away from zero.

    Raises:
        ModelFileError: Its output scale is near 0, or so small that an output has more steps than 32 bits hold.
    """
    source, output = ends_of(operation)
    in_steps = ratio_of(operation, np.float32(1), output.scales[0])
    transform = _REALS[operation.kind](operation)

    def function(values: Integers) -> Any:
        with np.errstate(over="ignore", divide="ignore", invalid="ignore"):
            real = source.scales[0] * (values - source.zero_point).astype(np.float32)
            answers = transform(real).astype(np.float32)
            if operation.kind == "LOG":  # the least output stands for those of numbers that have none
                answers = np.where(real > 0, answers, np.float32(-128 - output.zero_point) * output.scales[0])
            steps = (answers * in_steps).astype(np.float64)
        if not (np.abs(steps) < 2**31 - 256).all():
            raise operation.refuse(f"its output scale {output.scale} is too small for its values")
        rounded = np.copysign(np.floor(np.abs(steps) + 0.5), steps)
        return np.clip(rounded + output.zero_point, -128, 127).astype(np.int64)

    return table_step(operation, source, output, function, inputs)


def _exp_of(reals: Reals) -> Reals:
    """In double precision, so that the result is that of float32's exp on every machine."""
    return np.exp(reals.astype(np.float64)).astype(np.float32)


def _gelu(operation: Operation) -> Callable[[Reals], Reals]:
    def exact(reals: Reals) -> Reals:
        rests = [math.erfc(x) for x in (reals * -_ROOT_HALF).tolist()]
        return np.float32(0.5) * reals * np.array(rests, np.float32)

    def approximate(reals: Reals) -> Reals:
        inner = _GELU_SLOPE * (reals + _GELU_CUBE * reals * reals * reals)
        return np.float32(0.5) * reals * (np.float32(1) + np.tanh(inner.astype(np.float64)).astype(np.float32))

    return approximate if operation.option("approximate") else exact


_REALS: Mapping[str, Callable[[Operation], Callable[[Reals], Reals]]] = {
    "ELU": lambda _: lambda reals: np.where(reals < 0, _exp_of(np.minimum(reals, 0)) - np.float32(1), reals),
    "EXP": lambda _: _exp_of,
    "GELU": _gelu,
    "LOG": lambda _: lambda reals: np.log(reals.astype(np.float64)).astype(np.float32),
}
"""Functions of real numbers, shape (n,), by operation."""


def square_root(operation: Operation, inputs: Range) -> Step:
    """SQRT, by LiteRT, which cuts fractions of a step off; of numbers below 0, where it ends with an error, that of 0.

    Raises:
        ModelFileError: Its output scale is near 0.
    """
    source, output = ends_of(operation)
    ratio_of(operation, np.float32(1), output.scales[0])

    def function(values: Integers) -> Any:
        with np.errstate(over="ignore"):
            real = source.scales[0] * np.maximum(values - source.zero_point, 0).astype(np.float32)
            steps = np.sqrt(real) / output.scales[0]
        return np.minimum(np.minimum(steps, 256).astype(np.int64) + output.zero_point, 127)

    return table_step(operation, source, output, function, inputs)


def table_step(operation: Operation, source: Tensor, output: Tensor, function: Function, inputs: Range) -> Step:
    """A step that looks up a function of one number by the bits of the number.

    Raises:
        ModelFileError: The tensors are of different sizes.
    """
    if source.size != output.size:
        raise operation.refuse(f"it turns {source.size} values into {output.size}")
    bits: Array = np.arange(256, dtype=np.uint8)
    table = np.asarray(function(bits.view(source.dtype).astype(np.int64)), np.int64)
    layer = {"table": table.astype(output.dtype).view(np.int8), "count": output.size}

    def look_up(values: Integers) -> Any:
        return table[values.astype(source.dtype).view(np.uint8)]

    return Step(
        operation,
        "table",
        (source,),
        output,
        layer,
        (0,),
        _range_of(look_up, inputs),
        lambda values: look_up(values).reshape(output.shape),
    )


def ends_of(operation: Operation) -> tuple[Tensor, Tensor]:
    """The only activation that an operation reads, and what it makes of it; both int8, with one scale.

    Raises:
        ModelFileError: They are something else.
    """
    return operation.activation(), operation.quantized(operation.output)


def ratio_of(operation: Operation, a: np.float32, b: np.float32) -> np.float32:
    """The quotient a / b in float32, as TFLM computes it.

    Raises:
        ModelFileError: It is no float32, because b is near 0.
    """
    with np.errstate(over="ignore"):
        ratio = np.float32(a / b)
    if not np.isfinite(ratio):
        raise operation.refuse(f"a scale is {b}")
    return ratio


def factor_of(operation: Operation, real: np.float32) -> tuple[int, int]:
    """A factor of a number of 9 bits as a multiplier and a shift to the right.

    Raises:
        ModelFileError: The product may need more than 32 bits.
    """
    multiplier, right = multiplier_of(float(real))
    if 256 << max(0, -right) >= 2**31:
        raise operation.refuse(f"its input's scale is {real} times its output's")
    return multiplier, right


def _range_of(function: Function, inputs: Range) -> Range:
    """The range of a function that may fall as well as rise; channels of equal ranges are computed once."""
    keys = inputs.low.astype(np.int64) * (1 << 16) + inputs.high
    _, firsts, which = np.unique(keys, return_index=True, return_inverse=True)
    ends = zip(inputs.low[firsts].tolist(), inputs.high[firsts].tolist(), strict=True)
    values = [function(np.arange(low, high + 1)) for low, high in ends]
    return Range(np.array([part.min() for part in values])[which], np.array([part.max() for part in values])[which])
