"""Thresholds and their promises: the arithmetic is exact, and few draws exceed what is promised."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import beta, binom

from edgepress.toolkit.stats.acceptance import (
    bound_error,
    bound_rejection,
    least_items_to_promise,
    pass_probabilities,
    risk_coverage,
    sequence,
    upper_bound,
)


@pytest.mark.parametrize(("limit", "items"), [(0.01, 299), (0.02, 149), (0.05, 59)])
def test_a_promise_needs_so_many_accepted_items(limit: float, items: int) -> None:
    assert least_items_to_promise(limit, 0.95) == items
    assert upper_bound(0, items, 0.95) <= limit < upper_bound(0, items - 1, 0.95)


@given(st.integers(1, 400), st.data(), st.sampled_from([0.8, 0.95, 0.99]))
def test_the_upper_bound_is_exact(total: int, data: Any, confidence: float) -> None:
    count = data.draw(st.integers(0, total - 1))
    bound = upper_bound(count, total, confidence)
    assert binom.cdf(count, total, bound) == pytest.approx(1 - confidence, rel=1e-6)
    assert upper_bound(total, total, confidence) == 1


def population(seed: int, count: int) -> tuple[np.ndarray, np.ndarray]:
    """Certainties, and whether the answers are wrong: the more certain, the rarer."""
    rng = np.random.default_rng(seed)
    certainty = rng.uniform(0, 1, count)
    return certainty, rng.uniform(0, 1, count) < 0.3 * (1 - certainty) ** 2


@pytest.mark.parametrize("limit", [0.02, 0.05])
def test_a_promised_error_is_exceeded_in_few_draws(limit: float) -> None:
    """The usual choice, the laxest threshold with few errors among the calibration items, exceeds it often."""
    draws, items = 200, 600
    exceeded, plug_in, coverages = 0, 0, []
    grid = np.linspace(0, 1, 100_001)
    wrong_share = 0.3 * (1 - grid) ** 2  # at each certainty; its mean above a threshold is the true error
    true_error = np.cumsum(wrong_share[::-1])[::-1] / np.arange(len(grid), 0, -1)
    for seed in range(draws):
        certainty, wrong = population(seed, items)
        fits, measures = slice(0, 150), slice(150, items)
        thresholds = sequence(
            certainty[fits], 0.3 * (1 - certainty[fits]) ** 2, items=450, limit=limit, confidence=0.95
        )
        chosen = bound_error(certainty[measures], wrong[measures], thresholds, limit=limit, confidence=0.95)
        if chosen is not None:
            exceeded += true_error[int(chosen.at_least * 100_000)] > limit
            coverages.append(1 - chosen.at_least)
        order = np.argsort(-certainty)
        rates = np.cumsum(wrong[order]) / np.arange(1, items + 1)
        within = np.flatnonzero(rates <= limit)
        plug_in += true_error[int(certainty[order][within[-1]] * 100_000)] > limit
    assert exceeded <= binom.ppf(0.999, draws, 0.05)
    assert plug_in > draws / 4
    assert np.mean(coverages) > 0.25


def test_the_last_threshold_before_the_first_failure_is_taken() -> None:
    """At .4, 8 % of the accepted answers are wrong; at 0 only 5 %, but no threshold behind a failure is taken."""
    certainty = np.linspace(0, 1, 1001)
    wrong = (certainty > 0.45) & (certainty < 0.5)
    thresholds = np.linspace(0.9, 0, 10)
    chosen = bound_error(certainty, wrong, thresholds, limit=0.07, confidence=0.95)
    assert chosen is not None
    assert chosen.at_least == pytest.approx(0.5)
    assert (chosen.items, chosen.accepted, chosen.errors) == (1001, 501, 0)
    assert bound_error(certainty, wrong, thresholds[-1:], limit=0.07, confidence=0.95) is not None
    assert bound_error(certainty, ~wrong, thresholds, limit=0.07, confidence=0.95) is None


def test_the_tests_begin_where_they_most_probably_pass() -> None:
    certainty = np.linspace(0, 1, 1000)
    wrong = certainty < 0.3
    thresholds = sequence(certainty, wrong, items=1000, limit=0.05, confidence=0.95)
    assert 0.3 <= thresholds[0] <= 0.941  # 59 to 700 items, all of them right
    assert (np.diff(thresholds) < 0).all()
    assert thresholds[-1] == 0
    strict = sequence(certainty, wrong, items=1000, limit=0.005, confidence=0.95)
    assert strict[0] <= 0.41  # a smaller limit needs more than 598 items
    assert sequence(np.full(9, -np.inf), np.zeros(9), items=1000, limit=0.1, confidence=0.95).size == 0


@pytest.mark.parametrize(("items", "limit"), [(100, 0.05), (59, 0.05), (500, 0.02)])
def test_a_promised_rejection_is_exceeded_in_few_draws(items: int, limit: float) -> None:
    exceeded = 0
    for seed in range(400):
        certainty = np.random.default_rng(seed).uniform(0, 1, items)
        threshold = bound_rejection(certainty, limit=limit, confidence=0.95)
        assert threshold is not None
        exceeded += threshold > limit  # the share of the population below it
    assert exceeded <= binom.ppf(0.999, 400, 0.05)
    rank = int((certainty <= threshold).sum())
    assert beta.sf(limit, rank, items - rank + 1) <= 0.05 < beta.sf(limit, rank + 1, items - rank)


def test_too_few_items_promise_no_rejection() -> None:
    assert bound_rejection(np.linspace(0, 1, 58), limit=0.05, confidence=0.95) is None


@given(
    st.lists(st.tuples(st.sampled_from([-np.inf, 0.0, 0.25, 0.5, 0.9, 1.0]), st.booleans()), min_size=1, max_size=60)
)
def test_the_risk_coverage_curve_is_what_its_thresholds_accept(items: list[tuple[float, bool]]) -> None:
    certainty = np.array([c for c, _ in items])
    wrong = np.array([w for _, w in items])
    coverage, risk = risk_coverage(certainty, wrong)
    assert (np.diff(coverage) > 0).all()
    for share, error in zip(coverage, risk, strict=True):
        kept = [t for t in np.unique(certainty) if np.isfinite(t) and (certainty >= t).mean() == pytest.approx(share)]
        (threshold,) = kept
        assert error == pytest.approx(wrong[certainty >= threshold].mean())
    finite = np.isfinite(certainty)
    assert len(coverage) == 0 if not finite.any() else coverage[-1] == pytest.approx(finite.mean())


@given(
    st.lists(st.tuples(st.integers(0, 90), st.sampled_from([0.0, 0.01, 0.1, 0.5])), min_size=1, max_size=9),
    st.sampled_from([0.02, 0.05, 0.2]),
    st.sampled_from([0.8, 0.95]),
)
def test_the_probability_to_pass_is_that_of_the_errors_that_do(
    steps: list[tuple[int, float]], limit: float, confidence: float
) -> None:
    items, rates = np.array([n for n, _ in steps]), np.array([rate for _, rate in steps])
    found = pass_probabilities(items, rates, limit, confidence)
    for count, rate, probability in zip(items.tolist(), rates.tolist(), found, strict=True):
        passing = [errors for errors in range(count) if upper_bound(errors, count, confidence) <= limit]
        assert probability == pytest.approx(binom.cdf(passing[-1], count, rate) if passing else 0)


def test_equally_certain_answers_are_tested_together() -> None:
    """.8 accepts all 500 answers of .8, which are right, and none of .3, half of which is wrong."""
    certainty = np.repeat([0.3, 0.8], 500)
    doubt = np.where(certainty < 0.5, 0.5, 0.0)
    assert sequence(certainty, doubt, items=1000, limit=0.05, confidence=0.95).tolist() == [0.8, 0.3]
    assert sequence(certainty, 0.5 - doubt, items=1000, limit=0.3, confidence=0.95).tolist() == [0.3]
