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
    by_rank,
    least_items_to_promise,
    risk_coverage,
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


@given(st.floats(0.005, 0.9), st.sampled_from([0.8, 0.95, 0.99]), st.integers(0, 6))
def test_so_many_items_are_needed_with_errors_among_them(limit: float, confidence: float, errors: int) -> None:
    least = least_items_to_promise(limit, confidence, errors)
    assert binom.cdf(errors, least, limit) <= (1 - confidence) * (1 + 1e-9)
    assert binom.cdf(errors, least - 1, limit) > (1 - confidence) * (1 - 1e-9)


def constant(certainty: np.ndarray) -> np.ndarray:
    """1 % of the answers above .7 are wrong, and up to 31 % of others."""
    return 0.01 + 0.3 * np.clip(0.7 - certainty, 0, 1) / 0.7


def falling(certainty: np.ndarray) -> np.ndarray:
    """The more certain, the rarer, down to none."""
    return 0.3 * (1 - certainty) ** 2


@pytest.mark.parametrize("chances", [constant, falling])
@pytest.mark.parametrize(("limit", "items"), [(0.02, 600), (0.05, 300), (0.05, 2000)])
def test_a_promised_error_is_exceeded_in_few_draws(chances: Any, limit: float, items: int) -> None:
    """The usual choice, the laxest threshold with few errors among the calibration items, exceeds it often."""
    draws, exceeded, plug_in, coverages = 300, 0, 0, []
    true_error = np.cumsum(chances(np.linspace(0, 1, 100_001))[::-1])[::-1] / np.arange(100_001, 0, -1)
    for seed in range(draws):
        rng = np.random.default_rng(seed)
        certainty = rng.uniform(0, 1, items)
        wrong = rng.uniform(0, 1, items) < chances(certainty)
        thresholds = by_rank(certainty, limit=limit, confidence=0.95)
        chosen = bound_error(certainty, wrong, thresholds, limit=limit, confidence=0.95)
        if chosen is not None:
            exceeded += true_error[int(chosen.at_least * 100_000)] > limit
            coverages.append(1 - chosen.at_least)
        order = np.argsort(-certainty)
        rates = np.cumsum(wrong[order]) / np.arange(1, items + 1)
        within = np.flatnonzero(rates <= limit)
        plug_in += true_error[int(certainty[order][within[-1]] * 100_000)] > limit
    assert exceeded <= binom.ppf(0.999, draws, 0.05)
    assert plug_in > draws / 4
    assert len(coverages) > draws * (0.7 if limit > 0.02 else 0.1)
    assert np.mean(coverages) > 0.25


def test_the_first_threshold_accepts_as_few_as_pass_with_one_error_and_a_tenth() -> None:
    certainty = np.random.default_rng(0).permutation(np.linspace(0, 1, 800))
    accepted = [int((certainty >= t).sum()) for t in by_rank(certainty, limit=0.05, confidence=0.95)]
    assert (accepted[0], accepted[-1]) == (93, 800)
    assert len(accepted) == 40
    assert accepted == sorted(accepted)
    assert int((certainty >= by_rank(certainty, limit=0.3, confidence=0.95)[0]).sum()) == 80
    assert int((certainty[:80] >= by_rank(certainty[:80], limit=0.05, confidence=0.95)[0]).sum()) == 59
    assert by_rank(certainty[:58], limit=0.05, confidence=0.95).size == 0
    assert by_rank(np.full(99, -np.inf), limit=0.05, confidence=0.95).size == 0
    ties = np.repeat([0.9, 0.5], [10, 300])
    assert by_rank(ties, limit=0.05, confidence=0.95).tolist() == [0.5]


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
