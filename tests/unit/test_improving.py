"""Old and new items together, and what held-out items prove of a change."""

from __future__ import annotations

import json
import pickle
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgepress.runtime.input_spec import InputSpec
from edgepress.toolkit.cli.improve import _show
from edgepress.toolkit.data.collected import LEAST_REHEARSED, SHARE, JoinedSource, join
from edgepress.toolkit.data.items import ArraySource
from edgepress.toolkit.data.types import DataSet, Split
from edgepress.toolkit.errors import InputError
from edgepress.toolkit.improvement.improving import proof as module
from edgepress.toolkit.improvement.improving.improve import Improved
from edgepress.toolkit.improvement.improving.options import ImproveOptions
from edgepress.toolkit.improvement.improving.proof import (
    learned_by,
    prove_better,
    prove_not_worse,
    remember,
    without_learned_scenes,
)
from edgepress.toolkit.stats.samples import items_to_prove_gain
from edgepress.toolkit.training.run_folder import METRICS, TrainResult

SPEC = InputSpec(shape=(2, 2, 1), dtype="float32")


def split(first: int, count: int) -> Split:
    """Items that hold their own number; the class is whether it is odd."""
    numbers = np.arange(first, first + count)
    x = np.repeat(numbers.astype(np.float32), 4).reshape(count, 2, 2, 1)
    source = ArraySource(x, [f"item {n}" for n in numbers], SPEC)
    return Split(source, np.arange(count), numbers % 2)


def data(first: int, counts: tuple[int, int, int], name: str) -> DataSet:
    parts = [split(first + 100_000 * n, count) for n, count in enumerate(counts)]
    return DataSet(name, ("even", "odd"), SPEC, *parts, sha256=name)


def numbers(part: Split) -> Any:
    return part.read(slice(None))[:, 0, 0, 0].astype(np.int64)


def test_new_items_are_repeated_and_old_ones_rehearsed() -> None:
    both = join(data(0, (5000, 500, 300), "old"), data(50_000, (70, 10, 20), "new"))
    train, val, test = (numbers(part) for part in (both.train, both.val, both.test))
    assert np.count_nonzero(train < 50_000) == LEAST_REHEARSED
    assert np.mean(train >= 50_000) == pytest.approx(SHARE, abs=0.01)
    assert np.mean(val >= 150_000) == pytest.approx(SHARE, abs=0.01)
    assert len({*train.tolist()}) == LEAST_REHEARSED + 70
    assert sorted(test.tolist()) == [*range(200_000, 200_300), *range(250_000, 250_020)]
    for part in (both.train, both.val, both.test):
        assert (part.y == numbers(part) % 2).all()
    assert 0.2 < np.mean(train[:500] >= 50_000) < 0.5, "what takes the first items gets both kinds"
    assert both.sha256 not in ("old", "new")
    assert both.source == "old"


def test_without_new_validation_items_the_old_ones_stay() -> None:
    both = join(data(0, (50, 10, 10), "old"), data(50_000, (5, 0, 1), "new"))
    assert len(both.val) == 10
    assert len(both.test) == 11


def test_joined_items_travel_to_other_processes() -> None:
    both = join(data(0, (50, 10, 10), "old"), data(50_000, (5, 2, 3), "new"))
    rows = np.array([3, 1, 40, 40])
    part = Split(both.train.source, both.train.indices[rows], both.train.y[rows])
    copy = pickle.loads(pickle.dumps(part))
    assert (numbers(copy) == numbers(part)).all()
    assert copy.name(2) == f"item {numbers(part)[2]}"
    assert isinstance(both.train.source, JoinedSource)
    assert both.train.read([]).shape == (0, 2, 2, 1)


def flags(*runs: tuple[bool, int]) -> Any:
    return np.concatenate([np.full(count, value) for value, count in runs])


@pytest.mark.parametrize(
    ("lost", "gained", "verdict"), [(2, 40, "proven"), (10, 14, "open"), (40, 2, "worse"), (0, 0, "open")]
)
def test_better_is_proven_by_the_interval(lost: int, gained: int, verdict: str) -> None:
    before = flags((True, lost), (False, gained), (True, 200))
    after = flags((False, lost), (True, gained), (True, 200))
    found = prove_better(before, after)
    assert found.verdict == verdict
    assert found.gain.estimate == pytest.approx(100 * (found.after - found.before))
    assert found.gain.low is not None
    assert found.gain.high is not None
    assert found.gain.low <= found.gain.estimate <= found.gain.high
    assert (found.needed is not None) == (verdict == "open" and gained > lost)
    assert found.needed is None or found.needed > found.items


@pytest.mark.parametrize(
    ("lost", "gained", "items", "verdict"), [(1, 1, 3000, "proven"), (3, 3, 300, "open"), (60, 2, 400, "worse")]
)
def test_not_worse_is_proven_by_the_interval(lost: int, gained: int, items: int, verdict: str) -> None:
    before = flags((True, lost), (False, gained), (True, items))
    after = flags((False, lost), (True, gained), (True, items))
    found = prove_not_worse(before, after, 1.0)
    assert found.verdict == verdict
    assert (found.needed is not None) == (verdict == "open")


