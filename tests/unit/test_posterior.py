"""How probable it is that a drop is within a limit: against random draws, closed forms, and what must hold."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import beta, betabinom

from edgepress.toolkit.stats.choice import Evidence, least_items_for, probability_within

counts = st.integers(0, 12)


@st.composite
def evidences(draw: Any) -> Evidence:
    lost, gained, others = draw(counts), draw(counts), draw(counts)
    items = lost + gained + others + draw(st.integers(1, 800))
    differing = draw(st.integers(0, 30))
    more = differing + draw(st.integers(0, 3000))
    known = [draw(st.integers(0, differing // 3)) for _ in range(3)]
    expected = draw(st.none() | st.floats(0.3, 0.99))
    return Evidence(items, lost, gained, others, more, differing, *known, expected)


def drawn(e: Evidence, limit: float, draws: int = 60_000) -> float:
    """The same by random draws from the posterior, written as its docstring describes it."""
    rng = np.random.default_rng(7)
    labelled = e.lost + e.gained + e.others
    differing = labelled + e.more_differing
    share = rng.beta(differing + 0.5, e.items + e.more_items - differing + 0.5, draws)
    lost, gained, others = e.lost + e.more_lost, e.gained + e.more_gained, e.others + e.more_others
    within = []
    changed = share * (rng.beta(lost + gained + 0.5, others, draws) if others else 1)
    share_lost = 0.5 if e.expected_lost is None else min(e.expected_lost, 0.98)
    prior, weight = (0.38, 20) if e.expected_lost is None else (0.9, 40)
    a, b = weight * share_lost, weight * (1 - share_lost)
    for weights in ((lost + 0.5, gained or 1e-12), (lost + a, gained + b)):
        of_lost = rng.beta(*weights, draws)
        within.append(np.mean(changed * (2 * of_lost - 1) < limit))
    rounds = prior * betabinom(lost + gained, a, b).pmf(lost)
    worse = (1 - prior) * betabinom(lost + gained, 1, 1).pmf(lost)
    return float((worse * within[0] + rounds * within[1]) / (worse + rounds))


@settings(max_examples=20, deadline=None)
@given(evidence=evidences(), limit=st.sampled_from([0.002, 0.005, 0.01, 0.02, 0.05]))
def test_the_probability_is_that_of_random_draws(evidence: Evidence, limit: float) -> None:
    assert probability_within(evidence, limit) == pytest.approx(drawn(evidence, limit), abs=0.012)


def test_what_others_differ_in_changes_nothing_without_further_items() -> None:
    plain = probability_within(Evidence(400, 3, 2), 0.01)
    assert probability_within(Evidence(400, 3, 2, 25), 0.01) == pytest.approx(plain, abs=0.005)


def test_of_unlabelled_differences_all_may_be_lost() -> None:
    """Or, with the prior probability of .38, about as many are lost as are gained."""
    for more, differing in ((1000, 0), (1000, 4), (5000, 40)):
        probability = probability_within(Evidence(200, 0, 0, 0, more, differing), 0.01)
        all_lost = beta(differing + 0.5, 200 + more - differing + 0.5).cdf(0.01)
        assert 0.62 * all_lost - 1e-3 <= probability <= 0.62 * all_lost + 0.381


def test_agreement_alone_can_not_be_surer_than_the_disagreement() -> None:
    """A drop can't exceed the disagreement, so the worst that labels can say is the bound by agreement."""
    for lost, gained, others in ((0, 0, 0), (1, 0, 0), (1, 2, 0), (0, 0, 2), (2, 1, 3)):
        labelled = Evidence(300, lost, gained, others, 2000, 9)
        all_lost = Evidence(300, lost + gained + others, 0, 0, 2000, 9)
        for limit in (0.002, 0.005, 0.01):
            assert probability_within(labelled, limit) >= probability_within(all_lost, limit) - 1e-3


@settings(max_examples=20, deadline=None)
@given(evidence=evidences(), limit=st.sampled_from([0.005, 0.01, 0.03]))
def test_it_falls_with_losses_and_rises_with_gains_agreement_and_limit(evidence: Evidence, limit: float) -> None:
    found = probability_within(evidence, limit)
    change = dataclasses.replace
    assert 0 <= found <= 1
    worse = change(evidence, items=evidence.items + 1, lost=evidence.lost + 1)
    assert probability_within(worse, limit) <= found + 0.005
    if evidence.lost:
        better = change(evidence, lost=evidence.lost - 1, gained=evidence.gained + 1)
        assert probability_within(better, limit) >= found - 0.005
    assert probability_within(evidence, 2 * limit) >= found - 1e-9
    agreeing = change(evidence, more_items=evidence.more_items + 5000)
    assert probability_within(agreeing, limit) >= found - 0.005


