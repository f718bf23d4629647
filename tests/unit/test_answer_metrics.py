"""What is decided from scores, agreement, and which errors count."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgepress.converters.numeric.metrics import agreement, decibels, decisions_of, squared_margins

SCORES = np.array([[4.0, 1.0, 0.0], [0.0, 2.0, 1.0]], np.float32)


@given(st.floats(-100, 100))
def test_what_all_scores_share_does_no_harm(shift: float) -> None:
    assert squared_margins(SCORES, SCORES + np.float32(shift), "one") == pytest.approx([0, 0], abs=1e-6)


def test_an_error_towards_another_label_counts_and_one_away_from_it_does_not() -> None:
    towards, away = SCORES.copy(), SCORES.copy()
    towards[0, 1] += 1.0
    away[0, 1] -= 1.0
    # Margins are 3 and 1, so the median one is 2: an error of 1 is 1 / (3 + 2) of the first item's.
    assert squared_margins(SCORES, towards, "one") == pytest.approx([0.04, 0])
    assert squared_margins(SCORES, away, "one") == pytest.approx([0, 0])


def test_an_error_does_at_most_so_much_harm_and_nan_does_the_most() -> None:
    lost = SCORES.copy()
    lost[0, 2], lost[1, 0] = 1e6, np.nan
    assert squared_margins(SCORES, lost, "one") == pytest.approx([4, 4])


def test_labels_that_are_decided_by_themselves_have_their_own_margins() -> None:
    found = np.array([[1.0, -3.0]], np.float32)
    assert squared_margins(found, found + np.float32(1), "each") == pytest.approx([(1 / 3) ** 2])
    assert squared_margins(found, found + np.float32(1), "none") == pytest.approx([1])


def test_agreement_is_of_decisions() -> None:
    assert agreement(SCORES, SCORES[::-1]) == 0
    assert agreement(SCORES, 2 * SCORES) == 1
    assert agreement(np.array([[1.0, -1.0]]), np.array([[1.0, 1.0]]), "each") == 0.5
    assert decisions_of(np.array([[-1.0], [2.0]]), threshold=0).tolist() == [False, True]


def test_a_probability_counts_from_one_half_and_a_logit_from_zero() -> None:
    scores = np.array([[0.4, 0.6]])
    assert decisions_of(scores, "each").tolist() == [[False, True]]
    assert decisions_of(scores, "each", threshold=0).tolist() == [[True, True]]
    assert decisions_of(scores.T).tolist() == [False, True]


def test_decibels_are_of_powers_and_none_where_one_is_missing() -> None:
    assert decibels(100.0, 1.0) == pytest.approx(20)
    assert decibels(0.0, 1.0) is None
    assert decibels(1.0, 0.0) is None
