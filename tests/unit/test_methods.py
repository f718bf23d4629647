"""The choice of methods of ranges by scores of files, which are computed from the choice here."""

from __future__ import annotations

from collections.abc import Callable, Iterable

import numpy as np
import pytest

from edgepress.converters.errors import ConversionError
from edgepress.converters.numeric.statistics import METHODS, CalibrationMethods, Statistics
from edgepress.converters.ptq import calibration as module
from edgepress.converters.ptq.calibration import TRIALS, ChosenMethods, choose_methods, first_items
from edgepress.converters.ptq.score import Score

TENSORS = ("a", "b", "c", "d")
Noise = Callable[[CalibrationMethods], float]


def statistics_of(names: Iterable[str] = TENSORS) -> Statistics:
    """Of tensors with rare outliers, about whose range the methods disagree: of each tensor more than of the next."""
    found = Statistics()
    normal = np.random.default_rng(0).normal(size=(60, 4000)).astype(np.float32)
    for i, name in enumerate(names):
        for part in (*normal, np.float32([60 - 10 * i])):
            found.add(name, part)
    return found


def chosen(
    noise: Noise, trials: int = TRIALS, hits: Callable[[CalibrationMethods], list[bool]] | None = None
) -> ChosenMethods:
    def score(methods: CalibrationMethods) -> Score:
        right = hits(methods) if hits else []
        return Score(None, None, noise(methods), np.array(right, bool))

    return choose_methods(statistics_of(), score, trials)


def by_tensor(*best: str) -> Noise:
    """3 dB more for each tensor with its best method."""
    return lambda methods: 10 + 3.0 * sum(methods.method(n) == m for n, m in zip(TENSORS, best, strict=True))


def test_the_best_method_of_all_is_found_and_then_those_of_single_tensors() -> None:
    found = chosen(by_tensor("mse", "mse", "percentile", "minmax"))
    assert [found.methods.method(name) for name in TENSORS] == ["mse", "mse", "percentile", "minmax"]
    assert found.methods.default == "mse"
    assert set(found.methods.tensors) == {"c", "d"}
    assert (found.before.snr_db, found.score.snr_db) == (13, 22)
    assert found.summary()["others"] == {"percentile": 1, "minmax": 1}


@pytest.mark.parametrize("method", METHODS)
def test_one_method_wins_if_nothing_else_pays(method: str) -> None:
    found = chosen(by_tensor(*[method] * 4))
    assert found.methods == CalibrationMethods(method)  # type: ignore[arg-type]
    assert found.trials <= TRIALS


def test_equal_files_keep_all_values() -> None:
    found = chosen(lambda methods: 12.0)
    assert found.methods == CalibrationMethods()
    assert found.score is found.before


@pytest.mark.parametrize("trials", [1, 2, 3, 5, 6])
def test_no_more_files_are_judged_than_allowed(trials: int) -> None:
    judged: list[CalibrationMethods] = []

    def noise(methods: CalibrationMethods) -> float:
        judged.append(methods)
        return by_tensor("mse", "mse", "percentile", "minmax")(methods)

    found = chosen(noise, trials)
    assert len(judged) == found.trials == trials
    assert len(set(judged)) == trials, "none twice"
    assert judged[0] == CalibrationMethods()
    if trials == 1:
        assert found.methods == CalibrationMethods()
    if trials == 5:
        assert list(judged[-1].tensors) == ["a"], "the tensor about which the methods disagree most"


def test_less_noise_does_not_pay_for_wrong_items() -> None:
    found = chosen(
        by_tensor("mse", "mse", "mse", "minmax"),
        hits=lambda methods: [methods.method("d") == "minmax" and methods.method("a") == "minmax"] * 20,
    )
    assert [found.methods.method(name) for name in TENSORS] == ["minmax", "mse", "mse", "minmax"]
    assert not found.before.better_than(found.score)


@pytest.mark.parametrize(("gain_db", "lost", "kept"), [(1, 3, False), (1, 0, True), (0.3, 0, False), (3.5, 1, True)])
def test_methods_are_kept_by_the_rule_of_repairs(gain_db: float, lost: int, kept: bool) -> None:
    """207 items, as a reader's test set has."""
    chosen_of = chosen(
        lambda methods: 20 + gain_db * (methods.default == "mse"),
        hits=lambda methods: [item >= lost * (methods.default == "mse") for item in range(207)],
    )
    assert chosen_of.methods == (CalibrationMethods("mse") if kept else CalibrationMethods())


