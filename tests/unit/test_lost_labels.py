"""What a file loses of its source's labels: shares and bounds in closed form."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import beta

from edgepress.converters.numeric.metrics import LEAST_FIT
from edgepress.converters.proof import labels as module
from edgepress.converters.proof.labels import CONFIDENCE, LEAST_CERTAINTY, lost_labels
from edgepress.runtime.decisions import softmax


def test_bounds_are_those_of_clopper_and_pearson() -> None:
    source = np.tile(np.float32([0.9, 0.1]), (40, 1))
    file = source.copy()
    file[:5] = file[:5, ::-1]
    found = lost_labels(source, file, "softmax", "softmax")
    total = 5 * 0.8
    assert found.share == pytest.approx(total / 40)
    assert found.low == pytest.approx(beta.ppf(1 - CONFIDENCE, total, 40 - total + 1))
    assert found.high == pytest.approx(beta.ppf(CONFIDENCE, total + 1, 40 - total))
    assert found.chance == pytest.approx(0.8 * 5 / 40), "as often as the file gives the other label"


@pytest.mark.parametrize(("lost", "low", "high"), [(0, 0.0, None), (10, None, 1.0)])
def test_bounds_at_the_ends(lost: int, low: float | None, high: float | None) -> None:
    source = np.tile(np.float32([1.0, 0.0]), (10, 1))
    file = source[:, ::-1].copy() if lost else source
    found = lost_labels(source, file, "softmax", "softmax")
    assert found.share == lost / 10
    assert 0 <= found.low < found.high <= 1
    assert low is None or found.low == low
    assert high is None or found.high == high


def test_labels_of_several_are_lost_by_how_sure_the_source_was() -> None:
    source = np.float32([[0.9, 0.2, 0.6], [0.9, 0.2, 0.6], [0.1, 0.8, 0.4], [0.5, 0.5, 0.5]])
    file = np.float32([[1, 0, 1], [0, 1, 0], [0, 0, 0], [1, 1, 0]])
    found = lost_labels(source, file, "multilabel", "sigmoid")
    costs = [0, min(1, 0.8 + 0.6 + 0.2), 0.6, 0]
    assert found.share == pytest.approx(sum(costs) / 4)
    given = file.mean(axis=0)
    weights = np.abs(2 * source - 1)
    chances = (weights * np.where(source > 0.5, 1 - given, given)).sum(axis=1)
    assert found.chance == pytest.approx(np.minimum(1, chances).mean(), rel=1e-6)


def test_numbers_that_are_sure_enough_are_not_sharpened() -> None:
    sure = np.random.default_rng(0).normal(0, 40, (200, 5))
    assert softmax(sure).max(axis=1).mean() >= LEAST_CERTAINTY
    np.testing.assert_array_equal(module._probabilities(sure, LEAST_CERTAINTY), softmax(sure).astype(np.float64))


def test_numbers_of_a_small_scale_are_sharpened_until_they_are_just_sure_enough() -> None:
    numbers = np.random.default_rng(0).normal(0, 0.5, (200, 5))
    certainty = [module._probabilities(scale * numbers, 0.8).max(axis=1).mean() for scale in (1, 0.1)]
    assert certainty == pytest.approx([0.8, 0.8], abs=0.01)
    border = softmax(2 * numbers).max(axis=1).mean()
    between = (softmax(numbers).max(axis=1).mean() + border) / 2
    assert module._probabilities(numbers, between).max(axis=1).mean() == pytest.approx(between, abs=1e-3)


@pytest.mark.parametrize("end", ["sigmoid", "tanh", ""])
def test_numbers_mean_the_same_however_they_end(end: str) -> None:
    numbers = np.random.default_rng(1).normal(0, 1.5, (50, 4))
    scores = {"sigmoid": 1 / (1 + np.exp(-numbers)), "tanh": np.tanh(numbers / 2), "": numbers}[end]
    np.testing.assert_allclose(module._numbers(scores, end), numbers, atol=1e-9)
    probabilities = np.exp(numbers) / np.exp(numbers).sum(axis=1, keepdims=True)
    np.testing.assert_allclose(module._numbers(probabilities, end), np.log(probabilities), atol=1e-9)


def unlike(share_right: float, *, lost: int, count: int = 512, known: bool = True) -> tuple[float, float]:
    """The loss of a file that changes labels of items on which its source model is 97 % sure and seldom right.

    Returns:
        The lower and the upper bound of the loss.
    """
    rng = np.random.default_rng(3)
    labels = rng.integers(0, 10, count)
    chosen = np.where(rng.random(count) < share_right, labels, (labels + rng.integers(1, 10, count)) % 10)
    source = np.full((count, 10), 0.03 / 9, np.float32)
    source[np.arange(count), chosen] = 0.97
    file = source.copy()
    file[:lost] = np.roll(file[:lost], 1, axis=1)
    result = lost_labels(source, file, "softmax", "softmax", true=labels if known else None)
    return result.low, result.high


def test_true_labels_show_that_a_model_is_too_sure_of_unlike_items() -> None:
    assert unlike(0.15, lost=60, known=False)[0] > 0.09
    assert unlike(0.15, lost=60)[1] < 0.02, "it was right on one item in seven, by chance on one in ten"


def test_true_labels_do_not_excuse_a_file_whose_source_is_right() -> None:
    assert unlike(0.97, lost=60)[0] == pytest.approx(unlike(0.97, lost=60, known=False)[0], abs=0.01)
    assert unlike(1.0, lost=60)[0] >= unlike(1.0, lost=60, known=False)[0] > 0.08


def test_true_labels_make_no_tie_certain() -> None:
    source = np.tile(np.float32([0.51, 0.49]), (200, 1))
    source[:150] = [0.99, 0.01]
    file = source.copy()
    file[190:] = file[190:, ::-1]
    true = np.zeros(200, np.int64)
    true[195:] = 1  # of the tied items that change, as many are gained as are lost
    result = lost_labels(source, file, "softmax", "softmax", true=true)
    assert result.share == pytest.approx(10 / 200 * 0.02, abs=1e-4)
    assert result == lost_labels(source, file, "softmax", "softmax")


def test_a_few_true_labels_calibrate_nothing() -> None:
    few = LEAST_FIT - 1
    assert unlike(0.1, lost=10, count=few) == unlike(0.1, lost=10, count=few, known=False)
    assert unlike(0.1, lost=10, count=few + 1)[1] < unlike(0.1, lost=10, count=few + 1, known=False)[1]


@pytest.mark.parametrize(("right", "lost"), [(77, 45), (256, 20), (205, 15)])
def test_a_loss_that_true_labels_prove_counts(right: int, lost: int) -> None:
    """The file errs only where its source model, which is too sure, was right."""
    rng = np.random.default_rng(5)
    true = rng.integers(0, 10, 512)
    chosen = np.where(np.arange(512) < right, true, (true + 1) % 10)
    source = np.full((512, 10), 0.03 / 9, np.float32)
    source[np.arange(512), chosen] = 0.97
    file = source.copy()
    file[:lost] = np.roll(file[:lost], 1, axis=1)
    result = lost_labels(source, file, "softmax", "softmax", true=true)
    assert result.low == pytest.approx(lost / 512 * (2 * 0.1 ** (1 / lost) - 1))
    assert result.low <= lost / 512 == result.share <= result.high
    swapped = lost_labels(file, source, "softmax", "softmax", true=true)
    assert swapped.low < 0.02, "what is gained is not lost"


def test_a_loss_within_chance_is_the_expected_one() -> None:
    true = np.zeros(200, np.int64)
    source = np.tile(np.float32([0.6, 0.4]), (200, 1))
    source[100:120] = [0.4, 0.6]
    file = source.copy()
    file[90:112] = file[90:112, ::-1]  # 10 are lost, 12 gained
    assert lost_labels(source, file, "softmax", "softmax", true=true).share == pytest.approx(0.2 * 22 / 200, abs=0.02)


def test_classes_that_exclude_each_other_are_lost_by_the_highest_score_though_each_has_a_sigmoid() -> None:
    """Saturated sigmoids: all files choose every label above 0.5 as the source does, and one in two the wrong class."""
    true = np.arange(200) % 2
    source = np.where(np.eye(2)[true] > 0, 0.999, 0.99).astype(np.float32)
    file = np.ones_like(source)
    assert lost_labels(source, file, "multilabel", "sigmoid").share == 0
    lost = lost_labels(source, file, "multilabel", "sigmoid", true=true)
    assert lost.share == pytest.approx(0.5)
    assert lost.low > 0.4
    flipped = 1 - source  # every label is lost by itself, and no class by the highest score of none
    both = lost_labels(source, flipped[:, ::-1], "multilabel", "sigmoid", true=true)
    assert both.low == lost_labels(source, flipped[:, ::-1], "multilabel", "sigmoid").low > 0.9
