"""Which repairs a pipeline tries for each kind of files, in which order, and which graphs it returns."""

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
from edgepress.converters.ptq.score import SOUND_DB, Score
from edgepress.converters.ptq.stages import CALIBRATED, RECIPES

MODEL = b"model"
EVERY = tuple(RECIPES)


def graph(noise: float, model: bytes = MODEL) -> Any:
    return module._ScoredGraph(model, {}, {}, Score(None, None, noise, np.zeros(0, bool)))


class Traced:
    """A pipeline whose stages are names, each of which adds decibels."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, start: float = 0.0, gain: float = 1.0, **missing: Any) -> None:
        self.tried: list[tuple[str, str]] = []
        self.methods = CalibrationMethods("mse", missing.pop("tensors", {}))
        self.gain = gain
        made: Any = Pipeline(MODEL, list, SimpleNamespace(), input_range=None, repairs=False)  # type: ignore[arg-type]
        made.program = object()
        self.pipeline = made
        monkeypatch.setattr(made, "_reuse_equalized", lambda kinds: missing.get("equalized", f"equalized {kinds}"))
        monkeypatch.setattr(made, "score_plain", lambda kind: graph(start))
        monkeypatch.setattr(made, "_absorb_biases", lambda now: missing.get("absorbed", "absorbed"))
        monkeypatch.setattr(made, "_correct_biases", lambda kind, now: missing.get("corrected", "corrected"))
        monkeypatch.setattr(made, "_round_weights", lambda kind, now: missing.get("rounded", "rounded"))
        monkeypatch.setattr(made, "_try", self.try_one)
        monkeypatch.setattr(made, "_with_methods", self.choose)

    def try_one(self, name: str, kind: str, now: Any, change: str, methods: Any = None) -> Any:
        self.tried.append((kind, name, change, methods) if methods else (kind, name, change))  # type: ignore[arg-type]
        return graph(now.score.snr_db + self.gain, now.model + b"+")

    def choose(self, kind: str, now: Any, method: str, chosen: Any) -> Any:
        self.tried.append((kind, "methods", method, "again" if chosen else "first"))  # type: ignore[arg-type]
        return now, chosen or ChosenMethods(self.methods, now.score, now.score, 1)

    def run(self, *kinds: Any) -> Any:
        return self.pipeline.run(kinds, "auto")


def test_each_kind_is_repaired_by_its_stages_in_order(monkeypatch: pytest.MonkeyPatch) -> None:
    traced = Traced(monkeypatch)
    found = traced.run(*EVERY)
    dense, plain = "equalized ('FULLY_CONNECTED',)", "equalized ()"
    chosen = traced.methods
    assert traced.tried == [
        ("exact", "equalization", dense),
        ("dynamic", "equalization", dense),
        ("dynamic", "bias-correction", "corrected"),
        ("weights", "equalization", plain),
        ("weights", "bias-correction", "corrected"),
        ("int8", "equalization", plain),
        ("int8", "bias-absorption", "absorbed"),
        ("int8", "methods", "auto", "first"),
        ("int8", "bias-correction", "corrected", chosen),
        ("int4", "equalization", plain),
        ("int4", "bias-absorption", "absorbed"),
        ("int4", "methods", "auto", "again"),
        ("int4", "adaround", "rounded", chosen),
    ]
    steps = {"exact": 1, "dynamic": 2, "weights": 2, "int8": 3, "int4": 3}
    assert found.models == {kind: MODEL + b"+" * count for kind, count in steps.items()}
    assert found.chosen.methods == chosen
    assert found.notes == ()
    assert CALIBRATED == ("int8", "int4")


def test_weights_that_come_after_calibrated_kinds_have_no_methods(monkeypatch: pytest.MonkeyPatch) -> None:
    traced = Traced(monkeypatch)
    traced.run("int8", "weights")
    assert traced.tried[-1] == ("weights", "bias-correction", "corrected")


@pytest.mark.parametrize(
    ("start", "tried"),
    [
        (SOUND_DB, ["methods"]),
        (SOUND_DB - 1, ["equalization", "methods"]),
        (SOUND_DB - 2, ["equalization", "bias-absorption", "methods"]),
        (SOUND_DB - 3, ["equalization", "bias-absorption", "methods", "bias-correction"]),
    ],
)
def test_what_is_sound_is_not_repaired_further(monkeypatch: pytest.MonkeyPatch, start: float, tried: list[str]) -> None:
    traced = Traced(monkeypatch, start)
    found = traced.run("int8")
    assert [name for _, name, *_ in traced.tried] == tried
    assert found.models == ({} if len(tried) == 1 else {"int8": MODEL + b"+" * (len(tried) - 1)})


def test_stages_without_a_change_are_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    traced = Traced(monkeypatch, equalized=None, absorbed=None, corrected=None, rounded=None)
    found = traced.run(*EVERY)
    assert [name for _, name, *_ in traced.tried] == ["methods"] * 2
    assert found.models == {}


def test_without_a_program_only_methods_are_chosen(monkeypatch: pytest.MonkeyPatch) -> None:
    traced = Traced(monkeypatch)
    traced.pipeline.program = None
    assert traced.run(*EVERY).models == {}
    assert [(kind, name) for kind, name, *_ in traced.tried] == [("int8", "methods"), ("int4", "methods")]


@pytest.mark.parametrize("tensors", [{"a": "minmax"}, {}])
def test_a_graph_whose_tensors_have_methods_of_their_own_is_returned(
    monkeypatch: pytest.MonkeyPatch, tensors: Any
) -> None:
    traced = Traced(monkeypatch, SOUND_DB, tensors=tensors)
    assert traced.run("int8", "weights").models == ({"int8": MODEL} if tensors else {})


def test_a_changed_graph_is_returned_for_all_kinds(monkeypatch: pytest.MonkeyPatch) -> None:
    traced = Traced(monkeypatch, SOUND_DB)
    traced.pipeline.is_changed = True
    assert traced.run("exact", "int8").models == {"exact": MODEL, "int8": MODEL}


def test_a_kind_that_fails_leaves_the_others(monkeypatch: pytest.MonkeyPatch) -> None:
    traced = Traced(monkeypatch)

    def plain(kind: str) -> Any:
        if kind == "dynamic":
            raise ConversionError("refused")
        return graph(0)

    monkeypatch.setattr(traced.pipeline, "score_plain", plain)
    found = traced.run("dynamic", "weights")
    assert found.notes == ("the graph was not repaired for dynamic: refused",)
    assert set(found.models) == {"weights"}


def test_equalized_graphs_are_made_once_for_each_way_of_scales(monkeypatch: pytest.MonkeyPatch) -> None:
    made = Pipeline(MODEL, list, SimpleNamespace(), input_range=None, repairs=False)  # type: ignore[arg-type]
    calls: list[Any] = []
    monkeypatch.setattr(made, "_equalize", lambda tensorwise: calls.append(tensorwise) or tensorwise)
    for tensorwise in ((), ("FULLY_CONNECTED",), (), ("FULLY_CONNECTED",)):
        assert made._reuse_equalized(tensorwise) == tensorwise
    assert calls == [(), ("FULLY_CONNECTED",)]
