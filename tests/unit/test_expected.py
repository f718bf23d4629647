"""The share of lost items that a baseline's probabilities predict."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from records import assert_frozen

from edgepress.runtime.acceptance import Temperature
from edgepress.toolkit.measurement.benchmarking import expected
from edgepress.toolkit.measurement.benchmarking.answers import Answers
from edgepress.toolkit.measurement.benchmarking.expected import Odds, expected_lost
from edgepress.toolkit.workers.answer import judge

Floats = npt.NDArray[np.float32]


def answers(scores: Floats) -> Answers:
    return Answers("litert", *judge(scores, None))


def softmax(logits: npt.NDArray[Any]) -> Floats:
    powers = np.exp(logits - logits.max(axis=1, keepdims=True))
    return (powers / powers.sum(axis=1, keepdims=True)).astype(np.float32)


@pytest.fixture(scope="module", params=[1.0, 0.4, 3.0], ids=["calibrated", "too unsure", "too sure"])
def drawn(request: Any) -> tuple[npt.NDArray[Any], Floats, npt.NDArray[np.int64]]:
    """Logits of 8 classes, labels drawn from them, and scores that are sharper or softer than they should be.

    Some items are clear and some are not, so that other classes are more or less probable where answers differ.
    """
    rng = np.random.default_rng(5)
    logits = rng.normal(0, 1, (6000, 8)) * np.exp(rng.normal(0.3, 0.8, (6000, 1)))
    labels = np.array([rng.choice(8, p=p / p.sum()) for p in softmax(logits).astype(np.float64)])
    return logits, softmax(request.param * logits), labels


@pytest.mark.parametrize("noise", [0.1, 0.5, 2.0])
def test_it_is_the_true_share_whatever_the_temperature(drawn: Any, noise: float) -> None:
    logits, scores, labels = drawn
    baseline = answers(scores)
    odds = Odds.of(baseline, labels)
    assert odds is not None
    file = answers(softmax(logits + noise * np.random.default_rng(6).normal(size=logits.shape)))
    lost = ((baseline.predicted == labels) & (file.predicted != labels)).sum()
    gained = ((baseline.predicted != labels) & (file.predicted == labels)).sum()
    spread = 2 * 0.5 / np.sqrt(lost + gained)
    assert odds.expected_lost([(baseline, file)]) == pytest.approx(lost / (lost + gained), abs=spread + 0.02)


def test_near_ties_of_a_net_that_prefers_a_class_are_lost() -> None:
    """Its answers are calibrated but for classes 0 and 1, whose logits are 1.5 too high and too low."""
    rng = np.random.default_rng(5)
    logits = rng.normal(0, 3, (6000, 8))
    labels = np.array([rng.choice(8, p=p / p.sum()) for p in softmax(logits).astype(np.float64)])
    prefers = np.array([1.5, -1.5, *[0.0] * 6])
    baseline, worse, better = (answers(softmax(logits + by * prefers)) for by in (1, 1.1, 0.9))
    odds = Odds.of(baseline, labels)
    assert odds is not None
    assert odds.biases[0] < -0.6
    assert odds.biases[1] > 0.6
    assert np.abs(odds.biases[2:]).max() < 0.2
    shares = []
    for file in (worse, better):
        lost = ((baseline.predicted == labels) & (file.predicted != labels)).sum()
        gained = ((baseline.predicted != labels) & (file.predicted == labels)).sum()
        shares.append(odds.expected_lost([(baseline, file)]))
        assert shares[-1] == pytest.approx(lost / (lost + gained), abs=0.2)
    assert shares[0] > 0.65
    assert shares[1] < 0.35


def test_a_class_that_no_labelled_item_has_among_its_best_has_no_bias() -> None:
    odds = Odds(Temperature(temperature=1.0, offset=0.0), np.array([0.0, 1.0]))
    scores, classes = np.array([[0.5, 0.3, 0.2]], np.float32), np.array([[0, 7, 1]])
    weights = np.array([[0.5, 0.3, 0.2 * np.e]])
    np.testing.assert_allclose(odds.probabilities(scores, classes), weights / weights.sum(), rtol=1e-4)


def test_a_net_that_knows_nothing_gives_no_odds() -> None:
    rng = np.random.default_rng(5)
    logits = rng.normal(0, 0.1, (2000, 8))
    labels = rng.integers(0, 8, 2000)
    assert Odds.of(answers(softmax(logits)), labels) is None
    sure = rng.normal(0, 3, (2000, 8))
    assert Odds.of(answers(softmax(sure)), sure.argmax(axis=1)) is not None


def test_a_class_that_is_none_of_the_best_is_no_tie() -> None:
    odds = Odds(Temperature(temperature=1.0, offset=0.0), np.zeros(8))
    scores = np.array([[0.3, 0.2, 0.15, 0.12, 0.1, 0.08, 0.05]] * 2, np.float32)
    baseline, file = answers(scores), answers(scores[:, ::-1].copy())
    assert file.predicted.tolist() == [6, 6]
    assert odds.expected_lost([(baseline, file)]) > 0.99


def test_sets_of_items_count_by_the_items_that_differ() -> None:
    odds = Odds(Temperature(temperature=1.0, offset=0.0), np.zeros(8))
    tie, sure = answers(np.array([[0.5, 0.5]] * 3, np.float32)), answers(np.array([[0.9, 0.1]], np.float32))
    other = [answers(np.array([[0.0, 1.0]] * n, np.float32)) for n in (3, 1)]
    assert odds.expected_lost([(tie, other[0])]) == pytest.approx(0.5)
    assert odds.expected_lost([(sure, other[1])]) == pytest.approx(0.9, abs=1e-4)
    assert odds.expected_lost([(tie, other[0]), (sure, other[1])]) == pytest.approx(0.6, abs=1e-4)
    assert odds.expected_lost([(tie, tie)]) == 0.5


def test_few_labels_give_no_odds() -> None:
    scores = softmax(np.random.default_rng(0).normal(size=(100, 8)))
    labels = scores.argmax(axis=1)
    assert Odds.of(answers(scores), labels) is not None
    assert Odds.of(answers(scores[:99]), labels[:99]) is None
    assert Odds.of(Answers("litert", labels, scores.max(axis=1)), labels) is None


def test_records_are_frozen() -> None:
    assert_frozen(expected, by_position=frozenset({"Odds"}))


def test_one_file_without_odds_has_no_expected_share() -> None:
    scores = softmax(np.random.default_rng(0).normal(size=(100, 8)))
    labels = scores.argmax(axis=1)
    baseline, file = answers(scores), answers(scores[:, ::-1].copy())
    odds = Odds.of(baseline, labels)
    assert odds is not None
    assert expected_lost(baseline, file, labels) == odds.expected_lost([(baseline, file)])
    assert expected_lost(answers(scores[:99]), answers(scores[:99]), labels[:99]) is None


def test_labels_that_are_none_of_the_best_classes_do_not_count() -> None:
    scores = softmax(np.random.default_rng(0).normal(size=(150, 8)))
    labels = scores.argmax(axis=1)
    labels[:51] = scores[:51].argmin(axis=1)  # the least probable of eight is not among the classes that are kept
    assert Odds.of(answers(scores), labels) is None
    labels[0] = scores[0].argmax()
    assert Odds.of(answers(scores), labels) is not None
