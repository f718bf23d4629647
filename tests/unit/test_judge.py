"""How answers are scored, by files whose answers are given here."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

from edgepress.converters.numeric.metrics import EXACT_DB
from edgepress.converters.ptq import score as module
from edgepress.converters.ptq.score import HALVED_DB, MARGIN_DB, SOUND_DB, Score, Scorer

TRUTH = np.array([[0.0, 2.0, -1.0], [3.0, 1.0, 0.0], [0.2, 0.4, 4.0], [-1.0, 0.2, -2.0]])


@pytest.fixture
def judge(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Makes a judge of a net that answers `TRUTH`, or one column of it; a file is given as its answers' bytes."""

    def make(end: str = "SOFTMAX", columns: int = 3, **options: Any) -> Any:
        def answers(file: bytes, items: np.ndarray) -> np.ndarray:
            found = np.frombuffer(file).reshape(-1, columns) if file != b"model" else TRUTH[:, :columns]
            return found[: len(items)].astype(np.float32)

        monkeypatch.setattr(module, "answers_before_end", answers)
        monkeypatch.setattr(module, "scoring_items", lambda model: len(TRUTH))
        monkeypatch.setattr(module.passes, "last_operation", lambda model: end)
        made = Scorer(b"model", np.zeros((4, 1), np.float32), **options)
        return lambda found: made.score_file(np.asarray(found, np.float64).tobytes())

    return make


def test_noise_is_the_spread_between_items_to_the_error(judge: Any) -> None:
    error = np.array([[0.1], [-0.1], [0.1], [-0.1]]) * [1, -2, 1]
    centred = TRUTH - TRUTH.mean(axis=1, keepdims=True)
    spread = np.sum((centred - centred.mean(axis=0)) ** 2)
    score = judge()(TRUTH + error)
    assert score.snr_db == pytest.approx(10 * math.log10(spread / np.sum(error**2)), abs=1e-3)
    assert score.agreement == 1


def test_what_softmax_ignores_is_no_noise(judge: Any) -> None:
    shifted = TRUTH + np.array([[5], [-5], [1], [0]])
    assert judge()(shifted).snr_db > 100
    assert judge("LOGISTIC")(shifted).snr_db < 20
    assert judge("")(TRUTH).snr_db == EXACT_DB


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_answers_that_are_no_numbers_are_the_worst(judge: Any, bad: float) -> None:
    with np.errstate(invalid="ignore"):
        assert judge()(np.where(TRUTH == 4, bad, TRUTH)).snr_db == -EXACT_DB


def test_labels_that_do_not_exclude_each_other_are_true_above_zero(judge: Any) -> None:
    found = TRUTH.copy()
    found[2, 0] = -0.1  # true before
    found[3, 0] = 0.1  # false before
    found[0, 1] = 0.3  # still true
    assert judge("LOGISTIC")(found).agreement == pytest.approx(10 / 12)


def test_one_probability_is_true_above_a_half(judge: Any) -> None:
    found = TRUTH[:, :1].copy()
    found[2] = 0.4  # false as before
    assert judge("", columns=1)(found).agreement == 1
    found[2] = 0.6
    assert judge("", columns=1)(found).agreement == 0.75


@pytest.mark.parametrize(
    ("agreement", "noise", "sound"),
    [(1.0, SOUND_DB, True), (None, SOUND_DB, True), (1.0, SOUND_DB - 0.1, False), (0.99, SOUND_DB + 9, False)],
)
def test_a_file_is_sound_whose_labels_and_values_are_the_models(
    agreement: float | None, noise: float, *, sound: bool
) -> None:
    assert Score(None, agreement, noise, np.zeros(0, bool)).sound is sound


def hits(right: int, count: int = 400) -> np.ndarray:
    """The first items are right."""
    return np.arange(count) < right


def scores(won: int, lost: int, noise_db: float = 0.0) -> tuple[Score, Score]:
    """A file and one before it, of which each is alone right on some items."""
    before, after = hits(200), hits(200)
    after[200 : 200 + won] = True
    after[:lost] = False
    return Score(None, 1.0, 10 + noise_db, after), Score(None, 1.0, 10.0, before)


