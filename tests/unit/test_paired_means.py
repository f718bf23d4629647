"""Macro F1 and mean average precision of two files on the same items: paired intervals, and limits on them."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import pytest
from comparing import ends, figure, judged
from hypothesis import given
from hypothesis import strategies as st
from records import result, row
from sklearn.metrics import average_precision_score, f1_score

from edgepress.runtime.input_spec import InputSpec
from edgepress.toolkit.data.items import ArraySource
from edgepress.toolkit.data.types import DataSet, Split
from edgepress.toolkit.measurement.benchmarking.accuracy import accuracy_figures
from edgepress.toolkit.measurement.benchmarking.answers import Answers
from edgepress.toolkit.measurement.comparison.gates import FAILED, OPEN, PASSED
from edgepress.toolkit.measurement.comparison.judging import Comparison
from edgepress.toolkit.measurement.comparison.text import markdown, methods, pair_rows
from edgepress.toolkit.reports.notebooks.views import comparison_html
from edgepress.toolkit.results.file import means_on_resamples
from edgepress.toolkit.stats.intervals import Z95
from edgepress.toolkit.stats.resampled import RESAMPLES, f1_of_classes, pack_means, unpack_means
from edgepress.toolkit.stats.samples import share_interval, wilson
from edgepress.toolkit.workers.answer import judge

MEANS = ("macro_f1", "mean_average_precision")
SPEC = InputSpec(shape=(2,), dtype="float32")
seeds = st.integers(0, 2**32 - 1)


def measured(scores: Any, y: Any, **more: Any) -> Any:
    """The row of a file that gives these scores for items with these labels."""
    labels = tuple(f"label {n}" for n in range(scores.shape[1]))
    source = ArraySource(np.zeros((len(y), 2), np.float32), [f"item {n}" for n in range(len(y))], SPEC)
    split = Split(source, np.arange(len(y)), y)
    none = split.take(np.zeros(0, np.int64))
    data = DataSet("data.npz", labels, SPEC, none, none, split, "0" * 64)
    answers = Answers("litert", *judge(scores, None, multilabel=y.ndim == 2))
    figures = accuracy_figures(answers, None, data=data)
    return row(**vars(figures), **more)


def drawn(seed: int, count: int, labels: int, *, multilabel: bool) -> tuple[Any, Any, Any]:
    """True labels, and the scores of two files of which the second is worse."""
    rng = np.random.default_rng(seed)
    if multilabel:
        y = (rng.random((count, labels)) < 0.4).astype(np.int64)
        one_hot = y
    else:
        y = rng.integers(0, labels, count)
        one_hot = np.eye(labels, dtype=np.int64)[y]
    scores = [np.clip(0.5 * one_hot + spread * rng.random(one_hot.shape), 0, 1) for spread in (0.6, 0.8)]
    return y, *(each.astype(np.float32) for each in scores)


def direct(y: Any, scores: Any, name: str, weights: Any) -> Any:
    """The figure of each label by scikit-learn, with items drawn so often; NaN where it has none."""
    rows = np.repeat(np.arange(len(y)), weights)
    y, scores = y[rows], scores[rows]
    labels = range(scores.shape[1])
    multilabel = y.ndim == 2
    if name == "mean_average_precision":
        return np.array([average_precision_score(y[:, n], scores[:, n]) if y[:, n].any() else np.nan for n in labels])
    predicted = (scores >= 0.5).astype(int) if multilabel else scores.argmax(axis=1)
    return f1_score(y, predicted, average=None, labels=labels, zero_division=np.nan)


def resampled_by_scikit_learn(y: Any, scores: Any, name: str) -> tuple[float, Any]:
    """The mean, and the means of the same labels on the resamples."""
    count = len(y)
    whole = direct(y, scores, name, np.ones(count, int))
    weights = np.random.default_rng(0).multinomial(count, np.full(count, 1 / count), RESAMPLES)
    means = [np.nanmean(np.where(np.isnan(d := direct(y, scores, name, w)), whole, d)) for w in weights]
    return float(np.nanmean(whole)), np.array(means)


@pytest.mark.parametrize("multilabel", [True, False])
def test_the_interval_is_that_of_the_differences_on_the_same_resamples(multilabel: bool) -> None:
    seed = int(np.random.SeedSequence().generate_state(1)[0])
    count, labels = (int(n) for n in np.random.default_rng(seed).integers((6, 2), (40, 5)))
    y, first, second = drawn(seed, count, labels, multilabel=multilabel)
    old, new = (result(measured(scores, y), count=count) for scores in (first, second))
    for name in MEANS if multilabel else MEANS[:1]:
        before, after = (resampled_by_scikit_learn(y, scores, name) for scores in (first, second))
        found = figure(old, new, name)
        assert (found.old, found.new) == pytest.approx((before[0], after[0]))
        fall = 100 * (before[0] - after[0])
        low, high = 100 * np.percentile(before[1] - after[1], (2.5, 97.5))
        accuracy = ends(figure(old, new, "accuracy").change)
        expected = (
            fall,
            min(low, fall - (accuracy[0] - accuracy[1])),
            max(high, fall + (accuracy[2] - accuracy[0])),
        )
        assert ends(found.change) == pytest.approx(expected, abs=1e-4)
        resampled = np.percentile(after[1], (2.5, 97.5))
        if np.ptp(resampled) < 1e-6:  # see test_a_file_without_a_mistake_may_yet_make_one
            resampled = np.array(ends(wilson(found.new, count, quantile=Z95))[1:])
        assert ends(found.own)[1:] == pytest.approx(tuple(resampled), abs=1e-6)
        assert "paired over the same" in found.how


@given(seeds, st.integers(2, 60), st.integers(1, 8))
def test_classes_are_counted_as_scikit_learn_counts_them(seed: int, count: int, classes: int) -> None:
    rng = np.random.default_rng(seed)
    y, predicted = rng.integers(0, classes, (2, count))
    figures, resampled = f1_of_classes(y, predicted, classes=classes)
    seen = ~np.isnan(figures)
    assert resampled.shape == (RESAMPLES, classes)
    assert np.nanmean(figures) == pytest.approx(f1_score(y, predicted, average="macro"))
    assert sorted(np.union1d(y, predicted)) == np.flatnonzero(seen).tolist()
    assert np.isnan(resampled[:, ~seen]).all(), "a label without a figure has none on a resample"


def test_pairing_proves_a_fall_that_two_intervals_apart_do_not() -> None:
    y, first, _ = drawn(5, 600, 3, multilabel=True)
    second = first.copy()
    second[:6] = 1 - second[:6]
    old, new = (result(measured(scores, y), count=600) for scores in (first, second))
    for name in MEANS:
        paired = ends(figure(old, new, name).change)
        other = dataclasses.replace(new, data=new.data | {"sha256": "other"})
        apart = figure(old, other, name)
        assert "different data" in apart.how
        assert ends(apart.change)[0] == pytest.approx(paired[0])
        assert paired[1] > 0 > ends(apart.change)[1]
        assert paired[2] - paired[1] < 0.9 * (ends(apart.change)[2] - ends(apart.change)[1])


@pytest.mark.parametrize("multilabel", [True, False])
def test_limits_have_three_outcomes(multilabel: bool) -> None:
    y, first, second = drawn(7, 300, 3, multilabel=multilabel)
    old, new = (result(measured(scores, y), count=300) for scores in (first, second))
    for gate, name in (("f1", "macro_f1"), *([("map", "mean_average_precision")] if multilabel else [])):
        estimate, low, high = ends(figure(old, new, name).change)
        for limit, outcome in ((low - 0.1, FAILED), (high + 0.1, PASSED), ((estimate + high) / 2, OPEN)):
            (verdict,) = judged(old, new, f"{gate}_drop>{limit:.6f}").verdicts
            assert verdict.outcome == outcome
            assert (verdict.estimate, verdict.low, verdict.high) == (estimate, low, high)
            assert ("test items" in verdict.fix) == (outcome == OPEN)
        own = ends(figure(old, new, name).own)
        for share, outcome in ((own[2] + 0.001, FAILED), (own[1] - 0.001, PASSED), (own[0], OPEN)):
            assert judged(old, new, f"{gate}<{100 * share:.6f}%").verdicts[0].outcome == outcome
        assert judged(old, new, f"{gate}_drop>{estimate - 0.01:.6f}", strict=True).failed


def shown(found: Comparison) -> str:
    """All texts of a comparison."""
    return "\n".join([*pair_rows(found)[0], *methods(found), markdown(found), comparison_html(found.to_dict())])


def test_f1_stands_where_labels_are_several_or_a_limit_is_on_it() -> None:
    y, first, second = drawn(3, 60, 3, multilabel=False)
    old, new = (result(measured(scores, y), count=60) for scores in (first, second))
    assert "F1" not in shown(judged(old, new, "drop>90"))
    limited = judged(old, new, "F1_drop>90")
    assert pair_rows(limited)[0][1:3] == ["Accuracy drop", "F1 drop"]
    assert shown(limited).count("F1 drop") >= 4
    assert "mAP" not in shown(limited)
    y, first, second = drawn(3, 60, 3, multilabel=True)
    several = judged(*(result(measured(scores, y), count=60) for scores in (first, second)))
    assert pair_rows(several)[0][1:4] == ["Accuracy drop", "F1 drop", "mAP drop"]


def test_results_without_resamples_are_not_paired_or_not_known() -> None:
    for multilabel in (True, False):
        y, first, second = drawn(9, 80, 3, multilabel=multilabel)
        rows = [measured(scores, y) for scores in (first, second)]
        rows[0] = dataclasses.replace(rows[0], macro_f1_resamples="")
        found = judged(*(result(each, count=80) for each in rows), "f1_drop>90")
        change = next(f for f in found.pairs[0].figures if f.name == "macro_f1")
        assert "not recorded in both" in change.how
        assert (change.change is None) != multilabel
        assert found.verdicts[0].outcome == (PASSED if multilabel else OPEN)


def test_the_same_file_does_not_fall() -> None:
    y, first, _ = drawn(1, 30, 3, multilabel=True)
    one = result(measured(first, y, sha256="a"), count=30)
    assert ends(figure(one, one, "macro_f1").change) == (0, 0, 0)


@pytest.mark.parametrize("multilabel", [True, False])
def test_files_that_answered_alike_may_yet_differ(multilabel: bool) -> None:
    """As with the accuracy: so few items rule out no fall of a tenth of a point."""
    rng = np.random.default_rng()
    count = int(rng.integers(20, 400))
    y, first, _ = drawn(int(rng.integers(1 << 30)), count, 3, multilabel=multilabel)
    old, new = (result(measured(first, y, sha256=digest), count=count) for digest in "ab")
    for name in MEANS if multilabel else MEANS[:1]:
        change = ends(figure(old, new, name).change)
        assert change == pytest.approx(ends(figure(old, new, "accuracy").change))
        assert change[1] < 0 < change[2]
    assert judged(old, new, "f1_drop>0.1").verdicts[0].outcome == OPEN


@pytest.mark.parametrize("multilabel", [True, False])
def test_a_file_without_a_mistake_may_yet_make_one(multilabel: bool) -> None:
    count = int(np.random.default_rng().integers(20, 400))
    y, _, _ = drawn(3, count, 3, multilabel=multilabel)
    right = y.astype(np.float32) if multilabel else np.eye(3, dtype=np.float32)[y]
    one = result(measured(right, y), count=count)
    for name in MEANS if multilabel else MEANS[:1]:
        own = ends(figure(one, one, name).own)
        assert own == pytest.approx(ends(share_interval(count, count)))
    assert judged(one, one, "f1<99.9%").verdicts[0].outcome == OPEN


@given(seeds, st.integers(100, RESAMPLES))
def test_means_come_back_from_their_text(seed: int, count: int) -> None:
    means = np.random.default_rng(seed).random(count)
    assert unpack_means(pack_means(means)) == pytest.approx(means, abs=1e-7)
    with pytest.raises(ValueError, match="means of resamples"):
        unpack_means(pack_means(means) + "!")
    for damaged in (means[:99], np.full(count, 1.5), np.full(count, np.nan)):
        with pytest.raises(ValueError, match="means of resamples"):
            unpack_means(pack_means(damaged))
    assert means_on_resamples(row(), "macro_f1") is None
