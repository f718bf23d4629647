"""How files are made to be scored, on how many items, and what a file's integers mean."""

from __future__ import annotations

from typing import Any, ClassVar

import ai_edge_litert.interpreter
import numpy as np
import pytest
from rewriting import Net

from edgepress.converters.numeric.metrics import EXACT_DB
from edgepress.converters.ptq import score as module
from edgepress.converters.ptq.score import CALL_MACS, FEWEST_ITEMS, MACS, SLOW_MACS, Scorer, macs, runner, scoring_items

TRUTH = np.array([[0.0, 2.0, -1.0], [3.0, 1.0, 0.0], [0.2, 0.4, 4.0], [-1.0, 0.2, -2.0]])


@pytest.fixture
def scorer(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Makes a scorer of a net that answers `TRUTH`; a file answers the number that it is, as bytes, more than it."""

    def make(end: str = "", allowed: int = 4, **options: Any) -> Scorer:
        def answers(file: bytes, items: np.ndarray) -> np.ndarray:
            more = 0.0 if file == b"model" else float(file)
            return (TRUTH[: len(items)] * (1 - more)).astype(np.float32)

        def rewritten(model: bytes, rewrites: Any) -> tuple[bytes, tuple[str, ...]]:
            return b"-".join([model, *(name.encode() for name in rewrites)]), tuple(f"did {name}" for name in rewrites)

        def with_scheme(model: bytes, scheme: Any, ranges: Any, rewrites: Any, *, uint8: bool) -> Any:
            return model, scheme.precision, ranges, list(rewrites), uint8

        monkeypatch.setattr(module, "answers_before_end", answers)
        monkeypatch.setattr(module, "rewritten_tflite", rewritten)
        monkeypatch.setattr(module, "with_scheme", with_scheme)
        monkeypatch.setattr(module, "scoring_items", lambda model, limit=MACS: allowed if limit == MACS else 2)
        monkeypatch.setattr(module.passes, "last_operation", lambda model: end)
        return Scorer(b"model", np.zeros((4, 1), np.float32), **options)

    return make


@pytest.mark.parametrize("uint8", [True, False])
def test_a_file_is_made_by_its_scheme_of_the_rewritten_model(scorer: Any, uint8: bool) -> None:
    ranges = {"a": (0.0, 1.0)}
    made: Any = scorer(uint8=uint8, before=("first",), recipe=("second", "third")).make_file
    assert made(b"m", ranges, "int8", ["own"]) == (
        b"m-first",
        "int8",
        ranges,
        ["own", "did second", "did third"],
        uint8,
    )
    assert made(b"m", ranges, "dynamic", ["own"]) == (b"m-first", "dynamic", None, ["own"], uint8)
    assert made(b"m", ranges) == (b"m-first", "int8", ranges, ["did second", "did third"], uint8)


def test_a_scorer_takes_as_many_items_and_labels_as_are_affordable(scorer: Any) -> None:
    judge = scorer(allowed=3, labels=[1, 0, 2, 1])
    assert len(judge.items) == 3
    assert judge.labels.tolist() == [1, 0, 2]
    assert judge.score_file(b"0").accuracy == 1
    assert judge.score_file(b"0", 2).hits.tolist() == [True, True]
    assert judge.score_file(b"0", 1).hits.tolist() == [True]
    assert scorer(labels=[1, 0, 2, 0]).score_file(b"0").accuracy == 0.75


def test_labels_of_a_sigmoid_are_given_for_each_output_or_ignored(scorer: Any) -> None:
    positive = TRUTH > 0
    positive[0, 0] = True
    assert scorer("LOGISTIC", labels=positive.astype(int)).score_file(b"0").accuracy == pytest.approx(11 / 12)
    assert scorer("LOGISTIC", labels=[0, 1, 2, 0]).score_file(b"0").accuracy is None


@pytest.mark.parametrize(("labels", "margin"), [([1, 1, 1, 1], 3.0), ([1, 0, 1, 1], 0.5), (None, 0.5)])
def test_noise_on_items_of_few_classes_must_fall_to_half(scorer: Any, labels: Any, margin: float) -> None:
    """What it says of items of the other classes is not known."""
    judge = scorer(labels=labels)
    before = judge.score_file(b"0.5")
    amplitude = 0.5 / 10 ** (margin / 20)
    assert not judge.score_file(f"{amplitude * 1.01}".encode()).better_than(before)
    assert judge.score_file(f"{amplitude * 0.99}".encode()).better_than(before)


@pytest.mark.parametrize(
    ("labels", "classes", "few"),
    [
        ([0, 1, 2, 3, 4] * 20, 10, True),
        ([0, 1, 2, 3, 4, 5] * 20, 10, False),
        ([0] * 20, 2, True),
        ([0, 1] * 20, 2, False),
        (list(range(8)), 1000, False),  # as many as eight items can show
        ([0, 1, 1, 1], 10, False),
        ([1, 1, 1, 1], 10, True),
        ([0, 1], 1, False),  # one output has two labels
        ([0, 0, 0], 1, True),
    ],
)
def test_which_items_are_of_few_classes(labels: list[int], classes: int, few: bool) -> None:
    assert module._are_of_few_classes(np.array(labels), classes) == few


@pytest.mark.parametrize(("precision", "items"), [("int8", 4), ("dynamic", 4), ("int16x8", 2)])
def test_files_of_slow_kernels_are_scored_on_fewer_items(scorer: Any, precision: str, items: int) -> None:
    judge = scorer()
    judge.make_file = lambda model, ranges, precision, rewrites: model
    assert len(judge.score(b"0", None, precision).hits) == items
    assert len(judge.worst_score(b"0", precision).hits) == items


@pytest.mark.parametrize(("labels", "accuracy"), [(None, None), ([1, 0, 2, 1], 0)])
def test_of_a_file_that_cannot_be_made_nothing_is_right(scorer: Any, labels: Any, accuracy: float | None) -> None:
    worst = scorer(labels=labels).worst_score(b"m", "int8")
    assert (worst.accuracy, worst.agreement, worst.snr_db) == (accuracy, 0, -EXACT_DB)
    assert worst.hits.tolist() == [False] * 4
    assert worst.hits.dtype == bool


def test_without_labels_only_noise_counts(scorer: Any) -> None:
    worst = scorer(labels=[1, 0, 2, 1], labelled=False).worst_score(b"m", "int8")
    assert (worst.accuracy, worst.agreement, worst.hits.size) == (None, None, 0)
    found = scorer(labels=[1, 0, 2, 1], labelled=False).score_file(b"0.1")
    spread = ((TRUTH - TRUTH.mean(axis=0)) ** 2).sum()
    assert found.accuracy is None
    assert found.snr_db == pytest.approx(10 * np.log10(spread / (0.01 * (TRUTH**2).sum())), abs=1e-3)


def test_noise_of_one_item_or_of_equal_answers_is_compared_with_their_size(scorer: Any) -> None:
    """They have no spread."""
    assert scorer(labelled=False).score_file(b"0.1", 1).snr_db == pytest.approx(20, abs=1e-3)
    assert scorer().score_file(b"0", 1).snr_db == EXACT_DB


def test_the_macs_of_a_model_decide_how_many_items_are_scored() -> None:
    net = Net((6, 5), 3)
    net.conv(4, (3, 2))
    net.depthwise((3, 3), multiplier=2)
    net.conv(5)
    net.graph.operators[-1].inputs[2] = -1
    net.add("LOGISTIC", [net.now], net.shape)
    model = net.model()
    expected = 30 * (4 * 3 * 2 * 3 + 8 * 9 + 8 * 5)
    assert macs(model) == expected
    each = expected + CALL_MACS
    assert scoring_items(model) == int(MACS / each) > FEWEST_ITEMS
    assert scoring_items(model, SLOW_MACS) == int(SLOW_MACS / each) > FEWEST_ITEMS
    assert scoring_items(model, each * (FEWEST_ITEMS + 1.5)) == FEWEST_ITEMS + 1
    assert scoring_items(model, each) == FEWEST_ITEMS == 32


class Interpreter:
    """An interpreter whose answers are what it was given, and 3 more."""

    source, sink = (np.uint8, 0.5, 10), (np.int8, 0.25, -4)
    shown: ClassVar[list[Any]] = []

    def __init__(self, **options: Any) -> None:
        self.calls: list[Any] = [options]
        Interpreter.shown = self.calls

    def allocate_tensors(self) -> None:
        self.calls.append("allocate")

    def get_input_details(self) -> list[Any]:
        return [{"index": 7, "dtype": self.source[0], "quantization": self.source[1:]}]

    def get_output_details(self) -> list[Any]:
        return [{"index": 9, "dtype": self.sink[0], "quantization": self.sink[1:]}]

    def reset_all_variables(self) -> None:
        self.calls.append("reset")

    def set_tensor(self, index: int, value: np.ndarray) -> None:
        assert index == 7
        assert value.dtype == self.source[0]
        self.calls.append(value.tolist())

    def invoke(self) -> None:
        self.calls.append("invoke")

    def get_tensor(self, index: int) -> np.ndarray:
        assert index == 9
        return np.array([[3, -5, 127]], self.sink[0])


@pytest.mark.parametrize("quantized", [True, False])
def test_integers_of_a_file_are_real_numbers_outside(monkeypatch: pytest.MonkeyPatch, quantized: bool) -> None:
    class Made(Interpreter):
        source = (np.uint8, 0.5, 10) if quantized else (np.float32, 0.0, 0)
        sink = (np.int8, 0.25, -4) if quantized else (np.float32, 0.0, 0)

    monkeypatch.setattr(ai_edge_litert.interpreter, "Interpreter", Made)
    answer = runner(b"file")
    for _ in range(2):
        found = answer(np.float32([1.3, -0.2, -99, 999]))
        assert found.dtype == np.float32
        assert found.tolist() == [[7 / 4, -1 / 4, 131 / 4] if quantized else [3, -5, 127]]
    given = [[13, 10, 0, 255]] if quantized else [np.float32([1.3, -0.2, -99, 999]).tolist()]
    assert Interpreter.shown[1:] == ["allocate", *["reset", given, "invoke"] * 2]


def test_answers_are_those_in_front_of_the_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "runner", lambda model: lambda item: np.full((1, 2, 3), item[0]) * len(model))
    monkeypatch.setattr(module.passes, "before_end", lambda model: model[:2] if len(model) > 2 else None)
    items = np.array([[1.0], [2.0]])
    assert module.answers_before_end(b"longer", items).tolist() == [[2.0] * 6, [4.0] * 6]
    assert module.answers_before_end(b"m", items).tolist() == [[1.0] * 6, [2.0] * 6]
