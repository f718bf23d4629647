from __future__ import annotations

import dataclasses
import os
import shutil
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgepress.runtime import Contract, EngineError, InputSpec, Model, load
from edgepress.runtime.decisions import decide
from edgepress.runtime.sessions import Session
from edgepress.toolkit.data.types import DataSet, Split
from edgepress.toolkit.errors import EdgepressError, InputError, ModelFileError
from edgepress.toolkit.measurement.benchmarking import answers as answers_module
from edgepress.toolkit.measurement.benchmarking import cache as answers_cache
from edgepress.toolkit.measurement.benchmarking import collect
from edgepress.toolkit.measurement.benchmarking.answers import Answers
from edgepress.toolkit.measurement.benchmarking.collect import collect_answers, shards
from edgepress.toolkit.workers import answer
from edgepress.toolkit.workers.answer import AnswerShard, Part, answer_shard
from edgepress.toolkit.workers.opening import Candidate

FAKE_ENGINE = """
import os, time, numpy
from ai_edge_litert.interpreter import Interpreter as Real
class Interpreter:
    def __init__(self, model_path, num_threads=None):
        self._path = model_path
        self._real = Real(model_path=model_path, num_threads=num_threads)
    def __getattr__(self, name): return getattr(self._real, name)
    def get_tensor(self, index):
        if "abort" in self._path: os.abort()
        if "raise" in self._path: raise KeyError("lost")
        if "slow" in self._path: time.sleep(0.005)
        return self._real.get_tensor(index) * (numpy.nan if "nan" in self._path else 1)
"""


