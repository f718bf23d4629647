"""Calibrated probabilities and accepted answers, as contracts hold them and boards apply them."""

from __future__ import annotations

import dataclasses
import json
from typing import Any

import numpy as np
import pytest
from accepting import ACCEPT

from edgepress.runtime.acceptance import (
    LEAST_SLOPE,
    MOST_SLOPE,
    AnswerLimits,
    Temperature,
    Unknown,
    certainty_of,
    directions_of,
    stored_directions,
)
from edgepress.runtime.contract import Contract
from edgepress.runtime.errors import ModelFileError
from edgepress.runtime.input_spec import InputSpec


def test_calibration_keeps_the_order_of_classes() -> None:
    scores = np.random.default_rng(1).dirichlet(np.ones(5), 200).astype(np.float32)
    probabilities = Temperature(temperature=3.0, offset=0.002).probabilities(scores)
    assert (probabilities.argmax(axis=1) == scores.argmax(axis=1)).all()
    assert probabilities.sum(axis=1) == pytest.approx(np.ones(200), abs=1e-5)


def test_certainty_is_1_for_one_class_and_0_for_equal_ones() -> None:
    rows = np.array([[1, 0, 0, 0], [0.25] * 4, [0.5, 0.5, 0, 0]], np.float32)
    assert certainty_of(rows) == pytest.approx([1, 0, 0.5], abs=1e-4)


@pytest.mark.parametrize("temperature", [0.01, 0.05, 1.0, 50.0, 100.0])
@pytest.mark.parametrize("labels", [2, 10, 1000])
@pytest.mark.parametrize("slope", [LEAST_SLOPE, 0.0, MOST_SLOPE])
def test_probabilities_are_numbers_for_any_scores(temperature: float, labels: int, slope: float) -> None:
    rows = np.stack([np.zeros(labels), np.full(labels, 1 / labels), np.eye(labels)[0], np.full(labels, 3e38)])
    made = Temperature(temperature=temperature, offset=0.0, slope=slope)
    probabilities = made.probabilities(rows.astype(np.float32))
    assert probabilities.sum(axis=1) == pytest.approx(np.ones(4), abs=1e-4)
    certainty = certainty_of(rows[:3].astype(np.float32))
    assert np.isfinite(certainty).all()
    assert certainty[0] == pytest.approx(0, abs=1e-3)


def test_a_similar_answer_is_one_near_a_reference() -> None:
    known = np.array([[0.8, 0.1, 0.1], [0.1, 0.8, 0.1]], np.float32)
    stored = stored_directions(directions_of(known, 0.01))
    unknown = Unknown(references=stored, labels=3, at_least=0.9, floor=0.01)
    similarity = unknown.similarity(np.array([[0.79, 0.11, 0.1], [0.1, 0.1, 0.8]], np.float32))
    assert similarity[0] > 0.99
    assert similarity[1] < 0.5


def contract(**fields: Any) -> Contract:
    item = InputSpec(shape=(4,), dtype="float32")
    return Contract(task="softmax", labels=("a", "b", "c"), input=item, scheme="tflite-int8", **fields)


def test_a_contract_with_limits_is_of_version_3_and_reads_the_same() -> None:
    unknown = Unknown(references=stored_directions(np.eye(3, dtype=np.float32)), labels=3, at_least=0.1, floor=0.01)
    made = contract(probability=Temperature(temperature=2.0, offset=0.001), accept=ACCEPT, unknown=unknown)
    assert made.schema_version == 3
    assert contract().schema_version == 1
    assert Contract.from_json(made.to_json()) == made


def test_a_contract_with_a_slope_is_of_version_4_and_one_from_before_has_none() -> None:
    """A runtime from before slopes would compute other probabilities; one of today reads what lacks them."""
    made = contract(probability=Temperature(temperature=2.0, offset=0.001, slope=0.05), accept=ACCEPT)
    assert made.schema_version == 4
    assert Contract.from_json(made.to_json()) == made
    document = json.loads(contract(probability=Temperature(temperature=2.0, offset=0.001)).to_json())
    assert document["schema_version"] == 3
    del document["probability"]["slope"]
    assert Contract.from_json(json.dumps(document)).probability == Temperature(temperature=2.0, offset=0.001)


def test_the_exponent_follows_the_odds_of_the_best_label() -> None:
    """With an offset of .1 on each of three labels, the odds are 1.08 to .22 and .5 to .6."""
    scores = np.array([[0.98, 0.01, 0.01], [0.4, 0.3, 0.1]], np.float32)
    exponents = np.array([[(1.08 / 0.22) ** 0.2 / 2], [(0.5 / 0.6) ** 0.2 / 2]])
    powers = (scores + 0.1) ** exponents
    found = Temperature(temperature=2.0, offset=0.1, slope=0.2).probabilities(scores)
    assert found == pytest.approx(powers / powers.sum(axis=1, keepdims=True), rel=1e-4)


