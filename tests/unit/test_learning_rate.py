"""The learning rate that is found by trial: on losses whose best rate is known, drawn over four decades."""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np
import pytest

from edgepress.toolkit.training.graphs.trainer import FACTOR, RATES, TRIAL_STEPS, falling, find_rate, warmed_up

HIGHEST = 1e-2
SEEDS = range(20)


def bowl(curvature: float, noise: float, random: np.random.Generator, start: float = 1.0) -> tuple[list[float], object]:
    """Signed steps of a rate on a quadratic, whose loss has a floor, and noise that each batch has of its own."""
    tried: list[float] = []
    batches = 1 + noise * random.normal(size=TRIAL_STEPS)

    def trial(rate: float) -> Iterator[float]:
        tried.append(rate)
        place = start
        for step in range(TRIAL_STEPS):
            yield float((1 + curvature * place**2) * batches[step])
            place -= warmed_up(rate, step, TRIAL_STEPS) * np.sign(place) * 300

    return tried, trial


@pytest.mark.parametrize("seed", SEEDS)
def test_a_rate_that_makes_the_loss_rise_is_not_taken(seed):
    random = np.random.default_rng(seed)
    curvature = 10 ** random.uniform(1, 4)
    _, trial = bowl(curvature, 0.1 * random.uniform(), random)
    rate = find_rate(trial, HIGHEST)
    ends, starts = (float(np.mean(list(trial(each))[-4:])) for each in (rate, 0.0))
    assert ends <= 1.06 * starts
    assert rate == HIGHEST * FACTOR ** round(math.log(rate / HIGHEST, FACTOR))


def test_a_net_that_bears_the_highest_rate_gets_it_after_one_trial():
    tried, trial = bowl(1.0, 0.0, np.random.default_rng(0), start=15.0)
    assert find_rate(trial, HIGHEST) == HIGHEST
    assert tried == [0.0, HIGHEST]


def _explodes_above(limit: float, loss: float) -> tuple[list[int], object]:
    taken: list[int] = []

    def trial(rate: float) -> Iterator[float]:
        taken.append(0)
        for step in range(TRIAL_STEPS):
            taken[-1] += 1
            yield loss if rate > limit and step else 1.0

    return taken, trial


@pytest.mark.parametrize("loss", [math.nan, math.inf, 3.0])
@pytest.mark.parametrize("seed", SEEDS)
def test_what_explodes_is_left_early_and_the_next_lower_rate_is_taken(loss, seed):
    limit = HIGHEST * FACTOR ** np.random.default_rng(seed).uniform(0, RATES - 2)
    taken, trial = _explodes_above(limit, loss)
    rate = find_rate(trial, HIGHEST)
    assert limit * FACTOR < rate <= limit
    assert all(steps <= 4 for steps in taken[1:-1])
    assert sum(taken) <= 2 * TRIAL_STEPS + 4 * RATES


def test_noise_of_a_few_percent_is_borne_and_a_rise_beyond_it_is_not():
    def ending(factor: float) -> float:
        return find_rate(lambda rate: [1.0] * (TRIAL_STEPS - 4) + [factor if rate else 1.0] * 4, HIGHEST)

    assert ending(1.04) == HIGHEST
    assert ending(1.06) == HIGHEST * FACTOR ** (RATES - 1)


def test_the_lowest_rate_is_taken_if_none_is_borne():
    trial = lambda rate: iter([1.0 + 9 * (rate > 0)] * TRIAL_STEPS)  # noqa: E731
    assert find_rate(trial, HIGHEST) == HIGHEST * FACTOR ** (RATES - 1)
    assert find_rate(lambda rate: [0.0] * TRIAL_STEPS, HIGHEST) == HIGHEST  # nothing to learn


@pytest.mark.parametrize("steps", [1, 7, 100])
def test_the_rate_falls_from_the_first_step_on_and_never_reaches_a_negative_one(steps):
    rates = [falling(1e-3, step, steps) for step in range(steps)]
    assert rates[0] == 1e-3
    assert rates == sorted(rates, reverse=True)
    assert rates[-1] > 0


@pytest.mark.parametrize("steps", [1, 8, 24, 1000])
def test_the_rate_of_pruning_rises_first(steps):
    rates = [warmed_up(1e-3, step, steps) for step in range(steps)]
    top = int(np.argmax(rates))
    assert top <= steps / 8
    assert rates[: top + 1] == sorted(rates[: top + 1])
    assert rates[top:] == sorted(rates[top:], reverse=True)
    assert all(0 < rate <= 1e-3 for rate in rates)
    assert rates[0] <= 1.01e-3 / max(1, steps / 8)
