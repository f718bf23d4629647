"""Factors of channels, computed for groups that are given here."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from edgepress.converters.ptq.equalization import BOUND, DEAD, DEAD_UNREAD, QUIET, _change, equalizing_factors


@pytest.mark.parametrize(("bounded", "widest"), [(False, 50.0), (True, BOUND)])
def test_free_channels_become_as_wide_as_pinned_ones_and_bounded_ones_as_their_bound(
    bounded: bool, widest: float
) -> None:
    of = {"a": np.array([1, 2]), "b": np.array([0, 1])}
    groups: Any = SimpleNamespace(
        count=3, of=of, bounded=np.array([False, bounded, bounded]), program=SimpleNamespace(steps=[])
    )
    highs = {"a": np.array([1.0, 2.0]), "b": np.array([50.0, 1.0])}
    factors = equalizing_factors(groups, {name: (np.zeros(2), high) for name, high in highs.items()})
    assert factors[0] == 1
    assert max(highs["a"] / factors[1:]) == pytest.approx(widest)


def test_a_channel_that_is_nearly_dead_keeps_a_share_of_the_weights() -> None:
    used, read = np.array([1e-7, 1e-7, 0.25, 0.25]), np.array([0.5, 0.01, 1.0, 0.0])
    np.testing.assert_allclose(_change(used, read, np.zeros(4)), [QUIET / 0.5, 1, 0.5, 0.25])


def test_the_row_that_makes_a_channel_limits_it_where_weights_have_one_scale() -> None:
    """Fewer levels of the two count; a channel that is never active is balanced by its weights alone."""
    used = np.array([0.04, 1.0, 1.0, 1e-9])
    read = np.array([1.0, 1.0, 0.25, 0.25])
    made = np.array([1.0, 0.04, 0.0, 1.0])
    np.testing.assert_allclose(_change(used, read, made), [0.2, 0.2, 2.0, 2.0])


def test_a_channel_is_dead_below_a_millionth_of_what_others_contribute() -> None:
    """Of the product of range and weights; where nothing reads it, of the range alone, and a thousandth of that."""
    used = np.array([1.01 * DEAD / 0.5, 0.99 * DEAD / 0.5, 1.01 * DEAD_UNREAD, 0.99 * DEAD_UNREAD])
    read = np.array([0.5, 0.5, 0.0, 0.0])
    factors = _change(used, read, np.zeros(4))
    np.testing.assert_allclose(factors, [np.sqrt(used[0] / 0.5), QUIET / 0.5, used[2], 1])


def free_groups(**widths: list[float]) -> tuple[Any, Any]:
    """Groups, and ranges from 0, of tensors whose channels are all free, each of a group of its own."""
    of, ranges, count = {}, {}, 1
    for name, highs in widths.items():
        of[name] = np.arange(count, count + len(highs))
        ranges[name] = np.zeros(len(highs)), np.array(highs)
        count += len(highs)
    groups = SimpleNamespace(count=count, of=of, bounded=np.zeros(count, bool), program=SimpleNamespace(steps=[]))
    return groups, ranges


def test_channels_become_as_wide_as_the_widest_of_their_tensor() -> None:
    groups, ranges = free_groups(a=[1.0, 4.0, 0.25], b=[100.0, 10.0])
    np.testing.assert_allclose(equalizing_factors(groups, ranges), [1, 1 / 4, 1, 1 / 16, 1, 1 / 10])


def test_ranges_below_zero_count_as_those_above() -> None:
    groups, ranges = free_groups(a=[1.0, 4.0, 2.0])
    ranges["a"] = np.array([-7.0, 0.0, 1.0]), np.array([1.0, 4.0, 2.0])
    np.testing.assert_allclose(equalizing_factors(groups, ranges), [1, 1, 1 / 2, 1 / 4])


@pytest.mark.parametrize("share", [2.0**-19, 2.0**-21])
def test_factors_are_bounded(share: float) -> None:
    groups, ranges = free_groups(a=[1.0, share])
    factors = equalizing_factors(groups, ranges)
    assert factors[2] / factors[1] == pytest.approx(max(share, 2.0**-20), rel=1e-6)


@pytest.mark.parametrize(("high", "grows"), [(6.0, False), (5.9994, True), (3.0, True)])
def test_a_channel_that_reaches_its_bound_keeps_its_factor(high: float, grows: bool) -> None:
    groups, ranges = free_groups(a=[high, 10.0])
    groups.bounded[:] = [False, True, False]
    factors = equalizing_factors(groups, ranges)
    assert (factors[1] == 1) == (not grows)
    if not grows:
        assert factors[2] == pytest.approx(10 / BOUND), "others become as wide"
    assert high / factors[1] == pytest.approx(BOUND, rel=1e-6)
