"""What is said of a file's accuracy: hand-made answers to a small data set."""

from __future__ import annotations

import base64
import dataclasses
import io
from typing import Any

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from edgepress.runtime import InputSpec
from edgepress.toolkit.data.items import ArraySource
from edgepress.toolkit.data.types import DataSet, Split
from edgepress.toolkit.measurement.benchmarking.accuracy import (
    MAX_DISAGREEMENTS,
    accuracy_figures,
    accuracy_status,
    disagreements,
    in_words,
)
from edgepress.toolkit.measurement.benchmarking.answers import Answers
from edgepress.toolkit.results.figures import FileFigures
from edgepress.toolkit.results.records import DROP, NO_BASELINE, UNPROVEN, USABLE, Measurement, measurement
from edgepress.toolkit.stats.intervals import Interval

FILE = FileFigures(file="a.tflite", scheme="tflite-int8", engine="litert", threads=1, size_bytes=10)


def data(count: int, classes: int = 3, *, shape: tuple[int, ...] = (100, 50, 3)) -> DataSet:
    spec = InputSpec.image(shape[0], shape[1], "rgb" if shape[2] == 3 else "grey")
    items = np.random.default_rng(0).integers(0, 256, (count, *shape), np.uint8)
    source = ArraySource(items, [f"item {i}" for i in range(count)], spec)
    split = Split(source, np.arange(count), np.arange(count) % classes)
    return DataSet("made", tuple(f"class {k}" for k in range(classes)), spec, split, split, split, "")


def answers(predicted: Any) -> Answers:
    return Answers("litert", np.asarray(predicted, np.int64), np.full(len(predicted), 0.9, np.float32))


def judged(given: Answers, baseline: Answers | None, made: DataSet, max_drop_pp: float) -> Measurement:
    figures = accuracy_figures(given, baseline, data=made)
    return measurement(FILE, figures, status=accuracy_status(figures, max_drop_pp))


def wrong(y: Any, rows: range) -> Any:
    predicted = y.copy()
    predicted[rows] = (y[rows] + 1) % 3
    return predicted


def test_a_file_is_held_against_the_baseline_on_the_same_items() -> None:
    made = data(600)
    y = made.test.y
    base, worse = answers(wrong(y, range(6))), answers(wrong(y, range(3, 30)))
    row = judged(worse, base, made, 1)
    assert row.accuracy == pytest.approx(573 / 600)
    assert row.drop_pp == pytest.approx(100 * 21 / 600)
    assert row.drop_low_pp is not None
    assert row.drop_high_pp is not None
    assert 0 < row.drop_low_pp < row.drop_pp < row.drop_high_pp
    assert row.agreement == pytest.approx(1 - 27 / 600)
    assert row.mcnemar_p == pytest.approx(2 * (1 + 27 + 351 + 2925) / 2**27)  # 24 lost, 3 gained
    assert row.status == DROP
    assert row.verdict.startswith("Worse: the drop is 3.5 pp [")
    assert row.ece == pytest.approx(abs(573 / 600 - 0.9), abs=1e-6)
    correct = np.unpackbits(np.frombuffer(base64.b64decode(row.correct), np.uint8))[:600]
    np.testing.assert_array_equal(correct, worse.predicted == y)
    assert np.sum(row.confusion_matrix) == 600
    for k, change in enumerate(row.per_class):
        own = y == k
        lost = np.mean((base.predicted == y)[own]) - np.mean((worse.predicted == y)[own])
        assert change.drop_pp == pytest.approx(100 * lost)
        assert change.recall == pytest.approx(np.mean((worse.predicted == y)[own]))
    assert judged(base, worse, made, 1).verdict.startswith("Better: the gain is 3.5 pp [")


def test_no_difference_is_said_with_what_it_rules_out() -> None:
    made = data(400)
    base = answers(made.test.y)
    row = judged(answers(made.test.y), base, made, 1)
    assert (row.drop_pp, row.agreement, row.mcnemar_p, row.status) == (0, 1, 1, USABLE)
    assert row.verdict == "No difference seen; a drop over 0.96 pp can be ruled out."
    row = judged(answers(made.test.y), base, made, 0.5)
    assert row.status == UNPROVEN


def test_the_baseline_differs_from_itself_by_nothing() -> None:
    made = data(30)
    base = answers(wrong(made.test.y, range(4)))
    row = judged(base, base, made, 0)
    assert (row.drop_low_pp, row.drop_pp, row.drop_high_pp, row.status) == (0, 0, 0, USABLE)
    assert all(c.drop_high_pp == 0 for c in row.per_class)


