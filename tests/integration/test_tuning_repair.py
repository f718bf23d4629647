"""Repairs of float graphs: what they regain on nets that int8 ruins, and that they leave sound ones alone."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import numpy as np
import pytest
from rewriting import Net

from edgepress.converters.calibration import tflite_statistics
from edgepress.converters.graph.program import Program
from edgepress.converters.numeric.statistics import CalibrationMethods, Statistics
from edgepress.converters.ptq import pipeline as module
from edgepress.converters.ptq.bias import correct_biases, with_own_biases
from edgepress.converters.ptq.calibration import ChosenMethods
from edgepress.converters.ptq.channel_scales import channel_ranges, scale_groups, tensor_ranges
from edgepress.converters.ptq.equalization import equalizing_factors
from edgepress.converters.ptq.repair import repair
from edgepress.converters.ptq.score import CALL_MACS, FEWEST_ITEMS, Score, Scorer, macs, scoring_items
from edgepress.converters.schemes import SCHEMES
from edgepress.converters.to_tflite.convert import with_scheme

RELU, RELU6 = 1, 3
ITEMS = np.random.default_rng(0).normal(size=(128, 6, 6, 3)).astype(np.float32)
CALIBRATION, TEST = ITEMS[:64], ITEMS[64:]


def batches() -> list[np.ndarray]:
    return [CALIBRATION]


def net(act: int = RELU, *, hard: bool) -> bytes:
    """Three convolutions, whose channels differ in scale by up to 2^12 if it is `hard`, and a dense layer's scores."""
    made = Net((6, 6), 3, seed=1)
    made.conv(12, (3, 3), act=act)
    made.depthwise((3, 3), act=act)
    made.conv(12, act=act)
    made.add("MEAN", [made.now, np.array([1, 2], np.int32)], (1, 12))
    weights = made.random.normal(size=(5, 12)).astype(np.float32)
    made.add("FULLY_CONNECTED", [made.now, weights, np.zeros(5, np.float32)], (1, 5))
    program = Program(made.model())
    if act == RELU6:  # few channels reach 6
        small = {step.weights: step.constants[1] / 5 for step in program.weighted()}
        program = Program(program.with_constants(small))
    groups = scale_groups(program)
    factors = np.exp2(np.random.default_rng(2).uniform(-6, 6, groups.count))
    if act == RELU6:  # what stays below 6 on all items may grow up to it
        widest = np.zeros(groups.count)
        for name, (_, high) in channel_ranges(program, ITEMS).items():
            np.maximum.at(widest, groups.of[name], high)
        factors = np.where(widest >= 6, 1, np.maximum(factors, widest / 6))
    factors[0] = 1
    return program.with_constants(groups.scale_constants(factors) if hard else {})


def agreement(model: bytes, judge: Scorer, precision: str = "int8") -> float:
    program = Program(model)
    ranges = tensor_ranges(channel_ranges(program, CALIBRATION), program.source, None)
    found = judge.score(model, ranges, precision).agreement
    assert found is not None
    return found


@pytest.mark.parametrize("act", [RELU, RELU6])
def test_a_net_of_uneven_channels_is_repaired(act: int) -> None:
    model = net(act, hard=True)
    judge = Scorer(model, TEST)
    found = repair(model, batches, judge)
    assert not found.notes
    assert agreement(model, judge) < 0.9
    assert agreement(found.models["int8"], judge) >= 0.95
    assert next(stage.name for stage in found.stages if stage.kept) == "equalization"


def test_equalization_does_not_change_float_answers() -> None:
    model = net(hard=True)
    judge = Scorer(model, TEST)
    found = repair(model, batches, judge)
    exact = judge.score(found.models["exact"], None, "float32")
    assert exact.agreement == 1
    assert exact.snr_db > 100


def test_dynamic_quantization_is_repaired_too() -> None:
    model = net(hard=True)
    judge = Scorer(model, TEST)
    found = repair(model, batches, judge)
    before, after = (judge.score(m, None, "dynamic") for m in (model, found.models["exact"]))
    assert after.better_than(before)


def test_biases_are_corrected_for_the_rounding_of_their_own_files(monkeypatch: pytest.MonkeyPatch) -> None:
    """Dense layers have one scale in dynamic files, and one for each output in those of int8 weights."""
    monkeypatch.setattr(Score, "sound", False)
    model = net(hard=True)
    judge = Scorer(model, TEST)
    found = repair(model, batches, judge, wanted=["dynamic", "weights"])
    for tuning, precision, rewrites in (("dynamic", "dynamic", ("depthwise-weights",)), ("weights", "weights8", ())):
        last = [stage for stage in found.stages if stage.kind == tuning][-1]
        tuned = judge.score(found.models[tuning], None, precision, rewrites)  # type: ignore[index]
        assert tuned.snr_db == (last.after if last.kept else last.before).snr_db


