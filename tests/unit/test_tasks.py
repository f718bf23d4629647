"""What the outputs of a file mean: whatever it gives, `scores` gives probabilities."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from edgepress.runtime import Contract, InputError, InputSpec, Model, ModelFileError
from edgepress.runtime.acceptance import Temperature
from edgepress.runtime.sessions import Session
from edgepress.toolkit.improvement.playing.panel import decision

SPEC = InputSpec(shape=(4,), dtype="float32")
logits = arrays.arrays(
    np.float32, st.tuples(st.integers(1, 4), st.integers(2, 6)), elements=st.floats(-1e4, 1e4, width=32)
)


class Echo(Session):
    """A session that answers its input."""

    dtype, scale, batch = np.dtype(np.float32), (1.0, 0), None

    def __init__(self, contract: Contract | None, outputs: int) -> None:
        self.contract, self.shape, self.classes = contract, (outputs,), outputs
        self.output_shape = (outputs,)

    def run(self, batch: Any) -> Any:
        return batch


def model(task: Any, labels: str, *, outputs: int | None = None, threshold: float | None = None) -> Model:
    outputs = outputs or len(labels)
    spec = InputSpec(shape=(outputs,), dtype="float32")
    contract = Contract(task=task, labels=tuple(labels), input=spec, scheme="x", threshold=threshold)
    return Model(Path("x.tflite"), "echo", 1, Echo(contract, outputs))


def row(*values: float) -> Any:
    return np.array(values, np.float32)


@given(logits)
def test_logits_become_probabilities(x: Any) -> None:
    scores = model("logits", "abcdef"[: x.shape[1]]).scores(x)
    wide = np.exp(x.astype(np.float64) - x.max(axis=1, keepdims=True))
    np.testing.assert_allclose(scores, wide / wide.sum(axis=1, keepdims=True), atol=1e-6)
    assert scores.dtype == np.float32


def test_whole_numbers_of_a_file_without_a_contract_stay_exact_or_are_refused() -> None:
    def opened(dtype: Any) -> Model:
        session = Echo(None, 2)
        session.dtype = np.dtype(dtype)  # type: ignore[misc]
        return Model(Path("x.tflite"), "echo", 1, session)

    large = (1 << 24) + 1  # float32 rounds it
    assert opened(np.int64).scores(np.array([[large, 1]], np.int32)).tolist() == [[large, 1]]
    with pytest.raises(InputError, match="int8"):
        opened(np.int8).scores(np.array([[300, 1]]))


def test_other_probabilities_are_as_they_are() -> None:
    x = row(0.25, 0.5, 0.75)[np.newaxis]
    assert model("softmax", "abc").scores(x) is x
    assert model("multilabel", "abc").scores(x) is x
    assert Model(Path("x.tflite"), "echo", 1, Echo(None, 3)).scores(x) is x


def test_a_single_sigmoid_gives_two_columns() -> None:
    binary = model("sigmoid", "ny", outputs=1)
    np.testing.assert_array_equal(binary.scores(np.array([[0.25], [1.0]], np.float32)), [[0.75, 0.25], [0, 1]])
    assert binary.scores(np.empty((0, 1), np.float32)).shape == (0, 2)
    assert binary.classify(row(0.25)) == [("n", 0.75), ("y", 0.25)]


def test_decisions() -> None:
    assert model("softmax", "abc").decide(row(0.2, 0.5, 0.3)) == [("b", 0.5)]
    assert model("sigmoid", "ny", outputs=1).decide(row(0.5)) == [("y", 0.5)]
    assert model("sigmoid", "ny", outputs=1, threshold=0.75).decide(row(0.5)) == [("n", 0.5)]
    several = model("multilabel", "abc", threshold=0.25)
    assert several.decide(row(0.25, 0.125, 0.75)) == [("c", 0.75), ("a", 0.25)]
    assert several.decide(row(0, 0, 0)) == []
    assert several.classify(row(0.25, 0.125, 0.75)) == [("c", 0.75), ("a", 0.25)]
    assert model("multilabel", "a").decide(row(0.5)) == [("a", 0.5)]
    assert model("multilabel", "a").threshold == 0.5
    assert model("logits", "ab").threshold is None


@pytest.mark.parametrize(("score", "label"), [(0.25, "n"), (0.35, "y")])
def test_a_threshold_is_one_of_scores_not_of_calibrated_probabilities(score: float, label: str) -> None:
    """`evaluate` and `calibrate` apply it so; with the temperature, 0.25 would be 0.37."""
    binary = model("sigmoid", "ny", outputs=1, threshold=0.3)
    assert binary.contract is not None
    calibrated = binary.contract.replace(probability=Temperature(temperature=2.0, offset=0.0))
    decided = Model(Path("x.tflite"), "echo", 1, Echo(calibrated, 1)).decide(row(score))
    assert [each.label for each in decided] == [label]
    assert decided[0].score == pytest.approx({"n": 0.634, "y": 0.423}[label], abs=1e-3)
    assert decision(row(1 - score, score), calibrated) == [label]


def test_a_contract_says_how_many_outputs_its_file_has() -> None:
    with pytest.raises(ModelFileError, match="has 2 outputs; the contract says"):
        model("sigmoid", "ny", outputs=2)
    with pytest.raises(ModelFileError, match="contradicts"):
        model("softmax", "ny", outputs=1)


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"task": "sigmoid", "labels": ["a"]}, "2 labels"),
        ({"task": "multilabel", "threshold": 1.5}, "threshold"),
        ({"task": "multilabel", "threshold": "high"}, "not a valid"),
        ({"task": "multilabel", "threshold": float("nan")}, "NaN is not a finite number"),
    ],
)
def test_contracts_that_can_not_be(change: dict[str, Any], reason: str) -> None:
    good = Contract(task="multilabel", labels=("a", "b"), input=SPEC, scheme="x", threshold=0.25)
    assert Contract.from_json(good.to_json()) == good
    with pytest.raises(ModelFileError, match=reason):
        Contract.from_json(json.dumps(json.loads(good.to_json()) | change))
