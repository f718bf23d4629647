"""Intervals of rates, of their difference, and of a median."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import binom, poisson

from edgepress.toolkit.measurement.comparison.figures import share_interval
from edgepress.toolkit.measurement.comparison.stream_figures import exact_share
from edgepress.toolkit.stats.intervals import Interval
from edgepress.toolkit.stats.rates import median_interval, rate_difference, rate_interval

MOST = 60
"""More events than the rates of these tests ever give."""


def ends(interval: Interval) -> tuple[float, float, float]:
    assert interval.low is not None
    assert interval.high is not None
    return interval.estimate, interval.low, interval.high


def test_the_difference_of_two_rates_lies_in_its_interval_as_often_as_promised() -> None:
    intervals = np.array([[ends(rate_difference((a, 1.0), (b, 1.0)))[1:] for b in range(MOST)] for a in range(MOST)])
    counts = np.arange(MOST)
    rates = (0.0, 0.2, 1.0, 2.0, 4.0, 8.0, 15.0, 25.0)
    for first in rates:
        for second in rates:
            chance = np.outer(poisson.pmf(counts, first), poisson.pmf(counts, second))
            below = chance[first - second < intervals[:, :, 0]].sum()
            above = chance[first - second > intervals[:, :, 1]].sum()
            assert max(below, above) <= 0.025, (first, second)
            assert below + above <= 0.05, (first, second)


@given(st.integers(0, 50), st.integers(0, 50), st.floats(0.1, 100), st.floats(0.1, 100))
def test_a_difference_is_that_of_the_estimates_and_turns_with_them(a: int, b: int, hours: float, other: float) -> None:
    estimate, low, high = ends(rate_difference((a, hours), (b, other)))
    assert estimate == pytest.approx(a / hours - b / other)
    assert low < estimate < high
    turned = ends(rate_difference((b, other), (a, hours)))
    assert (estimate, low, high) == pytest.approx((-turned[0], -turned[2], -turned[1]))


@given(st.integers(0, 40), st.floats(0.1, 50))
def test_no_alarm_of_the_other_leaves_at_least_the_own_interval(count: int, hours: float) -> None:
    own, difference = ends(rate_interval(count, hours)), ends(rate_difference((count, hours), (0, hours)))
    assert difference[1] <= own[1]
    assert difference[2] == pytest.approx(own[2])


@pytest.mark.parametrize(("count", "ranks"), [(6, (0, 5)), (9, (1, 7)), (20, (5, 14)), (25, (7, 17))])
def test_the_median_lies_between_two_of_the_values(count: int, ranks: tuple[int, int]) -> None:
    values = [float(value) for value in np.random.default_rng(count).permutation(count)]
    assert ends(median_interval(values)) == (np.median(values), *ranks)
    inside = binom.cdf(ranks[1], count, 0.5) - binom.cdf(ranks[0], count, 0.5)
    assert inside >= 0.95


@given(st.lists(st.floats(-9, 9), min_size=1, max_size=5))
def test_few_values_have_no_interval_of_the_median(values: list[float]) -> None:
    assert median_interval(values) == Interval(pytest.approx(float(np.median(values))), None, None)


@settings(max_examples=50)
@given(st.integers(1, 200), st.data())
def test_a_share_of_whole_counts_is_that_of_clopper_and_pearson(total: int, data: st.DataObject) -> None:
    count = data.draw(st.integers(0, total))
    assert ends(exact_share(count, total)) == pytest.approx(ends(share_interval(count, total)), abs=1e-9)
