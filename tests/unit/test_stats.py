"""Intervals and metrics against enumeration, definitions and recorded figures."""

from __future__ import annotations

import math

import numpy as np
import pytest
from records import assert_frozen
from scipy.stats import binom, norm, t

from edgepress.toolkit.stats import intervals
from edgepress.toolkit.stats.intervals import class_drops, mcnemar, paired_drop, paired_ratio, score_interval
from edgepress.toolkit.stats.metrics import calibration_error, classification_metrics


def test_an_interval_is_a_frozen_record() -> None:
    assert_frozen(intervals, by_position=frozenset({"Interval"}))


# The expanded percentile bootstrap.

SIX = (1.0, 1.1, 1.25, 1.45, 1.7, 2.0)


def test_the_ends_are_the_expanded_percentiles_of_all_resamples(monkeypatch: pytest.MonkeyPatch) -> None:
    # The median of n = odd resampled rounds is at most the k-th smallest with the probability that at least (n + 1) / 2
    # of n draws are among the k smallest. So the ends are known but for which side of a step a bootstrap falls on.
    monkeypatch.setattr(intervals, "RESAMPLES", 20_000)
    for n in range(7, 42, 2):
        tail = float(norm.cdf(t.ppf(0.025, n - 1) * math.sqrt(n / (n - 1))))
        below = binom.sf((n - 1) // 2, n, np.arange(1, n + 1) / n)
        if np.abs(below - tail).min() > 2 * math.sqrt(tail / 20_000):
            k = int(np.searchsorted(below, tail))
            found = paired_ratio(np.exp(np.arange(n) / n), np.ones(n))
            assert (found.low, found.high) == pytest.approx((math.exp(k / n), math.exp((n - 1 - k) / n))), n
            assert found.estimate == pytest.approx(math.exp((n - 1) / 2 / n))


def test_more_rounds_are_expanded_less() -> None:
    random = np.random.default_rng(1)
    few, many = (np.exp(random.normal(0, 0.1, n)) for n in (6, 100))
    ratios = [paired_ratio(few, np.ones(6)), paired_ratio(many, np.ones(100))]
    spans = [math.log(r.high / r.low) for r in ratios if r.low and r.high]
    assert spans[0] > 3 * spans[1]


def test_six_rounds_give_an_interval_and_five_give_none() -> None:
    assert paired_ratio(SIX, np.ones(6)).low is not None
    five = paired_ratio(SIX[:5], np.ones(5))
    assert (five.low, five.high) == (None, None)
    assert five.estimate == pytest.approx(1.25)


def test_a_ratio_is_how_many_times_faster_the_candidate_is_over_common_rounds() -> None:
    twice = paired_ratio([2.0] * 9, [1.0] * 7)
    assert (twice.estimate, twice.low, twice.high) == (pytest.approx(2), pytest.approx(2), pytest.approx(2))
    assert paired_ratio([2.0] * 7 + [9.0] * 9, [1.0] * 7).high == pytest.approx(2), "rounds of one alone are left out"
    itself = paired_ratio(SIX, SIX)
    assert (itself.low, itself.estimate, itself.high) == (1, 1, 1)
    assert paired_ratio(SIX, np.ones(6)) == paired_ratio(SIX, np.ones(6)), "the same numbers for the same numbers"


# The interval of a paired drop.


@pytest.mark.parametrize(
    ("lost", "gained", "n", "low", "high"),
    [
        (0, 0, 10, -0.2991450517, 0.2991450517),
        (2, 0, 360, -0.0050904173, 0.0200581892),
        (7, 3, 100, -0.0261948908, 0.1132105123),
        (40, 25, 1000, -0.0008325279, 0.0315023705),
        (1, 0, 1, -0.8460982139, 1.0),
        (5, 0, 5, 0.0202183192, 1.0),
    ],
)
def test_recorded_intervals(lost: int, gained: int, n: int, low: float, high: float) -> None:
    found = [float(end) for end in score_interval(lost, gained, n)]
    assert found == [pytest.approx(low, abs=1e-9), pytest.approx(high, abs=1e-9)]


def test_a_drop_is_in_percentage_points_of_what_the_candidate_lost() -> None:
    reference, candidate = np.array([1, 1, 1, 0, 0, 1, 1, 1], bool), np.array([1, 0, 0, 1, 0, 1, 1, 1], bool)
    drop = paired_drop(reference, candidate)
    low, high = score_interval(2, 1, 8)
    assert drop.estimate == pytest.approx(12.5)
    assert (drop.low, drop.high) == (pytest.approx(100 * low), pytest.approx(100 * high))
    assert class_drops(reference, candidate, np.zeros(8, np.int64), classes=1) == [drop]


def test_mcnemar_without_any_difference_is_certain_chance() -> None:
    same = np.array([True, False, True])
    assert mcnemar(same, same) == 1.0
    assert mcnemar(np.array([True]), np.array([False])) == 1.0
    assert mcnemar(np.ones(10, bool), np.zeros(10, bool)) == pytest.approx(2 / 2**10)
    assert mcnemar(np.array([1, 1, 0], bool), np.array([0, 0, 1], bool)) == pytest.approx(1.0)


# Metrics.


def test_scores_and_classes_give_the_same_metrics() -> None:
    scores = np.array([[0.1, 0.9], [0.6, 0.4], [0.5, 0.5]])
    assert classification_metrics([1, 1, 0], scores, labels="ab") == classification_metrics(
        [1, 1, 0], [1, 0, 0], labels="ab"
    )


def test_a_score_on_a_bin_s_edge_belongs_to_the_bin_below() -> None:
    # 1/15 closes the first bin, so these two share it, and their errors cancel; just above, they do not.
    assert calibration_error([1 / 15, 1 / 30], [False, False]) == pytest.approx((1 / 15 + 1 / 30) / 2)
    assert calibration_error([0.06, 0.0], [False, True]) == pytest.approx((1 - 0.06) / 2)
    assert calibration_error([0.07, 0.0], [False, True]) == pytest.approx((1 + 0.07) / 2)
    for full in (1.0, 1 + 1e-9):  # softmax may round to a little more than 1
        assert calibration_error([full, 0.94], [False, True]) == pytest.approx((0.94 + 1 - 1) / 2)