@pytest.fixture
def small_shards(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(collect, "SHARD_ITEMS", 50)


@pytest.fixture
def fake_engine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A tflite-runtime that crashes, raises or answers NaN, as the file's name says."""
    package = tmp_path / "fake" / "tflite_runtime"
    package.mkdir(parents=True)
    (package / "__init__.py").touch()
    (package / "interpreter.py").write_text(FAKE_ENGINE)
    monkeypatch.syspath_prepend(str(package.parent))
    monkeypatch.setenv("PYTHONPATH", str(package.parent), prepend=os.pathsep)


class Watched:
    """A source that notes which items are read, and is interrupted after some."""

    def __init__(self, source: Any, stop_after: int | None = None) -> None:
        self.source, self.stop_after = source, stop_after
        self.read_items = 0

    def read(self, indices: Any) -> Any:
        if self.stop_after is not None and self.read_items >= self.stop_after:
            raise KeyboardInterrupt
        self.read_items += len(indices)
        return self.source.read(indices)


def watched(data: DataSet, stop_after: int | None = None) -> tuple[DataSet, Watched]:
    source = Watched(data.test.source, stop_after)
    return dataclasses.replace(data, test=Split(source, data.test.indices, data.test.y)), source  # type: ignore[arg-type]


def same(found: Answers | EdgepressError, other: Answers | EdgepressError) -> bool:
    assert isinstance(found, Answers), found
    assert isinstance(other, Answers), other
    return bool(np.array_equal(found.predicted, other.predicted) and np.array_equal(found.confidence, other.confidence))


def test_answers_are_those_of_the_file_whatever_shares_the_work(run: Any, digits: Any, small_shards: None) -> None:
    files = [run.variants[s] for s in ("tflite-int8", "onnx-float32")]
    told: list[float] = []
    together = collect_answers(
        [Candidate(f, None) for f in files], digits, jobs=2, on_progress=lambda _, share: told.append(share)
    )
    for file, found in zip(files, together, strict=True):
        scores = load(file).scores(digits.test.read(slice(None)))
        assert isinstance(found, Answers)
        np.testing.assert_array_equal(found.predicted, scores.argmax(axis=1))
        np.testing.assert_allclose(found.confidence, scores.max(axis=1), atol=1e-6)
    assert [a.engine for a in together if isinstance(a, Answers)] == ["litert", "onnxruntime"]
    assert told == sorted(told)
    assert told[-1] == 1
    (alone,) = collect_answers([Candidate(files[0], "litert")], digits, jobs=1)
    assert same(alone, together[0])


def test_an_answer_does_not_depend_on_the_others_of_its_call(run: Any, digits: Any) -> None:
    path = run.variants["onnx-dynamic"]
    model, items = load(path), digits.test.read(slice(None))
    alone = np.concatenate([model.scores(item[np.newaxis]) for item in items])
    np.testing.assert_array_equal(model.scores(items), alone)
    engine = model._session.run(items)  # as it would be in one call
    assert np.abs(engine - alone).max() > 1e-4, "the engine takes the scale of activations from all of them"
    (found,) = collect_answers([Candidate(path, "onnxruntime")], digits)
    assert isinstance(found, Answers)
    np.testing.assert_array_equal(found.confidence, alone.max(axis=1))


def test_what_differs_in_batch_alone_is_answered_once(run: Any, digits: Any) -> None:
    file = run.variants["tflite-int8"]
    first, second = collect_answers([Candidate(file, "litert"), Candidate(file, None, batch=8)], digits)
    assert isinstance(first, Answers)
    assert first is second


def test_one_that_fails_fails_alone(
    run: Any, digits: Any, tmp_path: Path, fake_engine: None, small_shards: None
) -> None:
    names = ("good", "abort", "raise", "nan")
    for name in names:
        shutil.copy(run.variants["tflite-float32"], tmp_path / f"{name}.tflite")
    pairs = [Candidate(tmp_path / f"{name}.tflite", "tflite-runtime") for name in names]
    good, aborted, raised, nan, missing = collect_answers([*pairs, Candidate(tmp_path / "no.tflite", None)], digits)
    assert isinstance(good, Answers)
    assert good.engine == "tflite-runtime"
    assert isinstance(aborted, ModelFileError)
    assert "abort.tflite on tflite-runtime crashed the process that ran it (SIGABRT" in aborted.message
    assert isinstance(raised, EngineError)
    assert "KeyError: 'lost'" in raised.message
    assert isinstance(nan, InputError)
    assert "NaN" in nan.message
    assert isinstance(missing, ModelFileError)


def test_a_file_for_other_labels_fails(run: Any, digits: Any) -> None:
    other = dataclasses.replace(digits, labels=tuple("abcdefghij"))
    (found,) = collect_answers([Candidate(run.variants["tflite-int8"], None)], other)
    assert isinstance(found, InputError)
    assert "labels" in found.message


def test_over_the_time_cap_is_a_failure_that_is_remembered(
    run: Any, digits: Any, tmp_path: Path, small_shards: None
) -> None:
    pair = Candidate(run.variants["tflite-int16x8"], None)
    for _ in range(2):  # the second time, what the first took counts
        (found,) = collect_answers([pair], digits, cap_s=1e-4, cache=tmp_path)
        assert isinstance(found, InputError)
        assert "the cap is 0.0001 s" in found.message
    (found,) = collect_answers([pair], digits, cache=tmp_path)
    assert isinstance(found, Answers)


@pytest.mark.parametrize("limit", ["slow", "time cap"])
def test_a_slow_file_stops_after_enough_items(
    run: Any, digits: Any, tmp_path: Path, fake_engine: None, small_shards: None, monkeypatch: Any, limit: str
) -> None:
    enough = 120 if limit == "slow" else 40
    monkeypatch.setattr(answers_module, "ENOUGH_ITEMS", enough)
    monkeypatch.setattr(answers_module, "LONG_S", 0.05)
    slow = tmp_path / "slow.tflite"
    shutil.copy(run.variants["tflite-int8"], slow)
    fast = Candidate(run.variants["tflite-int8"], "litert")
    pair = Candidate(slow, "tflite-runtime")
    others = [fast] if limit == "slow" else []
    cap_s = 120.0 if limit == "slow" else 0.05  # a shard takes longer
    *fast_answers, part = collect_answers([*others, pair], digits, jobs=1, cap_s=cap_s, estimated=[pair, *others])
    assert all(isinstance(a, Answers) and a.rows is None for a in fast_answers), "they are allowed to, but are not slow"
    *_, whole = collect_answers([fast, pair], digits)
    assert isinstance(part, Answers)
    assert isinstance(whole, Answers)
    assert whole.rows is None, "all are wanted"
    assert part.rows is not None
    assert enough <= len(part.rows) < len(digits.test)
    assert (np.diff(part.rows) > 0).all()
    assert same(part, whole.at(part.rows))
    counts = np.bincount(digits.test.y[part.rows], minlength=10)
    assert counts.min() > 0 or enough < 100, "of every class"
    assert part.seconds >= 0.005 * len(part.rows)


@pytest.mark.parametrize(("enough", "long_s"), [(10_000, 0.0), (1, 1e9)])
def test_few_items_and_short_work_are_never_estimated(
    run: Any,
    digits: Any,
    tmp_path: Path,
    fake_engine: None,
    small_shards: None,
    monkeypatch: Any,
    enough: int,
    long_s: float,
) -> None:
    monkeypatch.setattr(answers_module, "ENOUGH_ITEMS", enough)
    monkeypatch.setattr(answers_module, "LONG_S", long_s)
    slow = tmp_path / "slow.tflite"
    shutil.copy(run.variants["tflite-int8"], slow)
    pairs = [Candidate(run.variants["tflite-int8"], "litert"), Candidate(slow, "tflite-runtime")]
    assert [a.rows for a in collect_answers(pairs, digits, estimated=pairs) if isinstance(a, Answers)] == [None, None]


def test_an_interrupted_evaluation_goes_on_where_it_was(
    run: Any, digits: Any, tmp_path: Path, small_shards: None
) -> None:
    pairs = [Candidate(run.variants[s], None) for s in ("tflite-int8", "onnx-int8")]
    interrupted, _ = watched(digits, stop_after=300)
    with pytest.raises(KeyboardInterrupt):
        collect_answers(pairs, interrupted, jobs=1, cache=tmp_path)
    resumed, source = watched(digits)
    found = collect_answers(pairs, resumed, cache=tmp_path)
    assert 0 < source.read_items < len(digits.test), "some shards were there, some were not"
    assert all(map(same, found, collect_answers(pairs, digits)))
    unread, source = watched(digits)
    assert all(map(same, found, collect_answers(pairs, unread, cache=tmp_path)))
    assert source.read_items == 0


def test_answers_to_one_split_are_not_taken_for_those_to_another(
    run: Any, digits: Any, tmp_path: Path, small_shards: None
) -> None:
    pairs = [Candidate(run.variants["tflite-int8"], "litert")]
    ends = (Split(digits.test.source, half, digits.test.y[:180]) for half in np.split(digits.test.indices, 2))
    alike = dataclasses.replace(digits, **dict(zip(("val", "test"), ends, strict=True)))  # the same numbers of items
    (alone,) = collect_answers(pairs, alike)
    collect_answers(pairs, alike.tested_on("val"), cache=tmp_path)
    assert same(collect_answers(pairs, alike, cache=tmp_path)[0], alone)


def test_damaged_answers_are_made_again(run: Any, digits: Any, tmp_path: Path, small_shards: None) -> None:
    pairs = [Candidate(run.variants["tflite-int8"], "litert")]
    (before,) = collect_answers(pairs, digits, cache=tmp_path)
    (folder,) = tmp_path.iterdir()
    files = [folder / f"{rows.start}-{rows.stop}-{rows.step}" for rows in shards(digits)]
    content = files[1].read_bytes()
    files[1].write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    files[2].write_bytes(files[2].read_bytes()[:-3])
    files[3].write_bytes(b"")
    files[4].unlink()
    shorter = answers_cache.Shelf(tmp_path / "shorter", pairs[0], digits)
    shorter.put(
        slice(0, 10, 1), Part((np.zeros(10, np.int64), *[np.zeros(10, np.float32)] * 3, *np.zeros((2, 10, 5))), 0.0)
    )
    files[5].write_bytes(next((tmp_path / "shorter").glob("*/*")).read_bytes())  # whole, but of fewer items
    again, source = watched(digits)
    (after,) = collect_answers(pairs, again, cache=tmp_path)
    assert same(after, before)
    assert source.read_items == 5 * 45, "five of eight shards"
    unread, source = watched(digits)
    collect_answers(pairs, unread, cache=tmp_path)
    assert source.read_items == 0


def test_another_file_under_the_same_name_is_not_taken_for_the_old_one(run: Any, digits: Any, tmp_path: Path) -> None:
    path, cache = tmp_path / "model.tflite", tmp_path / "cache"
    found = {}
    for scheme in ("tflite-float32", "tflite-int8"):
        shutil.copy(run.variants[scheme], path)
        (found[scheme],) = collect_answers([Candidate(path, None)], digits, cache=cache)
    assert not same(*found.values())
    relabelled = dataclasses.replace(digits, sha256="other data")
    other, source = watched(relabelled)
    collect_answers([Candidate(path, None)], other, cache=cache)
    assert source.read_items == len(digits.test)


def test_two_evaluations_at_once_do_not_spoil_each_other(
    run: Any, digits: Any, tmp_path: Path, small_shards: None
) -> None:
    pairs, found = [Candidate(run.variants["tflite-int8"], None)], []
    threads = [
        threading.Thread(target=lambda: found.extend(collect_answers(pairs, digits, jobs=1, cache=tmp_path)))
        for _ in range(2)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert same(*found)
    (folder,) = tmp_path.iterdir()
    assert {p.name for p in folder.iterdir()} == {f"{rows.start}-{rows.stop}-{rows.step}" for rows in shards(digits)}


def test_without_a_place_to_write_answers_are_given_all_the_same(run: Any, digits: Any, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    (found,) = collect_answers([Candidate(run.variants["tflite-int8"], None)], digits, cache=tmp_path / "file" / "in")
    assert isinstance(found, Answers)


def test_the_answers_used_least_recently_are_removed(run: Any, digits: Any, tmp_path: Path) -> None:
    ranked = np.zeros((2000, 5), np.int64), np.zeros((2000, 5), np.float32)
    judged = np.zeros(2000, np.int64), np.zeros(2000, np.float32), np.zeros(2000, np.int8), np.ones(2000, np.float32)
    part = Part((*judged, *ranked), 0.0)
    pairs = [Candidate(run.variants[s], "litert") for s in ("tflite-int8", "tflite-float16", "tflite-float32")]
    for age, pair in enumerate(pairs):
        shelf = answers_cache.Shelf(tmp_path, pair, digits)
        shelf.put(slice(0, 2000, 1), part)
        assert shelf._folder is not None
        answers_cache.os.utime(shelf._folder, (1e9 - age, 1e9 - age))
    used = answers_cache.Shelf(tmp_path, pairs[2], digits)  # the oldest, now used
    answers_cache.prune(tmp_path, limit_bytes=250_000)
    kept = [answers_cache.Shelf(tmp_path, pair, digits).get(slice(0, 2000, 1)) is not None for pair in pairs]
    assert kept == [True, False, True]
    assert used.get(slice(0, 2000, 1)) is not None


@given(st.integers(1, 5000), st.sampled_from([(28, 28, 1), (224, 224, 3), (4000, 4000, 3)]))
def test_shards_hold_every_item_once_and_stay_small(count: int, shape: tuple[int, ...]) -> None:
    spec = InputSpec.image(shape[0], shape[1], "grey" if shape[2] == 1 else "rgb")
    split = Split(None, np.arange(count), np.zeros(count, np.int64))  # type: ignore[arg-type]
    rows = list(shards(DataSet("", ("a",), spec, split, split, split, "")))
    numbers = [np.arange(count)[r] for r in rows]
    np.testing.assert_array_equal(np.sort(np.concatenate(numbers)), np.arange(count))
    assert all(len(n) * np.prod(shape) <= max(collect.SHARD_BYTES, np.prod(shape)) for n in numbers)
    sorted_classes = np.arange(count) * 10 // count
    for n in numbers:  # each shard is an even sample of data that are sorted by class
        assert np.ptp(np.bincount(sorted_classes[n], minlength=10)) <= 2 + (count % 10 > 0)


def test_decisions_and_their_scores() -> None:
    scores = np.array([[0.2, 0.5, 0.3], [0.4, 0.4, 0.2]], np.float32)
    predicted, confidence = decide(scores)
    assert (predicted.tolist(), predicted.dtype) == ([1, 0], np.int64)
    np.testing.assert_array_equal(confidence, scores[[0, 1], [1, 0]])
    two = np.array([[0.75, 0.25], [0.2, 0.8]], np.float32)
    contract = Contract(
        task="sigmoid", labels=("n", "y"), input=InputSpec.image(2, 2, "grey"), scheme="tflite-float32", threshold=0.25
    )
    predicted, confidence = decide(two, contract)
    assert predicted.tolist() == [1, 1], "as the runtime decides, not the higher score"
    np.testing.assert_array_equal(confidence, two[:, 1])


class Echo(Session):
    """A session that answers its input."""

    dtype, scale, batch = np.dtype(np.float32), (1.0, 0), None

    def __init__(self, contract: Contract) -> None:
        self.contract, self.shape, self.classes = contract, contract.input.shape, contract.outputs
        self.output_shape = (self.classes,)

    def run(self, batch: Any) -> Any:
        return batch


@pytest.mark.parametrize(
    ("task", "labels", "items", "predicted", "confidence"),
    [
        ("sigmoid", "ny", [[0.25], [0.75]], [0, 1], [0.75, 0.75]),
        ("logits", "abc", [[0, 0, 9], [9, 0, 0]], [2, 0], [0.99975, 0.99975]),
        ("multilabel", "abc", [[0.1, 0.2, 0], [0.9, 0.8, 0]], [1, 0], [0.2, 0.9]),
    ],
)
def test_every_task_s_scores_are_decided_in_the_child(
    task: Any, labels: str, items: Any, predicted: Any, confidence: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    spec = InputSpec(shape=(len(items[0]),), dtype="float32")
    contract = Contract(task=task, labels=tuple(labels), input=spec, scheme="x", threshold=None)
    monkeypatch.setattr(answer, "open_model", lambda: Model(Path("x.tflite"), "echo", 1, Echo(contract)))
    np.save(tmp_path / "items.npy", np.array(items, np.float32))
    found: list[Part] = []
    answer_shard(AnswerShard(str(tmp_path / "items.npy"), 60.0), found.append)
    assert found[0].columns[0].tolist() == predicted
    np.testing.assert_allclose(found[0].columns[1], confidence, atol=1e-5)
