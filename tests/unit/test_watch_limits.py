"""The limits of the watch after a switch, and where a board goes back: what counts as a failure, and whom it blames."""

from __future__ import annotations

import dataclasses
import json
import types
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from records import assert_frozen

from edgepress.runtime.errors import UpdateError
from edgepress.runtime.updates import watch
from edgepress.runtime.updates.installer import VerdictError
from edgepress.runtime.updates.place import Place
from edgepress.runtime.updates.state import State, read_state
from edgepress.runtime.updates.watch import Failure, Health

NEW = "2" * 64
OLD = "1" * 64
"""Ids of the release in use and of the former one."""
UP = Health("active", 0, answers=True)
SILENT = Health("active", 0, answers=False)


class Board:
    """A board on which release 2 runs, whose service has a health at each moment; only sleeping takes time."""

    def __init__(self, prefix: Path) -> None:
        self.prefix = prefix
        self.now_s = 100.0
        self.damage = ""
        self.looks_s: list[float] = []
        self.said: list[str] = []
        self.actions: list[str] = []
        self.health: Callable[[float], Health | str] = lambda at_s: UP
        self.back: Callable[[], str] = lambda: "went"
        self.place = Place(prefix, prefix / "releases" / "2", "demo", "", 2, NEW, "pi64-py313")
        self.add(1, OLD)
        self.add(2, NEW)
        (prefix / "releases" / "2" / "former").symlink_to(prefix / "releases" / "1")
        self.use(2)

    def add(self, number: int, release_id: str) -> None:
        folder = self.prefix / "releases" / str(number)
        folder.mkdir(parents=True)
        (folder / "MANIFEST.json").write_text(json.dumps({"release": number, "id": release_id}))
        (folder / "selftest.json").write_text("{}")

    def use(self, number: int) -> None:
        current = self.prefix / "current"
        current.unlink(missing_ok=True)
        current.symlink_to(self.prefix / "releases" / str(number))

    def look(self, place: Place) -> Health:
        self.looks_s.append(self.now_s - 100.0)
        health = self.health(self.now_s - 100.0)
        if isinstance(health, str):
            raise UpdateError(health)
        return health

    def sleep(self, seconds: float) -> None:
        self.now_s += seconds

    def install(self, place: Place, folder: Path, action: str) -> str:
        self.actions.append(action)
        if action == "back":
            self.back()
            self.use(1)
        return ""

    def watch(self) -> Failure | None:
        return watch.watch(self.place, (2, NEW), say=self.said.append)

    def go_back(self, failure: Failure, state: State) -> tuple[type[UpdateError], str, State]:
        """Go back: the class of the error, its text, and the state that is left."""
        with pytest.raises(UpdateError) as caught:
            watch.go_back(self.place, state, (2, NEW), failure)
        return type(caught.value), caught.value.message, read_state(self.place.updates)


