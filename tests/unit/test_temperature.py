"""The temperature that makes scores probabilities: it has the least loss, within its bounds."""

from __future__ import annotations

import math

import numpy as np
import pytest
from records import assert_frozen

from edgepress.converters.numeric import metrics
from edgepress.converters.numeric.metrics import (
    NONE,
    _fit_slope,
    cross_fit,
    fit_plain,
    fit_temperature,
    least_slope,
    negative_log_likelihood,
    weighted_loss,
)
from edgepress.runtime.acceptance import LARGEST_ODDS, LEAST_SLOPE, SMALLEST, Temperature


def scored(sharpness: float, count: int = 1500) -> tuple[np.ndarray, np.ndarray]:
    """Scores that are so much sharper than the labels drawn for them allow."""
    rng = np.random.default_rng(3)
    logits = rng.normal(0, 1.5, (count, 5))
    true = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    y = np.array([rng.choice(5, p=p) for p in true])
    scores = np.exp(sharpness * logits)
    return (scores / scores.sum(axis=1, keepdims=True)).astype(np.float32), y


@pytest.mark.parametrize("sharpness", [0.3, 1.0, 4.0])
def test_scores_too_sharp_and_too_soft_are_both_corrected(sharpness: float) -> None:
    scores, y = scored(sharpness)
    found = fit_temperature(scores, y)
    assert found.temperature == pytest.approx(sharpness, rel=0.15)
    assert negative_log_likelihood(found.probabilities(scores), y) <= negative_log_likelihood(scores, y) + 1e-6


def test_records_are_frozen() -> None:
    assert_frozen(metrics, by_position=frozenset({"CrossFit"}))


def test_the_loss_is_the_mean_of_the_labels_own_logarithms() -> None:
    probabilities = np.array([[0.5, 0.5], [0.1, 0.9], [1.0, 0.0]], np.float32)
    found = negative_log_likelihood(probabilities, np.array([0, 1, 1]))
    assert found == pytest.approx(-(math.log(0.5) + math.log(0.9) + math.log(SMALLEST)) / 3, rel=1e-5)


def test_a_model_that_is_always_right_is_no_surer_than_its_items_allow() -> None:
    """Platt's target of a right answer is (N + 1) / (N + 2), so that even ties do not become certain."""
    scores, _ = scored(1.0, 100)
    right = fit_temperature(scores, scores.argmax(axis=1))
    top = right.probabilities(scores).max(axis=1)
    assert 0.95 < top.mean() < 101 / 102 + 1e-3
    assert right.temperature >= 0.01


def test_scores_that_say_nothing_become_alike() -> None:
    scores, _ = scored(4.0, 400)
    y = np.random.default_rng(1).integers(0, 5, 400)
    nothing = fit_temperature(scores, y)
    assert nothing.probabilities(scores).max(axis=1).mean() < 0.35
    assert nothing.temperature <= 50


def test_the_loss_counts_the_best_label_four_times_with_platts_targets() -> None:
    """Two of three answers are right: their target is 3/4, that of the wrong one 1/3; its label has 2/3 of the rest."""
    probabilities = np.array([[0.8, 0.1, 0.1], [0.5, 0.25, 0.25], [0.7, 0.1, 0.2]], np.float32)
    y, best = np.array([0, 0, 2]), np.array([0, 0, 0])
    of_best = [-(t * math.log(p) + (1 - t) * math.log(1 - p)) for t, p in ((3 / 4, 0.8), (3 / 4, 0.5), (1 / 3, 0.7))]
    expected = (4 * sum(of_best) - math.log(0.2 / 0.3)) / 3
    assert weighted_loss(probabilities, y, best) == pytest.approx(expected, rel=1e-5)


def test_the_loss_of_certain_and_wrong_answers_is_finite() -> None:
    sure = np.eye(3, dtype=np.float32)
    assert math.isfinite(weighted_loss(sure, np.array([1, 1, 1]), np.array([0, 1, 2])))


