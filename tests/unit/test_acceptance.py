"""Calibrated probabilities and accepted answers, as contracts hold them and boards apply them."""

from __future__ import annotations

import base64
import dataclasses
import json
from typing import Any

import numpy as np
import pytest
from accepting import ACCEPT
from records import assert_frozen

from edgepress.runtime import acceptance
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


def test_records_are_frozen() -> None:
    assert_frozen(acceptance, by_position=frozenset({"AnswerLimits"}))


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


@pytest.mark.parametrize(
    ("fields", "accepted"),
    [
        *(({name: value}, True) for name in ("limit", "confidence", "upper") for value in (0.0, 1.0)),
        *(({name: value}, False) for name in ("limit", "confidence", "upper") for value in (-0.01, 1.01)),
        *(({"at_least": value}, True) for value in (-1.0, 1.0)),
        *(({"at_least": value}, False) for value in (-1.01, 1.01)),
        ({"errors": 0, "accepted": 0, "items": 0}, True),
        ({"errors": 300, "accepted": 300, "items": 300}, True),
        ({"errors": -1}, False),
        ({"errors": 301}, False),
        ({"items": 299}, False),
    ],
)
def test_shares_and_counts_of_a_promise_have_their_ends(fields: dict[str, Any], *, accepted: bool) -> None:
    if accepted:
        assert dataclasses.asdict(dataclasses.replace(ACCEPT, **fields)) == dataclasses.asdict(ACCEPT) | fields
    else:
        with pytest.raises(ValueError, match=r"errors|out of range"):
            dataclasses.replace(ACCEPT, **fields)


@pytest.mark.parametrize(
    ("temperature", "offset", "slope", "accepted"),
    [
        (0.01, 0.0, -0.1, True),
        (100.0, 1.0, 0.5, True),
        (0.0099, 0.0, 0.0, False),
        (100.1, 0.0, 0.0, False),
        (1.0, 1.001, 0.0, False),
        (1.0, -0.001, 0.0, False),
        (1.0, 0.0, -0.101, False),
        (1.0, 0.0, 0.501, False),
    ],
)
def test_a_temperature_has_its_ends(temperature: float, offset: float, slope: float, *, accepted: bool) -> None:
    fields = {"temperature": temperature, "offset": offset, "slope": slope}
    if accepted:
        assert dataclasses.asdict(Temperature(**fields)) == fields
    else:
        with pytest.raises(ValueError, match=f"temperature is {temperature}"):
            Temperature(**fields)


@pytest.mark.parametrize("labels", [2, 3, 1000])
def test_references_are_stored_as_whole_bytes(labels: int) -> None:
    """The direction of a certain answer has the whole range of a byte, and comes back within a step of it."""
    rng = np.random.default_rng(labels)
    scores = rng.dirichlet(np.full(labels, 0.3), 9).astype(np.float32)
    directions = directions_of(np.concatenate([np.eye(labels, dtype=np.float32)[:1], scores]), 1e-3)
    known = Unknown(references=stored_directions(directions), labels=labels, at_least=0.5, floor=1e-3)
    assert known.directions == pytest.approx(directions, abs=0.6 / 127 + 0.02)
    assert known.similarity(scores) == pytest.approx(np.ones(9), abs=0.02)
    exact = base64.b64decode(stored_directions(np.array([[1, 0], [-0.6, 0.8]], np.float32)))
    assert np.frombuffer(exact, np.int8).tolist() == [127, 0, -76, 102]


@pytest.mark.parametrize(
    ("count", "labels", "at_least", "floor", "accepted"),
    [
        (1, 2, -2.0, 1e-9, True),
        (4096, 256, 1.0, 0.999, True),
        (4097, 2, 0.0, 0.1, False),
        (4095, 257, 0.0, 0.1, False),
        (0, 2, 0.0, 0.1, False),
        (1, 2, -2.01, 0.1, False),
        (1, 2, 1.01, 0.1, False),
        (1, 2, 0.0, 0.9e-9, False),
        (1, 2, 0.0, 1.0, False),
    ],
)
def test_references_have_their_ends(count: int, labels: int, at_least: float, floor: float, *, accepted: bool) -> None:
    stored = base64.b64encode(bytes(count * labels)).decode()
    if accepted:
        known = Unknown(references=stored, labels=labels, at_least=at_least, floor=floor)
        assert known.directions.shape == (count, labels)
    else:
        with pytest.raises(ValueError, match="references of known items are damaged"):
            Unknown(references=stored, labels=labels, at_least=at_least, floor=floor)


def test_a_promise_says_what_it_is_of() -> None:
    rejected = dataclasses.replace(ACCEPT, promise="rejected", limit=0.005, confidence=0.9)
    assert AnswerLimits(accept=rejected).promise("litert") == (
        "With 90 % confidence, at most 0.5 % of known items are not accepted, for items like the 400 that this was "
        "measured on, with litert."
    )


@pytest.mark.parametrize("labels", [2, 10])
def test_certainty_is_what_is_missing_of_the_largest_entropy(labels: int) -> None:
    from scipy.stats import entropy

    scores = np.random.default_rng(0).dirichlet(np.full(labels, 0.5), 20).astype(np.float32)
    assert certainty_of(3 * scores) == pytest.approx(1 - entropy(scores, axis=1) / np.log(labels), abs=1e-4)


def test_one_label_has_no_references() -> None:
    with pytest.raises(ValueError, match="references of known items are damaged"):
        Unknown(references=stored_directions(np.ones((3, 1), np.float32)), labels=1, at_least=0.5, floor=1e-3)


def test_a_threshold_holds_and_one_below_does_not() -> None:
    limits = AnswerLimits(accept=ACCEPT)
    rows = np.array([[1, 0, 0], [0.4, 0.3, 0.3]], np.float32)
    accepted = limits.accepted(rows)
    assert accepted is not None
    assert accepted.tolist() == [True, False]
    at = limits.accepted(rows, np.array([ACCEPT.at_least, np.nextafter(np.float32(ACCEPT.at_least), 0)], np.float32))
    assert at is not None
    assert at.tolist() == [True, False]
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
