"""Promises of accepted answers: their arithmetic, whether they hold, and what a board makes of them."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from accepting import ACCEPT
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import beta, binom

from edgepress.converters.temperature import fit_temperature
from edgepress.runtime.acceptance import (
    LEAST_SLOPE,
    MOST_SLOPE,
    AnswerLimits,
    Temperature,
    Unknown,
    certainty_of,
    directions_of,
    stored_directions,
)
from edgepress.runtime.contract import Contract
from edgepress.runtime.errors import ModelFileError
from edgepress.runtime.input_spec import InputSpec
from edgepress.toolkit.calibrating.calibrate import Calibrated
from edgepress.toolkit.calibrating.fit import _error_missing, fit, with_acceptance
from edgepress.toolkit.calibrating.items import Wish, divide_items
from edgepress.toolkit.calibrating.references import with_references
from edgepress.toolkit.cli.calibrate_view import sentences
from edgepress.toolkit.errors import InputError
from edgepress.toolkit.stats.acceptance import (
    Accepted,
    bound_error,
    bound_rejection,
    least_items_to_promise,
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


def test_calibration_keeps_the_order_of_classes() -> None:
    scores, _ = scored(1, 200)
    probabilities = Temperature(temperature=3.0, offset=0.002).probabilities(scores)
    assert (probabilities.argmax(axis=1) == scores.argmax(axis=1)).all()
    assert probabilities.sum(axis=1) == pytest.approx(np.ones(200), abs=1e-5)


def test_certainty_is_1_for_one_class_and_0_for_equal_ones() -> None:
    rows = np.array([[1, 0, 0, 0], [0.25] * 4, [0.5, 0.5, 0, 0]], np.float32)
    assert certainty_of(rows) == pytest.approx([1, 0, 0.5], abs=1e-4)


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
            again = fit(scores, y, Wish("error", result.reachable, 0.95), engine="litert")
            assert again.limits.accept is not None
    assert tried


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
    tried = [n / 1000 for n in (2, 5, *range(10, 101, 10), 120, 150, 200, 250, 300, 400, 500)]
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
    assert result.accuracy == pytest.approx((decided == y)[divide_items(3000)[1]].mean())
    assert max(result.ece) < 0.05, "the scores are true, so that of the class that is decided is, too"
    kept = result.limits.accepted(scores)
    if kept is not None:
        assert (decided != y)[kept].mean() < 0.33
    assert fit(scores, y, Wish("error", 0.3, 0.95), engine="litert").accuracy > result.accuracy + 0.1


@pytest.mark.parametrize("temperature", [0.01, 0.05, 1.0, 50.0, 100.0])
@pytest.mark.parametrize("labels", [2, 10, 1000])
@pytest.mark.parametrize("slope", [LEAST_SLOPE, 0.0, MOST_SLOPE])
def test_probabilities_are_numbers_for_any_scores(temperature: float, labels: int, slope: float) -> None:
    rows = np.stack([np.zeros(labels), np.full(labels, 1 / labels), np.eye(labels)[0], np.full(labels, 3e38)])
    made = Temperature(temperature=temperature, offset=0.0, slope=slope)
    probabilities = made.probabilities(rows.astype(np.float32))
    assert probabilities.sum(axis=1) == pytest.approx(np.ones(4), abs=1e-4)
    certainty = certainty_of(rows[:3].astype(np.float32))
    assert np.isfinite(certainty).all()
    assert certainty[0] == pytest.approx(0, abs=1e-3)


def test_a_similar_answer_is_one_near_a_reference() -> None:
    known = np.array([[0.8, 0.1, 0.1], [0.1, 0.8, 0.1]], np.float32)
    stored = stored_directions(directions_of(known, 0.01))
    unknown = Unknown(references=stored, labels=3, at_least=0.9, floor=0.01)
    similarity = unknown.similarity(np.array([[0.79, 0.11, 0.1], [0.1, 0.1, 0.8]], np.float32))
    assert similarity[0] > 0.99
    assert similarity[1] < 0.5


def contract(**fields: Any) -> Contract:
    item = InputSpec(shape=(4,), dtype="float32")
    return Contract(task="softmax", labels=("a", "b", "c"), input=item, scheme="tflite-int8", **fields)


def test_a_contract_with_limits_is_of_version_3_and_reads_the_same() -> None:
    unknown = Unknown(references=stored_directions(np.eye(3, dtype=np.float32)), labels=3, at_least=0.1, floor=0.01)
    made = contract(probability=Temperature(temperature=2.0, offset=0.001), accept=ACCEPT, unknown=unknown)
    assert made.schema_version == 3
    assert contract().schema_version == 1
    assert Contract.from_json(made.to_json()) == made


def test_a_contract_with_a_slope_is_of_version_4_and_one_from_before_has_none() -> None:
    """A runtime from before slopes would compute other probabilities; one of today reads what lacks them."""
    made = contract(probability=Temperature(temperature=2.0, offset=0.001, slope=0.05), accept=ACCEPT)
    assert made.schema_version == 4
    assert Contract.from_json(made.to_json()) == made
    document = json.loads(contract(probability=Temperature(temperature=2.0, offset=0.001)).to_json())
    assert document["schema_version"] == 3
    del document["probability"]["slope"]
    assert Contract.from_json(json.dumps(document)).probability == Temperature(temperature=2.0, offset=0.001)


def test_the_exponent_follows_the_odds_of_the_best_label() -> None:
    """With an offset of .1 on each of three labels, the odds are 1.08 to .22 and .5 to .6."""
    scores = np.array([[0.98, 0.01, 0.01], [0.4, 0.3, 0.1]], np.float32)
    exponents = np.array([[(1.08 / 0.22) ** 0.2 / 2], [(0.5 / 0.6) ** 0.2 / 2]])
    powers = (scores + 0.1) ** exponents
    found = Temperature(temperature=2.0, offset=0.1, slope=0.2).probabilities(scores)
    assert found == pytest.approx(powers / powers.sum(axis=1, keepdims=True), rel=1e-4)


@pytest.mark.parametrize("slope", [LEAST_SLOPE, 0.0, 0.1, MOST_SLOPE])
@pytest.mark.parametrize("offset", [0.0, 0.01, 0.3])
def test_of_two_labels_the_surer_answer_stays_surer(slope: float, offset: float) -> None:
    top = np.linspace(0.5, 1, 2001)
    scores = np.stack([top, 1 - top], axis=1).astype(np.float32)
    found = Temperature(temperature=3.0, offset=offset, slope=slope).probabilities(scores)[:, 0]
    assert (np.diff(found.astype(np.float64)) >= -1e-6).all()
    assert found[0] == pytest.approx(0.5, abs=1e-3)
    assert found[-1] > 0.6


@pytest.mark.parametrize(
    "fields",
    [
        {"probability": {"temperature": 0, "offset": 0}},
        {"probability": {"temperature": 2, "offset": -1}},
        {"probability": {"temperature": 2, "offset": 0, "slope": -0.11}},
        {"probability": {"temperature": 2, "offset": 0, "slope": 0.51}},
        {"probability": {"temperature": 2, "offset": 0, "slope": None}},
        {"probability": {"temperature": "2", "offset": 0}},
        {"accept": dataclasses.asdict(ACCEPT) | {"errors": 301}},
        {"accept": dataclasses.asdict(ACCEPT) | {"promise": "all"}},
        {"accept": dataclasses.asdict(ACCEPT) | {"limit": 2}},
        {"accept": dataclasses.asdict(ACCEPT) | {"at_least": float("nan")}},
        {"accept": dataclasses.asdict(ACCEPT) | {"items": 1.5}},
        {"unknown": {"references": "AAAA", "labels": 2, "at_least": 0, "floor": 0.1}},
        {"unknown": {"references": "AAA", "labels": 3, "at_least": 0, "floor": 0.1}},
        {"unknown": {"references": "AAAA", "labels": 3, "at_least": -2.1, "floor": 0.1}},
        {"unknown": {"references": "AAAA", "labels": 3, "at_least": 1.1, "floor": 0.1}},
        {"unknown": {"references": "", "labels": 3, "at_least": 0, "floor": 0.1}},
        {"unknown": {"references": "AAAA", "labels": 3, "at_least": 0, "floor": 0}},
        {"unknown": {"references": "AAAA", "labels": 3, "at_least": 0, "floor": 5e-324}},
        {"unknown": {"references": "AAAA" * 4097, "labels": 3, "at_least": 0, "floor": 0.1}},
        {"task": "multilabel", "accept": dataclasses.asdict(ACCEPT)},
    ],
)
def test_damaged_limits_are_one_error(fields: dict[str, Any]) -> None:
    import json

    document = json.loads(contract().to_json()) | fields
    with pytest.raises(ModelFileError, match="is not a valid edgepress contract"):
        Contract.from_json(json.dumps(document))


def test_a_threshold_holds_and_one_below_does_not() -> None:
    limits = AnswerLimits(accept=ACCEPT)
    rows = np.array([[1, 0, 0], [0.4, 0.3, 0.3]], np.float32)
    accepted = limits.accepted(rows)
    assert accepted is not None
    assert accepted.tolist() == [True, False]
    assert AnswerLimits().accepted(rows) is None


def test_another_file_has_no_limits() -> None:
    made = contract(probability=Temperature(temperature=2.0, offset=0.001), accept=ACCEPT)
    assert made.without_limits() == contract()


def test_another_engine_gets_no_promise() -> None:
    limits = AnswerLimits(accept=ACCEPT)
    assert limits.promise("litert").startswith("With 95 % confidence, at most 2 % of accepted answers are wrong")
    assert "Nothing is promised with onnxruntime" in limits.promise("onnxruntime")
    assert AnswerLimits().promise("litert") == ""


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


def test_an_answer_unlike_all_references_has_no_certainty() -> None:
    """And without references, acceptance is by certainty alone."""
    scores = np.array([[0.97, 0.02, 0.01], [0.01, 0.97, 0.02], [0.4, 0.3, 0.3]], np.float32)
    known = stored_directions(directions_of(scores[:1], 1e-6))
    unknown = Unknown(references=known, labels=3, at_least=0.9, floor=1e-6)
    plain = AnswerLimits(accept=ACCEPT)
    assert plain.certainty(scores).tolist() == certainty_of(scores).tolist()
    assert plain.accepted(scores).tolist() == [True, True, False]  # type: ignore[union-attr]
    both = AnswerLimits(accept=ACCEPT, unknown=unknown)
    assert np.isfinite(both.certainty(scores)).tolist() == [True, False, True]
    assert both.accepted(scores).tolist() == [True, False, False]  # type: ignore[union-attr]


def test_answers_that_share_the_highest_certainty_are_counted() -> None:
    """A fifth of saturated answers is wrong: no threshold can promise 5 %. Without ties, more items may be enough."""
    y = np.zeros(800, np.int64)
    rng = np.random.default_rng(0)
    saturated = np.tile(np.array([[1.0, 0.0]], np.float32), (800, 1))
    saturated[::5] = [0.0, 1.0]
    wish = Wish("error", 0.05, 0.95)
    found = fit(saturated, y, wish, engine="litert")
    wrong = saturated[divide_items(800)[1]].argmax(axis=1) != 0
    assert (found.tied, found.tied_wrong) == (600, int(wrong.sum()))
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
    assert f"600 answers share the highest certainty, and {found.tied_wrong} of these are wrong." in sentence
    assert ("convert the model with --output logits" in sentence) == ends
