"""The rounding of TensorFlow Lite for Microcontrollers' reference kernels, exactly, and intervals of what it can give.

TFLM rounds twice (gemmlowp): a product to 32 bits, halves up, then a shift, halves away from zero. Its version matters:
these are the answers of the wheel named in docs/microcontrollers.md.

Intervals: what tensors and accumulators can be for any input.

Rounding, clamping and products with weights are monotone, so the ends of intervals suffice. They prove that a faster
rounding is exact, and show channels whose output never changes.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from edgepress.converters.to_c.graph import Operation, Tensor

Integers = npt.NDArray[np.int64]
_MOST = 2**31 - 1
"""Largest value of 32 bits."""
_LEAST = -(2**31)
"""Smallest value of 32 bits."""
_EXP_MINUS_EIGHTH = 1895147668
_ONE_THIRD = 715827883
_EXP_FACTORS = {
    -2: 1672461947,
    -1: 1302514674,
    0: 790015084,
    1: 290630308,
    2: 39332535,
    3: 720401,
    4: 242,
}
"""exp(-2^n) with 31 fractional bits, by n."""
_ONE_AND_HALF = 402653184
"""1.5 with 28 fractional bits."""
_ROOT_OF_HALF = 1518500250
"""sqrt(1/2) with 31 fractional bits."""
_48_17 = 1515870810
"""48/17 with 29 fractional bits."""
_MINUS_32_17 = -1010580540
"""-32/17 with 29 fractional bits."""


def multiplier_of(real: float) -> tuple[int, int]:
    """A positive factor as a multiplier of 31 bits and a shift to the right: QuantizeMultiplier."""
    fraction, exponent = math.frexp(real)
    multiplier = math.floor(fraction * 2**31 + 0.5)
    if multiplier == 2**31:
        multiplier = 2**30
        exponent = exponent + 1
    return (0, 0) if exponent < -31 else (multiplier, -exponent)


def multiply_high(x: Any, m: Any) -> Any:
    """The product x * m / 2^31, halves up: SaturatingRoundingDoublingHighMul, of factors that do not saturate."""
    return (x * m + (1 << 30)) >> 31


def divide(v: Any, bits: Any) -> Any:
    """The quotient v / 2^bits, halves away from zero: RoundingDivideByPOT."""
    mask = (1 << bits) - 1
    return (v >> bits) + ((v & mask) > (mask >> 1) + (v < 0))


def scale(x: Any, multiplier: Any, right: Any) -> Any:
    """The product x * multiplier / 2^(31 + right), rounded twice: MultiplyByQuantizedMultiplier."""
    return divide(multiply_high(x << np.maximum(-right, 0), multiplier), np.maximum(right, 0))


def inverse_root(value: int) -> tuple[int, int]:
    """1 / sqrt(value) of a whole number from 1 to 2^29 - 1: GetInvSqrtQuantizedMultiplierExp.

    Returns:
        A multiplier of 31 bits and a shift to the right.
    """
    if value == 1:
        return _MOST, 0
    pairs = (31 - value.bit_length()) // 2 - 1  # of bits, until the number lies from 2^27 to 2^29
    whole = (value << 2 * pairs) >> 1  # with 28 fractional bits
    half = divide(whole, 1)
    x = 1 << 28
    for _ in range(5):  # Newton's method, from 1 on
        cube = min(max(multiply_high(multiply_high(x, x), x) << 6, _LEAST), _MOST)
        difference = multiply_high(_ONE_AND_HALF, x) - multiply_high(half, cube)
        x = min(max(difference << 3, _LEAST), _MOST)
    root = multiply_high(x, _ROOT_OF_HALF)
    right = 11 - pairs
    return int(root << max(-right, 0)), max(right, 0)


@dataclass(frozen=True, eq=False)
class Scaling:
    """How accumulators become outputs.

    Attributes:
        multipliers: One a channel.
        rights: Their shifts to the right; to the left if below 0.
        zero_point: The output's.
        low: Least output, by the fused activation.
        high: Largest output.
    """

    multipliers: Integers
    rights: Integers
    zero_point: int
    low: int
    high: int

    def outputs(self, accumulators: Integers) -> Integers:
        """The outputs of accumulators, whose last axis is the channels."""
        scaled = scale(accumulators, self.multipliers, self.rights) + self.zero_point
        clipped: Integers = np.clip(scaled, self.low, self.high)
        return clipped


def scaling(operation: Operation, reals: npt.NDArray[np.float64]) -> Scaling:
    """The scaling by a real factor a channel to an operation's output."""
    multipliers, rights = np.array([multiplier_of(float(real)) for real in reals], np.int64).T
    low, high = activation_range(operation, operation.output)
    return Scaling(multipliers, rights, operation.output.zero_point, low, high)


