"""Activations as operations of their own: PRELU, and as tables ABS, RELU, RELU6, LEAKY_RELU and HARD_SWISH.

The arithmetic is that of TFLM's kernels, which round in other places than the fused activations do.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from edgepress.converters.to_c.arithmetic import Integers, Range, divide, multiplier_of, scale
from edgepress.converters.to_c.elementwise import counts_of, operands_of, step_of_two
from edgepress.converters.to_c.graph import Operation
from edgepress.converters.to_c.lookup import ends_of, factor_of, ratio_of, table_step
from edgepress.converters.to_c.step import Step

_HIGH_BITS = 7
"""Bits by which HARD_SWISH shifts its input to the left."""
_STEEPEST = 1000
"""Largest slope of LEAKY_RELU."""
_REACH = np.float32(3)
"""HARD_SWISH is x * (1 + x / 3) / 2 between -3 and 3."""


def relu(operation: Operation, inputs: Range) -> Step:
    """RELU.

    Raises:
        ModelFileError: Its output scale is too small for its input's.
    """
    source, output = ends_of(operation)
    multiplier, right = factor_of(operation, ratio_of(operation, source.scales[0], output.scales[0]))

    def function(values: Integers) -> Any:
        scaled = scale(values - source.zero_point, multiplier, right) + output.zero_point
        return np.clip(scaled, output.zero_point, 127)

    return table_step(operation, source, output, function, inputs)


def relu6(operation: Operation, inputs: Range) -> Step:
    """RELU6, which only clamps.

    Raises:
        ModelFileError: It changes the scale.
    """
    source, output = ends_of(operation)
    if (source.scale, source.zero_point) != (output.scale, output.zero_point):
        raise operation.refuse("its output has another scale than its input")
    six = int(min(np.rint(ratio_of(operation, np.float32(6), source.scales[0])) + source.zero_point, 127))
    return table_step(operation, source, output, lambda values: np.clip(values, source.zero_point, six), inputs)


def absolute(operation: Operation, inputs: Range) -> Step:
    """ABS.

    Raises:
        ModelFileError: Its output scale is too small for its input's.
    """
    source, output = ends_of(operation)
    ratio = ratio_of(operation, source.scales[0], output.scales[0])
    factor = None if source.scale == output.scale else factor_of(operation, ratio)

    def function(values: Integers) -> Any:
        size = np.abs(values - source.zero_point)
        scaled = size if factor is None else scale(size, *factor)
        return np.clip(scaled + output.zero_point, -128, 127)

    return table_step(operation, source, output, function, inputs)


def leaky_relu(operation: Operation, inputs: Range) -> Step:
    """LEAKY_RELU.

    Raises:
        ModelFileError: Its slope is no number above 0, or its output scale is too small for its input's.
    """
    source, output = ends_of(operation)
    alpha = np.float32(operation.options["alpha"])
    if not 0 < alpha <= _STEEPEST:
        raise operation.refuse(f"its slope is {alpha}; accepted: above 0 and up to {_STEEPEST}")
    positive = factor_of(operation, ratio_of(operation, source.scales[0], output.scales[0]))
    negative = factor_of(operation, ratio_of(operation, source.scales[0] * alpha, output.scales[0]))

    def function(values: Integers) -> Any:
        centred = values - source.zero_point
        scaled = np.where(centred >= 0, scale(centred, *positive), scale(centred, *negative))
        return np.clip(scaled + output.zero_point, -128, 127)

    return table_step(operation, source, output, function, inputs)


def hard_swish(operation: Operation, inputs: Range) -> Step:
    """HARD_SWISH, in 16 bits: x on the scale of the output, times (x + 3) / 6 between 0 and 1.

    Raises:
        ModelFileError: Its scales are very large or small, or differ much.
    """
    source, output = ends_of(operation)
    high_scale = np.float32(np.float32(1 / (1 << _HIGH_BITS)) * source.scales[0])
    to_output, output_exponent = _short_factor(ratio_of(operation, high_scale, output.scales[0]))
    to_reach, reach_exponent = _short_factor(ratio_of(operation, high_scale, np.float32(_REACH / np.float32(32768))))
    if not (-31 <= output_exponent <= 0 and -31 <= reach_exponent <= 15):
        raise operation.refuse(f"its scales are {source.scale} and {output.scale}")

    def function(values: Integers) -> Any:
        high = (values - source.zero_point) << _HIGH_BITS
        on_output = _high_16(high, to_output)
        reach = _saturated(high << max(reach_exponent - 1, 0))
        reach = _high_16(reach, to_reach)
        if reach_exponent > 0:
            reach = _saturated(reach << 1)
        if reach_exponent < 0:
            reach = divide(reach, -reach_exponent)
        product = (((reach + (1 << 15)) >> 1) * on_output) >> 15
        return np.clip(divide(product, -output_exponent) + output.zero_point, -128, 127)

    return table_step(operation, source, output, function, inputs)


def prelu(operation: Operation, _: Range) -> Step:
    """PRELU, whose slopes are repeated along the first axes.

    Raises:
        ModelFileError: As of `elementwise.multiply`.
    """
    source, slopes, output = operands_of(operation)
    positive = factor_of(operation, ratio_of(operation, source.scales[0], output.scales[0]))
    negative = multiplier_of(float(ratio_of(operation, source.scales[0] * slopes.scales[0], output.scales[0])))
    if 255 * 255 << max(0, -negative[1]) >= 2**31:
        raise operation.refuse(f"its output scale {output.scale} is too small for its inputs'")

    def answer(values: Integers, factors: Integers) -> Any:
        centred = values - source.zero_point
        sloped = scale(centred * (factors - slopes.zero_point), *negative)
        scaled = np.where(centred >= 0, scale(centred, *positive), sloped)
        return np.clip(scaled + output.zero_point, -128, 127).reshape(output.shape)

    layer = counts_of(source, slopes, output) | {
        "multiplier0": positive[0],
        "right0": positive[1],
        "multiplier1": negative[0],
        "right1": negative[1],
        "low": -128,
        "high": 127,
    }
    return step_of_two(operation, "prelu", layer, (source, slopes), answer=answer)


def _short_factor(real: np.float32) -> tuple[int, int]:
    """A factor as a multiplier of 15 bits and a shift to the left: DownScaleInt32ToInt16Multiplier."""
    multiplier, right = multiplier_of(float(real))
    most = 2**31 - 1 - (1 << 15)
    return (2**15 - 1 if multiplier >= most else (multiplier + (1 << 15)) >> 16), -right


def _high_16(values: Integers, multiplier: int) -> Integers:
    """Product values * multiplier / 2^15, halves up: SaturatingRoundingDoublingHighMul of 16 bits."""
    return (values * multiplier + (1 << 14)) >> 15


def _saturated(values: Integers) -> Integers:
    clipped: Integers = np.clip(values, -(2**15), 2**15 - 1)
    return clipped
