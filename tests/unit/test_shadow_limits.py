"""What a shadow run concludes from the answers of two releases, and which frames it lets them answer."""

from __future__ import annotations

import json
import types
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from records import assert_frozen
from scipy.stats import binom

from edgepress.runtime.updates import shadow
from edgepress.runtime.updates.place import SETTINGS, Place
from edgepress.runtime.updates.shadow import RunLimits, compare, is_below, read_limits, reason, shadow_run
from edgepress.runtime.updates.shadow_process import OldError, OtherError

MODEL = "a" * 64
"""SHA-256 of the model in use."""


class Answers:
    """A release that answers frames with labels, and items of the self-test with their numbers."""

    def __init__(self, us: float = 100.0, *, labels: Sequence[str] = (), memory: int = 7) -> None:
        self.us, self.labels, self.memory = us, labels, memory
        self.asked: list[tuple[int, bytes | None]] = []
        self.turns: list[float] = []

    def __enter__(self) -> Answers:
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def ask(self, seed: int, frame: bytes | None) -> dict[str, Any]:
        self.asked.append((seed, frame))
        self.turns.append(self.us)
        label = str(seed) if frame is None else self.labels[int(frame)] if self.labels else frame.decode()
        return {"label": label, "us": self.us + len(self.asked) / 1000, "memory_bytes": self.memory + len(self.asked)}


def run(old: Answers, new: Answers, frames: Sequence[bytes] = (), count: int = 3) -> dict[str, Any]:
    return compare(old, new, frames, count)  # type: ignore[arg-type]


def frames_of(count: int) -> list[bytes]:
    return [b"%d" % number for number in range(count)]


@given(st.integers(1, 400), st.floats(0.02, 0.99), st.data())
def test_a_share_is_below_its_limit_if_chance_explains_it_in_less_than_one_of_a_hundred_cases(
    count: int, least: float, data: st.DataObject
) -> None:
    near = int(binom.ppf(0.01, count, least))
    same = data.draw(st.integers(0, count) | st.integers(max(0, near - 3), min(count, near + 3)))
    chance = float(binom.cdf(same, count, least))
    assume(abs(chance - 0.01) > 1e-6)
    assert is_below(same, count, least) == (chance < 0.01)


@pytest.mark.parametrize(("same", "below"), [(200, False), (199, True), (0, True)])
def test_with_a_limit_of_all_frames_one_that_differs_is_below(same: int, *, below: bool) -> None:
    assert is_below(same, 200, 1.0) == below


def test_no_share_is_below_a_limit_of_none() -> None:
    assert not is_below(0, 200, 0.0)


def figures(**changed: Any) -> dict[str, Any]:
    """Figures of a release that may be used."""
    plain = {"slowdown": 1.0, "min_agreement": 0.9, "frames": 100, "same": 100, "scenes": 40, "same_scenes": 40}
    return plain | {"agreement": 1.0} | changed


DIFFERS: dict[str, Any] = {"same": 70, "agreement": 0.7, "same_scenes": 20}
"""Figures of a release that agrees on too few frames and too few scenes."""


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({}, ""),
        ({"slowdown": 1.2}, ""),
        ({"slowdown": 1.21}, "it takes 1.21 times as long as the release in use; accepted: 1.2"),
        (DIFFERS, "it agrees with the release in use on 70 of 100 frames (70.0%); accepted: at least 90.0%"),
        (DIFFERS | {"scenes": 30, "same_scenes": 10}, "70 of 100 frames"),
        (DIFFERS | {"scenes": 29, "same_scenes": 0}, ""),
        (DIFFERS | {"same_scenes": 40}, ""),
        (DIFFERS | {"same": 100, "agreement": 1.0}, ""),
        (DIFFERS | {"min_agreement": None}, ""),
    ],
)
def test_a_release_is_refused_if_it_is_slow_or_differs_on_frames_and_on_scenes(
    changed: dict[str, Any], words: str
) -> None:
    why = reason(figures(**changed), RunLimits(max_slowdown=1.2))
    assert words in why
    assert bool(why) == bool(words)


