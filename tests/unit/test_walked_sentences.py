"""Sentences that walks with fresh data found wrong or doubtful: each is said of what it fits, once."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import quantized_layers
from records import float_row, result, row
from remarking import facts, matrix

from edgepress.converters.diagnosis.layer import QuantizedLayer
from edgepress.converters.ptq.calibration import ChosenMethods
from edgepress.runtime.contract import Contract
from edgepress.runtime.input_spec import InputSpec
from edgepress.toolkit.cli.benchmark import show_benchmark
from edgepress.toolkit.cli.calibrate import _missing
from edgepress.toolkit.cli.tables import best_engine_lines, group_line
from edgepress.toolkit.data.items import ArraySource
from edgepress.toolkit.data.types import DataSet, Split
from edgepress.toolkit.diagnosis.accuracy.result import AccuracyDiagnosis, Fix, sentences
from edgepress.toolkit.measurement.benchmarking import plan
from edgepress.toolkit.results.records import BestEngine
from edgepress.toolkit.results.remarks.checks import LEAST_GROUPS, remarks
from edgepress.toolkit.results.remarks.facts import FloatPair
from edgepress.toolkit.training.choosing import Choice, describe

SPEC = InputSpec(shape=(12,), dtype="float32")


def test_files_that_an_engine_does_not_open_are_named_in_one_note(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nine notes told the same of nine files."""
    monkeypatch.setattr(plan, "inputs_of", lambda spec: spec is not SPEC)
    several = [
        (Contract(task="softmax", labels=("a",), input=replace(SPEC), scheme=name), f"{name}.x", "openvino")
        for name in ("tflite-int8", "onnx-int8")
    ]
    single = Contract(task="softmax", labels=("a",), input=SPEC, scheme="tflite-int4")
    notes = plan._notes_of_skipped([*several, (single, "a.tflite", "openvino"), (single, "b.tflite", "openvino")])
    assert notes == [
        "Not measured on openvino, which can't open files of several inputs: tflite-int8.x, onnx-int8.x.",
        "Not measured on openvino, which can't open tflite-int4 files: a.tflite, b.tflite.",
    ]


