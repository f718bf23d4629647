"""Which errors of scores do harm to decisions."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgepress.converters.diagnosis.harm import agreement, decided, harm

SCORES = np.array([[4.0, 1.0, 0.0], [0.0, 2.0, 1.0]], np.float32)


@given(st.floats(-100, 100))
def test_what_all_scores_share_does_no_harm(shift: float) -> None:
    assert harm(SCORES, SCORES + np.float32(shift), "one") == pytest.approx([0, 0], abs=1e-6)


def test_an_error_towards_another_label_counts_and_one_away_from_it_does_not() -> None:
    towards, away = SCORES.copy(), SCORES.copy()
    towards[0, 1] += 1.0
    away[0, 1] -= 1.0
    # Margins are 3 and 1, so the median one is 2: an error of 1 is 1 / (3 + 2) of the first item's.
    assert harm(SCORES, towards, "one") == pytest.approx([0.04, 0])
    assert harm(SCORES, away, "one") == pytest.approx([0, 0])


def test_an_error_does_at_most_so_much_harm_and_nan_does_the_most() -> None:
    lost = SCORES.copy()
    lost[0, 2], lost[1, 0] = 1e6, np.nan
    assert harm(SCORES, lost, "one") == pytest.approx([4, 4])


def test_labels_that_are_decided_by_themselves_have_their_own_margins() -> None:
    found = np.array([[1.0, -3.0]], np.float32)
    assert harm(found, found + np.float32(1), "each") == pytest.approx([(1 / 3) ** 2])
    assert harm(found, found + np.float32(1), "none") == pytest.approx([1])


def test_agreement_is_of_decisions() -> None:
    assert agreement(SCORES, SCORES[::-1], "one") == 0
    assert agreement(SCORES, 2 * SCORES, "one") == 1
    assert agreement(np.array([[1.0, -1.0]]), np.array([[1.0, 1.0]]), "each") == 0.5
    assert decided(np.array([[-1.0], [2.0]]), "one").tolist() == [False, True]
