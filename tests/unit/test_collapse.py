"""Which results have collapsed: drawn sets of items, files that know a drawn share of what the model knows."""

from __future__ import annotations

import numpy as np
import pytest

from edgepress.converters.numeric.metrics import (
    LEAST_KEPT,
    constant_flags,
    has_collapsed,
    kept_share,
    why_collapsed,
    why_noise,
)

SEEDS = range(30)


def draw(seed: int, share: float) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Labels, the model's right answers, those of a file that answers the largest class but for a share, constant's."""
    random = np.random.default_rng(seed)
    classes = int(random.integers(2, 12))
    labels = random.choice(classes, 600, p=random.dirichlet(np.full(classes, 8.0)))
    largest = int(np.bincount(labels).argmax())
    model = np.where(random.uniform(size=600) < random.uniform(0.85, 1), labels, (labels + 1) % classes)
    file = np.where(random.uniform(size=600) < share, model, largest)
    return labels, model == labels, file == labels, labels == largest


@pytest.mark.parametrize("seed", SEEDS)
def test_a_file_of_one_class_has_collapsed_and_the_model_and_a_file_that_knows_half_have_not(seed):
    labels, model, half, constant = draw(seed, 0.6)
    assert (constant_flags(labels) == constant).all()
    assert kept_share(model, model, constant) == 1
    assert kept_share(model, constant, constant) == 0
    assert has_collapsed(model, constant, constant)
    assert not has_collapsed(model, model, constant)
    assert not has_collapsed(model, half, constant)
    assert has_collapsed(model, draw(seed, 0.1)[2], constant)


@pytest.mark.parametrize("kept", [LEAST_KEPT - 0.01, LEAST_KEPT, 0.9])
def test_a_quarter_of_what_the_model_knows_must_be_left(kept):
    constant, model = np.arange(1000) < 200, np.arange(1000) < 1000
    file = np.arange(1000) < 200 + round(800 * kept)
    assert has_collapsed(model, file, constant) == (kept < LEAST_KEPT)
    assert (why_collapsed(model, file, constant) == "") == (kept >= LEAST_KEPT)


def test_figures_are_in_the_message():
    constant, model, file = (np.arange(1000) < count for count in (237, 878, 240))
    words = why_collapsed(model, file, constant)
    assert "24.0%" in words
    assert "87.8%" in words
    assert "23.7%" in words


@pytest.mark.parametrize("seed", SEEDS)
def test_a_model_that_is_no_better_than_the_largest_class_has_nothing_to_lose(seed):
    random = np.random.default_rng(seed)
    labels = random.choice(5, 40)
    guesses, others = random.choice(5, (2, 40))
    constant = constant_flags(labels)
    model = guesses == labels
    if model.sum() <= constant.sum():
        assert not has_collapsed(model, others == labels, constant)


def test_each_output_has_its_own_constant_answer():
    truth = np.array([[1, 0, 1], [1, 0, 0], [0, 0, 1], [1, 1, 1]])
    assert constant_flags(truth).sum(axis=0).tolist() == [3, 3, 3]


@pytest.mark.parametrize(("snr_db", "collapsed"), [(-3.0, True), (0.0, True), (1.2, True), (1.3, False), (20.0, False)])
def test_numbers_have_collapsed_where_a_quarter_of_their_spread_is_not_explained(snr_db, collapsed):
    assert bool(why_noise(snr_db)) == collapsed
