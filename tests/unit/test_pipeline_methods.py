"""How a pipeline scores graphs, tries changes and chooses methods, with files and ranges that are given here."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from edgepress.converters.errors import ConversionError
from edgepress.converters.numeric.statistics import CalibrationMethods
from edgepress.converters.ptq import pipeline as module
from edgepress.converters.ptq.calibration import ChosenMethods
from edgepress.converters.ptq.pipeline import Pipeline
from edgepress.converters.ptq.score import MARGIN_DB, Score

MODEL = b"model"


def score(noise: float = 20.0) -> Score:
    return Score(None, None, noise, np.zeros(0, bool))


class Scorer:
    """Scores a file by its name and its ranges: some decibels by a table; a file that is not there is refused."""

    items = np.zeros((7, 2))

    def __init__(self, **noise: float) -> None:
        self.noise = noise
        self.calls: list[Any] = []

    def score(self, model: bytes, ranges: Any, precision: str, rewrites: Any) -> Score:
        self.calls.append((model, ranges, precision))
        name = f"{model.decode()}_{precision}_{ranges}" if ranges else f"{model.decode()}_{precision}"
        if name not in self.noise:
            raise ConversionError(f"refused {name}")
        return score(self.noise[name])

    def worst_score(self, model: bytes, precision: str) -> Score:
        return score(-200.0)

    def make_file(self, *given: Any) -> Any:
        self.calls.append(given)
        return b"file"


@pytest.fixture
def pipeline(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Makes a pipeline without repairs of its own, whose ranges are named by the method that they come from."""
    statistics = SimpleNamespace(names=("a", "b"), ranges=lambda methods=None: methods.default if methods else "plain")
    monkeypatch.setattr(module, "tflite_statistics", lambda model, batches, input_range: statistics)

    def make(**noise: float) -> Pipeline:
        return Pipeline(MODEL, list, Scorer(**noise), input_range=None, repairs=False)  # type: ignore[arg-type]

    return make


def scored(noise: float, ranges: Any = "plain", model: bytes = MODEL) -> Any:
    return module._ScoredGraph(model, ranges, {}, score(noise))


def change(model: str, ranges: Any = "plain") -> Any:
    return module._Change(model.encode(), ranges, {}, "what was done")


def test_a_change_is_kept_if_it_helps(pipeline: Any) -> None:
    made = pipeline(new_int8_plain=25.0)
    now = scored(20)
    after = made._try("equalization", "int8", now, change("new"))
    assert (after.model, after.score.snr_db) == (b"new", 25)
    (stage,) = made.stages
    assert (stage.name, stage.kind, stage.kept, stage.before, stage.after, stage.what) == (
        "equalization", "int8", True, now.score, after.score, "what was done",
    )  # fmt: skip
    better = scored(25)
    assert made._try("equalization", "int8", better, change("new")) is better
    assert not made.stages[-1].kept
    assert made._try("equalization", "int8", now, change("other")) is now
    assert len(made.stages) == 2
    assert made.notes == ["a repair (equalization) was left out: refused other_int8_plain"]


@pytest.mark.parametrize("gain_db", [-3.0, -MARGIN_DB, -MARGIN_DB + 0.01, 0.0, MARGIN_DB - 0.01, MARGIN_DB, 3.0])
@pytest.mark.parametrize("name", ["bias-correction", "equalization", "bias-absorption", "adaround"])
def test_bias_correction_is_kept_unless_it_is_worse_and_others_only_if_they_are_better(
    pipeline: Any, name: Any, gain_db: float
) -> None:
    made = pipeline(new_int8_plain=20 + gain_db)
    after = made._try(name, "int8", scored(20), change("new"))
    kept = gain_db > -MARGIN_DB if name == "bias-correction" else gain_db >= MARGIN_DB
    assert (after.model == b"new") is kept
    assert made.stages[-1].kept is kept


def test_a_change_is_scored_with_the_ranges_of_the_file(pipeline: Any) -> None:
    made = pipeline(new_int8_mse=25.0)
    after = made._try("equalization", "int8", scored(20), change("new"), CalibrationMethods("mse"))
    assert (after.ranges, after.score.snr_db) == ("mse", 25)


def test_files_without_ranges_are_scored_once_for_several_kinds(pipeline: Any) -> None:
    made = pipeline(model_dynamic=25.0, model_int8_a=20.0, model_int8_b=21.0)
    kinds = [kind for kind, recipe in module.RECIPES.items() if recipe.precision == "dynamic"]
    for kind in (*kinds, *kinds):
        assert made._score(kind, MODEL, {"not": "read"}).snr_db == 25
    assert len(made.scorer.calls) == 1
    assert [made._score("int8", MODEL, ranges).snr_db for ranges in "abab"] == [20, 21, 20, 21]
    assert len(made.scorer.calls) == 5
    assert made._score_or_worst("int8", b"none", "a").snr_db == -200