@pytest.mark.parametrize(
    ("won", "lost", "noise_db", "better"),
    [
        (0, 0, MARGIN_DB, True),
        (0, 0, MARGIN_DB - 0.1, False),
        (3, 3, 1.0, True),  # between both margins
        (0, 1, 1.0, False),
        (1, 3, HALVED_DB - 0.1, False),
        (1, 3, HALVED_DB, True),
        (0, 8, 20.0, False),  # within chance of noise, but more than two standard errors
        (8, 0, 1 - MARGIN_DB, True),
        (8, 0, -MARGIN_DB, False),
        (8, 0, 0.1 - MARGIN_DB, True),
        (1, 0, 0.0, False),  # one item proves nothing
        (10, 0, -9.0, True),  # more than three standard errors: items decide alone
        (0, 10, 9.0, False),
    ],
)
def test_items_and_noise_decide_which_file_is_better(won: int, lost: int, noise_db: float, *, better: bool) -> None:
    now, before = scores(won, lost, noise_db)
    assert now.better_than(before) is better


def test_items_that_are_gained_or_lost_beyond_chance() -> None:
    now, before = scores(9, 0)
    assert (now.gained(before, 2), now.gained(before, 3), before.gained(now, 2)) == (9, 0, -9)
    assert now.lost(before) == 0
    assert before.lost(now) == pytest.approx((9 - 2 * 3) / 400)
    assert scores(8, 2)[0].gained(scores(8, 2)[1]) == 6


def test_a_step_loses_no_item_and_gains_the_decibels_that_are_asked() -> None:
    for won, lost, noise_db, step in ((1, 1, 1.0, True), (0, 1, 9.0, False), (0, 0, 0.9, False), (2, 0, 1.0, True)):
        now, before = scores(won, lost, noise_db)
        assert now.is_step_from(before, 1.0) is step


def test_figures_that_are_not_known_are_left_out() -> None:
    assert Score(None, None, 12.345, hits(1)).facts() == {"snr_db": 12.35}
    assert Score(0.5, 0.9, 12.0, hits(1)).facts() == {"accuracy": 0.5, "agreement": 0.9, "snr_db": 12.0}


def test_labels_that_a_file_alone_gets_right_are_no_hits(judge: Any) -> None:
    labels = np.array([1, 0, 0, 1])  # the model is wrong on the third item
    found = TRUTH.copy()
    found[2] = [9.0, 0.0, 0.0]
    found[3] = [9.0, 0.0, 0.0]
    score = judge(labels=labels)(found)
    assert score.accuracy == 0.75
    assert score.agreement == 0.5
    assert score.hits.tolist() == [True, True, False, False]
    plain = judge()(found)
    assert plain.accuracy is None
    assert plain.hits.tolist() == [True, True, False, False]
    assert judge(labelled=False)(found).hits.size == 0
    assert judge(labelled=False)(found).agreement is None


@pytest.mark.parametrize(
    ("won", "lost", "noise_db", "better"),
    [
        (0, 0, 0.45, False),
        (0, 0, 0.55, True),
        (1, 2, 2.95, False),
        (1, 2, 3.05, True),
        (5, 0, 0.0, True),
        (4, 0, 0.0, False),
        (9, 0, -1.0, False),
        (10, 0, -1.0, True),
    ],
)
def test_half_a_decibel_or_two_standard_errors_decide(won: int, lost: int, noise_db: float, *, better: bool) -> None:
    now, before = scores(won, lost, noise_db)
    assert now.better_than(before) is better


@pytest.mark.parametrize(("won", "lost", "gained"), [(8, 6, 0), (3, 1, 0), (4, 1, 3), (1, 4, -3), (1, 0, 0), (2, 0, 2)])
def test_a_gain_is_more_than_the_root_of_the_items_that_changed(won: int, lost: int, gained: int) -> None:
    now, before = scores(won, lost)
    assert now.gained(before) == gained


def test_a_file_with_a_thousandth_of_noise_is_sound() -> None:
    assert Score(None, 1.0, 30.0, hits(0)).sound
    assert not Score(None, 1.0, 29.9, hits(0)).sound


def test_noise_is_bounded(judge: Any) -> None:
    tiny = TRUTH.copy()
    tiny[0, 0] = 1e-15
    assert judge("", labelled=False)(tiny).snr_db == EXACT_DB
    assert judge("", labelled=False)(TRUTH * 1e13).snr_db == -EXACT_DB
    assert judge("", columns=1, labelled=False)([[1.0]]).snr_db == -EXACT_DB, "the true answer is 0"
    two = TRUTH[:, :2]
    assert judge("", columns=2)(np.add(two, [[5], [-5], [1], [0]])).snr_db > 100
    assert judge("", columns=1)(TRUTH[:, :1] + [[5], [-5], [1], [0]]).snr_db < 20
