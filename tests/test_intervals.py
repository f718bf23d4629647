"""Intervals and tests of a paired drop, against published figures, brute force and known truth."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgepress.toolkit.stats.intervals import class_drops, mcnemar, paired_drop, score_interval


def outcome(both: int, lost: int, gained: int, neither: int) -> tuple[np.ndarray, np.ndarray]:
    counts = [both, lost, gained, neither]
    return np.repeat([True, True, False, False], counts), np.repeat([True, False, True, False], counts)


def test_a_published_interval() -> None:
    # Airway reactivity before and after transplantation (1, 1, 7, 12), in the guide of the R package ratesci, which
    # gives -0.5281 to -0.0184 for the skewness-corrected score interval.
    low, high = score_interval(1, 7, 21)
    assert (low, high) == (pytest.approx(-0.5281, abs=5e-5), pytest.approx(-0.0184, abs=5e-5))


def test_a_large_sample_agrees_with_the_textbook() -> None:
    # Agresti, Categorical Data Analysis, approval in two surveys: 794, 150, 86, 570; 95 % Wald 2.1 to 5.9 pp.
    drop = paired_drop(*outcome(794, 150, 86, 570))
    assert drop.estimate == pytest.approx(4.0)
    assert (drop.low, drop.high) == (pytest.approx(2.1, abs=0.05), pytest.approx(5.9, abs=0.05))


def test_where_no_item_differs_the_bound_is_near_that_of_the_rule_of_three() -> None:
    # 0 of n: the difference that would show in 94 of 100 samples, 2.8 / n; n grown tenfold shrinks it tenfold.
    for n in (10, 360, 5000, 100_000):
        low, high = score_interval(0, 0, n)
        assert low == -high
        assert 2.5 < n * high < 3.0


@settings(deadline=None, max_examples=300)
@given(st.integers(0, 40), st.integers(0, 40), st.integers(0, 400))
def test_an_interval_holds_the_estimate_within_bounds_and_is_mirrored(lost: int, gained: int, same: int) -> None:
    n = lost + gained + same
    if n == 0:
        return
    low, high = score_interval(lost, gained, n)
    assert -1 <= low <= (lost - gained) / n <= high <= 1
    assert high > low
    back = score_interval(gained, lost, n)
    assert (low, high) == (pytest.approx(-back[1], abs=1e-9), pytest.approx(-back[0], abs=1e-9))


@pytest.mark.parametrize(
    ("n", "lost", "gained"),
    [(360, 0.005, 0.005), (360, 0.02, 0.0), (1000, 0.01, 0.002), (1000, 0.1, 0.08), (10_000, 0.003, 0.001)],
)
def test_coverage_of_known_truths(n: int, lost: float, gained: float) -> None:
    draws = np.random.default_rng(0).multinomial(n, (lost, gained, 1 - lost - gained), 2000)
    low, high = score_interval(draws[:, 0], draws[:, 1], n)
    covered = np.mean((low <= lost - gained) & (lost - gained <= high))
    assert 0.93 <= covered <= 0.975  # 0.5 % is the standard error of 2,000 draws


def test_classes_are_their_own_items_alone() -> None:
    rng = np.random.default_rng(0)
    y, first, second = rng.integers(0, 5, 400), rng.random(400) < 0.9, rng.random(400) < 0.8
    drops = class_drops(first, second, y, classes=6)
    for k in range(5):
        assert drops[k] == paired_drop(first[y == k], second[y == k])
    assert drops[5] is None


@settings(deadline=None)
@given(st.integers(0, 30), st.integers(0, 30))
def test_mcnemar_is_the_binomial_test(lost: int, gained: int) -> None:
    n, fewer = lost + gained, min(lost, gained)
    tail = sum(math.comb(n, k) for k in range(fewer + 1)) / 2**n
    assert mcnemar(*outcome(5, lost, gained, 3)) == pytest.approx(min(1.0, 2 * tail))
