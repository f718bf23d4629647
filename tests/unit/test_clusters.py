"""Intervals of an accuracy on items in groups: by simulation, and in cases that can be counted."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgepress.toolkit.stats.samples import group_figures, group_interval, share_interval


def test_the_interval_holds_where_items_of_a_group_are_right_together() -> None:
    rng = np.random.default_rng(0)
    held = {False: 0, True: 0}
    above = below = 0
    for _ in range(400):
        of = np.repeat(np.arange(12), rng.integers(3, 15, 12))
        shares = rng.beta(0.8 * 4, 0.2 * 4, 12)
        right = rng.random(len(of)) < shares[of]
        for equal in held:
            interval = group_interval(right, of, equal=equal)
            assert interval.low is not None
            assert interval.high is not None
            held[equal] += interval.low <= 0.8 <= interval.high
            below += interval.low > 0.8
            above += interval.high < 0.8
    assert min(held.values()) >= 0.91 * 400
    assert max(held.values()) <= 0.985 * 400, "and is not wider than it must be"
    assert min(above, below) > 0


def test_items_that_are_their_own_groups_have_wilsons_interval() -> None:
    right = np.arange(200) % 4 > 0
    ours = group_interval(right, np.arange(200))
    wilson = share_interval(150, 200)
    assert (ours.estimate, ours.low, ours.high) == pytest.approx((0.75, wilson.low, wilson.high), abs=0.004)


def test_copies_of_items_in_a_group_tell_nothing_new() -> None:
    right, of = np.arange(20) % 5 > 0, np.arange(20)
    once = group_interval(right, of)
    often = group_interval(np.repeat(right, 30), np.repeat(of, 30))
    assert (often.low, often.high) == pytest.approx((once.low, once.high), abs=1e-9)


def test_weights_of_items_and_of_groups() -> None:
    right, of = np.array([1, 1, 1, 0]), np.array([7, 7, 7, 3])
    assert group_interval(right, of).estimate == 0.75
    assert group_interval(right, of, equal=True).estimate == 0.5
    figures = group_figures(right, of, "r")
    assert (figures["rule"], figures["count"]) == ("r", 2)
    assert figures["by_item"]["estimate"] == 0.75
    assert figures["by_group"]["estimate"] == 0.5


def test_one_group_has_no_interval_and_equal_groups_count_as_items() -> None:
    assert group_interval([1, 0], [5, 5]).low is None
    all_right = group_interval(np.ones(500), np.repeat(np.arange(10), 50))
    assert all_right.low is not None
    assert 0.6 < all_right.low < 0.75, "ten groups, not 500 items"


@given(st.lists(st.tuples(st.booleans(), st.integers(0, 5)), min_size=1, max_size=40))
def test_the_estimate_lies_in_its_interval(items: list[tuple[bool, int]]) -> None:
    right, of = zip(*items, strict=True)
    for equal in (False, True):
        interval = group_interval(right, of, equal=equal)
        if interval.low is not None and interval.high is not None:
            assert 0 <= interval.low <= interval.estimate + 1e-9
            assert interval.estimate - 1e-9 <= interval.high <= 1


def test_the_line_on_the_screen_has_both_figures() -> None:
    from edgepress.toolkit.cli.tables import group_line

    line = group_line({"groups": group_figures([1, 1, 1, 0], [7, 7, 7, 3], "r")})
    assert line.startswith("By item 75.00 % [")
    assert ", by group 50.00 % [" in line
    assert "2 test groups" in line
    one = group_line({"groups": group_figures([1, 0], [7, 7], "r")})
    assert one.startswith("By item 50.00 %, by group 50.00 %: the one test group")
    assert group_line({"groups": None}) == group_line({}) == ""