def test_frames_are_answered_in_turn_by_both_and_the_first_ones_are_not_counted() -> None:
    old, new = Answers(100), Answers(150)
    new.turns = old.turns
    result = run(old, new, frames_of(2), 4)
    assert [frame for _, frame in old.asked] == [b"1", b"0", b"1", b"0", b"1", b"0", b"1"], "three to warm up"
    assert new.asked == old.asked
    assert old.turns == [100, 150, 150, 100] * 3 + [100, 150]
    assert (result["old"]["p50_us"], result["new"]["p50_us"]) == (pytest.approx(100.0055), pytest.approx(150.0055))
    assert result["slowdown"] == result["new"]["p50_us"] / result["old"]["p50_us"]
    assert result["old"]["memory_bytes"] == 7 + 7
    assert (result["source"], result["frames"], result["agreement"]) == ("service", 2, 1.0)


def test_frames_that_follow_each_other_alike_are_one_scene() -> None:
    result = run(Answers(labels="aaabbaa"), Answers(labels="aaabccc"), frames_of(7), 7)
    assert (result["frames"], result["same"], result["agreement"]) == (7, 4, 4 / 7)
    assert (result["scenes"], result["same_scenes"]) == (4, 2)


def test_without_frames_items_of_the_self_test_are_timed_and_nothing_is_said_of_agreement() -> None:
    old, new = Answers(), Answers()
    result = run(old, new, [], 5)
    assert [seed for seed, _ in old.asked] == [2, 3, 4, 0, 1, 2, 3, 4]
    assert (result["source"], result["frames"]) == ("self-test", 5)
    assert [result[name] for name in ("same", "agreement", "scenes", "same_scenes")] == [None] * 4


def test_the_slowest_of_a_hundred_answers_is_above_the_99th_percentile() -> None:
    assert run(Answers(0), Answers(0), [], 100)["old"]["p99_us"] == pytest.approx((3 + 99) / 1000)
    assert run(Answers(0), Answers(0), [], 101)["old"]["p99_us"] == pytest.approx((3 + 100) / 1000)


def test_no_frame_is_answered_after_ten_minutes(monkeypatch: pytest.MonkeyPatch) -> None:
    at_s = iter([0.0, 10.0, 600.0, 600.1])
    monkeypatch.setattr(shadow, "time", types.SimpleNamespace(monotonic=lambda: next(at_s)))
    assert run(Answers(), Answers(), frames_of(9), 9)["frames"] == 3


def place_of(folder: Path) -> Place:
    """An installation whose model has the digest `MODEL`."""
    release = folder / "releases" / "one"
    release.mkdir(parents=True)
    manifest = {"model": "model.tflite", "files": [{"path": "model.tflite", "sha256": MODEL}]}
    (release / "MANIFEST.json").write_text(json.dumps(manifest))
    return Place(folder, release, "demo", "", 1, "1" * 64, "pi64-py313")


def release_with(folder: Path, shadow_limits: Any) -> Path:
    """The folder of a new release with these limits."""
    path = folder / "releases" / "two" / SETTINGS
    path.parent.mkdir(parents=True)
    path.write_text(json.dumps({"name": "demo", "shadow": shadow_limits}))
    return folder / "releases" / "two"


@pytest.mark.parametrize(
    "given",
    [
        {"frames": 10_000, "max_slowdown": 0.01, "min_agreement": 0.0, "measured": {MODEL: 1.0}},
        {"frames": 0, "min_agreement": 1.0, "measured": {}},
    ],
)
def test_limits_are_read_as_they_were_written(given: dict[str, Any], tmp_path: Path) -> None:
    limits = read_limits(release_with(tmp_path, given | {"of a newer edgepress": 1}))
    assert {name: getattr(limits, name) for name in given} == given


@pytest.mark.parametrize(
    "given",
    [
        {"frames": -1},
        {"frames": 10_001},
        {"frames": 2.0},
        {"frames": True},
        {"max_slowdown": 0},
        {"min_agreement": -0.1},
        {"min_agreement": 1.1},
        {"measured": {MODEL: 1.1}},
        {"measured": {"b": 0.5, MODEL: -0.1}},
    ],
)
def test_a_limit_that_is_out_of_range_is_a_verdict(given: dict[str, Any], tmp_path: Path) -> None:
    with pytest.raises(shadow.VerdictError, match=r"out of range.*"):
        read_limits(release_with(tmp_path, given))