def test_without_a_baseline_no_drop_is_claimed() -> None:
    made = data(30)
    row = judged(answers(made.test.y), None, made, 1)
    assert (row.accuracy, row.drop_pp, row.agreement, row.verdict, row.status) == (1, None, None, "", NO_BASELINE)
    assert row.per_class[0].drop_pp is None


def test_a_class_without_items_has_no_drop_and_many_classes_no_matrix() -> None:
    made = data(40, 101, shape=(2, 2, 1))
    base = answers(made.test.y)
    row = judged(answers(made.test.y), base, made, 100)
    assert row.confusion_matrix == ()
    assert [c.drop_pp for c in row.per_class[39:41]] == [0, None]


@example(low=0.0, high=5e-324)
@given(st.floats(-5, 0), st.floats(0, 100))
def test_what_is_said_to_be_ruled_out_is_no_less_than_the_interval_s_end(low: float, high: float) -> None:
    text = in_words(Interval(0.0, low, high))
    assert float(text.split("over ")[1].split(" pp")[0]) >= high


def test_items_that_most_files_see_differently_come_first() -> None:
    from PIL import Image

    made = data(90)
    y = made.test.y
    base, one, two = answers(y), answers(wrong(y, range(20, 60))), answers(wrong(y, range(50, 60)))
    named = {"base": base, "tflite-int8 on litert": one, "onnx-int8 on onnxruntime": two}
    found = disagreements(named, base, data=made)
    assert len(found) == MAX_DISAGREEMENTS
    assert [d.name for d in found[:11]] == [*(f"item {i}" for i in range(50, 60)), "item 20"]
    assert set(found[0].others) == {"tflite-int8 on litert", "onnx-int8 on onnxruntime"}
    assert set(found[10].others) == {"tflite-int8 on litert"}
    assert found[0].label == found[0].baseline == made.labels[y[50]]
    assert found[0].others["tflite-int8 on litert"] == made.labels[(y[50] + 1) % 3]
    assert Image.open(io.BytesIO(base64.b64decode(found[0].png))).size == (32, 64)
    assert disagreements({"base": base}, base, data=made) == ()


def test_a_grey_thumbnail_shows_the_item_s_own_pixels() -> None:
    from PIL import Image

    made = data(3, shape=(8, 8, 1))
    base = answers(made.test.y)
    (found, *_) = disagreements({"other": answers((made.test.y + 1) % 3)}, base, data=made)
    pixels = np.asarray(Image.open(io.BytesIO(base64.b64decode(found.png))))
    np.testing.assert_array_equal(pixels, made.test.read([0])[0, :, :, 0])


def accepting(predicted: Any, accepted: Any, certainty: Any) -> Answers:
    kept, sure = np.asarray(accepted, np.int8), np.asarray(certainty, np.float32)
    return dataclasses.replace(answers(predicted), accepted=kept, certainty=sure)


def test_of_a_calibrated_file_accepted_items_and_their_errors_are_counted() -> None:
    """400 of 600 items are accepted, 4 of them are wrong, all of the first class."""
    made = data(600)
    y = made.test.y
    predicted = wrong(y, range(0, 12, 3))
    predicted[500:] = (y[500:] + 1) % 3
    figures = accuracy_figures(accepting(predicted, np.arange(600) < 400, 1 - np.arange(600) / 600), None, data=made)
    assert (figures.accepted, figures.accepted_wrong) == (400, 4)
    assert figures.accepted_share == pytest.approx(2 / 3)
    assert figures.accepted_error == pytest.approx(0.01)
    assert (figures.accepted_error_low, figures.accepted_error_high) == pytest.approx((0.0039, 0.0254), abs=1e-4)
    assert (figures.accepted_share_low, figures.accepted_share_high) == pytest.approx((0.628, 0.703), abs=1e-3)
    assert [(c.accepted, c.accepted_wrong) for c in figures.per_class] == [(134, 4), (133, 0), (133, 0)]
    assert (figures.coverage[-1], figures.risk[-1]) == pytest.approx((1, 104 / 600))
    assert figures.risk[0] == pytest.approx(4 / 15)


def test_without_accepted_items_there_is_no_error_of_them() -> None:
    made = data(60)
    figures = accuracy_figures(accepting(made.test.y, np.zeros(60), np.full(60, -np.inf)), None, data=made)
    assert (figures.accepted, figures.accepted_share, figures.accepted_error) == (0, 0, None)
    assert (figures.coverage, figures.risk) == ((), ())
    plain = accuracy_figures(accepting(made.test.y, np.full(60, -1), np.ones(60)), None, data=made)
    assert (plain.accepted, plain.accepted_share, plain.coverage) == (None, None, ())
    assert plain.per_class[0].accepted is None