@pytest.mark.parametrize("slope", [LEAST_SLOPE, 0.0, 0.1, MOST_SLOPE])
@pytest.mark.parametrize("offset", [0.0, 0.01, 0.3])
def test_of_two_labels_the_surer_answer_stays_surer(slope: float, offset: float) -> None:
    top = np.linspace(0.5, 1, 2001)
    scores = np.stack([top, 1 - top], axis=1).astype(np.float32)
    found = Temperature(temperature=3.0, offset=offset, slope=slope).probabilities(scores)[:, 0]
    assert (np.diff(found.astype(np.float64)) >= -1e-6).all()
    assert found[0] == pytest.approx(0.5, abs=1e-3)
    assert found[-1] > 0.6


@pytest.mark.parametrize(
    "fields",
    [
        {"probability": {"temperature": 0, "offset": 0}},
        {"probability": {"temperature": 2, "offset": -1}},
        {"probability": {"temperature": 2, "offset": 0, "slope": -0.11}},
        {"probability": {"temperature": 2, "offset": 0, "slope": 0.51}},
        {"probability": {"temperature": 2, "offset": 0, "slope": None}},
        {"probability": {"temperature": "2", "offset": 0}},
        {"accept": dataclasses.asdict(ACCEPT) | {"errors": 301}},
        {"accept": dataclasses.asdict(ACCEPT) | {"promise": "all"}},
        {"accept": dataclasses.asdict(ACCEPT) | {"limit": 2}},
        {"accept": dataclasses.asdict(ACCEPT) | {"at_least": float("nan")}},
        {"accept": dataclasses.asdict(ACCEPT) | {"items": 1.5}},
        {"unknown": {"references": "AAAA", "labels": 2, "at_least": 0, "floor": 0.1}},
        {"unknown": {"references": "AAA", "labels": 3, "at_least": 0, "floor": 0.1}},
        {"unknown": {"references": "AAAA", "labels": 3, "at_least": -2.1, "floor": 0.1}},
        {"unknown": {"references": "AAAA", "labels": 3, "at_least": 1.1, "floor": 0.1}},
        {"unknown": {"references": "", "labels": 3, "at_least": 0, "floor": 0.1}},
        {"unknown": {"references": "AAAA", "labels": 3, "at_least": 0, "floor": 0}},
        {"unknown": {"references": "AAAA", "labels": 3, "at_least": 0, "floor": 5e-324}},
        {"unknown": {"references": "AAAA" * 4097, "labels": 3, "at_least": 0, "floor": 0.1}},
        {"task": "multilabel", "accept": dataclasses.asdict(ACCEPT)},
    ],
)
def test_damaged_limits_are_one_error(fields: dict[str, Any]) -> None:
    import json

    document = json.loads(contract().to_json()) | fields
    with pytest.raises(ModelFileError, match="is not a valid edgepress contract"):
        Contract.from_json(json.dumps(document))


def test_a_threshold_holds_and_one_below_does_not() -> None:
    limits = AnswerLimits(accept=ACCEPT)
    rows = np.array([[1, 0, 0], [0.4, 0.3, 0.3]], np.float32)
    accepted = limits.accepted(rows)
    assert accepted is not None
    assert accepted.tolist() == [True, False]
    assert AnswerLimits().accepted(rows) is None


def test_another_file_has_no_limits() -> None:
    made = contract(probability=Temperature(temperature=2.0, offset=0.001), accept=ACCEPT)
    assert made.without_limits() == contract()


def test_another_engine_gets_no_promise() -> None:
    limits = AnswerLimits(accept=ACCEPT)
    assert limits.promise("litert").startswith("With 95 % confidence, at most 2 % of accepted answers are wrong")
    assert "Nothing is promised with onnxruntime" in limits.promise("onnxruntime")
    assert AnswerLimits().promise("litert") == ""


def test_an_answer_unlike_all_references_has_no_certainty() -> None:
    """And without references, acceptance is by certainty alone."""
    scores = np.array([[0.97, 0.02, 0.01], [0.01, 0.97, 0.02], [0.4, 0.3, 0.3]], np.float32)
    known = stored_directions(directions_of(scores[:1], 1e-6))
    unknown = Unknown(references=known, labels=3, at_least=0.9, floor=1e-6)
    plain = AnswerLimits(accept=ACCEPT)
    assert plain.certainty(scores).tolist() == certainty_of(scores).tolist()
    assert plain.accepted(scores).tolist() == [True, True, False]  # type: ignore[union-attr]
    both = AnswerLimits(accept=ACCEPT, unknown=unknown)
    assert np.isfinite(both.certainty(scores)).tolist() == [True, False, True]
    assert both.accepted(scores).tolist() == [True, False, False]  # type: ignore[union-attr]