def sloped(count: int = 3000) -> tuple[np.ndarray, np.ndarray]:
    """Scores of two labels that are right where they are sure, and too sure where they are not."""
    rng = np.random.default_rng(5)
    logits = rng.uniform(0, 6, count)
    true = 1 / (1 + np.exp(-0.4 * logits * np.exp(0.15 * logits)))
    top = 1 / (1 + np.exp(-logits))
    y = (rng.uniform(size=count) > true).astype(np.int64)
    return np.stack([top, 1 - top], axis=1).astype(np.float32), y


def test_an_exponent_that_follows_the_odds_is_recovered() -> None:
    scores, y = sloped()
    fitted, plain = fit_temperature(scores, y), fit_plain(scores, y)
    assert fitted.slope == pytest.approx(0.15, abs=0.05)
    assert fitted.temperature == pytest.approx(2.5, rel=0.2)
    loss = [negative_log_likelihood(t.probabilities(scores), y) for t in (fitted, plain)]
    assert plain.slope == 0
    assert loss[0] < loss[1] - 0.001


def test_a_slope_that_does_not_help_other_items_is_not_taken() -> None:
    scores, y = scored(4.0)
    whole = cross_fit(scores, y)
    slope = _fit_slope(scores, y)
    best = scores.argmax(axis=1)
    assert slope.slope != 0
    assert weighted_loss(slope.probabilities(scores), y, best) <= weighted_loss(
        fit_plain(scores, y).probabilities(scores), y, best
    )
    assert whole.temperature.slope == 0


def test_calibrated_scores_stay_as_they_are() -> None:
    """A few items can't prove that anything else is better, and a fit to them would be worse for others."""
    changed = 0
    for seed in range(12):
        rng = np.random.default_rng(seed)
        scores = rng.dirichlet(np.full(5, 0.6), 60).astype(np.float32)
        y = (scores.cumsum(axis=1) > rng.uniform(size=(60, 1))).argmax(axis=1)
        fitted = fit_temperature(scores, y)
        changed += fitted != NONE
        best = scores.argmax(axis=1)
        given = weighted_loss(NONE.probabilities(scores), y, best)
        assert weighted_loss(fitted.probabilities(scores), y, best) <= given
    assert changed <= 6


def test_the_search_finds_a_minimum_with_an_offset() -> None:
    """Right probabilities of .7 and .95 that became .9 and 1: no temperature alone gives both."""
    rng = np.random.default_rng(2)
    sure = rng.uniform(size=4000) < 0.5
    top = np.where(sure, 1.0, 0.9)
    y = (rng.uniform(size=4000) > np.where(sure, 0.95, 0.7)).astype(np.int64)
    scores = np.stack([top, 1 - top], axis=1).astype(np.float32)
    fitted = fit_plain(scores, y).probabilities(scores)[:, 0]
    assert fitted[sure].mean() == pytest.approx(0.95, abs=0.02)
    assert fitted[~sure].mean() == pytest.approx(0.7, abs=0.03)


def test_probabilities_of_items_are_of_fits_to_others() -> None:
    """A label that is right by chance alone is not learned: held out items are no better than guessed."""
    scores, y = scored(3.0, 400)
    whole = cross_fit(scores, y)
    assert whole.held_out.sum(axis=1) == pytest.approx(np.ones(400), abs=1e-5)
    own = negative_log_likelihood(whole.temperature.probabilities(scores), y)
    held_out = negative_log_likelihood(whole.held_out, y)
    assert own < held_out < own + 0.05
    other = y.copy()
    other[7] = (y[7] + 1) % 5
    assert not np.array_equal(cross_fit(scores, other).held_out, whole.held_out)


def test_so_many_scores_are_fitted_at_most(monkeypatch: pytest.MonkeyPatch) -> None:
    """All items are judged, whatever the number that is fitted, and items in the order of classes are mixed."""
    fitted: list[tuple[int, int]] = []

    def fit(scores: np.ndarray, y: np.ndarray, **_: object) -> Temperature:
        fitted.append((len(y), len(set(y.tolist()))))
        return Temperature(temperature=2.0, offset=0.001)

    monkeypatch.setattr(metrics, "fit_plain", fit)
    rng = np.random.default_rng(0)
    scores = rng.dirichlet(np.full(6, 0.3), 300).astype(np.float32)
    y = np.arange(300) % 6
    for most, count in ((600, 100), (6 * 49, 50), (10**6, 300)):
        monkeypatch.setattr(metrics, "MOST_SCORES", most)
        assert len(cross_fit(scores, y).held_out) == 300
        parts = [min(count, 225)] * 4
        assert fitted == [
            (count, 6),
            *((part, 6) for part in parts),
            (count, 6),
        ]  # the last begins a search for a slope
        fitted.clear()


