"""The rounding of exported C against exact fractions, and its exponential against the real one."""

from __future__ import annotations

import math
from fractions import Fraction
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from records import assert_frozen

from edgepress.converters.to_c import arithmetic
from edgepress.converters.to_c.arithmetic import (
    Scaling,
    activation_range,
    divide,
    exp,
    inverse,
    inverse_root,
    multiplier_of,
    multiply_high,
    scale,
    scaling,
)
from edgepress.converters.to_c.graph import Operation, Tensor
from edgepress.runtime.errors import ModelFileError

int32 = st.integers(-(2**31) + 1, 2**31 - 1)


def nearest(value: Fraction, *, half_away: bool) -> int:
    """The nearest integer; halves go away from zero, or else up."""
    if half_away:
        return int(math.copysign(math.floor(abs(value) + Fraction(1, 2)), value))
    return math.floor(value + Fraction(1, 2))


@given(int32, int32)
def test_a_product_is_rounded_with_halves_up(x: int, m: int) -> None:
    assert multiply_high(x, m) == nearest(Fraction(x * m, 2**31), half_away=False)


@given(int32, st.integers(0, 31))
def test_a_shift_is_rounded_with_halves_away_from_zero(v: int, bits: int) -> None:
    assert divide(v, bits) == nearest(Fraction(v, 2**bits), half_away=True)


@pytest.mark.parametrize("v", [-6, -3, -2, -1, 0, 1, 2, 3, 6])
def test_halves_are_where_the_two_roundings_differ(v: int) -> None:
    assert divide(np.int64(v), 2) == nearest(Fraction(v, 4), half_away=True)
    assert multiply_high(v << 29, 1 << 31) == v << 29


@given(st.integers(-(2**20), 2**20), st.integers(2**30, 2**31 - 1), st.integers(-8, 20))
def test_a_factor_is_a_product_and_a_shift(x: int, multiplier: int, right: int) -> None:
    left = max(-right, 0)
    product = nearest(Fraction((x << left) * multiplier, 2**31), half_away=False)
    assert scale(x, multiplier, right) == nearest(Fraction(product, 2 ** max(right, 0)), half_away=True)


@given(st.floats(1e-9, 1e4))
def test_a_multiplier_has_31_bits_and_is_near_its_factor(real: float) -> None:
    multiplier, right = multiplier_of(real)
    assert 2**30 <= multiplier < 2**31
    assert math.ldexp(multiplier, -31 - right) == pytest.approx(real, rel=2**-31)


def test_a_multiplier_that_rounds_up_to_32_bits_is_the_next_power() -> None:
    assert multiplier_of(1 - 2**-40) == (2**30, -1)
    assert multiplier_of(0.5) == (2**30, 0)
    assert multiplier_of(0.75) == (3 * 2**29, 0)


def test_a_factor_that_is_too_small_is_none() -> None:
    assert multiplier_of(2.0**-32) == (2**30, 31), "the smallest one"
    assert multiplier_of(2.0**-33) == (0, 0)


def tensor(*, zero_point: int = 0, step: float = 0.05) -> Tensor:
    return Tensor(0, "", (1, 2), "int8", np.array([step], np.float32), np.array([zero_point]), 0, None)


def operation(activation: int, output: Tensor) -> Operation:
    return Operation(0, "ADD", (), (output,), {"activation": activation})


@pytest.mark.parametrize(
    ("activation", "zero_point", "step", "expected"),
    [
        (0, 5, 0.05, (-128, 127)),
        (1, 5, 0.05, (5, 127)),
        (1, -128, 0.05, (-128, 127)),
        (2, 10, 0.05, (-10, 30)),
        (3, -128, 0.05, (-128, -8)),
        (3, -28, 0.05, (-28, 92)),
        (3, 0, 0.0236, (0, 127)),
        (2, 0, 2.0, (-1, 1)),  # half a step goes away from zero
        (2, 0, 1e-44, (-128, 127)),
    ],
)
def test_an_activation_is_a_range_of_outputs(
    activation: int, zero_point: int, step: float, expected: tuple[int, int]
) -> None:
    output = tensor(zero_point=zero_point, step=step)
    assert activation_range(operation(activation, output), output) == expected