def test_a_bundle_without_limits_has_no_shadow_run(tmp_path: Path) -> None:
    assert read_limits(tmp_path) == RunLimits()
    assert shadow_run(place_of(tmp_path), tmp_path, say=str) == {}
    assert_frozen(shadow, by_position=frozenset({"RunLimits"}))


def test_the_agreement_in_the_limits_counts_before_the_measured_one() -> None:
    assert RunLimits(measured={MODEL: 0.8}).agreement_with(MODEL) == 0.8
    assert RunLimits(measured={MODEL: 0.8}).agreement_with("b") is None
    assert RunLimits(min_agreement=0.0, measured={MODEL: 0.8}).agreement_with(MODEL) == 0.0


class Board:
    """What a shadow run sees: frames of a service, and releases that answer with a latency, one a run."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.place = place_of(folder)
        self.release = release_with(folder, {"frames": 4, "max_slowdown": 1.5, "measured": {MODEL: 0.7}})
        self.frames = frames_of(4)
        self.new_us = [100.0]
        self.error: Exception | None = None
        self.wanted: list[int] = []
        self.said: list[str] = []
        self.runs = 0
        monkeypatch.setattr(shadow, "wait_for_frames", self._wait)
        monkeypatch.setattr(shadow, "Child", self._child)
        monkeypatch.setattr(shadow, "keeps_no_frames", lambda place: "The service keeps none.")
        monkeypatch.setattr(shadow, "compare", self._compare)

    def _wait(self, folder: Path, request: Path, count: int, *, say: Any) -> list[bytes]:
        self.wanted.append(count)
        assert request == self.place.updates / "frames.json"
        return self.frames

    def _child(self, folder: Path, what: str, blame: type) -> Any:
        if self.error is not None:
            raise self.error
        assert (folder == self.release) == (what == "The new release") == (blame is shadow.VerdictError)
        return Answers(100.0, memory=1 if folder == self.release else 0)

    def _compare(self, old: Answers, new: Answers, frames: Sequence[bytes], count: int) -> dict[str, Any]:
        assert (old.memory, new.memory) == (0, 1)
        new.us = self.new_us[self.runs]
        self.runs += 1
        return compare(old, new, frames, count)  # type: ignore[arg-type]

    def run(self, count: int | None = None) -> dict[str, Any]:
        return shadow_run(self.place, self.release, count, say=self.said.append)


@pytest.fixture
def board(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Board:
    return Board(tmp_path, monkeypatch)


def test_frames_of_the_service_are_judged_by_the_measured_agreement(board: Board) -> None:
    result = board.run()
    assert (result["why"], result["note"], result["min_agreement"], result["max_slowdown"]) == ("", "", 0.7, 1.5)
    assert board.wanted == [4]
    assert board.said == ["Answering 4 frames of the service with both releases"]
    assert board.runs == 1


def test_a_count_that_is_given_counts_more_than_the_limits_and_zero_is_no_shadow_run(board: Board) -> None:
    board.run(2)
    assert board.wanted == [2]
    assert board.run(0) == {}
    assert board.wanted == [2]


def test_without_frames_the_note_says_why_and_agreement_has_no_limit(board: Board) -> None:
    board.frames = []
    result = board.run()
    assert (result["note"], result["min_agreement"], result["source"]) == ("The service keeps none.", None, "self-test")
    assert board.said == [
        "Answering 4 items of the self-test, for want of frames with both releases",
        "The service keeps none.",
    ]


def test_a_slow_release_is_timed_once_more_and_the_better_time_counts(board: Board) -> None:
    board.new_us = [200.0, 110.0]
    assert board.run()["why"] == ""
    assert board.runs == 2
    board.runs, board.new_us = 0, [160.0, 400.0]
    result = board.run()
    assert 1.5 < result["slowdown"] < 1.7
    assert "times as long" in result["why"]


@pytest.mark.parametrize("error", [OldError("It ended.", "hint"), OtherError("It is of another kind.", "hint")])
def test_a_release_that_can_not_be_compared_is_no_reason_against_the_new_one(board: Board, error: Any) -> None:
    board.error = error
    result = board.run()
    assert (result["source"], result["frames"], result["why"]) == ("none", 0, "")
    assert result["note"] == error.message
    assert board.said[-1] == f"Nothing is compared. {error.message}"
