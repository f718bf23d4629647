"""The choice of methods of ranges by scores of files, which are computed from the choice here."""

from __future__ import annotations

from collections.abc import Callable, Iterable

import numpy as np
import pytest

from edgepress.converters.errors import ConversionError
from edgepress.converters.statistics import METHODS, Choice, Statistics
from edgepress.converters.tuning import methods as module
from edgepress.converters.tuning.judge import Score
from edgepress.converters.tuning.methods import TRIALS, Chosen, chosen_methods, first_items

TENSORS = ("a", "b", "c", "d")
Noise = Callable[[Choice], float]


def statistics_of(names: Iterable[str] = TENSORS) -> Statistics:
    """Of tensors with rare outliers, about whose range the methods disagree: of each tensor more than of the next."""
    found = Statistics()
    normal = np.random.default_rng(0).normal(size=(60, 4000)).astype(np.float32)
    for i, name in enumerate(names):
        for part in (*normal, np.float32([60 - 10 * i])):
            found.add(name, part)
    return found


def chosen(noise: Noise, trials: int = TRIALS, hits: Callable[[Choice], list[bool]] | None = None) -> Chosen:
    def score(choice: Choice) -> Score:
        right = hits(choice) if hits else []
        return Score(None, None, noise(choice), np.array(right, bool))

    return chosen_methods(statistics_of(), score, trials)


def by_tensor(*best: str) -> Noise:
    """3 dB more for each tensor with its best method."""
    return lambda choice: 10 + 3.0 * sum(choice.method(n) == m for n, m in zip(TENSORS, best, strict=True))


def test_the_best_method_of_all_is_found_and_then_those_of_single_tensors() -> None:
    found = chosen(by_tensor("mse", "mse", "percentile", "minmax"))
    assert [found.choice.method(name) for name in TENSORS] == ["mse", "mse", "percentile", "minmax"]
    assert found.choice.default == "mse"
    assert set(found.choice.tensors) == {"c", "d"}
    assert (found.before.noise_db, found.score.noise_db) == (13, 22)
    assert found.summary()["others"] == {"percentile": 1, "minmax": 1}


@pytest.mark.parametrize("method", METHODS)
def test_one_method_wins_if_nothing_else_pays(method: str) -> None:
    found = chosen(by_tensor(*[method] * 4))
    assert found.choice == Choice(method)  # type: ignore[arg-type]
    assert found.trials <= TRIALS


def test_equal_files_keep_all_values() -> None:
    found = chosen(lambda choice: 12.0)
    assert found.choice == Choice()
    assert found.score is found.before


@pytest.mark.parametrize("trials", [1, 2, 3, 5, 6])
def test_no_more_files_are_judged_than_allowed(trials: int) -> None:
    judged: list[Choice] = []

    def noise(choice: Choice) -> float:
        judged.append(choice)
        return by_tensor("mse", "mse", "percentile", "minmax")(choice)

    found = chosen(noise, trials)
    assert len(judged) == found.trials == trials
    assert len(set(judged)) == trials, "none twice"
    assert judged[0] == Choice()
    if trials == 1:
        assert found.choice == Choice()
    if trials == 5:
        assert list(judged[-1].tensors) == ["a"], "the tensor about which the methods disagree most"


def test_less_noise_does_not_pay_for_wrong_items() -> None:
    found = chosen(
        by_tensor("mse", "mse", "mse", "minmax"),
        hits=lambda choice: [choice.method("d") == "minmax" and choice.method("a") == "minmax"] * 20,
    )
    assert [found.choice.method(name) for name in TENSORS] == ["minmax", "mse", "mse", "minmax"]
    assert not found.before.better_than(found.score)


def test_steps_that_each_seem_better_are_taken_back_if_together_they_are_worse() -> None:
    found = chosen(
        lambda choice: 10 + 0.1 * METHODS.index(choice.default),
        hits=lambda choice: [item >= 3 * METHODS.index(choice.default) for item in range(20)],
    )
    assert found.choice == Choice()
    assert found.score is found.before


def test_large_nets_get_one_trial_and_small_ones_a_limited_number(monkeypatch: pytest.MonkeyPatch) -> None:
    for macs, number in ((1e12, 1), (1e9, 15), (1.0, TRIALS)):
        monkeypatch.setattr(module, "macs", lambda model, macs=macs: macs)
        assert module.trials(b"", 10, 0) == number


def test_gains_within_rounding_are_not_taken() -> None:
    def noise(choice: Choice) -> float:
        return 10 + 0.05 * len(choice.tensors)

    assert chosen(noise).choice.tensors == {}


def test_a_file_that_cannot_be_made_is_left_out() -> None:
    def noise(choice: Choice) -> float:
        if choice.default == "percentile":
            raise ConversionError("refused")
        if choice.default == "mse":
            raise RuntimeError("LiteRT refused it")
        return by_tensor("entropy", "minmax", "entropy", "entropy")(choice)

    assert chosen(noise).choice == Choice("entropy", {"b": "minmax"})

    def refused(choice: Choice) -> float:
        raise ConversionError("refused")

    with pytest.raises(ConversionError, match="refused"):
        chosen(refused)


def test_first_items_come_from_as_few_batches_as_needed() -> None:
    taken: list[int] = []

    def batches() -> Iterable[np.ndarray]:  # type: ignore[type-arg]
        for i in range(5):
            taken.append(i)
            yield np.full((4, 2), i)

    assert first_items(batches, 6)[:, 0].tolist() == [0, 0, 0, 0, 1, 1]
    assert taken == [0, 1]
    assert len(first_items(batches, 100)) == 20
    with pytest.raises(ConversionError):
        first_items(list, 3)
