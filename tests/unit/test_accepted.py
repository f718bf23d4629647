"""What a calibrated file accepts of the test items, and how much of that is wrong."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from edgepress.toolkit.measurement.benchmarking.accuracy import (
    accepted_counts,
    accepted_fields,
    are_judged,
    without_promise,
)
from edgepress.toolkit.measurement.benchmarking.answers import Answers
from edgepress.toolkit.stats.samples import share_interval
from edgepress.toolkit.workers.answer import NOT_JUDGED

Y = np.array([0, 0, 1, 1, 2, 2], np.int64)


def answers(accepted: list[int] | None, predicted: list[int] | None = None) -> Answers:
    chosen = np.array([0, 1, 1, 2, 2, 2] if predicted is None else predicted, np.int64)
    sure = None if accepted is None else np.linspace(0.9, 0.4, len(chosen), dtype=np.float32)
    flags = None if accepted is None else np.array(accepted, np.int8)
    return Answers("litert", chosen, np.ones(len(chosen), np.float32), flags, sure)


def test_errors_are_a_share_of_what_is_accepted_and_that_of_all_items() -> None:
    found = accepted_fields(answers([1, 1, 1, 0, 1, 0]), Y)
    assert (found["accepted"], found["accepted_wrong"]) == (4, 1)
    for name, count, total in (("accepted_share", 4, 6), ("accepted_error", 1, 4)):
        share = share_interval(count, total)
        assert (found[name], found[f"{name}_low"], found[f"{name}_high"]) == (share.estimate, share.low, share.high)
    assert found["coverage"][-1] == 1
    assert found["risk"][-1] == pytest.approx(2 / 6)


def test_where_nothing_is_accepted_there_is_no_share_of_errors() -> None:
    found = accepted_fields(answers([0] * 6), Y)
    assert (found["accepted"], found["accepted_wrong"], found["accepted_share"]) == (0, 0, 0)
    assert "accepted_error" not in found


@pytest.mark.parametrize("accepted", [None, [NOT_JUDGED] * 6, [1, 1, 1, 1, 1, NOT_JUDGED]])
def test_a_file_that_judges_no_answers_has_no_figures(accepted: list[int] | None) -> None:
    found = answers(accepted)
    assert not are_judged(found)
    assert accepted_fields(found, Y) == {}
    assert accepted_counts(found, Y, classes=3) is None


def test_a_file_without_answers_judges_none() -> None:
    assert not are_judged(answers([], []))
    assert are_judged(answers([0], [0]))


def test_accepted_and_wrong_items_are_counted_by_their_true_class() -> None:
    counts = accepted_counts(answers([1, 1, 1, 0, 1, 0]), Y, classes=4)
    assert counts is not None
    assert [each.tolist() for each in counts] == [[2, 1, 1, 0], [1, 0, 0, 0]]


def test_only_another_engine_than_that_of_the_calibration_has_no_promise() -> None:
    limits: Any = SimpleNamespace(promise=lambda engine: f"nothing with {engine}")
    contract: Any = SimpleNamespace(accept=SimpleNamespace(engine="litert"), limits=limits)
    assert without_promise(contract, "litert") == []
    assert without_promise(contract, "openvino") == ["nothing with openvino"]
    assert without_promise(SimpleNamespace(accept=None, limits=limits), "openvino") == []  # type: ignore[arg-type]