def activation_range(operation: Operation, output: Tensor) -> tuple[int, int]:
    """The least and the largest output by the fused activation: CalculateActivationRangeQuantized.

    Raises:
        ModelFileError: The activation is none of NONE, RELU, RELU_N1_TO_1, RELU6.
    """
    bounds = {0: (None, None), 1: (0.0, None), 2: (-1.0, 1.0), 3: (0.0, 6.0)}.get(operation.option("activation"))
    if bounds is None:
        raise operation.refuse(f"its activation has the number {operation.option('activation')}; accepted: 0 to 3")
    steps = [None if bound is None else _in_steps(bound, output.scales[0]) for bound in bounds]
    low = -128 if steps[0] is None else max(-128, output.zero_point + steps[0])
    high = 127 if steps[1] is None else min(127, output.zero_point + steps[1])
    if low > high:
        raise operation.refuse(f"its activation leaves no output between {low} and {high}")
    return low, high


def _in_steps(bound: float, step: np.float32) -> int:
    """The nearest number of steps, halves away from zero; more than there are outputs are 256."""
    with np.errstate(over="ignore"):  # to infinity, of a scale near 0
        steps = float(np.float32(bound) / step)
    return int(math.copysign(math.floor(min(abs(steps), 256) + 0.5), steps))


def exp(raw: int, integer_bits: int) -> int:
    """Exp of a number that is not above 0: exp_on_negative_values.

    Args:
        raw: The number with 31 - integer_bits fractional bits.
        integer_bits: 4 or 5.

    Returns:
        exp with 31 fractional bits.
    """
    if raw == 0:
        return _MOST
    quarter = 1 << (31 - integer_bits - 2)
    within = (raw & (quarter - 1)) - quarter
    x = (within << integer_bits) + (1 << 28)  # Taylor's polynomial around -1/8
    x2 = multiply_high(x, x)
    tail = divide(multiply_high(divide(multiply_high(x2, x2), 2) + multiply_high(x2, x), _ONE_THIRD) + x2, 1)
    result = _EXP_MINUS_EIGHTH + multiply_high(_EXP_MINUS_EIGHTH, x + tail)
    for power, factor in _EXP_FACTORS.items():
        if power < integer_bits and (within - raw) & (1 << (31 - integer_bits + power)):
            result = multiply_high(result, factor)
    return int(result)


def inverse(raw: Any) -> Any:
    """1 / (1 + x) for x from 0 to 1, both with 31 fractional bits: one_over_one_plus_x_for_x_in_0_1."""
    return np.clip(_twice_inverse(raw) << 1, _LEAST, _MOST)


def inverse_difference(raw: Any) -> Any:
    """(1 - x) / (1 + x), likewise: one_minus_x_over_one_plus_x_for_x_in_0_1."""
    return np.clip((_twice_inverse(raw) - (1 << 29)) << 2, _LEAST, _MOST)


def _twice_inverse(raw: Any) -> Any:
    """2 / (1 + x) with 29 fractional bits, by three steps of Newton's method, which both functions share."""
    half = (raw + _MOST + 1) // 2
    y = _48_17 + multiply_high(half, _MINUS_32_17)
    for _ in range(3):
        y = y + np.clip(multiply_high(y, (1 << 29) - multiply_high(half, y)) << 2, _LEAST, _MOST)
    return y


@dataclass(frozen=True, eq=False)
class Range:
    """The least and the largest value by channel, which is the last axis."""

    low: Integers
    high: Integers

    @classmethod
    def of(cls, low: int, high: int, channels: int) -> Range:
        """The same for all channels."""
        ends = (np.broadcast_to(np.int64(end), channels) for end in (low, high))  # which takes no memory
        return cls(*ends)

    def within(self, limit: int) -> bool:
        """Whether every value is nearer to 0 than `limit`."""
        return bool((self.low > -limit).all() and (self.high < limit).all())

    def joined(self) -> Range:
        """The range over all channels, as one."""
        return Range(self.low.min(keepdims=True), self.high.max(keepdims=True))

    def as_channels(self, channels: int) -> Range:
        """The range for a tensor of other channels: the same if there are as many, else that over all of them."""
        if len(self.low) == channels:
            return self
        whole = self.joined()
        return Range.of(int(whole.low[0]), int(whole.high[0]), channels)

    def minus(self, zero_point: int, *, padded: bool = False) -> Range:
        """The range of values minus a zero point; `padded`: some of them may be padding, which is 0."""
        low = self.low - zero_point
        high = self.high - zero_point
        return Range(np.minimum(low, 0), np.maximum(high, 0)) if padded else Range(low, high)

    def through(self, function: Callable[[Integers], Integers]) -> Range:
        """The range of a function that never falls."""
        return Range(function(self.low), function(self.high))

    @property
    def constant_channels(self) -> int:
        """Number of channels with one value."""
        return int((self.low == self.high).sum())


def sums(weights: Integers, inputs: Range, bias: Integers) -> Range:
    """The range of accumulators.

    Args:
        weights: Shape (outputs, taps, channels).
        inputs: The zero point taken off, of each channel, or of shape (outputs, 1, 1).
        bias: One an output.
    """
    low = np.where(weights > 0, weights * inputs.low, weights * inputs.high).sum(axis=(1, 2))
    high = np.where(weights > 0, weights * inputs.high, weights * inputs.low).sum(axis=(1, 2))
    return Range(bias + low, bias + high)