def test_corrected_biases_are_judged_with_the_ranges_of_the_file(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Score, "sound", False)
    model = net(hard=True)
    judge = Scorer(model, TEST)
    found = repair(model, batches, judge, wanted=["int8"])
    last = found.stages[-1]
    assert last.name == "bias-correction"
    assert last.kept
    ranges = tflite_statistics(found.models["int8"], batches, None).ranges()
    assert judge.score(found.models["int8"], ranges).snr_db == last.after.snr_db


def test_a_large_net_is_scored_on_fewer_items() -> None:
    made = Net((6, 6), 3)
    made.conv(12, (3, 3))
    made.add("FULLY_CONNECTED", [made.now, made.random.normal(size=(5, 432)).astype(np.float32)], (1, 5))
    products = 36 * 9 * 3 * 12 + 432 * 5
    assert macs(made.model()) == products
    assert scoring_items(made.model(), 100 * (products + CALL_MACS)) == 100
    assert scoring_items(made.model(), 10 * (products + CALL_MACS)) == FEWEST_ITEMS


def test_labels_that_do_not_fit_the_answers_are_left_out() -> None:
    made = Net((6, 6), 3)
    made.add("MEAN", [made.now, np.array([1, 2], np.int32)], (1, 3))
    made.add("LOGISTIC", [made.now], (1, 3))
    model = made.model()
    judge = Scorer(model, TEST, np.zeros(len(TEST), np.int64))
    found = judge.score(model, None, "float32")
    assert (found.accuracy, found.agreement) == (None, 1)


def test_biases_make_up_for_rounded_weights(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Score, "sound", False)
    model = net(hard=True)
    judge = Scorer(model, TEST)
    found = repair(model, lambda: [CALIBRATION], judge, wanted=["exact", "weights"])
    last = found.stages[-1]
    assert (last.name, last.kind) == ("bias-correction", "weights")
    assert last.after.snr_db > last.before.snr_db
    assert set(found.models) >= {"exact"}


def test_biases_are_corrected_around_a_branch() -> None:
    """What an addition reads is kept until then."""
    made = Net((6, 6), 3)
    beside = made.conv(4, act=RELU)
    made.conv(4, (3, 3), act=RELU)
    made.conv(4, (3, 3))
    made.add("ADD", [made.now, beside], made.shape)
    made.conv(2)
    program = Program(made.model())
    file = with_scheme(made.model(), SCHEMES["tflite-weights8"], None, uint8=False)
    biases = correct_biases(program, file, CALIBRATION)
    assert sorted(biases) == sorted(step.bias for step in program.weighted())


def test_a_sound_net_is_left_alone() -> None:
    model = net(hard=False)
    judge = Scorer(model, TEST)
    judge.score_file = lambda file, items=None: Score(None, 1.0, 31.0, np.ones(64, bool))  # type: ignore[method-assign]
    found = repair(model, batches, judge)
    assert not found.models
    assert not found.stages


def test_a_stage_that_does_harm_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    def harmful(program: Program, file: bytes, items: np.ndarray) -> dict[str, np.ndarray]:
        return {step.bias: step.constants[2] + 100 for step in program.weighted() if step.bias}

    monkeypatch.setattr(module, "correct_biases", harmful)
    monkeypatch.setattr(module, "equalizing_factors", lambda groups, *_: np.ones(groups.count))
    monkeypatch.setattr(Score, "sound", False)
    model = net(hard=False)
    found = repair(model, batches, Scorer(model, TEST))
    assert found.stages
    assert not any(stage.kept for stage in found.stages)
    assert not found.models


def test_repairs_are_deterministic() -> None:
    model = net(hard=True)
    assert repair(model, batches, Scorer(model, TEST)).models == repair(model, batches, Scorer(model, TEST)).models


