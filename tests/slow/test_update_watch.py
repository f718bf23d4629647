"""What `run update` does after a switch: it watches the service, and goes back to a release that stays up."""

from __future__ import annotations

import contextlib
import dataclasses
import fcntl
import shutil
import socket
import stat
import subprocess
import sys
import threading
import time
import types
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import scripts
from updating import Service, fake

from edgepress.runtime.updates import watch
from edgepress.runtime.updates.place import read_place
from edgepress.runtime.updates.state import State, read_state, write_state

sys.path.insert(0, str(scripts.ROOT / "benchmarks" / "updates"))
simulated = scripts.script("benchmarks/updates/simulated.py")
SYSTEMCTL = """\
echo "$@" >>{folder}/log
case $1 in
  is-active) cat {folder}/state ;;
  show) cat {folder}/restarts ;;
  restart) echo active >{folder}/state; echo 0 >{folder}/restarts ;;
esac
exit 0"""


class Clock:
    """The time since the board has started, which only sleeping moves; something may happen at a time."""

    def __init__(self) -> None:
        self.now_s = 1000.0
        self.events: dict[float, Callable[[], object]] = {}

    def sleep(self, seconds: float) -> None:
        self.now_s += seconds
        for at_s in [at_s for at_s in self.events if at_s <= self.now_s - 1000.0]:
            self.events.pop(at_s)()