@pytest.fixture
def board(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Board:
    it = Board(tmp_path)
    monkeypatch.setattr(watch, "boot_s", lambda: it.now_s)
    monkeypatch.setattr(watch, "time", types.SimpleNamespace(sleep=it.sleep))
    monkeypatch.setattr(watch, "health", it.look)
    monkeypatch.setattr(watch, "run_installer", it.install)
    monkeypatch.setattr(watch, "damage_of", lambda folder: it.damage)
    return it


def from_s(start_s: float, then: Health | str, before: Health = UP) -> Callable[[float], Health | str]:
    return lambda at_s: then if at_s >= start_s else before


def test_a_service_that_stays_up_is_looked_at_every_ten_seconds_for_ten_minutes(board: Board) -> None:
    assert board.watch() is None
    assert board.looks_s == [10.0 * look for look in range(60)]
    assert board.said == ["Watching the service for 10 minutes; if this ends early, the next update goes on with it"]


def test_without_a_service_nothing_is_watched(board: Board) -> None:
    board.health = lambda at_s: Health("none", 0, answers=False)
    assert board.watch() is None
    assert (board.looks_s, board.said) == ([0.0], [])


def test_a_service_that_failed_is_given_up_at_once(board: Board) -> None:
    board.health = from_s(300.0, Health("failed", 2, answers=False))
    assert board.watch() == Failure("its service has failed")
    assert board.looks_s[-1] == 300.0


@pytest.mark.parametrize(("restarts", "reason"), [(2, None), (3, "its service was restarted 3 times in 5.0 minutes")])
def test_two_restarts_are_allowed(board: Board, restarts: int, reason: str | None) -> None:
    board.health = from_s(300.0, Health("active", restarts, answers=True))
    failure = board.watch()
    assert (failure and failure.reason) == reason
    assert failure is None or not failure.silent


def test_a_service_may_be_silent_for_twenty_seconds(board: Board) -> None:
    board.health = lambda at_s: SILENT if 100 <= at_s < 120 else UP
    assert board.watch() is None
    board.health = from_s(board.now_s - 100.0 + 100.0, SILENT)
    failure = board.watch()
    assert failure == Failure("its service has not answered for 30 s", silent=True)


@pytest.mark.parametrize(
    ("health", "silent"),
    [(SILENT, True), (Health("inactive", 0, answers=False), False), (Health("active", 1, answers=False), False)],
)
def test_only_a_service_that_ran_all_the_time_was_merely_silent(board: Board, health: Health, *, silent: bool) -> None:
    board.health = lambda at_s: health
    assert board.watch() == Failure("its service has not answered for 30 s", silent=silent)


def test_time_in_which_the_health_is_not_known_is_no_silence(board: Board) -> None:
    board.health = lambda at_s: "systemd is started anew" if at_s < 500 else SILENT if at_s < 520 else UP
    assert board.watch() is None
    assert len(board.looks_s) == 60
    assert len(board.said) == 1, "it is said where it is known that there is a service"


def test_a_health_that_is_never_known_leaves_the_watch_to_the_next_update(board: Board) -> None:
    board.health = lambda at_s: "no"
    with pytest.raises(UpdateError, match=r"The health of the service of release 2 is not known\."):
        board.watch()
    assert board.said == []


def test_a_release_that_was_left_by_hand_is_not_watched(board: Board) -> None:
    board.use(1)
    with pytest.raises(UpdateError, match="Release 2 was left by hand while its service was watched"):
        board.watch()
    assert board.looks_s == []


@pytest.mark.parametrize(
    ("number", "refused", "possible"), [(2, {}, True), (1, {}, True), (0, {}, False), (2, {OLD: "it crashed"}, False)]
)
def test_a_board_goes_back_to_a_complete_release_that_is_not_newer_and_was_not_refused(
    board: Board, number: int, refused: dict[str, str], *, possible: bool
) -> None:
    assert watch.can_go_back(board.place, State(refused=refused), number) == possible
    board.damage = "model.tflite differs"
    assert not watch.can_go_back(board.place, State(), 2)
    board.damage = ""
    (board.prefix / "releases" / "1" / "selftest.json").unlink()
    assert not watch.can_go_back(board.place, State(), 2)


def test_a_release_that_does_not_work_is_refused_and_left(board: Board) -> None:
    kept = State(watched=NEW, refused={OLD[:-1] + "0": "another"}, attempts={NEW: 2})
    kind, text, state = board.go_back(Failure("it crashed"), kept)
    assert (kind, text) == (VerdictError, "Release 2 was left: it crashed. The former release is in use again.")
    assert state == dataclasses.replace(
        kept, watched="", refused=kept.refused | {NEW: "Release 2 was left: it crashed."}
    )
    assert board.actions == ["back"]


def test_the_reason_of_an_earlier_refusal_stays(board: Board) -> None:
    kind, text, state = board.go_back(
        Failure("it was refused before", silent=True), State(refused={NEW: "It crashed."})
    )
    assert (kind, text) == (VerdictError, "It crashed. The former release is in use again.")
    assert state.refused == {NEW: "It crashed."}


@pytest.mark.parametrize("reason", ["another release", "nothing to go back to"])
def test_without_a_way_back_the_release_stays_and_is_not_refused(board: Board, reason: str) -> None:
    if reason == "another release":
        board.use(1)
    else:
        (board.prefix / "releases" / "1" / "selftest.json").unlink()
    kind, text, state = board.go_back(Failure("it crashed"), State(watched=NEW))
    assert (kind, text) == (UpdateError, "Release 2 does not work: it crashed. There is no release to go back to.")
    assert state == State()
    assert board.actions == []


class Back:
    """A way back that switches, and then ends with an error."""

    def __init__(self, board: Board, *, switches: bool, former: Health | str) -> None:
        self.board, self.switches = board, switches
        board.health = lambda at_s: former
        board.back = self

    def __call__(self) -> str:
        if self.switches:
            self.board.use(1)
        raise UpdateError("the way back failed")


@pytest.mark.parametrize("failure", [Failure("it was silent", silent=True), Failure("it crashed")])
@pytest.mark.parametrize("former", [UP, SILENT, "its health is not known"])
def test_a_release_is_tried_again_only_if_it_and_the_former_one_are_silent(
    board: Board, failure: Failure, former: Health | str
) -> None:
    Back(board, switches=True, former=former)
    kind, text, state = board.go_back(failure, State(watched=NEW, attempts={NEW: 1, OLD: 2}))
    what = f"Release 2 was left: {failure.reason}. The former release is in use again"
    assert state.watched == ""
    if former == UP:
        assert (kind, text) == (VerdictError, f"{what}.")
        assert list(state.refused) == [NEW]
    elif failure.silent:
        assert (kind, text) == (UpdateError, f"{what}, and its service does not answer either.")
        assert (state.refused, state.attempts) == ({}, {OLD: 2})
    else:
        assert (kind, text) == (VerdictError, f"{what}. Its service does not answer.")
        assert list(state.refused) == [NEW]


@pytest.mark.parametrize("silent", [True, False])
def test_a_disk_without_any_room_keeps_no_board_on_a_release_that_does_not_work(
    board: Board, monkeypatch: pytest.MonkeyPatch, *, silent: bool
) -> None:
    """It hides no reason either; with room before the way back alone, the release stays refused."""
    tried: list[State] = []

    def write(folder: Path, state: State) -> None:
        tried.append(state)
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(watch, "write_state", write)
    if silent:
        Back(board, switches=True, former=SILENT)
    kind, text, _ = board.go_back(Failure("it ended", silent=silent), State(watched=NEW))
    assert text.startswith("Release 2 was left: it ended. The former release is in use again")
    assert kind is (UpdateError if silent else VerdictError)
    assert watch.in_use(board.place) == OLD
    assert (tried[0].watched, list(tried[0].refused)) == (NEW, [NEW])
    assert (tried[1].watched, list(tried[1].refused)) == ("", [] if silent else [NEW])


def test_a_release_that_was_refused_before_is_not_tried_again_although_both_are_silent(board: Board) -> None:
    Back(board, switches=True, former=SILENT)
    kind, _, state = board.go_back(Failure("it was silent", silent=True), State(refused={NEW: "It crashed."}))
    assert kind is VerdictError
    assert state.refused == {NEW: "It crashed."}


def test_a_way_back_that_does_not_switch_is_the_error_and_the_refusal_stays(board: Board) -> None:
    Back(board, switches=False, former=UP)
    kind, text, state = board.go_back(Failure("it was silent", silent=True), State(watched=NEW))
    assert (kind, text) == (UpdateError, "the way back failed")
    assert (state.watched, list(state.refused)) == (NEW, [NEW])


@pytest.mark.parametrize(
    ("said", "health"),
    [
        ("active 0 yes\n", Health("active", 0, answers=True)),
        ("failed 3 no\n", Health("failed", 3, answers=False)),
        ("active 0", None),
        ("active x yes", None),
        ("active 0 yes more", None),
    ],
)
def test_the_health_is_what_install_sh_says(
    said: str, health: Health | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    place = Board(tmp_path).place
    calls: list[Any] = []
    monkeypatch.setattr(watch, "run_installer", lambda *given: (calls.append(given), said)[1])
    assert watch.health(place) == Health("none", 0, answers=False), "there are no units"
    assert calls == []
    (tmp_path / ".units").write_text("/etc/systemd/system\n")
    if health is None:
        with pytest.raises(UpdateError, match="does not know the health"):
            watch.health(place)
    else:
        assert watch.health(place) == health
    assert calls == [(place, place.release_folder, "health")]


@pytest.mark.parametrize(
    ("health", "words"), [(UP, ""), (Health("failed", 0, answers=False), "has failed"), ("no", "")]
)
def test_only_a_service_that_systemd_gave_up_has_failed_for_good(board: Board, health: Any, words: str) -> None:
    board.health = lambda at_s: health
    assert words in watch.reason_of_failure(board.place)
    assert bool(watch.reason_of_failure(board.place)) == bool(words)


def test_records_are_frozen() -> None:
    assert_frozen(watch, by_position=frozenset({"Failure", "Health"}))