def test_methods_that_are_given_are_not_chosen(pipeline: Any) -> None:
    made = pipeline(model_int8_mse=25.0)
    now, chosen = made._with_methods("int8", scored(20), "mse", None)
    assert (now.ranges, now.score.snr_db) == ("mse", 25)
    assert chosen == ChosenMethods(CalibrationMethods("mse"), now.score, now.score, 1)


def test_methods_that_were_chosen_serve_another_kind(pipeline: Any) -> None:
    made = pipeline(model_int4_mse=25.0)
    before = ChosenMethods(CalibrationMethods("mse"), score(1), score(2), 3)
    now, chosen = made._with_methods("int4", scored(20), "auto", before)
    assert (now.ranges, now.score.snr_db) == ("mse", 25)
    assert chosen is before


@pytest.mark.parametrize(
    ("kind", "own", "other", "number"),
    [("int8", 20, 40, 9), ("int8", 40, 20, 1), ("int4", 20, 40, 1), ("int4", 40, 20, 9)],
)
def test_methods_are_chosen_by_int8_files_unless_one_is_sound(
    pipeline: Any, monkeypatch: pytest.MonkeyPatch, kind: Any, own: float, other: float, number: int
) -> None:
    given: list[Any] = []

    def choose(statistics: Any, score_by: Any, trials: int) -> ChosenMethods:
        given.append(trials)
        found = score_by(CalibrationMethods("mse"))
        return ChosenMethods(CalibrationMethods("mse"), found, found, trials)

    def trials(model: bytes, items: int, tensors: int) -> int:
        given.append((model, items, tensors))
        return 9

    monkeypatch.setattr(module, "choose_methods", choose)
    monkeypatch.setattr(module, "trials", trials)
    made = pipeline(model_int8_plain=other, model_int8_mse=22.0, model_int4_mse=18.0)
    now, chosen = made._with_methods(kind, scored(own), "auto", None)
    assert given == ([(MODEL, 7, 2), 9] if number == 9 else [1])
    assert chosen.score.snr_db == 22
    assert now.score.snr_db == (22 if kind == "int8" else 18)
    assert (now.ranges, now.model) == ("mse", MODEL)


def test_one_group_of_channels_is_nothing_to_scale(pipeline: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    made = pipeline()
    made.program = SimpleNamespace(source="x", with_constants=lambda constants: constants)
    groups = SimpleNamespace(count=1, of={"a": np.array([0, 1])}, scale_constants=lambda factors: b"scaled")
    monkeypatch.setattr(module, "scale_groups", lambda program: groups)
    monkeypatch.setattr(module, "equalizing_factors", lambda groups, measured, tensorwise: np.array([1.0, 2.0]))
    monkeypatch.setattr(module, "find_fixed", lambda groups, measured: 2)
    monkeypatch.setattr(module, "limit_factors", lambda groups, factors, ranges, fixed: factors * fixed)
    assert made._equalize(()) is None
    groups.count = 2
    made.measured = {"a": (np.array([-8.0, -4.0]), np.array([8.0, 4.0]))}
    found = made._equalize(())
    assert (found.model, found.what) == (b"scaled", "1 groups of channels scaled")
    assert found.measured["a"][0].tolist() == [-4, -1]
    assert found.ranges == {"a": (-4.0, 4.0)}


def test_channels_that_need_no_shift_and_graphs_without_four_bits_are_no_change(
    pipeline: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = pipeline()
    made.program = SimpleNamespace(source="x", with_constants=lambda constants: constants)
    monkeypatch.setattr(module, "with_own_biases", lambda model: MODEL)
    made._programs[MODEL] = made.program
    monkeypatch.setattr(module, "find_shifts", lambda program, measured: {})
    monkeypatch.setattr(module, "four_bit_names", lambda model: ())
    assert made._absorb_biases(scored(20)) is None
    assert made._round_weights("int4", scored(20)) is None
    monkeypatch.setattr(module, "find_shifts", lambda program, measured: {"a": np.array([1.0])})
    monkeypatch.setattr(module, "absorb_shifts", lambda program, shifts: b"shifted")
    now = module._ScoredGraph(MODEL, {}, {"a": (np.array([0.0]), np.array([4.0]))}, score())
    found = made._absorb_biases(now)
    assert (found.model, found.ranges, found.what) == (
        b"shifted", {"a": (-1.0, 3.0)}, "the channels of 1 tensors shifted",
    )  # fmt: skip


def test_a_repair_that_fails_turns_repairs_off(pipeline: Any) -> None:
    made = pipeline()
    assert made._guard(lambda: "made") is None
    made.program = object()
    assert made._guard(lambda: "made") == "made"

    def refused() -> Any:
        raise ConversionError("refused")

    with pytest.raises(ConversionError):
        made._guard(refused)
    assert made._guard(lambda: 1 / 0) is None
    assert made.program is None
    assert made.notes == ["repairs failed unexpectedly: ZeroDivisionError: division by zero"]
