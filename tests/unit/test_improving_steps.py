"""The steps of `improve`, with a training, a conversion and a calibration that only note what they are asked for."""

from __future__ import annotations

import base64
import types
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from accepting import ACCEPT
from records import assert_frozen

from edgepress.converters.contract.hints import Hints
from edgepress.runtime.acceptance import Acceptance, Unknown
from edgepress.runtime.contract import Contract
from edgepress.runtime.data_record import DataRecord
from edgepress.runtime.input_spec import InputSpec
from edgepress.toolkit.data.items import ArraySource
from edgepress.toolkit.data.types import DataSet, Split
from edgepress.toolkit.errors import InputError
from edgepress.toolkit.improvement.improving import improve as module
from edgepress.toolkit.improvement.improving import proof
from edgepress.toolkit.improvement.improving.improve import KEPT, Improved, improve, train_on
from edgepress.toolkit.improvement.improving.options import ImproveOptions
from edgepress.toolkit.improvement.improving.proof import FormerFile, kinds_to_make, not_repeated, promises
from edgepress.toolkit.stats.acceptance import upper_bound
from edgepress.toolkit.stats.samples import items_to_rule_out
from edgepress.toolkit.training.run_folder import MODEL, VARIANTS, TrainResult

SPEC = InputSpec.image(16, 16, "grey")
CONTRACT = Contract(task="softmax", labels=("a", "b"), input=SPEC, scheme="tflite-int8")
ARGUMENTS: dict[str, Any] = {"arch": "lenet", "learning_rate": 0.01} | {name: f"own {name}" for name in KEPT}


def scenes(first: int, count: int) -> Split:
    """Pictures that are like no other one, with the numbers from `first` on for names; the classes take turns."""
    numbers = range(first, first + count)
    x = [np.random.default_rng(n).integers(0, 256, (8, 8, 1)).repeat(2, 0).repeat(2, 1) for n in numbers]
    source = ArraySource(np.array(x, np.uint8).reshape(-1, 16, 16, 1), [str(n) for n in numbers], SPEC)
    return Split(source, np.arange(count), np.arange(count) % 2)


def data(first: int, name: str) -> DataSet:
    return DataSet(name, ("a", "b"), SPEC, scenes(first, 9), scenes(first + 20, 3), scenes(first + 40, 8), sha256=name)


def put(folder: Path, name: str, **changes: Any) -> Path:
    """A converted file of a run: its contract alone."""
    path = folder / VARIANTS / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(CONTRACT.replace(**changes).to_json())
    return path


