"""How many items a test needs: the published formulas, with the most likely shares found by search."""

from __future__ import annotations

import math

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from scipy.optimize import minimize_scalar
from scipy.special import xlogy
from scipy.stats import norm

from edgepress.toolkit.stats.choice import Evidence, probability_within
from edgepress.toolkit.stats.samples import (
    items_to_be_sure,
    items_to_prove_gain,
    items_to_rule_out,
    items_without_labels,
    least_items,
)

Z_CONFIDENCE = norm.ppf(0.975)
Z_POWER = norm.ppf(0.8)
counts = st.tuples(st.integers(0, 30), st.integers(0, 30), st.integers(0, 400)).map(lambda n: (n[0], n[1], sum(n)))
"""Lost and gained items, and all."""


@given(counts, st.floats(0.003, 0.7))
def test_a_drop_is_ruled_out_by_the_test_of_mc_nemar_with_the_limit_in_the_place_of_zero(
    items: tuple[int, int, int], drop: float
) -> None:
    lost, gained, total = items
    assume(total > 0)
    assumed = max(0.0, (lost - gained) / total)
    if assumed >= drop:
        assert items_to_rule_out(lost, gained, total, drop=drop) is None
        return
    share = (lost + gained + 0.5) / (total + 1)
    one, other = (share + assumed) / 2, (share - assumed) / 2
    assume(other > 0)

    def unlikely(gained_share: float) -> float:
        both = xlogy(one, gained_share + drop) + xlogy(other, gained_share)
        return -float(both + xlogy(1 - share, 1 - drop - 2 * gained_share))

    at_limit = minimize_scalar(unlikely, bounds=(0, (1 - drop) / 2), method="bounded", options={"xatol": 1e-12}).x
    spread = math.sqrt(max(2 * at_limit + drop - drop**2, 0)), math.sqrt(share - assumed**2)
    expected = ((Z_CONFIDENCE * spread[0] + Z_POWER * spread[1]) / (drop - assumed)) ** 2
    planned = items_to_rule_out(lost, gained, total, drop=drop)
    assert planned == pytest.approx(max(expected, least_items(drop)), rel=2e-4, abs=1.01)


@given(counts)
def test_a_gain_is_proven_by_the_test_of_mc_nemar(items: tuple[int, int, int]) -> None:
    lost, gained, total = items
    if gained <= lost:
        assert items_to_prove_gain(lost, gained, max(total, 1)) is None
        return
    gain, share = (gained - lost) / total, (lost + gained + 0.5) / total
    spread = Z_CONFIDENCE * math.sqrt(share) + Z_POWER * math.sqrt(max(share - gain**2, 0))
    assert items_to_prove_gain(lost, gained, total) == pytest.approx((spread / gain) ** 2, rel=1e-4, abs=1.01)


@given(st.integers(0, 300), st.integers(1, 2000), st.floats(0.003, 0.7))
def test_without_labels_the_share_of_different_answers_is_tested_against_the_limit(
    differing: int, total: int, drop: float
) -> None:
    assume(differing <= total)
    share = (differing + 0.5) / (total + 1)
    if share >= drop:
        assert items_without_labels(differing, total, drop=drop) is None
        return
    spread = Z_CONFIDENCE * math.sqrt(drop * (1 - drop)) + Z_POWER * math.sqrt(share * (1 - share))
    expected = (spread / (drop - share)) ** 2
    assert items_without_labels(differing, total, drop=drop) == pytest.approx(expected, rel=1e-4, abs=1.01)


@given(st.integers(0, 8), st.integers(0, 8), st.sampled_from([200, 500]), st.sampled_from([0.8, 0.9, 0.97]))
def test_the_items_that_make_it_sure_are_enough(lost: int, gained: int, total: int, confidence: float) -> None:
    drop = 0.03
    planned = items_to_be_sure(Evidence(total, lost, gained), drop=drop, confidence=confidence)
    assert (planned is None) == ((lost - gained) / total >= drop)
    if planned is not None:
        as_many = Evidence(planned, math.ceil(lost * planned / total), gained * planned // total)
        assert probability_within(as_many, drop) >= confidence


def test_a_drop_that_is_almost_the_limit_is_not_worth_planning() -> None:
    assert items_to_be_sure(Evidence(1_000_000, 19_999, 10_000), drop=0.01, confidence=0.9999) is None


def test_a_drop_at_the_limit_is_ruled_out_by_no_number_of_items() -> None:
    assert items_to_rule_out(1, 0, 100, drop=0.01) is None
    assert items_to_rule_out(1, 0, 101, drop=0.01) is not None
    assert items_to_be_sure(Evidence(100, 1, 0), drop=0.01, confidence=0.9) is None