@pytest.mark.parametrize("top", [1.0, 0.9999, 0.996])
def test_right_answers_of_a_saturated_softmax_are_not_certain(top: float) -> None:
    for count, shown in ((60, 61 / 62), (200, 201 / 202)):
        scores = np.tile(np.array([top, 1 - top], np.float32), (count, 1))
        fitted = fit_temperature(scores, np.zeros(count, np.int64))
        assert fitted.probabilities(scores[:1])[0, 0] == pytest.approx(shown, abs=0.002)


def shared_alike(labels: int, odds: np.ndarray) -> np.ndarray:
    """Scores whose best label has these odds, and whose other labels share the rest alike."""
    top = (odds / (1 + odds))[:, np.newaxis]
    return np.concatenate([top, np.repeat((1 - top) / (labels - 1), labels - 1, axis=1)], axis=1)


@pytest.mark.parametrize("labels", [2, 3, 10, 1000])
def test_a_surer_answer_stays_surer_with_the_least_slope(labels: int) -> None:
    def rises(slope: float) -> bool:
        shown = Temperature(temperature=1.0, offset=0.0, slope=slope).probabilities(scores)[:, 0]
        return bool((np.diff(shown) > -1e-6).all())

    scores = shared_alike(labels, np.geomspace(1, LARGEST_ODDS, 200))
    assert rises(least_slope(labels))
    assert -1 / least_slope(labels) == pytest.approx(max(-1 / LEAST_SLOPE, math.log(LARGEST_ODDS * (labels - 1))))
    assert rises(LEAST_SLOPE) is (labels < 10)


def test_the_slope_is_not_below_the_least_one_of_as_many_labels() -> None:
    """Right in 60 %, however sure: the less the exponent rises with the odds, the better."""
    rng = np.random.default_rng(0)
    scores = shared_alike(500, np.geomspace(2, 5000, 400)).astype(np.float32)
    y = np.where(rng.uniform(size=400) < 0.6, 0, rng.integers(1, 500, 400))
    assert _fit_slope(scores, y).slope == pytest.approx(least_slope(500))
    assert LEAST_SLOPE < least_slope(500) < 0


@pytest.mark.parametrize("kind", ["plain", "two levels", "wrong labels"])
@pytest.mark.parametrize("sharpness", [0.2, 1.0, 4.0])
@pytest.mark.parametrize("rounded", [False, True])
def test_no_point_of_a_grid_is_much_better_than_what_the_search_finds(
    kind: str, sharpness: float, *, rounded: bool
) -> None:
    """Of few items, and of scores of 8 bits, whose loss has several minima."""
    rng = np.random.default_rng(7)
    scores, y = scored(sharpness, 80)
    if kind == "two levels":
        sure = rng.uniform(size=(80, 1)) < 0.5
        scores = np.where(sure, np.eye(5, dtype=np.float32)[scores.argmax(axis=1)], scores)
    if kind == "wrong labels":
        y = np.where(rng.uniform(size=80) < 0.15, rng.integers(0, 5, 80), y)
    scores = np.round(scores * 256) / 256 if rounded else scores
    best = scores.argmax(axis=1)

    def loss(found: Temperature) -> float:
        return weighted_loss(found.probabilities(scores), y, best)

    for found, slopes in ((fit_plain(scores, y), (0.0,)), (_fit_slope(scores, y), (-0.05, 0.0, 0.1, 0.3))):
        grid = [
            Temperature(temperature=float(t), offset=offset, slope=slope)
            for t in np.geomspace(0.1, 20, 24)
            for offset in (1e-6, 1e-4, 1e-3, 1e-2, 0.1)
            for slope in slopes
        ]
        assert loss(found) <= 1.001 * min(map(loss, grid))