def test_a_failure_of_repairs_is_a_note_and_costs_no_file(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise ZeroDivisionError("by zero")

    monkeypatch.setattr(module, "channel_ranges", fail)
    model = net(hard=True)
    found = repair(model, batches, Scorer(model, TEST))
    assert not found.models
    assert found.notes[0] == "repairs failed unexpectedly: ZeroDivisionError: by zero"


def test_an_operation_that_programs_do_not_know_is_a_note() -> None:
    made = Net((6, 6), 3)
    made.conv(4, act=RELU)
    made.add("CUMSUM", [made.now, np.array(1, np.int32)], made.shape)
    model = made.model()
    found = repair(model, batches, Scorer(model, TEST[:2]))
    assert not found.models
    assert "CUMSUM" in found.notes[0]


def test_a_bias_that_two_operations_read_is_given_to_each() -> None:
    made = Net((6, 6), 3)
    made.conv(4, act=RELU)
    first = made.graph.operators[-1]
    made.conv(4)
    made.graph.operators[-1].inputs[2] = first.inputs[2]
    weights = made.random.normal(size=(4, 4)).astype(np.float32)
    made.add("FULLY_CONNECTED", [made.add("MEAN", [made.now, np.array([1, 2], np.int32)], (1, 4)), weights], (1, 4))
    model = made.model()
    before, after = (list(Program(m).weighted()) for m in (model, with_own_biases(model)))
    assert len({step.bias for step in after}) == 3
    for old, new in zip(before[:2], after, strict=False):
        np.testing.assert_array_equal(old.constants[2], new.constants[2])
    np.testing.assert_array_equal(after[2].constants[2], np.zeros(4))


def test_a_channel_that_reaches_6_keeps_its_scale_and_others_stay_below_it() -> None:
    program = Program(net(RELU6, hard=True))
    groups, ranges = scale_groups(program), channel_ranges(program, ITEMS)
    factors = equalizing_factors(groups, ranges)
    for name, (_, high) in ranges.items():
        by = factors[groups.of[name]]
        bounded = groups.bounded[groups.of[name]]
        np.testing.assert_array_equal(by[bounded & (high >= 6)], 1)
        assert (high / by)[bounded].max(initial=0) <= 6 * (1 + 1e-6)


def _score(hits: str, noise: float) -> Score:
    return Score(None, None, noise, np.array([hit == "1" for hit in hits]))


@pytest.mark.parametrize(
    ("after", "noise", "better"),
    [
        ("110000110000110000", 20, False),  # nothing changed
        ("110000110000110000", 20.4, False),  # less than the margin
        ("110000110000110000", 20.6, True),
        ("100000110000110000", 20.6, False),  # an item is lost, for little less noise
        ("100000110000110000", 22.9, False),
        ("100000110000110000", 23.1, True),  # one may be chance, so half the noise decides
        ("000000110000110000", 23.1, True),  # two may be, too
        ("000000000000010000", 23.1, False),  # five are not
        ("111100110000110000", 20, False),
        ("111111111000110000", 20, True),
        ("111111111000110000", 19.4, False),  # items and noise disagree
        ("111111111111110000", 0, False),  # eight items are not clear
        ("111111111111111111", 0, True),  # twelve are
        ("000000000000000000", 50, False),
    ],
)
def test_items_and_noise_decide(after: str, noise: float, *, better: bool) -> None:
    before = _score("110000110000110000", 20)
    assert _score(after, noise).better_than(before) is better
    assert not (better and before.better_than(_score(after, noise)))


def test_scores_have_only_the_figures_that_there_are() -> None:
    assert _score("1", 20.123).facts() == {"snr_db": 20.12}
    assert dataclasses.replace(_score("1", 20), accuracy=1.0).facts() == {"accuracy": 1.0, "snr_db": 20}


def test_labels_make_hits() -> None:
    model = net(hard=False)
    truth = Scorer(model, TEST)._reference.argmax(axis=1)
    wrong = (truth + 1) % 5
    labels = np.where(np.arange(64) < 16, wrong, truth)
    score = Scorer(model, TEST, labels).score(model, None, "float32")
    assert score.accuracy == 0.75
    assert score.agreement == 1


@pytest.mark.parametrize("tensors", [True, False])
def test_a_graph_whose_tensors_have_methods_of_their_own_serves_both_formats(
    tensors: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    def by_tensor(statistics: Statistics, score: Callable[[CalibrationMethods], Score], trials: int) -> ChosenMethods:
        names = statistics.names[:1] if tensors else ()
        found = score(choice := CalibrationMethods("mse").with_tensors(names, "minmax"))
        return ChosenMethods(choice, found, found, 1)

    monkeypatch.setattr(module, "choose_methods", by_tensor)
    model = net(hard=False)
    found = repair(model, batches, Scorer(model, TEST), wanted=("int8",), repairs=False, method="auto")
    assert found.models == ({"int8": model} if tensors else {})


def test_ranges_of_four_bit_files_are_chosen_as_those_of_int8_files(monkeypatch: pytest.MonkeyPatch) -> None:
    judged: list[Score] = []

    def by_score(statistics: Statistics, score: Callable[[CalibrationMethods], Score], trials: int) -> ChosenMethods:
        judged.append(found := score(CalibrationMethods()))
        return ChosenMethods(CalibrationMethods(), found, found, 1)

    monkeypatch.setattr(module, "choose_methods", by_score)
    model = net(hard=False)
    for wanted in ("int4", "int8"):
        repair(model, batches, Scorer(model, TEST), wanted=(wanted,), repairs=False, method="auto")
    assert judged[0].snr_db == judged[1].snr_db