def test_losing_and_gaining_are_no_mirror_images() -> None:
    assert probability_within(Evidence(300, 6, 0), 0.01) < 0.15 < 0.99 < probability_within(Evidence(300, 0, 6), 0.01)


def test_labels_of_further_items_count() -> None:
    unlabelled = Evidence(300, 1, 1, 0, 2000, 30)
    lost, gained = dataclasses.replace(unlabelled, more_lost=20), dataclasses.replace(unlabelled, more_gained=20)
    assert probability_within(lost, 0.01) < probability_within(unlabelled, 0.01) < probability_within(gained, 0.01)


def test_the_examples_of_the_guide() -> None:
    assert probability_within(Evidence(200, 0, 0), 0.01) == pytest.approx(0.972, abs=0.001)
    assert probability_within(Evidence(300, 1, 0), 0.01) == pytest.approx(0.932, abs=0.001)
    assert probability_within(Evidence(300, 3, 3), 0.01) == pytest.approx(0.922, abs=0.002)
    assert probability_within(Evidence(300, 6, 0), 0.01) == pytest.approx(0.141, abs=0.002)
    assert probability_within(Evidence(1000, 5, 4), 0.01) > 0.99
    assert least_items_for(0.01, 0.9) == 99
    assert least_items_for(0.005, 0.9) == 100


def test_what_the_first_file_knows_of_items_that_differ_counts() -> None:
    """The same counts: of items near a tie, of items of which the first file was sure, and of unknown ones."""
    tie, sure, unknown = (
        probability_within(Evidence(300, 3, 3, expected_lost=expected), 0.01) for expected in (0.52, 0.9, None)
    )
    assert sure < 0.75 < 0.9 < unknown < tie
    unlabelled = [
        probability_within(Evidence(300, 2, 2, 0, 8000, 400, expected_lost=expected), 0.01) for expected in (0.52, 0.9)
    ]
    assert unlabelled[1] < 0.2 < 0.8 < unlabelled[0]


def test_labels_overrule_what_the_first_file_knows() -> None:
    assert probability_within(Evidence(1000, 40, 0, expected_lost=0.5), 0.01) < 0.05
    assert probability_within(Evidence(1000, 40, 38, expected_lost=0.9), 0.01) > 0.5


def test_many_differences_of_equal_number_do_not_make_a_file_sure() -> None:
    """A file that answers half of the items in another way may lose some percent, however equal the counts."""
    assert probability_within(Evidence(400, 100, 100), 0.01) < 0.65
    assert probability_within(Evidence(400, 10, 10), 0.01) < 0.9 < probability_within(Evidence(400, 2, 2), 0.01)


@pytest.mark.parametrize(("limit", "confidence"), [(0.01, 0.9), (0.005, 0.9), (0.02, 0.975), (0.01, 0.5)])
def test_the_least_items_are_the_first_that_are_enough(limit: float, confidence: float) -> None:
    n = least_items_for(limit, confidence)
    enough, too_few = (
        probability_within(Evidence(m, 0, 0, expected_lost=0.5 if m >= 100 else None), limit) for m in (n, n - 1)
    )
    assert enough >= confidence > too_few


@pytest.mark.slow
@pytest.mark.parametrize(("gained", "low", "high"), [(0.0, 0.08, 0.2), (0.002, 0.1, 0.21), (0.01, 0.1, 0.21)])
def test_files_at_the_limit_are_seldom_sure_enough(gained: float, low: float, high: float) -> None:
    """Files whose drop is just at the limit: the share that reaches 90 %, over 200 to 500 items."""
    rng = np.random.default_rng(3)
    wrong = []
    for items in range(200, 501, 25):
        numbers = rng.multinomial(items, (0.01 + gained, gained, 0.99 - 2 * gained), 200)
        wrong += [probability_within(Evidence(items, int(b), int(c)), 0.01) >= 0.9 for b, c, _ in numbers]
    assert low < np.mean(wrong) < high
