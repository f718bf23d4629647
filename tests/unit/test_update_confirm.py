"""What an update does first: it goes on with an interrupted switch, and looks after a service that has failed."""

from __future__ import annotations

import datetime
from pathlib import Path
from typing import Any

import pytest

from edgepress.runtime.errors import UpdateError
from edgepress.runtime.updates import confirm as module
from edgepress.runtime.updates.confirm import confirm
from edgepress.runtime.updates.installer import VerdictError
from edgepress.runtime.updates.place import Place
from edgepress.runtime.updates.state import State, read_state, with_verdict, write_state
from edgepress.runtime.updates.watch import Failure

ID = "3" * 64
OTHER = "2" * 64
"""Ids of the release in use and of another one."""
NOW = datetime.datetime(2026, 11, 29, 12, tzinfo=datetime.UTC)


class Board:
    """A board on which release 3 runs; what its service does is set, and what it was asked for is noted."""

    def __init__(self, prefix: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.place = Place(prefix, prefix / "releases" / "3", "demo", "", 3, ID, "pi64-py313")
        self.place.updates.mkdir(parents=True)
        self.done: list[str] = []
        self.said: list[str] = []
        self.reason = ""
        self.failure: Failure | None = None
        self.refuses: Exception | None = None
        self.has_former = True
        monkeypatch.setattr(module, "reason_of_failure", lambda place: self.reason)
        monkeypatch.setattr(module, "can_go_back", lambda place, state, number: self.has_former and number == 3)
        monkeypatch.setattr(module, "go_back", self._go_back)
        monkeypatch.setattr(module, "run_installer", self._install)
        monkeypatch.setattr(module, "watch", self._watch)
        monkeypatch.setattr(module, "utc_now", lambda: NOW)

    def _go_back(self, place: Place, state: State, release: tuple[int, str], failure: Failure) -> None:
        assert release == (3, ID)
        self.done.append(f"back: {failure.reason}")
        raise VerdictError(f"left: {failure.reason}")

    def _install(self, place: Place, folder: Path, action: str) -> str:
        assert folder == place.release_folder
        self.done.append(action)
        if self.refuses is not None:
            raise self.refuses
        return ""

    def _watch(self, place: Place, release: tuple[int, str], *, say: Any) -> Failure | None:
        assert release == (3, ID)
        self.done.append("watch")
        return self.failure

    def confirm(self, state: State) -> tuple[State, UpdateError | None]:
        write_state(self.place.updates, state)
        return confirm(self.place, state, self.said.append)

    def written(self) -> State:
        return read_state(self.place.updates)


@pytest.fixture
def board(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Board:
    return Board(tmp_path, monkeypatch)


def test_a_service_that_is_up_needs_nothing(board: Board) -> None:
    state = State(attempts={OTHER: 1})
    assert board.confirm(state) == (state, None)
    assert (board.done, board.said, board.written()) == ([], [], state)


def test_an_interrupted_watch_is_repeated_and_then_forgotten(board: Board) -> None:
    state, trouble = board.confirm(State(watched=ID, attempts={ID: 1, OTHER: 2}))
    assert trouble is None
    assert board.done == ["confirm", "watch"]
    assert board.said == ["Testing release 3, because the update to it was interrupted"]
    assert state == board.written() == State(attempts={OTHER: 2})


def test_what_was_watched_before_another_release_is_forgotten(board: Board) -> None:
    state, trouble = board.confirm(State(watched=OTHER, attempts={ID: 2, OTHER: 1}))
    assert (board.done, trouble) == ([], None)
    assert state == board.written() == State(attempts={OTHER: 1})


def test_an_attempt_is_counted_before_the_test_that_may_reset_the_board(board: Board) -> None:
    class ResetError(BaseException):
        """Stands for a reset of the board."""

    board.refuses = ResetError()  # type: ignore[assignment]
    for count in (1, 2, 3):
        with pytest.raises(ResetError):
            board.confirm(State(watched=ID, attempts={ID: count - 1, OTHER: 5}))
        assert board.written() == State(watched=ID, attempts={ID: count, OTHER: 5})
    with pytest.raises(VerdictError, match="its watch was interrupted 3 times"):
        board.confirm(board.written())
    assert board.done[-2:] == ["confirm", "back: its watch was interrupted 3 times"]


def test_a_release_that_was_refused_is_left_without_a_test(board: Board) -> None:
    with pytest.raises(VerdictError, match="it was refused before"):
        board.confirm(State(watched=ID, refused={ID: "it crashed"}))
    assert board.done == ["back: it was refused before"]
    assert board.written() == State(refused={ID: "left: it was refused before"})


def test_a_release_whose_service_does_not_stay_up_is_left_and_refused(board: Board) -> None:
    board.failure = Failure("its service has failed")
    with pytest.raises(VerdictError):
        board.confirm(State(watched=ID, refused={OTHER: "old"}))
    assert board.done == ["confirm", "watch", "back: its service has failed"]
    assert board.written().refused == {OTHER: "old", ID: "left: its service has failed"}
    assert board.written().watched == ""


def test_a_release_that_could_not_be_tested_is_tested_again(board: Board) -> None:
    board.refuses = UpdateError("the disk is full")
    state, trouble = board.confirm(State(watched=ID, attempts={ID: 2, OTHER: 1}))
    assert trouble is board.refuses
    assert state == board.written() == State(watched=ID, attempts={ID: 1, OTHER: 1}), "it was not a reset"


def test_a_service_that_can_not_be_started_again_changes_no_state(board: Board) -> None:
    board.reason, board.refuses = "its service has failed", UpdateError("no systemd")
    assert board.confirm(State(attempts={OTHER: 1})) == (State(attempts={OTHER: 1}), board.refuses)
    assert board.done == ["restart"]


def ago(**time: float) -> dict[str, str]:
    """The time of the switch to the release in use."""
    return {ID: (NOW - datetime.timedelta(**time)).strftime("%Y-%m-%dT%H:%M:%SZ")}


@pytest.mark.parametrize(
    ("switched", "blamed"),
    [
        (ago(hours=24), True),
        (ago(hours=24, seconds=1), False),
        (ago(seconds=0), True),
        (ago(seconds=-1), False),
        ({}, False),
        ({OTHER: ago(hours=1)[ID]}, False),
    ],
)
def test_a_service_that_fails_on_the_first_day_blames_its_release(
    board: Board, switched: dict[str, str], *, blamed: bool
) -> None:
    board.reason = "its service has failed"
    if blamed:
        with pytest.raises(VerdictError):
            board.confirm(State(switched=switched))
        assert board.done == ["back: its service has failed"]
        board.done, board.has_former = [], False
    assert board.confirm(State(switched=switched)) == (State(switched=switched), None)
    assert board.done == ["restart"]
    assert board.said == ["Starting the service of release 3 again, because it has failed"]


def test_a_verdict_ends_the_watch_and_keeps_what_was_refused_before() -> None:
    state = State(watched=ID, refused={OTHER: "old", ID: "first"}, attempts={ID: 1})
    kept = State(refused={OTHER: "old", ID: "second"}, attempts={ID: 1})
    assert with_verdict(state, (3, ID), "second") == kept