def test_steps_that_each_seem_better_are_taken_back_if_together_they_are_worse() -> None:
    found = chosen(
        lambda methods: 10 + 0.1 * METHODS.index(methods.default),
        hits=lambda methods: [item >= 3 * METHODS.index(methods.default) for item in range(20)],
    )
    assert found.methods == CalibrationMethods()
    assert found.score is found.before


def test_large_nets_get_one_trial_and_small_ones_a_limited_number(monkeypatch: pytest.MonkeyPatch) -> None:
    for macs, number in ((1e12, 1), (1e9, 20), (1.0, TRIALS)):
        monkeypatch.setattr(module, "macs", lambda model, macs=macs: macs)
        assert module.trials(b"", 10, 0) == number


def test_gains_within_rounding_are_not_taken() -> None:
    def noise(methods: CalibrationMethods) -> float:
        return 10 + 0.05 * len(methods.tensors)

    assert chosen(noise).methods.tensors == {}


def test_a_file_that_cannot_be_made_is_left_out() -> None:
    def noise(methods: CalibrationMethods) -> float:
        if methods.default == "percentile":
            raise ConversionError("refused")
        if methods.default == "mse":
            raise RuntimeError("LiteRT refused it")
        return by_tensor("entropy", "minmax", "entropy", "entropy")(methods)

    assert chosen(noise).methods == CalibrationMethods("entropy", {"b": "minmax"})

    def refused(methods: CalibrationMethods) -> float:
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


def test_the_number_of_trials_falls_with_what_a_trial_costs(monkeypatch: pytest.MonkeyPatch) -> None:
    """Answers, operations to quantize, and bytes: 2e11 multiply-accumulates in all."""
    monkeypatch.setattr(module, "macs", lambda model: 10**9)
    assert module.trials(b"", 10, 0) == 20
    assert module.trials(b"", 10, 500) == 10, "10^10 more"
    assert module.trials(bytes(10**7), 10, 0) == 18, "10^9 more"
    assert module.trials(b"", 1, 0) == TRIALS == 40
    assert module.trials(b"", 1000, 0) == 1


def ranges_of(**by_method: tuple[float, float]) -> Statistics:
    """Statistics of one tensor by methods: the range, and that of the default."""
    found = Statistics()
    found.add("a", np.zeros(1, np.float32))
    plain = by_method.pop("plain")
    found.range = lambda name, method: by_method.get(method, plain)  # type: ignore[method-assign]
    return found


@pytest.mark.parametrize(("high", "worth"), [(1.04, False), (1.06, True), (0.96, False), (0.94, True), (0.0, False)])
def test_methods_of_other_ranges_are_tried(high: float, worth: bool) -> None:
    found = module._other_methods(ranges_of(plain=(-1.0, 0.0), mse=(-1.0, high - 1.0)), "minmax")
    assert found == ([("a", "mse")] if worth else [])


def test_those_are_tried_first_whose_ranges_differ_most() -> None:
    ranges = ranges_of(plain=(0.0, 1.0), mse=(-0.5, 1.0), percentile=(0.0, 0.4), entropy=(0.0, 3.0))
    assert [method for _, method in module._other_methods(ranges, "minmax")] == ["entropy", "percentile", "mse"]


@pytest.mark.parametrize(("gain", "kept"), [(0.09, False), (0.11, True)])
def test_a_tenth_of_a_decibel_is_a_step(gain: float, kept: bool) -> None:
    found = chosen(lambda methods: 10 + (methods.default == "mse") + gain * (methods.method("d") == "minmax"))
    assert found.methods == CalibrationMethods("mse", {"d": "minmax"} if kept else {})


def test_the_choice_is_summed_up_for_people() -> None:
    score = Score(None, None, 12.0, np.zeros(0, bool))
    plain = ChosenMethods(CalibrationMethods("mse"), score, score, 3).summary()
    assert (plain["method"], plain["others"], plain["trials"], plain["what"]) == ("mse", {}, 3, "ranges by mse")
    mixed = ChosenMethods(CalibrationMethods("mse", {"a": "minmax", "b": "minmax"}), score, score, 3).summary()
    assert mixed["what"] == "ranges by mse, of 2 tensors by others"
    assert (mixed["others"], mixed["before"]) == ({"minmax": 2}, {"snr_db": 12.0})