def test_without_any_loss_a_gain_is_what_more_items_prove() -> None:
    gain = prove_not_worse(flags((True, 2), (False, 5), (True, 300)), flags((False, 2), (True, 5), (True, 300)), 0.0)
    assert gain.verdict == "open"
    assert gain.needed is not None and gain.needed > 307  # noqa: PT018
    same = flags((True, 300))
    assert prove_not_worse(same, same, 0.0).needed is None


def test_so_many_items_prove_a_gain_in_four_of_five_cases() -> None:
    rng, share, gain = np.random.default_rng(0), 0.2, 0.06
    needed = items_to_prove_gain(round(1000 * (share - gain) / 2), round(1000 * (share + gain) / 2), 1000)
    assert needed is not None
    proven = 0
    for _ in range(120):
        kinds = rng.choice(3, needed, p=[(share - gain) / 2, (share + gain) / 2, 1 - share])
        before, after = kinds != 1, kinds != 0
        proven += prove_better(before, after).verdict == "proven"
    assert 0.7 < proven / 120 < 0.9
    assert items_to_prove_gain(5, 5, 100) is None


def pictures(seeds: list[int], *, noise: int = 0) -> Split:
    """Pictures of scenes that are like no other one; with noise, others of the same scenes."""
    x = [np.random.default_rng(seed).integers(0, 200, (8, 8, 1)).repeat(2, 0).repeat(2, 1) + noise for seed in seeds]
    source = ArraySource(np.array(x, np.uint8).reshape(-1, 16, 16, 1), [str(s) for s in seeds], IMAGE)
    return Split(source, np.arange(len(seeds)), np.zeros(len(seeds), np.int64))


IMAGE = InputSpec.image(16, 16, "grey")


def fresh(train: list[int], val: list[int], test: Split) -> DataSet:
    return DataSet("new", ("a", "b"), IMAGE, pictures(train), pictures(val, noise=2), test, sha256="new")


def test_scenes_that_are_trained_on_prove_nothing() -> None:
    """A board keeps a scene again that left its folder: by content, it is in two splits."""
    data = fresh([0, 1, 2, 3], [3, 4, 5], pictures([0, 4, 6, 7, 8], noise=1))
    held, notes = without_learned_scenes(data, [])
    assert [held.val.name(row) for row in range(len(held.val))] == ["4", "5"]
    assert [held.test.name(row) for row in range(len(held.test))] == ["6", "7", "8"]
    assert len(held.train) == 4
    assert "2 of 5 new test items left out" in notes[0]
    assert "1 of 3 new validation items left out" in notes[1]
    with pytest.raises(InputError, match="none can prove a gain"):
        without_learned_scenes(fresh([0], [1], pictures([0, 1], noise=1)), [])
    assert without_learned_scenes(fresh([0], [], pictures([1])), [])[1] == []


def test_what_an_earlier_improvement_learned_proves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Adding pictures moves others between the splits; a picture of a scene that was learned is none of proof, too."""
    (tmp_path / METRICS).write_text("{}")
    monkeypatch.setattr(
        module, "load_result", lambda folder: TrainResult(folder, json.loads((folder / METRICS).read_text()), [])
    )
    remember(tmp_path, fresh([0, 1], [2], pictures([9])), ["beef"])
    learned = learned_by(json.loads((tmp_path / METRICS).read_text()))
    assert len(learned) == 4
    moved = pictures([0, 7])
    both = Split(moved.source, np.array([0, 1]), moved.y)
    held, notes = without_learned_scenes(fresh([5], [6], both), learned)
    assert [held.test.name(row) for row in range(len(held.test))] == ["7"]
    assert "now or before" in notes[0]
    assert learned_by({}) == learned_by({"learned": 3}) == []


def test_the_record_is_that_of_the_old_data() -> None:
    """So that a later command which opens these recognizes them."""
    old = data(0, (50, 10, 10), "old")
    both = join(old, data(50_000, (5, 0, 1), "new"))
    assert both.record == old.record
    assert both.sha256 != old.sha256


def test_of_several_files_without_a_promise_none_is_named_for_a_bundle(capsys: pytest.CaptureFixture[str]) -> None:
    proof = prove_better(flags((True, 50), (False, 50)), flags((True, 100)))
    files = (Path("out/variants/model-dynamic.onnx"), Path("out/variants/model-int8.tflite"))
    several = Improved(Path("out/model.keras"), proof, proof, files, (), ())
    assert several.ship is None
    _show(several, ImproveOptions(max_drop=1.0))
    assert capsys.readouterr().out.endswith("Next: edgepress benchmark out/variants\n")
    one = replace(several, files=files[1:])
    assert one.ship == files[1]
    _show(one, ImproveOptions(max_drop=1.0))
    printed = capsys.readouterr().out
    assert printed.endswith("Next: edgepress bundle out/variants/model-int8.tflite\n")
    assert "50.00" in printed
    assert "-0.0" not in printed
    assert replace(one, had_promise=True).ship is None
