"""Multi-label answers and figures as texts: on the screen, in pages, cards, notebooks and comparisons."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgepress.converters.numeric.metrics import agreement
from edgepress.converters.proof.compare import compare
from edgepress.converters.proof.labels import lost_labels
from edgepress.runtime.answers import Prediction
from edgepress.runtime.document_text import text_lines
from edgepress.runtime.input_spec import InputSpec
from edgepress.toolkit.cli.tables import evaluation_table, predictions_table
from edgepress.toolkit.columns import LABELS, SHORT, filled_columns, quality
from edgepress.toolkit.conversion.source_check import check_source
from edgepress.toolkit.data.items import ArraySource
from edgepress.toolkit.data.types import DataSet, Split
from edgepress.toolkit.measurement.benchmarking.accuracy import accuracy_figures, disagreements, evidence_of
from edgepress.toolkit.measurement.benchmarking.answers import Answers
from edgepress.toolkit.measurement.benchmarking.cache import Shelf
from edgepress.toolkit.measurement.benchmarking.expected import Odds
from edgepress.toolkit.measurement.prediction import ImageResult
from edgepress.toolkit.reports.notebooks.views import evaluation_html
from edgepress.toolkit.results.file import bounds_of
from edgepress.toolkit.stats.multilabel import multilabel_metrics
from edgepress.toolkit.workers.answer import Part, judge
from edgepress.toolkit.workers.opening import Candidate

SPEC = InputSpec(shape=(2,), dtype="float32")
NAMES = ("cat", "dog", "fox")


def data_of(y: Any) -> DataSet:
    """Items without content and with these labels as test items."""
    source = ArraySource(np.zeros((len(y), 2), np.float32), [f"item {n}" for n in range(len(y))], SPEC)
    split = Split(source, np.arange(len(y)), y)
    none = split.take(np.zeros(0, np.int64))
    return DataSet("data.npz", NAMES, SPEC, none, none, split, "0" * 64)


def drawn(seed: int, count: int) -> tuple[Any, Any, Any]:
    """True labels, and the scores of two files."""
    rng = np.random.default_rng(seed)
    y = (rng.random((count, 3)) < 0.4).astype(np.int64)
    first, second = (np.clip(0.5 * y + 0.6 * rng.random(y.shape), 0, 1).astype(np.float32) for _ in range(2))
    return y, first, second


@given(st.integers(0, 2**32 - 1), st.integers(2, 50))
def test_figures_of_two_files_are_of_whole_sets(seed: int, count: int) -> None:
    y, first, second = drawn(seed, count)
    data = data_of(y)
    baseline, file = (Answers("litert", *judge(scores, None, multilabel=True)) for scores in (first, second))
    assert file.scores_by_label is not None
    assert (file.scores_by_label == second).all()
    figures = accuracy_figures(file, baseline, data=data)
    before, after = (((scores >= 0.5) == (y == 1)).all(axis=1) for scores in (first, second))
    assert figures.accuracy == figures.exact_match == pytest.approx(after.mean())
    assert figures.drop_pp == pytest.approx(100 * (before.mean() - after.mean()))
    same = ((first >= 0.5) == (second >= 0.5)).all(axis=1)
    assert figures.agreement == pytest.approx(same.mean())
    evidence = evidence_of(file, baseline, data)
    assert (evidence.lost, evidence.gained) == (int((before & ~after).sum()), int((~before & after).sum()))
    for label, change in enumerate(figures.per_class):
        own = y[:, label] == 1
        if own.any():
            hits = [(scores[own, label] >= 0.5).mean() for scores in (first, second)]
            assert change.drop_pp == pytest.approx(100 * (hits[0] - hits[1]))
    assert Odds.of(baseline, y) is None
    shown = disagreements({"file": file, "baseline": baseline}, baseline, data=data)
    assert len(shown) == min(24, int((~same).sum()))


@pytest.mark.usefixtures("machine")
@pytest.mark.parametrize("count", [1, 5])
def test_answers_come_back_from_the_cache(tmp_path: Any, count: int) -> None:
    y, scores, _ = drawn(count, count)
    (tmp_path / "a.tflite").write_bytes(b"model")
    part = Part(judge(scores, None, multilabel=True), 1.5)
    candidate = Candidate(tmp_path / "a.tflite", "litert", 1)
    Shelf(tmp_path / "cache", candidate, data_of(y)).put(slice(0, count), part)
    found = Shelf(tmp_path / "cache", candidate, data_of(y)).get(slice(0, count))
    assert found is not None
    for column, back in zip(part.columns, found.columns, strict=True):
        assert back.dtype == column.dtype
        assert (back == column).all()
    assert Shelf(tmp_path / "cache", candidate, data_of(y.argmax(axis=1))).get(slice(0, count)) is None


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch) -> None:
    from edgepress.toolkit.measurement.benchmarking import cache

    monkeypatch.setattr(cache, "engine_version", lambda _: "1.0")


def test_an_answer_without_labels_has_a_line() -> None:
    assert text_lines({"image": "a.png", "classes": []}) == ["a.png: no label"]
    assert text_lines({"image": "a.png", "classes": [{"label": "cat", "score": 0.75}]}) == ["a.png: cat 0.750"]
    error = {"message": "It is no image.", "hint": ""}
    assert text_lines({"image": "a.png", "error": error}) == ["a.png: It is no image."]
    rows = [ImageResult("a.png"), ImageResult("b.png", (Prediction("cat", 0.75),))]
    cells = [[str(cell) for cell in column.cells] for column in predictions_table(rows).columns]
    assert cells[:2] == [["a.png", "b.png"], ["no label", "cat"]]


def test_tables_have_the_figures_of_labels_instead_of_an_accuracy() -> None:
    y, scores, _ = drawn(1, 40)
    metrics = multilabel_metrics(y, (scores >= 0.5).astype(np.int64), scores, labels=NAMES)
    titles = [column.title for column in filled_columns(SHORT, [metrics])]
    assert titles == [column.title for column in LABELS]
    for column, name in zip(LABELS, ("exact_match", "macro_f1", "mean_average_precision"), strict=True):
        value, low, high = (100 * metrics[f"{name}{end}"] for end in ("", "_low", "_high"))
        assert column.text(metrics) == f"{value:.2f} [{low:.2f}, {high:.2f}]"
        assert column.brief_text(metrics) == f"{value:.1f} ±{(high - low) / 2:.1f}"
        assert column.text(metrics) in quality(metrics)
        assert {bounds_of(f"{name}{end}").high for end in ("", "_low", "_high")} == {1.0}  # type: ignore[union-attr]
    single = {"accuracy": 0.5, "macro_f1": 0.4}
    assert [column.title for column in filled_columns(SHORT, [single])] == ["Accuracy"]
    assert quality(single) == "accuracy 50.00 %"
    heads = [str(column.header) for column in evaluation_table(metrics).columns]
    assert heads == ["Label", "Precision %", "Recall %", "F1 %", "Average precision %", "Items"]
    document = metrics | {"file": "a", "engine": "litert", "data": {"source": "d"}, "ece": 0.1, "notes": []}
    assert LABELS[2].text(metrics) in evaluation_html(document)


def test_labels_that_are_lost_by_what_is_true_are_proven_lost() -> None:
    rng = np.random.default_rng(0)
    true = (rng.random((300, 4)) < 0.5).astype(np.int64)
    source = np.where(true == 1, 0.55, 0.45).astype(np.float32)  # right, and hardly sure
    worse = source.copy()
    worse[:60, 0] = 1 - worse[:60, 0]
    expected = lost_labels(source, worse, "multilabel", "Sigmoid")
    proven = lost_labels(source, worse, "multilabel", "Sigmoid", true=true)
    assert expected.share == pytest.approx(0.2 * 0.1)
    assert proven.share == pytest.approx(0.2)
    assert expected.low < proven.low < 0.2
    assert lost_labels(source, source, "multilabel", "Sigmoid", true=true).low == 0


def test_agreement_is_of_sets_of_labels() -> None:
    source = np.array([[0.9, 0.6, 0.1], [0.9, 0.4, 0.1], [0.2, 0.1, 0.3]], np.float32)
    file = np.array([[0.9, 0.4, 0.1], [0.8, 0.3, 0.2], [0.1, 0.2, 0.1]], np.float32)
    assert compare(source, file, on="", task="multilabel").agreement == pytest.approx(2 / 3)
    assert compare(source, file, on="", task="softmax").agreement == pytest.approx(agreement(source, file))


@pytest.mark.parametrize("right", [False, True])
def test_a_source_model_of_labels_is_not_measured_by_the_largest_class(right: bool) -> None:
    from edgepress.converters.adapter import InputAdapter
    from edgepress.converters.contract.hints import Hints, ModelFacts
    from edgepress.runtime.contract import Contract

    y, scores, _ = drawn(2, 60)
    answers = np.where(y == 1, 0.9, 0.1).astype(np.float32) if right else scores[::-1]
    contract = Contract(task="multilabel", labels=NAMES, input=SPEC, scheme="keras")
    check = check_source(
        np.zeros((60, 2), np.float32),
        y,
        lambda items, adapters: iter([answers[: len(items)]] * len(adapters)),
        contract=contract,
        adapter=InputAdapter(SPEC, (2,)),
        facts=ModelFacts((2,), 3),
        hints=Hints(),
    )
    assert check.accuracy == pytest.approx(1.0 if right else ((answers >= 0.5) == (y == 1)).all(axis=1).mean())
    assert check.near is None
    assert check.order == ()
    assert not check.is_wrong