@pytest.mark.parametrize("columns", ["60", "80", "200"])
def test_the_meaning_of_figures_is_printed_on_every_screen(
    columns: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Where rows are lists, nothing said what "≤3.74" and "98 % sure" mean; and which file is the baseline, nowhere."""
    monkeypatch.setenv("COLUMNS", columns)
    more: dict[str, Any] = {"accuracy": 0.95, "drop_pp": 0.0, "drop_high_pp": 1.1, "probability": 0.9}
    show_benchmark(result(float_row(**more), row(**more)))
    printed = " ".join(capsys.readouterr().out.split())
    assert "Drop: relative to the baseline, tflite-float32 on litert, with the upper end" in printed
    assert "Status: how sure it is" in printed


def test_items_of_few_groups_are_no_sample_of_others() -> None:
    """Beside "by group 68.75 % [11.11, 97.48]" stood "the accuracy is between 55 % and 80 %"."""
    small = matrix([12] * 4, [1.0, 0.75, 1.0, 0.0])
    alone = {
        remark.kind: remark.text for remark in remarks(facts(labels=tuple("abcd"), confusion=small, val_confusion=None))
    }
    assert "only show that the accuracy is between" in alone["few test items"]
    for groups in (1, 2, 30):
        found = {
            r.kind: r for r in remarks(facts(labels=tuple("abcd"), confusion=small, val_confusion=None, groups=groups))
        }
        remark = found["few test items"]
        assert "between" not in remark.text
        assert f"of {groups} group{'s' * (groups != 1)} tell little" in remark.text
        assert remark.figures["groups"] == groups


@pytest.mark.parametrize(("groups", "remarked"), [(None, False), (LEAST_GROUPS - 1, True), (LEAST_GROUPS, False)])
def test_many_items_of_few_groups_are_few(groups: int | None, remarked: bool) -> None:
    many = facts(confusion=matrix([2000] * 5, [0.99] * 5), groups=groups)
    assert ("few test items" in [remark.kind for remark in remarks(many)]) == remarked


def test_no_more_items_are_wished_for_a_model_near_the_largest_class() -> None:
    """`benchmark` said that such files are worth nothing, and to label items that tell two of them apart."""
    pair = FloatPair(reference="tflite-float32", candidate="tflite-dynamic", lost=0, gained=0, differing=0)
    lazy = facts(labels=("a", "b"), confusion=np.array([[52, 0], [14, 0]]), val_confusion=None, pair=pair)
    kinds = [remark.kind for remark in remarks(lazy)]
    assert "near the largest class" in kinds
    assert "few test items" not in kinds
    sound = facts(confusion=matrix([13] * 5, [1.0] * 5), pair=pair)
    assert "few test items" in [remark.kind for remark in remarks(sound)]


@pytest.mark.parametrize(
    ("count", "text"), [(1, "the one test group is in no other split"), (2, "none of 2 test groups")]
)
def test_groups_are_counted_in_words(count: int, text: str) -> None:
    share = {"estimate": 0.5, "low": 0.1, "high": 0.9}
    assert text in group_line({"groups": {"count": count, "by_item": share, "by_group": share}})


def diagnosis(drop: float | None, agreement: float) -> AccuracyDiagnosis:
    layer = QuantizedLayer(**quantized_layers.PLAIN | {"name": "first", "cost": 0.4, "agreement": 0.9})
    return AccuracyDiagnosis(
        model="m.keras", file="m.tflite", scheme="tflite-int8", engine="litert", data="check", items=300,
        accuracy=None if drop is None else 0.95, model_accuracy=None if drop is None else 0.95 + (drop or 0) / 100,
        drop_pp=drop, drop_low_pp=None if drop is None else drop - 2, drop_high_pp=None if drop is None else drop + 2,
        agreement=agreement, simulated_agreement=None, text="", layers=(layer,), layer_items=64, classes=(),
        fixes=(Fix(text="keep activations in 16 bits", command="edgepress convert m.keras"),),
    )  # fmt: skip


@pytest.mark.parametrize(
    ("drop", "agreement", "said"), [(-3.3, 0.967, True), (0.0, 0.97, True), (0.4, 0.97, False), (None, 0.9, False)]
)
def test_a_file_that_lost_nothing_needs_a_fix_only_if_more_items_show_a_loss(
    drop: float | None, agreement: float, said: bool
) -> None:
    text = sentences(diagnosis(drop, agreement), ["a", "b"])
    assert ("These items show no loss" in text) == said
    assert "Try first to keep activations in 16 bits" in text


def test_a_file_that_agrees_needs_no_fix() -> None:
    assert sentences(diagnosis(0.0, 1.0), ["a", "b"]).endswith("The file needs no fix.")


@pytest.mark.parametrize(("others", "text"), [({}, ""), ({1: "mse"}, ", of 1 tensor by others")])
def test_tensors_are_counted_in_words(others: dict[int, str], text: str) -> None:
    score = SimpleNamespace(facts=dict)
    methods = SimpleNamespace(default="minmax", tensors=others)
    chosen: Any = ChosenMethods(methods, score, score, 3)  # type: ignore[arg-type]
    assert chosen.summary()["what"] == f"ranges by minmax{text}"


@pytest.mark.parametrize(
    ("spec", "place"),
    [(SPEC, "on items of shape 12,"), (InputSpec.image(28, 32, "grey"), "at 28 x 32,")],
)
def test_a_training_on_tensors_has_no_size_of_images(spec: InputSpec, place: str) -> None:
    source = ArraySource(np.zeros((4, *spec.shape), np.float32 if spec is SPEC else np.uint8), list("abcd"), spec)
    split = Split(source, np.arange(4), np.array([0, 1, 0, 1]))
    data = DataSet("parts.npz", ("a", "b"), spec, split, split, split, "0" * 64)
    assert f"Training dense from nothing {place}" in describe(
        data, Choice("dense", None, "it is so"), {"arch": "dense"}
    )


@pytest.mark.parametrize(("missing", "enough"), [(299, True), (1500, True), (1501, False)])
def test_no_number_of_items_is_wished_for_where_there_are_as_many(missing: int, enough: bool) -> None:
    """It said that 1 % needs 299 items where there were 1500."""
    fit = SimpleNamespace(items=1500, reachable=0.03, missing=missing, tied=None)
    found: Any = SimpleNamespace(fit=fit, wish=SimpleNamespace(promise="error", limit=0.01), earlier=None)
    text = _missing(found)
    assert ("Too many of the surest answers are wrong." in text) == enough
    assert (f"needs {missing} of them" in text) != enough


def test_no_engine_is_called_best_that_takes_longer_than_another() -> None:
    """Of noisy rounds it said "litert (openvino 0.97 times as long)"."""
    best = (BestEngine(file="tflite-int8.tflite", engine="litert", beyond_doubt=False, slower={"a": 0.97, "b": 1.5}),)
    (line,) = best_engine_lines(replace(result(row()), best_engines=best))
    assert line == "tflite-int8: litert (a as fast, by round, b 1.50 times as long; the difference is not significant)"
