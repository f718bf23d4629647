"""What `calibrate` fits to scores with labels: probabilities, references, thresholds, and why there may be none."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy.stats import binom

from edgepress.converters.numeric.metrics import LEAST_FIT, fit_temperature
from edgepress.runtime.acceptance import AnswerLimits, certainty_of
from edgepress.toolkit.cli.calibrate import sentences
from edgepress.toolkit.errors import InputError
from edgepress.toolkit.measurement.calibrating.calibrate import Calibrated
from edgepress.toolkit.measurement.calibrating.fit import _error_missing, fit, with_acceptance
from edgepress.toolkit.measurement.calibrating.references import Wish, divide_items, with_references
from edgepress.toolkit.stats.acceptance import Accepted, least_items_to_promise


def scored(seed: int, count: int, *, sharpness: float = 2.5, rounded: bool = False) -> tuple[np.ndarray, np.ndarray]:
    """Scores that are too sure by a factor of the logits, and labels drawn from the true probabilities."""
    rng = np.random.default_rng(seed)
    logits = rng.normal(0, 1.5, (count, 6))
    true = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    y = (true.cumsum(axis=1) > rng.uniform(0, 1, (count, 1))).argmax(axis=1)
    scores = np.exp(sharpness * logits)
    scores /= scores.sum(axis=1, keepdims=True)
    return (np.round(scores * 256) / 256 if rounded else scores).astype(np.float32), y


def test_the_temperature_undoes_a_factor_of_the_logits() -> None:
    found = fit_temperature(*scored(0, 3000))
    assert found.temperature == pytest.approx(2.5, rel=0.1)
    assert found.offset < 1e-3


def test_an_offset_calibrates_what_a_quantized_softmax_rounds_away() -> None:
    scores, y = scored(0, 2000, rounded=True)
    result = fit(scores, y, Wish("error", 0.5, 0.9), engine="litert")
    assert result.limits.probability is not None
    assert result.limits.probability.offset > 1e-5
    assert result.ece[1] < 0.055 < 0.1 < result.ece[0]
    assert result.nll[1] < result.nll[0]


def test_items_that_fit_do_not_measure() -> None:
    fits, measures = divide_items(103)
    assert sorted([*fits, *measures]) == list(range(103))
    assert (len(fits), len(measures)) == (25, 78)
    assert len(divide_items(10_000)[0]) == 1000
    with pytest.raises(InputError, match="7 items; at least 8"):
        divide_items(7)


def test_an_error_that_cannot_be_promised_names_one_that_can() -> None:
    scores, y = scored(2, 800)
    tried = 0
    for limit in (0.001, 0.01, 0.02):
        result = fit(scores, y, Wish("error", limit, 0.95), engine="litert")
        if result.limits.accept is None:
            tried += 1
            assert result.reachable is not None
            assert limit < result.reachable <= 1
            assert result.missing == least_items_to_promise(limit, 0.95)
            assert result.drift is None
            again = fit(scores, y, Wish("error", result.reachable, 0.95), engine="litert")
            assert again.limits.accept is not None
            assert again.drift is not None
    assert tried


def test_a_file_that_is_mostly_wrong_is_promised_a_large_error_and_not_none() -> None:
    scores, y = scored(2, 400)
    y = np.where(np.arange(400) % 4 == 0, scores.argmax(axis=1), scores.argmin(axis=1))  # a quarter is right
    for limit in (0.4, 0.5, 0.6):
        result = fit(scores, y, Wish("error", limit, 0.95), engine="litert")
        assert result.limits.accept is None
        assert result.reachable in (0.8, 0.9)
        assert fit(scores, y, Wish("error", result.reachable, 0.95), engine="litert").limits.accept is not None


@pytest.mark.parametrize(
    ("limit", "said"), [(0.6, "; no limit up to 90 % can, either. Too many"), (0.95, " items. Too many")]
)
def test_what_was_not_tried_is_not_said_to_be_impossible(limit: float, said: str) -> None:
    scores, y = scored(2, 30)
    wish = Wish("error", limit, 0.95)
    result = fit(scores, scores.argmin(axis=1).astype(y.dtype), wish, engine="litert")  # nothing is right
    assert result.reachable == 1
    file = Path("a.tflite")
    (sentence,) = sentences([Calibrated(file, None, None, "litert", "data", (), result, wish, True)])
    assert said in sentence


@pytest.mark.parametrize(("items", "limit"), [(60, 0.02), (40, 0.05), (100, 0.01)])
def test_so_many_more_items_promise_a_rejection(items: int, limit: float) -> None:
    scores, y = scored(2, 600)
    few = fit(scores[:items], y[:items], Wish("rejected", limit, 0.95), engine="litert")
    assert few.limits.accept is None
    assert few.missing is not None
    assert few.reachable is not None
    enough = items + few.missing
    assert fit(scores[:enough], y[:enough], Wish("rejected", limit, 0.95), engine="litert").limits.accept is not None
    one_less = fit(scores[: enough - 1], y[: enough - 1], Wish("rejected", limit, 0.95), engine="litert")
    assert one_less.limits.accept is None
    nearest = fit(scores[:items], y[:items], Wish("rejected", few.reachable * 1.01, 0.95), engine="litert")
    assert nearest.limits.accept is not None


def clustered(rng: np.random.Generator, y: np.ndarray, second: np.ndarray, strength: float) -> np.ndarray:
    """Scores of a uint8 softmax: each class has a neighbour that gets a little, too."""
    logits = rng.normal(0, 0.3, (len(y), 6)) + 8 * np.eye(6)[y] + strength * np.eye(6)[second]
    scores = np.exp(logits)
    return np.asarray(np.round(256 * scores / scores.sum(axis=1, keepdims=True)) / 256, np.float32)


@pytest.mark.parametrize("promise", ["error", "rejected"])
def test_unlike_items_are_rejected_if_the_references_tell_them(promise: Any) -> None:
    """Known items are as sure as unknown ones, but confuse each class with another one."""
    rng = np.random.default_rng(0)
    y, other = rng.integers(0, 6, 2400), rng.integers(0, 6, 400)
    scores = clustered(rng, y, (y + 1) % 6, 5.5)
    unlike = clustered(rng, other, (other + 3) % 6, 5.5)
    result = fit(scores, y, Wish(promise, 0.1, 0.95), engine="litert", unknown=unlike)
    assert result.auroc is not None
    assert result.auroc[0] < 0.7
    assert result.auroc[1] > 0.95
    assert result.limits.unknown is not None
    assert result.unknown_accepted is not None
    assert result.unknown_accepted < 0.1
    kept = result.limits.accepted(scores)
    assert kept is not None
    assert (~kept).mean() <= 0.12
    fresh = clustered(rng, y, (y + 1) % 6, 5.5)
    known = result.limits.accepted(fresh)
    assert known is not None
    assert (~known).mean() <= (0.1 if promise == "rejected" else 0.12)


def test_certainty_and_references_together_reject_no_more_than_promised() -> None:
    """Half of the limit is for each: with the whole limit for certainty, most draws would reject more."""
    rng = np.random.default_rng(5)
    y, other, many = rng.integers(0, 6, 1600), rng.integers(0, 6, 200), rng.integers(0, 6, 20_000)
    fresh = clustered(rng, many, (many + 1) % 6, 5.5)
    draws, exceeded, wish = 25, 0, Wish("rejected", 0.1, 0.95)
    for _ in range(draws):
        scores, unlike = clustered(rng, y, (y + 1) % 6, 5.5), clustered(rng, other, (other + 3) % 6, 5.5)
        referenced = with_references(AnswerLimits(), scores, unlike, *divide_items(len(y)), wish)[0]
        limits = with_acceptance(referenced, scores, y, wish, engine="litert")[0]
        assert limits.unknown is not None
        accepted = limits.accepted(fresh)
        assert accepted is not None
        exceeded += (~accepted).mean() > 0.1
    assert exceeded <= binom.ppf(0.999, draws, 0.05)


def test_a_smaller_limit_that_happens_to_hold_is_not_named() -> None:
    held = Accepted(0.5, 100, 50, 0, 0.05)
    wish = Wish("error", 0.02, 0.95)
    assert _error_missing(lambda limit: held if limit in (0.005, 0.1) else None, wish) == (0.1, 149)
    assert _error_missing(lambda limit: None, wish) == (1.0, 149)
    tried = [n / 1000 for n in (2, 5, *range(10, 101, 10), 120, 150, 200, 250, *range(300, 901, 100))]
    small = Wish("error", 0.001, 0.95)
    named = [_error_missing(lambda limit, least=least: held if limit >= least else None, small)[0] for least in tried]
    assert named == tried


@pytest.mark.parametrize("labels", [10, 300])
def test_references_that_tell_nothing_are_not_used(labels: int) -> None:
    """Items that are references themselves would be near one in any case."""
    rng = np.random.default_rng(1)
    scores = np.exp(rng.normal(0, 2, (1600, labels)))
    scores = (scores / scores.sum(axis=1, keepdims=True)).astype(np.float32)
    wish = Wish("rejected", 0.1, 0.95)
    auroc = with_references(AnswerLimits(), scores[:1200], scores[1200:], *divide_items(1200), wish)[1]
    assert 0.4 < auroc[1] < 0.6


def test_references_of_many_labels_are_fewer() -> None:
    rng = np.random.default_rng(1)
    scores = rng.dirichlet(np.full(5300, 0.01), 400).astype(np.float32)
    wish = Wish("rejected", 0.1, 0.9)
    auroc = with_references(AnswerLimits(), scores, scores[:40], *divide_items(400), wish)[1]
    assert 0 <= min(auroc) <= max(auroc) <= 1


def test_what_a_file_decides_is_what_is_promised() -> None:
    """A threshold of 0.9 makes most positive answers negative, which the highest score does not say."""
    rng = np.random.default_rng(0)
    positive = rng.uniform(0, 1, 3000)
    scores = np.stack([1 - positive, positive], axis=1).astype(np.float32)
    y = (rng.uniform(0, 1, 3000) < positive).astype(np.int64)
    decided = (positive >= 0.9).astype(np.int64)
    result = fit(scores, y, Wish("error", 0.3, 0.95), engine="litert", decided=decided)
    assert result.accuracy == pytest.approx((decided == y).mean())
    assert max(result.ece) < 0.05, "the scores are true, so that of the class that is decided is, too"
    kept = result.limits.accepted(scores)
    if kept is not None:
        assert (decided != y)[kept].mean() < 0.33
    assert fit(scores, y, Wish("error", 0.3, 0.95), engine="litert").accuracy > result.accuracy + 0.1


def test_answers_of_a_file_that_is_right_on_all_items_differ_in_certainty() -> None:
    """Their temperature is near 0, so that all calibrated probabilities are nearly equal."""
    rng = np.random.default_rng(3)
    y = rng.integers(0, 6, 800)
    scores = clustered(rng, y, (y + 1) % 6, 5.5)
    assert (scores.argmax(axis=1) == y).all()
    limits = fit(scores, y, Wish("rejected", 0.1, 0.95), engine="litert").limits
    accepted = limits.accepted(clustered(rng, y, (y + 1) % 6, 5.5))
    assert accepted is not None
    assert 0.02 < (~accepted).mean() < 0.1


def test_answers_that_share_the_highest_certainty_are_counted() -> None:
    """A fifth of saturated answers is wrong: no threshold can promise 5 %. Without ties, more items may be enough."""
    y = np.zeros(800, np.int64)
    rng = np.random.default_rng(0)
    saturated = np.tile(np.array([[1.0, 0.0]], np.float32), (800, 1))
    saturated[::5] = [0.0, 1.0]
    wish = Wish("error", 0.05, 0.95)
    found = fit(saturated, y, wish, engine="litert")
    assert (found.tied, found.tied_wrong) == (800, 160)
    chance = rng.uniform(0.5, 0.9, (800, 1)).astype(np.float32)
    spread = np.concatenate([chance, 1 - chance], axis=1)
    spread[::5] = spread[::5, ::-1]
    assert fit(spread, y, wish, engine="litert").tied is None
    assert fit(saturated, y, Wish("rejected", 0.05, 0.95), engine="litert").tied is None
    right = np.tile(np.array([[1.0, 0.0]], np.float32), (800, 1))
    assert fit(right, y, wish, engine="litert").tied is None, "they are accepted"


@pytest.mark.parametrize("ends", [True, False])
def test_files_of_logits_are_recommended_where_scores_saturate(ends: bool) -> None:
    """Unless the file returns logits already."""
    y = np.zeros(800, np.int64)
    scores = np.tile(np.array([[1.0, 0.0]], np.float32), (800, 1))
    scores[::5] = [0.0, 1.0]
    wish = Wish("error", 0.05, 0.95)
    found = fit(scores, y, wish, engine="litert")
    file = Path("model-int8.tflite")
    (sentence, *_) = sentences([Calibrated(file, None, None, "litert", "digits", (), found, wish, ends)])
    assert "800 answers share the highest certainty, and 160 of these are wrong." in sentence
    assert ("convert the model with --output logits" in sentence) == ends


@pytest.mark.parametrize("count", [LEAST_FIT - 1, LEAST_FIT])
def test_fewer_items_than_the_least_fit_no_temperature(count: int) -> None:
    """Then scores are taken for probabilities, and nothing changes in error and likelihood."""
    result = fit(*scored(0, count), Wish("error", 0.5, 0.9), engine="litert")
    assert (result.limits.probability is not None) == (count == LEAST_FIT)
    assert (result.nll[0] == result.nll[1]) == (count < LEAST_FIT)


@pytest.mark.parametrize(("count", "rejected"), [(80, 0), (160, 1)])
def test_the_answer_that_sets_the_threshold_of_a_rejection_is_accepted(count: int, rejected: int) -> None:
    """60 answers without a rejected one, or 120 with one, rule out that more than 5 % are rejected.

    The threshold lies a little below, because boards round logarithms in other ways.
    """
    scores, y = scored(1, count)
    accept = fit(scores, y, Wish("rejected", 0.05, 0.95), engine="litert").limits.accept
    assert accept is not None
    assert (accept.items - accept.accepted, accept.items) == (rejected, count * 3 // 4)
    measures = divide_items(count)[1]
    certainty = certainty_of(scores[measures])
    assert np.sort(certainty)[rejected] == pytest.approx(accept.at_least + 1e-6, abs=5e-7)
    wrong = scores[measures].argmax(axis=1) != y[measures]
    assert accept.errors == np.count_nonzero(wrong & (certainty >= accept.at_least))
    assert binom.cdf(rejected, accept.items, accept.upper) == pytest.approx(0.05)


@pytest.mark.parametrize("labels", [1, 2])
def test_unknown_items_are_told_by_references_of_two_labels_and_more(labels: int) -> None:
    rng = np.random.default_rng(0)
    scores, unknown = (rng.dirichlet(np.ones(3), count)[:, :labels].astype(np.float32) for count in (400, 80))
    y = scores.argmax(axis=1)
    result = fit(scores, y, Wish("rejected", 0.2, 0.9), engine="litert", unknown=unknown)
    assert (result.auroc is not None) == (labels == 2)


def test_all_items_measure_a_promised_error_and_those_that_fit_no_rejection() -> None:
    scores, y = scored(7, 800)
    assert fit(scores, y, Wish("error", 0.05, 0.95), engine="litert").items == 800
    assert fit(scores, y, Wish("rejected", 0.05, 0.95), engine="litert").items == 600


def test_references_leave_their_items_out_of_the_promise() -> None:
    rng = np.random.default_rng(0)
    y = rng.integers(0, 6, 800)
    scores = clustered(rng, y, (y + 1) % 6, 5.5)
    unknown = clustered(rng, y, (y + 3) % 6, 2.5)
    result = fit(scores, y, Wish("error", 0.05, 0.95), engine="litert", unknown=unknown)
    assert result.items == (800 if result.limits.unknown is None else 600)
    assert result.limits.unknown is not None