def test_an_activation_that_is_not_known_or_leaves_nothing_is_refused() -> None:
    with pytest.raises(ModelFileError, match="the number 4; accepted: 0 to 3"):
        activation_range(operation(4, tensor()), tensor())
    beyond = tensor(zero_point=200)
    with pytest.raises(ModelFileError, match="leaves no output between 200 and 127"):
        activation_range(operation(1, beyond), beyond)


def test_outputs_are_scaled_by_channel_moved_and_clipped() -> None:
    rule = Scaling(np.array([2**30, 2**30]), np.array([0, -1]), 3, -5, 100)
    accumulators = np.array([[10, 10], [-100, 60], [3, 1]])
    assert rule.outputs(accumulators).tolist() == [[8, 13], [-5, 63], [5, 4]]
    output = tensor(zero_point=7)
    of_operation = scaling(operation(3, output), np.array([0.5, 2.0]))
    assert (of_operation.multipliers.tolist(), of_operation.rights.tolist()) == ([2**30, 2**30], [0, -2])
    assert (of_operation.zero_point, of_operation.low, of_operation.high) == (7, 7, 127)


@pytest.mark.parametrize("integer_bits", [4, 5])
@given(st.floats(0, 1))
def test_the_exponential_is_near_the_real_one(integer_bits: int, share: float) -> None:
    raw = -round(share * (2**31 - 1))
    real = math.exp(raw / 2 ** (31 - integer_bits))
    assert exp(raw, integer_bits) / 2**31 == pytest.approx(real, abs=3e-7)


@pytest.mark.parametrize("power", range(-2, 5))
def test_each_power_of_two_has_its_factor(power: int) -> None:
    bits = max(power + 1, 4)
    raw = -(1 << (31 - bits + power))
    assert exp(raw, bits) / 2**31 == pytest.approx(math.exp(-(2.0**power)), rel=5e-7, abs=1e-9)


def test_the_exponential_of_zero_is_the_largest_number() -> None:
    assert exp(0, 5) == 2**31 - 1


@given(st.integers(0, 2**31 - 1))
def test_an_inverse_is_near_the_real_one(raw: Any) -> None:
    assert inverse(raw) / 2**31 == pytest.approx(1 / (1 + raw / 2**31), abs=4e-9)


def one_over_one_plus(raw: int) -> int:
    """gemmlowp's one_over_one_plus_x_for_x_in_0_1 as its source says it: Newton's division of 1 by a half sum."""

    def multiply(a: int, b: int) -> int:
        return nearest(Fraction(a * b, 2**31), half_away=False)

    def saturate(value: int) -> int:
        return max(-(2**31), min(value, 2**31 - 1))

    one = 2**31 - 1
    half = (raw + one + 1) // 2  # RoundingHalfSum of two numbers that are not below 0
    x = round(Fraction(48, 17) * 2**29) + multiply(half, round(Fraction(-32, 17) * 2**29))
    for _ in range(3):
        x += saturate(4 * multiply(x, 2**29 - multiply(half, x)))
    return saturate(2 * x)


@given(st.integers(0, 2**31 - 1))
def test_an_inverse_is_that_of_gemmlowp_to_the_bit(raw: int) -> None:
    assert inverse(raw) == one_over_one_plus(raw)


def test_records_are_frozen() -> None:
    assert_frozen(arithmetic, by_position=frozenset({"Range", "Scaling"}))


def test_the_constants_of_the_exponential_are_its_values() -> None:
    factors = {power: round(2**31 * math.exp(-(2.0**power))) for power in range(-2, 5)}
    assert factors == arithmetic._EXP_FACTORS
    assert round(2**31 * math.exp(-1 / 8)) == arithmetic._EXP_MINUS_EIGHTH
    assert round(2**31 / 3) == arithmetic._ONE_THIRD


@given(st.one_of(st.integers(1, 300), st.integers(1, 2**29 - 1)))
def test_the_root_of_an_inverse_is_that_of_real_numbers(value: int) -> None:
    multiplier, right = inverse_root(value)
    assert 0 < multiplier < 2**31
    assert multiplier / 2 ** (31 + right) == pytest.approx(value**-0.5, rel=4e-6)
