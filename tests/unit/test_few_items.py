"""Cross-validation of a classifier on features, and what more items would bring, on data whose truth is known."""

from __future__ import annotations

import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgepress.toolkit.stats.metrics import forecast
from edgepress.toolkit.training import features
from edgepress.toolkit.training.features import FewItems, judge_few_items


def nearest_mean(x: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    means = np.stack([x[y == label].mean(axis=0) for label in range(int(y.max()) + 1)])
    return means.T, -0.5 * np.sum(means**2, axis=1)


def drawn(seed: int, *, classes: int = 3, each: int = 12, apart: float = 0.5) -> tuple[np.ndarray, np.ndarray]:
    """Items of normal distributions, whose means depend on no seed."""
    means = np.random.default_rng(99).normal(0, apart, (classes, 16))
    y = np.repeat(np.arange(classes), each)
    return (means[y] + np.random.default_rng(seed).normal(0, 1, (len(y), 16))).astype(np.float32), y


def judged(seed: int, **options: float) -> FewItems:
    x, y = drawn(seed, **options)  # type: ignore[arg-type]
    result = judge_few_items(x, y, nearest_mean, seed=seed)
    assert result is not None
    return result


def right_on_others(x: np.ndarray, y: np.ndarray) -> float:
    others, classes = drawn(12_345, each=1500)
    kernel, bias = nearest_mean(x, y)
    return float(np.mean(np.argmax(others @ kernel + bias, axis=1) == classes))


def test_the_interval_holds_the_accuracy_on_other_items() -> None:
    held = []
    widths = []
    for seed in range(60):
        interval = judged(seed).accuracy
        assert interval.low is not None
        assert interval.high is not None
        held.append(interval.low <= right_on_others(*drawn(seed)) <= interval.high)
        widths.append(interval.high - interval.low)
    assert np.mean(held) >= 0.87
    assert np.mean(widths) < 0.4, "an interval that says something"


def test_groups_are_not_divided_and_their_interval_is_wider() -> None:
    x, y = drawn(0, each=10)
    x, y, groups = np.repeat(x, 6, axis=0), np.repeat(y, 6), np.repeat(np.arange(30), 6)
    grouped = judge_few_items(x, y, nearest_mean, groups=groups)
    alone = judge_few_items(x, y, nearest_mean)
    assert grouped is not None
    assert alone is not None
    assert alone.accuracy.estimate > grouped.accuracy.estimate, "copies of each item are learned from"
    assert grouped.accuracy.low is not None
    assert grouped.accuracy.high is not None
    assert grouped.accuracy.high - grouped.accuracy.low > 0.15
    for learned, tested in features._rounds(y, groups, seed=3):
        assert not {*groups[learned]} & {*groups[tested]}


def test_each_repetition_tests_each_item_once() -> None:
    _, y = drawn(0)
    rounds = features._rounds(y, np.arange(len(y)), seed=0)
    tested = np.concatenate([t for _, t in rounds])
    assert np.bincount(tested).tolist() == [features.REPEATS] * len(y)


def test_the_curve_has_the_sizes_that_there_are_items_for() -> None:
    assert [p.items for p in judged(0, each=60).curve] == [5, 10, 20, 48]
    assert [p.items for p in judged(0, each=8).curve] == [5, pytest.approx(6.4)]
    curve = judged(1, each=60, apart=0.3).curve
    assert curve[0].accuracy < curve[-1].accuracy


def test_too_few_items_groups_or_classes_say_nothing() -> None:
    x, y = drawn(0, each=4)
    assert judge_few_items(x, y, nearest_mean) is None
    x, y = drawn(0, each=20)
    assert judge_few_items(x, y, nearest_mean, groups=np.arange(len(y)) // 10) is None
    assert judge_few_items(x, np.zeros_like(y), nearest_mean) is None


def test_mirrored_features_are_learned_from_and_not_tested() -> None:
    x, y = drawn(0)
    spoilt = judge_few_items(x, y, nearest_mean, mirrored=x[::-1].copy())
    plain = judge_few_items(x, y, nearest_mean, mirrored=x.copy())
    assert spoilt is not None
    assert plain is not None
    assert plain.accuracy == judged(0).accuracy
    assert spoilt.accuracy.estimate < plain.accuracy.estimate


def test_labels_need_not_be_numbered_without_gaps() -> None:
    x, y = drawn(0)
    result = judge_few_items(x, 3 * y + 2, nearest_mean)
    assert result is not None
    assert result.accuracy == judged(0).accuracy


def test_sentences_and_document() -> None:
    result = judged(0, each=60)
    first, second = result.sentences
    assert f"cross-validated accuracy of {100 * result.accuracy.estimate:.1f} % [" in first
    assert "(180 items, 5 folds, 10 times)" in first
    assert "By the training items of each class: " in second
    assert f"{100 * result.curve[0].accuracy:.1f} % from 5, " in second
    assert second.endswith("expected from 120.")
    assert json.loads(json.dumps(result.to_dict()))["more"] == 120
    assert "does not show what more items would bring" in judged(0, each=6).sentences[1]


def curve_of(rest: float, factor: float, power: float, *, seed: int = 0) -> tuple[list[int], np.ndarray]:
    sizes = [5, 10, 20, 40]
    hard = np.random.default_rng(seed).random(400)  # the same items are hard at every point
    return sizes, np.stack([(hard > rest + factor * n**-power).astype(float) for n in sizes])


@given(st.floats(0, 0.1), st.floats(0.2, 0.8), st.floats(0.3, 0.8), st.integers(0, 100))
def test_a_power_law_is_continued(rest: float, factor: float, power: float, seed: int) -> None:
    sizes, rates = curve_of(rest, factor, power, seed=seed)
    interval = forecast(sizes, rates, np.arange(rates.shape[1]), at=80)
    assert interval is not None
    assert interval.low is not None
    assert interval.high is not None
    true = 1 - rest - factor * 80**-power
    assert interval.low - 0.04 <= true <= interval.high + 0.04
    assert interval.estimate >= rates[-1].mean() - 0.03, "more items do no harm"


def test_no_curve_and_no_end() -> None:
    sizes, rates = curve_of(0.05, 0.5, 0.5)
    assert forecast(sizes[:2], rates[:2], np.arange(400), at=80) is None
    assert forecast(sizes, rates, np.zeros(400), at=80) is None
    flat = forecast(sizes, np.ones((4, 50)), np.arange(50), at=80)
    assert flat is not None
    assert flat.estimate > 0.99
