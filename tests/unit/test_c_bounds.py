"""What accumulators can be: no product of values in their ranges lies outside, and the ends are reached."""

from __future__ import annotations

import dataclasses
import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgepress.converters.to_c.arithmetic import Range, sums


def made(low: list[int], high: list[int]) -> Range:
    return Range(np.array(low, np.int64), np.array(high, np.int64))


@given(st.integers(0, 1 << 30), st.integers(1, 2), st.integers(1, 2))
def test_sums_reach_both_ends_and_no_further(seed: int, taps: int, channels: int) -> None:
    rng = np.random.default_rng(seed)
    weights = rng.integers(-9, 10, (3, taps, channels))
    low = rng.integers(-20, 10, channels)
    high = low + rng.integers(0, 15, channels)
    bias = rng.integers(-99, 99, 3)
    found = sums(weights, Range(low, high), bias)
    corners = itertools.product(*([(int(low[c]), int(high[c])) for _ in range(taps) for c in range(channels)]))
    values = np.array([bias + weights.reshape(3, -1) @ np.array(corner) for corner in corners])
    assert found.low.tolist() == values.min(axis=0).tolist()
    assert found.high.tolist() == values.max(axis=0).tolist()


def test_inputs_may_have_a_range_an_output() -> None:
    inputs = Range(np.array([[[-1]], [[-2]]]), np.array([[[3]], [[5]]]))
    found = sums(np.array([[[2], [-1]], [[1], [1]]]), inputs, np.array([10, 0]))
    assert (found.low.tolist(), found.high.tolist()) == ([10 - 2 - 3, -4], [10 + 6 + 1, 10])


def test_within_is_strict_at_both_ends() -> None:
    assert made([-7], [7]).within(8)
    assert not made([-8], [7]).within(8)
    assert not made([-7], [8]).within(8)
    assert not made([-9, 0], [0, 0]).within(8)


def test_ranges_are_joined_over_channels_only_where_these_differ() -> None:
    two = made([-3, 1], [2, 9])
    assert two.as_channels(2) is two
    assert (two.joined().low.tolist(), two.joined().high.tolist()) == ([-3], [9])
    three = two.as_channels(3)
    assert (three.low.tolist(), three.high.tolist()) == ([-3] * 3, [9] * 3)
    assert (Range.of(1, 2, 2).low.tolist(), Range.of(1, 2, 2).high.tolist()) == ([1, 1], [2, 2])


@pytest.mark.parametrize(
    ("options", "low", "high"),
    [({}, [-5, 3], [-3, 7]), ({"padded": False}, [-5, 3], [-3, 7]), ({"padded": True}, [-5, 0], [0, 7])],
)
def test_padding_is_zero_after_the_zero_point_is_taken_off(
    options: dict[str, bool], low: list[int], high: list[int]
) -> None:
    found = made([-3, 5], [-1, 9]).minus(2, **options)
    assert (found.low.tolist(), found.high.tolist()) == (low, high)


def test_ranges_can_not_be_changed() -> None:
    with pytest.raises(dataclasses.FrozenInstanceError):
        made([1], [2]).low = np.zeros(1, np.int64)  # type: ignore[misc]


def test_rising_functions_keep_the_ends_and_constant_channels_are_counted() -> None:
    found = made([-3, 4], [7, 4]).through(lambda v: np.maximum(v, 0))
    assert (found.low.tolist(), found.high.tolist()) == ([0, 4], [7, 4])
    assert found.constant_channels == 1
    assert made([1, 1], [1, 1]).constant_channels == 2
