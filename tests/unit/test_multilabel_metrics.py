"""The figures of multi-label answers, compared with those of scikit-learn."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import accuracy_score, average_precision_score, f1_score, precision_recall_fscore_support

from edgepress.runtime.contract import Contract
from edgepress.runtime.decisions import decide, same_answers
from edgepress.runtime.input_spec import InputSpec
from edgepress.toolkit.stats.metrics import calibration_error, metrics_of
from edgepress.toolkit.stats.multilabel import multilabel_metrics
from edgepress.toolkit.stats.resampled import RESAMPLES
from edgepress.toolkit.stats.samples import share_interval
from edgepress.toolkit.truth import label_counts, label_hits, label_text, labels_by_item, members, strata


@st.composite
def answers(draw: st.DrawFn) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.float32]]:
    """True labels and scores of drawn items, of few different scores, so that many are equal."""
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    count = draw(st.integers(1, 60))
    labels = draw(st.integers(2, 7))
    steps = draw(st.sampled_from([2, 5, 255]))
    y = (rng.random((count, labels)) < rng.uniform(0, 1, labels)).astype(np.int64)
    scores = np.clip(np.rint(steps * (0.3 * y + 0.7 * rng.random((count, labels)))) / steps, 0, 1)
    return y, scores.astype(np.float32)


@given(answers())
def test_figures_are_those_of_scikit_learn(drawn: Any) -> None:
    y, scores = drawn
    predicted, _ = decide(scores, multilabel=True)
    names = [f"label {i}" for i in range(y.shape[1])]
    found = metrics_of(y, predicted, scores, labels=names)
    assert found["accuracy"] == found["exact_match"] == pytest.approx(accuracy_score(y, predicted))
    with warnings.catch_warnings(action="ignore"):
        wanted = precision_recall_fscore_support(y, predicted, average=None, zero_division=0)
        mean_f1 = f1_score(y, predicted, average="macro", zero_division=np.nan)
        precisions = [average_precision_score(y[:, i], scores[:, i]) for i in range(y.shape[1])]
    for key, column in zip(("precision", "recall", "f1", "support"), wanted, strict=True):
        assert [row[key] for row in found["per_class"]] == pytest.approx(column.tolist())
    present = y.any(axis=0)
    for row, precision, has in zip(found["per_class"], precisions, present, strict=True):
        assert row["average_precision"] == (pytest.approx(precision) if has else None)
    assert found["macro_f1"] == (None if np.isnan(mean_f1) else pytest.approx(mean_f1))
    mean = float(np.mean(np.array(precisions)[present])) if present.any() else None
    assert found["mean_average_precision"] == (None if mean is None else pytest.approx(mean))
    assert found["confusion_matrix"] == []


@pytest.mark.parametrize("seed", range(3))
def test_intervals_are_wilsons_and_those_of_resampled_items(seed: int) -> None:
    """The bootstrap is repeated with items that are really drawn and scikit-learn.

    A label without an item in a resample keeps its figure of all items.
    """
    rng = np.random.default_rng(seed)
    count = int(rng.integers(20, 40))
    y = (rng.random((count, 3)) < (0.4, 0.4, 0.05)).astype(np.int64)
    scores = np.clip(0.4 * y + 0.6 * np.rint(8 * rng.random(y.shape)) / 8, 0, 1).astype(np.float32)
    predicted, _ = decide(scores, multilabel=True)
    found = multilabel_metrics(y, predicted, scores, labels="abc")
    exact = share_interval(int(same_answers(y, predicted).sum()), count)
    assert (found["exact_match_low"], found["exact_match_high"]) == (exact.low, exact.high)
    drawn = np.random.default_rng(0).multinomial(count, np.full(count, 1 / count), RESAMPLES)
    f1, precision = [], []
    with warnings.catch_warnings(action="ignore"):
        f1_of_all = f1_score(y, predicted, average=None, zero_division=np.nan)
        for times in drawn:
            rows = np.repeat(np.arange(count), times)
            of_labels = f1_score(y[rows], predicted[rows], average=None, zero_division=np.nan)
            f1.append(np.nanmean(np.where(np.isnan(of_labels), f1_of_all, of_labels)))
            averages = average_precision_score(y[rows], scores[rows], average=None)
            averages = np.where(y[rows].any(axis=0), averages, average_precision_score(y, scores, average=None))
            precision.append(averages[y.any(axis=0)].mean())
    assert [found[f"macro_f1_{end}"] for end in ("low", "high")] == pytest.approx(np.percentile(f1, (2.5, 97.5)))
    ends = [found[f"mean_average_precision_{end}"] for end in ("low", "high")]
    assert ends == pytest.approx(np.percentile(precision, (2.5, 97.5)))


@given(st.integers(0, 2**32 - 1), st.floats(0, 1))
def test_each_label_is_decided_by_the_threshold(seed: int, threshold: float) -> None:
    scores = np.random.default_rng(seed).random((9, 4)).astype(np.float32)
    scores[0] = np.float32(threshold)
    contract = Contract(
        task="multilabel", labels=tuple("abcd"), input=InputSpec(shape=(2,), dtype="float32"), scheme="keras",
        threshold=threshold,
    )  # fmt: skip
    decided, confidence = decide(scores, contract, multilabel=True)
    assert (decided == (scores >= threshold)).all()
    assert confidence == pytest.approx(np.where(decided == 1, scores, 1 - scores))
    half, _ = decide(scores, multilabel=True)
    assert (half == (scores >= 0.5)).all()
    best, _ = decide(scores, contract)
    assert best.tolist() == scores.argmax(axis=1).tolist(), "items of one label each have the best one"


def test_an_answer_is_right_if_all_labels_are() -> None:
    y = np.array([[1, 0, 1], [0, 0, 0], [1, 1, 1]])
    other = np.array([[1, 0, 1], [0, 1, 0], [1, 1, 0]])
    assert same_answers(y, other).tolist() == [True, False, False]
    assert same_answers(np.array([1, 2]), np.array([1, 3])).tolist() == [True, False]


def test_labels_of_both_kinds_are_counted_alike() -> None:
    classes = np.array([2, 0, 2, 1])
    rows = np.eye(3, dtype=np.int64)[classes]
    assert label_counts(rows, 3).tolist() == label_counts(classes, 3).tolist() == [1, 1, 2]
    assert labels_by_item(rows)[1].tolist() == labels_by_item(classes)[1].tolist() == [2, 0, 2, 1]
    assert members(rows, 2).tolist() == members(classes, 2).tolist() == [True, False, True, False]
    answer = np.array([2, 1, 0, 1])
    hits = label_hits(np.eye(3, dtype=np.int64)[answer], rows)
    assert hits.tolist() == label_hits(answer, classes).tolist() == [True, False, False, True]
    assert label_text(2, "abc") == label_text([0, 0, 1], "abc") == "c"
    assert label_text([1, 0, 1], "abc") == "a and c"
    assert label_text([0, 0, 0], "abc") == "no label"


def test_an_item_is_of_the_stratum_of_its_rarest_label() -> None:
    y = np.array([[1, 1, 0], [1, 0, 0], [1, 0, 1], [0, 1, 0], [0, 0, 0]])  # 3, 2 and 1 items
    assert strata(y).tolist() == [1, 0, 2, 1, 3]
    assert strata(np.array([4, 1])).tolist() == [4, 1]


def test_calibration_error_is_over_all_labels() -> None:
    y = np.array([[1, 0], [0, 0]])
    scores = np.array([[0.9, 0.9], [0.1, 0.1]], np.float32)
    decided, confidence = decide(scores, multilabel=True)
    assert calibration_error(confidence, decided == y) == pytest.approx(0.9 - 0.75)  # 3 of 4 are right, all at 0.9


@pytest.mark.parametrize("seed", range(5))
def test_an_interval_contains_its_estimate_where_a_label_has_one_item(seed: int) -> None:
    """The rare label is answered wrongly, so that means without it are higher."""
    rng = np.random.default_rng(seed)
    y = (rng.random((60, 5)) < 0.5).astype(np.int64)
    y[:, 1:] = 0
    y[rng.choice(60, 4, replace=False), range(1, 5)] = 1
    scores = np.where(y == 1, 0.9, 0.1).astype(np.float32)
    scores[:, 1:] = rng.random((60, 4)) / 3
    predicted, _ = decide(scores, multilabel=True)
    found = multilabel_metrics(y, predicted, scores, labels="abcde")
    for name in ("macro_f1", "mean_average_precision"):
        assert found[f"{name}_low"] <= found[name] <= found[f"{name}_high"]