class World:
    """A run, its data, and what the steps were asked for; the new model is right on shares of old and new items."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.run = folder / "run"
        self.run.mkdir()
        (self.run / MODEL).write_text(CONTRACT.to_json())
        self.metrics: dict[str, Any] = {"arguments": dict(ARGUMENTS)}
        self.old, self.new = data(0, "old"), data(1000, "new")
        self.right = {"run": (1.0, 0.0), "run-improved": (1.0, 1.0)}
        self.asked: dict[str, Any] = {}
        self.converted: list[tuple[Any, ...]] = []
        self.failing: tuple[str, ...] = ()
        self.promised: list[tuple[Path, Acceptance]] = []
        self.kept = True
        self.said: list[str] = []
        monkeypatch.setattr(proof, "contract_of", _contract_of)
        monkeypatch.setattr(module, "contract_of", _contract_of)
        monkeypatch.setattr(module, "load_result", lambda path: TrainResult(path / MODEL, self.metrics, []))
        monkeypatch.setattr(module, "data_for", lambda contract, given, **more: (self.old, [f"opened {given} {more}"]))
        monkeypatch.setattr(module, "open_in_groups", self._open)
        monkeypatch.setattr(module, "train", self._train)
        monkeypatch.setattr(module, "remember", lambda target, fresh, learned: self.asked.update(remembered=target))
        monkeypatch.setattr(module, "model_scores", self._scores)
        monkeypatch.setattr(module, "convert", self._convert)
        monkeypatch.setattr(module, "promise_again", self._promise)
        monkeypatch.setattr(module, "new_answers", lambda one, fresh: (one.path, fresh.source))

    def improve(self, **options: Any) -> Improved:
        return improve(self.run, "new", on_step=self.said.append, **options)

    def _open(self, source: str, trained_on: DataRecord | None, **options: Any) -> tuple[DataSet, list[str]]:
        self.asked["opened"] = (source, options)
        return self.new, []

    def _train(self, both: DataSet, arch: str, **how: Any) -> Any:
        self.asked |= {"both": both, "arch": arch, "how": how}
        return types.SimpleNamespace(model=how["out"] / MODEL)

    def _scores(self, path: Path, split: Split) -> Any:
        shares = self.right[path.parent.name]
        right = np.concatenate([np.arange(8) < round(8 * share) for share in shares])
        return np.eye(2)[np.where(right, split.y, 1 - split.y)]

    def _convert(self, model: Path, schemes: list[str], *, target: str, hints: Any, **more: Any) -> list[Any]:
        self.converted.append((schemes, target, hints, more["out"], more["data"].source))
        return [
            types.SimpleNamespace(
                scheme=scheme, error="no room", path=None if scheme in self.failing else more["out"] / f"{scheme}.file"
            )
            for scheme in schemes
        ]

    def _promise(self, file: Path, accept: Acceptance, data: DataSet) -> Any:
        self.promised.append((file, accept))
        if accept.engine == "gone":
            raise InputError("The engine gone is not installed.")
        return types.SimpleNamespace(path=file.parent / "calibrated" / file.name if self.kept else None)


def _contract_of(path: Path) -> Contract:
    return Contract.from_json(path.read_text())


@pytest.fixture
def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> World:
    return World(tmp_path, monkeypatch)


# Training.


def test_the_first_training_is_repeated_more_slowly_from_its_weights_on_old_and_new_items(world: World) -> None:
    result = world.improve()
    how = world.asked["how"]
    kept = {name: f"own {name}" for name in KEPT}
    given = {"epochs": 10, "learning_rate": 0.3 * 0.01, "patience": None, "seed": 0, "resume": False}
    given |= {"overwrite": False, "progress": True, "continued": True, "weights": world.run / MODEL}
    assert how == kept | given | {"out": world.run.with_name("run-improved")}
    assert world.asked["arch"] == "lenet"
    assert len(world.asked["both"].test) == 16
    assert world.asked["remembered"] == world.run.with_name("run-improved")
    assert world.asked["opened"][0] == "new"
    assert world.asked["opened"][1] == {
        "purpose": "evaluation", "input": SPEC, "labels": ("a", "b"), "skip_unreadable": False, "multilabel": False
    }  # fmt: skip
    assert "skip_unreadable=False" in result.notes[0]
    assert result.notes[0].startswith("opened None")
    assert world.said[0] == "Training on 9 new items, beside old ones"
    assert result.model == world.run.with_name("run-improved") / MODEL


def test_options_reach_the_training_and_the_data(world: World, tmp_path: Path) -> None:
    result = world.improve(
        data="mine", out=tmp_path / "run-improved", epochs=3, learning_rate=0.5, seed=4, skip_unreadable=True,
        overwrite=True, progress=False,
    )  # fmt: skip
    how = world.asked["how"]
    assert {name: how[name] for name in ("epochs", "learning_rate", "seed", "resume", "overwrite", "progress")} == {
        "epochs": 3, "learning_rate": 0.5, "seed": 4, "resume": False, "overwrite": True, "progress": False
    }  # fmt: skip
    assert world.asked["opened"][1]["skip_unreadable"] is True
    world.improve(resume=True)
    assert world.asked["how"]["resume"]
    assert result.notes[0].startswith("opened mine")
    assert "skip_unreadable=True" in result.notes[0]


def test_the_rate_of_a_run_that_was_improved_does_not_fall_again(world: World, tmp_path: Path) -> None:
    world.metrics["arguments"]["continued"] = True
    train_on(world.run, world.old, tmp_path / "out")
    assert world.asked["how"]["learning_rate"] == 0.01
    train_on(world.run, world.old, tmp_path / "out", ImproveOptions(learning_rate=0.25))
    assert world.asked["how"]["learning_rate"] == 0.25


@pytest.mark.parametrize("max_drop", [-0.1, 100, float("nan")])
def test_a_drop_that_makes_no_sense_is_refused_before_any_work(world: World, max_drop: float) -> None:
    with pytest.raises(InputError, match=f"max_drop is {max_drop:g}; accepted: at least 0 and below 100"):
        world.improve(max_drop=max_drop)
    assert world.asked == {}


def test_no_drop_at_all_may_be_asked_for(world: World) -> None:
    assert world.improve(max_drop=0).old.verdict == "open"
    assert world.improve(max_drop=99.9).old.verdict == "proven"


def test_a_run_is_not_replaced_by_its_improvement(world: World) -> None:
    with pytest.raises(InputError, match="the run that is to be improved"):
        world.improve(out=world.run / ".." / "run")


@pytest.mark.parametrize(
    "arguments", [None, [], {}, {name: value for name, value in ARGUMENTS.items() if name != "width"}]
)
def test_a_folder_that_does_not_say_how_it_was_trained_is_refused(world: World, arguments: Any) -> None:
    world.metrics["arguments"] = arguments
    with pytest.raises(InputError, match="does not say how the model was trained"):
        world.improve()
    (world.run / MODEL).unlink()
    with pytest.raises(InputError, match="is not the folder of a run"):
        world.improve()


def test_models_of_tensors_and_new_data_that_are_all_held_out_are_refused(world: World) -> None:
    world.new = replace(world.new, train=scenes(0, 0))
    with pytest.raises(InputError, match="new has 8 items, all held out"):
        world.improve()
    tensors = InputSpec(shape=(4,), dtype="float32")
    (world.run / MODEL).write_text(CONTRACT.replace(input=tensors).to_json())
    with pytest.raises(InputError, match="takes tensors"):
        world.improve()


# What it proves.


def test_both_models_are_compared_on_new_and_on_old_items(world: World) -> None:
    world.right = {"run": (0.75, 0.25), "run-improved": (1.0, 0.5)}
    result = world.improve(max_drop=99)
    assert (result.old.items, result.old.before, result.old.after) == (8, 0.75, 1.0)
    assert (result.new.items, result.new.before, result.new.after) == (8, 0.25, 0.5)


def test_a_worse_model_is_not_converted(world: World) -> None:
    world.right["run-improved"] = (0.0, 1.0)
    result = world.improve()
    assert (result.verdict, result.files, result.ship) == ("worse", (), None)
    assert world.converted == []


@pytest.mark.parametrize(
    ("new", "old", "verdict"),
    [
        ("proven", "proven", "proven"),
        ("open", "proven", "open"),
        ("proven", "open", "open"),
        ("worse", "open", "worse"),
        ("proven", "worse", "worse"),
    ],
)
def test_the_verdict_is_the_worst_of_both(world: World, new: Any, old: Any, verdict: str) -> None:
    result = world.improve()
    both = replace(result, new=replace(result.new, verdict=new), old=replace(result.old, verdict=old))
    assert both.verdict == verdict
    assert both.to_dict()["verdict"] == verdict


@pytest.mark.parametrize(("lost", "gained", "items", "drop"), [(3, 3, 300, 1.0), (9, 1, 400, 3.0)])
def test_the_items_that_are_needed_are_those_that_rule_the_drop_out(
    lost: int, gained: int, items: int, drop: float
) -> None:
    kinds = np.repeat([0, 1, 2], [lost, gained, items - lost - gained])
    result = proof.prove_not_worse(kinds != 1, kinds != 0, drop)
    assert result.verdict == "open"
    assert result.needed == items_to_rule_out(lost, gained, items, drop=drop / 100)


# Files.


def test_without_old_files_one_of_int8_is_made(world: World) -> None:
    result = world.improve()
    target = world.run.with_name("run-improved") / VARIANTS
    assert world.converted == [(["tflite-int8"], "cpu", None, target, "old and new")]
    assert result.files == (target / "tflite-int8.file",)
    assert (result.asked, result.had_promise, result.ship) == ((True,), False, result.files[0])
    assert world.said[1:] == ["Comparing both models on held-out items", "Converting and calibrating"]


def test_files_are_made_of_the_kinds_that_there_were(world: World) -> None:
    put(world.run, "b.tflite", target="integer-only", task="logits")
    put(world.run, "a.onnx", scheme="onnx-int8")
    put(world.run, "c.tflite", target="integer-only", task="logits")
    put(world.run, "d.tflite", scheme="of tomorrow")
    put(world.run, "report.html", scheme="onnx-float32")
    world.failing = ("onnx-int8",)
    result = world.improve()
    kinds = [FormerFile("onnx-int8"), FormerFile("tflite-int8", "integer-only", logits=True)]
    assert kinds_to_make(world.run, None) == kinds
    assert [call[:3] for call in world.converted] == [
        (["onnx-int8"], "cpu", None),
        (["tflite-int8"], "integer-only", Hints(output="logits")),
    ]
    assert [path.name for path in result.files] == ["tflite-int8.file"]
    assert result.asked == (False, True)
    assert "onnx-int8 was not converted: no room" in result.notes
    assert result.ship == result.files[0]


def test_schemes_that_are_named_are_made_as_the_old_files_of_them(world: World) -> None:
    put(world.run, "a.tflite", task="logits")
    assert kinds_to_make(world.run, "tflite-int8,onnx-int8") == [
        FormerFile("tflite-int8", logits=True),
        FormerFile("onnx-int8"),
    ]
    result = world.improve(to="tflite-int8,onnx-int8")
    assert len(result.files) == 2
    assert result.ship is None, "of two without a promise"


# Promises.


def test_a_promise_is_made_anew_for_the_new_file_of_its_kind(world: World) -> None:
    put(world.run, "a.tflite")
    put(world.run, "calibrated/a.tflite", accept=ACCEPT)
    result = world.improve()
    assert world.promised == [(result.files[0], ACCEPT)]
    assert promises(world.run) == {FormerFile("tflite-int8"): ACCEPT}
    calibrated = result.files[0].parent / "calibrated" / result.files[0].name
    assert result.promised == ((calibrated, "new"),)
    assert (result.ship, result.asked, result.had_promise) == (calibrated, (True, True), True)


def test_a_promise_that_is_not_kept_ships_nothing(world: World) -> None:
    put(world.run, "calibrated/a.tflite", accept=ACCEPT)
    world.kept = False
    result = world.improve()
    assert (result.promised, result.ship, result.asked) == ((), None, (True, False))


def test_a_promise_whose_engine_is_gone_or_whose_file_was_not_made_is_missing(world: World) -> None:
    put(world.run, "calibrated/a.tflite", accept=replace(ACCEPT, engine="gone"))
    put(world.run, "calibrated/b.onnx", scheme="onnx-int8", accept=ACCEPT)
    world.failing = ("onnx-int8",)
    result = world.improve()
    assert (result.calibrated, result.ship, result.asked) == ((), None, (True, False, False, False))
    assert f"{result.files[0]} was not calibrated: The engine gone is not installed." in result.notes
    assert world.improve(to="tflite-int8").asked == (True, False), "the other kind was not asked for"


def test_what_is_not_repeated_is_told(world: World) -> None:
    unknown = Unknown(references=base64.b64encode(bytes([127, 0])).decode(), labels=2, at_least=0.5, floor=0.01)
    put(world.run, "a.tflite", unknown=unknown)
    put(world.run, "b.tflite", ranges={"x": (0, 1)})
    put(world.run, "c.tflite")
    assert not_repeated(world.run) == [
        "a.tflite rejects items of no class; the new file does not: edgepress calibrate --unknown.",
        "b.tflite has ranges of edgepress tune; the new file has not.",
    ]
    assert list(world.improve().notes[-2:]) == not_repeated(world.run)


@pytest.mark.parametrize(("kind", "wish"), [("error", "max_error"), ("rejected", "max_rejected")])
def test_the_promise_that_is_measured_is_that_of_the_old_file(
    kind: Any, wish: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: dict[str, Any] = {}

    def calibrate(file: Path, **options: Any) -> list[str]:
        asked.update(options, file=file)
        return ["calibrated"]

    monkeypatch.setattr(proof, "calibrate", calibrate)
    old = replace(ACCEPT, promise=kind, limit=0.1, confidence=0.9, engine="onnxruntime")
    old_data = data(0, "old")
    assert proof.promise_again(Path("a.tflite"), old, old_data) == "calibrated"
    assert asked == {"file": Path("a.tflite"), "data": old_data, "confidence": 0.9, "engine": "onnxruntime", wish: 0.1}


def test_wrong_answers_are_counted_among_those_that_are_accepted(monkeypatch: pytest.MonkeyPatch) -> None:
    right = np.array([True, True, False, False, False, True])
    accepted = np.array([True, True, True, False, False, False])
    monkeypatch.setattr(proof, "answers_to", lambda path, fresh, engine: (right, accepted))
    limits = types.SimpleNamespace(accept=replace(ACCEPT, confidence=0.9))
    calibrated: Any = types.SimpleNamespace(path=Path("a"), engine="litert", fit=types.SimpleNamespace(limits=limits))
    answers = proof.new_answers(calibrated, data(0, "new"))
    assert (answers.items, answers.accepted, answers.wrong, answers.confidence) == (6, 3, 1, 0.9)
    assert answers.at_most == upper_bound(1, 3, 0.9)


def test_records_are_frozen() -> None:
    for each, names in ((module, {"Improved"}), (proof, {"NewAnswers", "Proof"})):
        assert_frozen(each, by_position=frozenset(names))
