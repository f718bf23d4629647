"""Intervals and tests of a paired drop, against published figures, brute force and known truth."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from edgepress.toolkit.stats.intervals import _accept, class_drops, mcnemar, paired_drop, score_interval


def outcome(both: int, lost: int, gained: int, neither: int) -> tuple[np.ndarray, np.ndarray]:
    counts = [both, lost, gained, neither]
    return np.repeat([True, True, False, False], counts), np.repeat([True, False, True, False], counts)


def test_a_published_interval() -> None:
    # Airway reactivity before and after transplantation (1, 1, 7, 12), in the guide of the R package ratesci, which
    # gives -0.5281 to -0.0184 for the skewness-corrected score interval; Tango's upper end is a little higher.
    low, high = score_interval(1, 7, 21)
    assert (low, high) == (pytest.approx(-0.5281, abs=5e-5), pytest.approx(-0.0183, abs=5e-5))


def test_a_large_sample_agrees_with_the_textbook() -> None:
    # Agresti, Categorical Data Analysis, approval in two surveys: 794, 150, 86, 570; 95 % Wald 2.1 to 5.9 pp.
    drop = paired_drop(*outcome(794, 150, 86, 570))
    assert drop.estimate == pytest.approx(4.0)
    assert (drop.low, drop.high) == (pytest.approx(2.1, abs=0.05), pytest.approx(5.9, abs=0.05))


def test_where_no_item_differs_the_bound_is_near_that_of_the_rule_of_three() -> None:
    # z^2 / n; a true loss of 3.69 / n shows no lost item in 2.5 % of samples. n grown tenfold shrinks it tenfold.
    for n in (10, 360, 5000, 100_000):
        low, high = score_interval(0, 0, n)
        assert low == -high
        assert n == 10 or 3.69 < n * high < 3.85


@settings(deadline=None, max_examples=100)
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


@pytest.mark.parametrize("n", [100, 372, 5000])
@pytest.mark.parametrize("share", [0.5, 0.6, 0.75, 0.9, 1.0])
def test_a_true_loss_is_above_the_interval_in_no_more_than_2_7_percent(n: int, share: float) -> None:
    """Without any draw: the probabilities of all outcomes, for 1 to 30 items that are expected to differ."""
    lost, gained = (grid.ravel() for grid in np.meshgrid(np.arange(66), np.arange(66)))
    possible = lost + gained <= n
    lost, gained = lost[possible], gained[possible]
    low, high = score_interval(lost, gained, n)
    for differ in (*range(1, 11), 3.6, 4.5, 5.4, 15, 20, 25, 30):
        shares = differ / n * np.array([share, 1 - share])
        counts = np.stack([lost, gained, n - lost - gained], axis=1)
        chances = stats.multinomial.pmf(counts, n, [*shares, 1 - shares.sum()])
        truth = shares[0] - shares[1]
        assert chances.sum() == pytest.approx(1, abs=1e-3)
        assert chances[truth > high + 1e-12].sum() <= 0.027, differ
        assert chances[truth < low - 1e-12].sum() <= 0.038, differ


@settings(deadline=None, max_examples=60)
@given(st.integers(0, 12), st.integers(0, 12), st.integers(0, 400))
def test_the_accepted_differences_have_no_gap(lost: int, gained: int, same: int) -> None:
    n = float(max(lost + gained + same, 1))
    low, high = score_interval(lost, gained, n)
    d = np.linspace(-1, 1, 4001)
    accepted = _accept(d, *(np.full(d.shape, float(v)) for v in (lost, gained, n)))
    near = 1e-6
    assert accepted[(d > low + near) & (d < high - near)].all()
    assert not accepted[(d < low - near) | (d > high + near)].any()


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
