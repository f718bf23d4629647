"""Rows of a board in a benchmark: what is said of calibrated files on another engine than that of their promise."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from accepting import ACCEPT
from test_board_facts import state

from edgepress.runtime import Contract, InputSpec
from edgepress.toolkit.data.items import ArraySource
from edgepress.toolkit.data.types import DataSet, Split
from edgepress.toolkit.shipping.boards import remote_probe
from edgepress.toolkit.shipping.boards.rows import Cargo, board_rows
from edgepress.toolkit.shipping.boards.session import BoardResults, Parcel, Visit
from edgepress.toolkit.stats.choice import Rule


@pytest.mark.parametrize("engine", ["litert", "tflite-runtime"])
def test_a_promise_that_does_not_hold_on_a_board_is_told(engine: str) -> None:
    spec, rng = InputSpec(shape=(2,), dtype="float32"), np.random.default_rng(0)
    contract = Contract(task="softmax", labels=("a", "b"), input=spec, scheme="tflite-int8", accept=ACCEPT)
    y = rng.integers(0, 2, 20)
    split = Split(ArraySource(np.zeros((20, 2), np.float32), [""] * 20, spec), np.arange(20), y)
    data = DataSet("made up", ("a", "b"), spec, split, split, split, "0" * 64)
    file = Path("folder") / "m.tflite"
    parcel = Parcel(file, file, "m", "m.tflite", "tflite-int8", 10, "ab")
    scores = np.eye(2, dtype=np.float32)[y]
    visit = Visit(remote_probe.info(), [state(), state()], [BoardResults(engine, None, scores)], "", 0)
    cargo = Cargo((parcel,), (contract,), data)
    entry, rows = board_rows(
        "pi", visit, cargo=cargo, baseline="tflite-int8", max_drop_pp=1.0, rule=Rule.of(0.9, "balanced")
    )
    assert rows[0].accepted == 20
    told = f"m.tflite: Nothing is promised with {engine}: acceptance was measured with litert."
    assert (told in entry["notes"]) == (engine != "litert")


@pytest.mark.parametrize("shape", [(19, 2), (20, 3), (0, 2)])
def test_scores_of_other_items_or_labels_are_an_error_of_the_file(shape: tuple[int, int]) -> None:
    spec = InputSpec(shape=(2,), dtype="float32")
    contract = Contract(task="softmax", labels=("a", "b"), input=spec, scheme="tflite-int8")
    split = Split(ArraySource(np.zeros((20, 2), np.float32), [""] * 20, spec), np.arange(20), np.arange(20) % 2)
    data = DataSet("made up", ("a", "b"), spec, split, split, split, "0" * 64)
    file = Path("folder") / "m.tflite"
    parcel = Parcel(file, file, "m", "m.tflite", "tflite-int8", 10, "ab")
    found = BoardResults("litert", None, np.zeros(shape, np.float32))
    visit = Visit(remote_probe.info(), [state(), state()], [found], "", 0)
    rule = Rule.of(0.9, "balanced")
    _, rows = board_rows(
        "pi", visit, cargo=Cargo((parcel,), (contract,), data), baseline="", max_drop_pp=1.0, rule=rule
    )
    assert rows[0].status == f"failed: its scores are of shape {shape}, not (20, 2)."