class System:
    """The state of a service as systemd would tell it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.tell("active", 0)

    def tell(self, state: str, restarts: int) -> None:
        (self.folder / "state").write_text(f"{state}\n")
        (self.folder / "restarts").write_text(f"{restarts}\n")


@pytest.fixture
def board(board: Any, publisher: Any) -> Any:
    """A board that runs release 1; release 2 is published."""
    publisher.publish(2)
    return board


@pytest.fixture
def service(board: Any, tmp_path: Path) -> Iterator[Service]:
    found = Service(board, tmp_path)
    yield found
    found.server.shutdown()
    found.server.server_close()


@pytest.fixture
def system(service: Service, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> System:
    folder = tmp_path / "systemd"
    folder.mkdir()
    fake(tmp_path / "bin", "systemctl", SYSTEMCTL.format(folder=folder), monkeypatch)
    return System(folder)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    found = Clock()
    monkeypatch.setattr(watch, "boot_s", lambda: found.now_s)
    monkeypatch.setattr(watch, "LOOK_S", 100.0)  # tests/unit/test_watch_limits.py looks more often
    monkeypatch.setattr(watch, "time", types.SimpleNamespace(sleep=found.sleep))
    return found


def test_a_service_that_stays_up_is_watched_for_ten_minutes(
    publisher: Any, board: Any, system: System, clock: Clock
) -> None:
    clock.events[300.0] = lambda: system.tell("active", 2)
    said: list[str] = []
    assert board.attempt(publisher.site, say=said.append) == "installed 2"
    assert clock.now_s == 1600.0
    assert [text for text in said if "Watching the service for 10 minutes" in text]


@pytest.mark.slow
def test_a_release_is_tried_again_if_the_former_one_is_silent_too(
    publisher: Any, board: Any, service: Service, system: System, clock: Clock
) -> None:
    refused = []

    def flood() -> None:
        service.good.clear()
        refused.append(board.status()["refused"])

    clock.events[300.0] = flood
    said = board.attempt(publisher.site)
    assert refused == [{}]
    assert "Release 2 was left: its service has not answered for" in said
    assert "does not answer either" in said
    assert "is tried again" in said
    assert board.running() == 1
    status = board.status()
    assert status["refused"] == {}
    assert "does not answer either" in status["last"]["message"]
    state = read_state(board.prefix / "updates")
    assert (state.watched, state.attempts) == ("", {})
    service.good = {1, 2}
    assert board.attempt(publisher.site) == "installed 2"


@pytest.mark.slow
@pytest.mark.parametrize("former", ["answers", "is silent"])
def test_the_refusal_is_written_before_the_way_back_and_a_power_cut_then_keeps_it(
    former: str, publisher: Any, board: Any, service: Service, system: System, clock: Clock,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    class Cut(BaseException):
        """Stands for the power cut."""

    def cut(*_: Any) -> str:
        raise Cut

    assert board.attempt(publisher.site) == "installed 2"
    place = read_place(board.prefix / "current")
    with monkeypatch.context() as patch:
        patch.setattr(watch, "run_installer", cut)
        with pytest.raises(Cut):
            watch.go_back(place, State(), (2, place.id), watch.Failure("it was silent", silent=True))
    assert read_state(place.updates).refused == {place.id: "Release 2 was left: it was silent."}
    service.good = {1} if former == "answers" else set()
    assert "it was silent. The former release is in use again." in board.attempt(publisher.site)
    assert board.running() == 1
    assert list(board.status()["refused"]) == [place.id]


@pytest.mark.slow
def test_an_update_ends_if_its_release_was_left_by_hand_while_it_was_tested(
    publisher: Any, board: Any, service: Service, system: System, clock: Clock
) -> None:
    assert board.attempt(publisher.site) == "installed 2"
    write_state(board.prefix / "updates", State(watched=board.status()["id"]))
    publisher.publish(3)

    def by_hand() -> None:
        assert board.install(publisher.bundle(2), "rollback").returncode == 0

    clock.events[clock.now_s - 1000.0 + 100.0] = by_hand
    assert "was left by hand while its service was watched" in board.attempt(publisher.site)
    assert board.running() == 1
    assert board.attempt(publisher.site) == "installed 3"


BAD = {"restarted": "was restarted 3 times", "failed": "its service has failed", "silent": "has not answered for"}
"""How a service fails after five minutes, and what is said then."""


@pytest.mark.slow
@pytest.mark.parametrize("name", BAD)
def test_a_service_that_fails_is_replaced_by_the_former_release_at_the_next_look(
    name: str, publisher: Any, board: Any, service: Service, system: System, clock: Clock
) -> None:
    words = BAD[name]
    happen = {
        "restarted": lambda: system.tell("active", 3),
        "failed": lambda: system.tell("failed", 2),
        "silent": lambda: service.good.discard(2),
    }
    clock.events[300.0] = happen[name]
    said = board.attempt(publisher.site)
    assert words in said
    assert "The former release is in use again" in said
    assert clock.now_s == 1300.0
    assert board.running() == 1
    status = board.status()
    assert [words in reason for reason in status["refused"].values()] == [True]
    assert read_state(board.prefix / "updates").watched == ""
    assert board.attempt(publisher.site) == "nothing new"
    publisher.publish(3)
    service.good = {1, 3}
    assert board.attempt(publisher.site) == "installed 3"


def test_a_release_that_crashes_after_an_hour_is_left_when_systemd_gives_it_up(
    publisher: Any, board: Any, system: System, clock: Clock
) -> None:
    assert board.attempt(publisher.site) == "installed 2"
    assert board.attempt(publisher.site) == "nothing new"
    system.tell("failed", 2)  # an hour later; systemd starts `run update`
    assert "has failed, and is not started again" in board.attempt(publisher.site)
    assert board.running() == 1
    assert board.attempt(publisher.site) == "nothing new"
    log = (system.folder / "log").read_text().splitlines()
    assert "reset-failed edgepress-demo.service" in log


def test_a_first_release_whose_service_has_failed_has_nothing_to_go_back_to(
    publisher: Any, board: Any, system: System, clock: Clock
) -> None:
    system.tell("failed", 2)
    assert board.attempt(publisher.site) == "installed 2"


def test_a_service_that_fails_later_is_started_again_and_its_release_is_not_blamed(
    publisher: Any, board: Any, system: System, clock: Clock
) -> None:
    assert board.attempt(publisher.site) == "installed 2"
    state = read_state(board.prefix / "updates")
    for at in ("2026-01-01T00:00:00Z", "9999-01-01T00:00:00Z"):
        write_state(board.prefix / "updates", dataclasses.replace(state, switched={board.status()["id"]: at}))
        system.tell("failed", 2)
        assert board.attempt(publisher.site) == "nothing new"
        assert (system.folder / "state").read_text() == "active\n"
    assert board.running() == 2
    assert board.status()["refused"] == {}


def test_going_back_by_hand_during_the_watch_ends_it_and_blames_nobody(
    publisher: Any, board: Any, service: Service, system: System, clock: Clock
) -> None:
    def by_hand() -> None:
        assert board.install(publisher.bundle(2), "rollback").returncode == 0
        system.tell("failed", 2)

    clock.events[300.0] = by_hand
    assert "was left by hand" in board.attempt(publisher.site)
    assert board.attempt(publisher.site) == "nothing new"
    assert board.running() == 1
    assert board.status()["refused"] == {}
    assert read_state(board.prefix / "updates").watched == ""


def test_others_can_lock_neither_the_updates_nor_the_installation_and_health_waits_for_nobody(
    publisher: Any, board: Any, system: System, clock: Clock
) -> None:
    locks = [board.prefix / ".lock", board.prefix / "updates" / ".lock"]
    for lock in locks:
        lock.touch()
        lock.chmod(0o644)
    assert board.attempt(publisher.site) == "installed 2"
    assert [stat.S_IMODE(lock.stat().st_mode) for lock in locks] == [0o600, 0o600]
    system.tell("failed", 2)
    with locks[0].open() as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        assert watch.health(read_place(board.prefix / "current")).state == "failed"


def test_a_service_whose_health_is_never_known_is_watched_again(
    publisher: Any, board: Any, system: System, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    def unknown(_: Any) -> Any:
        raise watch.UpdateError("no")

    with monkeypatch.context() as patch:
        patch.setattr(watch, "health", unknown)
        for _ in range(2):
            assert "is not known" in board.attempt(publisher.site)
    assert read_state(board.prefix / "updates").watched == board.status()["id"]
    assert board.attempt(publisher.site) == "nothing new"
    assert read_state(board.prefix / "updates").watched == ""
    assert board.running() == 2


SILENT = {
    "silent": (b"", False),
    "busy": (b"HTTP/1.1 503 x\r\nContent-Length: 0\r\n\r\n", False),
    "bad": (b"HTTP/1.1 500 x\r\n\r\n", True),
}
"""What a service answers, and whether that is enough to give it up."""


@pytest.mark.slow
@pytest.mark.parametrize("name", SILENT)
def test_a_service_has_a_limited_time_to_answer_and_may_be_busy(
    name: str, board: Any, service: Service, system: System
) -> None:
    text, at_once = SILENT[name]

    def answer() -> None:
        kept = []
        with contextlib.suppress(OSError):
            while True:
                kept.append(listener.accept()[0])
                kept[-1].sendall(text)

    script = board.prefix / "current" / "install.sh"
    script.write_text(script.read_text().replace("answers 30", "answers 2"))
    with socket.create_server(("127.0.0.1", 0)) as listener:
        threading.Thread(target=answer, daemon=True).start()
        service.unit.write_text(f"ExecStart={board.prefix}/current/run serve --port {listener.getsockname()[1]}\n")
        began = time.monotonic()
        done = subprocess.run(["sh", str(script), "restart", "--prefix", str(board.prefix)], capture_output=True)
        seconds = time.monotonic() - began
        listener.shutdown(socket.SHUT_RDWR)
    assert done.returncode == 1
    assert (seconds < 1.9) == at_once
    assert seconds < 6


def test_a_power_cut_during_the_watch_begins_it_anew(
    publisher: Any, board: Any, service: Service, system: System, clock: Clock
) -> None:
    class Cut(BaseException):
        """Stands for the power cut."""

    def cut() -> None:
        raise Cut

    clock.events[300.0] = cut
    with pytest.raises(Cut):
        board.attempt(publisher.site)
    assert board.running() == 2
    assert read_state(board.prefix / "updates").watched == board.status()["id"]
    clock.events[500.0] = lambda: service.good.discard(2)
    assert "has not answered" in board.attempt(publisher.site)
    assert board.running() == 1


def test_the_clock_of_the_watch_does_not_jump_and_no_service_is_not_watched(publisher: Any, board: Any) -> None:
    assert watch.boot_s() > 0
    assert watch.boot_s() <= watch.boot_s()
    said: list[str] = []
    assert board.attempt(publisher.site, say=said.append) == "installed 2"
    assert not [text for text in said if "Watching" in text]


def test_the_timer_limits_restarts_and_starts_the_update(
    board: Any, service: Service, system: System, tmp_path: Path
) -> None:
    unit = service.unit
    publisher = simulated.Publisher(tmp_path / "other", url="https://updates.example.org")
    shutil.rmtree(board.prefix)  # a board keeps the keys that it has; this one begins with those of another publisher
    assert board.install(publisher.bundle(1)).returncode == 0
    script = board.unpacked / "demo" / "install.sh"
    words = ["install", "--timer", "--unit-dir", str(unit.parent), "--prefix", str(board.prefix), "--system"]
    text = script.read_text().replace("check_timer() {", "check_timer() { return 0;")  # folders of tests are anybody's
    script.write_text(text)
    done = subprocess.run(["sh", str(script), *words, "--python", sys.executable], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    limits = (unit.parent / "edgepress-demo.service.d" / "update.conf").read_text()
    assert limits == ("[Unit]\nStartLimitIntervalSec=600\nStartLimitBurst=3\nOnFailure=edgepress-demo-update.service\n")
    done = subprocess.run(["sh", str(script), "uninstall", "--prefix", str(board.prefix)], capture_output=True)
    assert done.returncode == 0
    assert list(unit.parent.iterdir()) == []
