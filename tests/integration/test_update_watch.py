"""What `run update` does after a switch: it watches the service, and goes back to a release that stays up."""

from __future__ import annotations

import subprocess
import sys
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
def publisher(tmp_path: Path) -> Any:
    return simulated.Publisher(tmp_path / "publisher", url="https://updates.example.org")


@pytest.fixture
def board(publisher: Any, tmp_path: Path) -> Any:
    """A board that runs release 1; release 2 is published."""
    publisher.publish(1)
    found = simulated.Board(tmp_path / "board")
    done = found.install(publisher.bundle(1))
    assert done.returncode == 0, done.stderr
    publisher.publish(2)
    return found


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
    monkeypatch.setattr(watch, "LOOK_S", 20.0)
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


BAD = {
    "restarted": ("was restarted 3 times", 0.0),
    "failed": ("its service has failed", 0.0),
    "silent": ("has not answered for", 50.0),
}
"""How a service fails after five minutes, what is said, and how many seconds later at most."""


@pytest.mark.parametrize("name", BAD)
def test_a_service_that_fails_is_replaced_by_the_former_release_within_a_minute(
    name: str, publisher: Any, board: Any, service: Service, system: System, clock: Clock
) -> None:
    words, late_s = BAD[name]
    happen = {
        "restarted": lambda: system.tell("active", 3),
        "failed": lambda: system.tell("failed", 2),
        "silent": lambda: service.good.discard(2),
    }
    clock.events[300.0] = happen[name]
    said = board.attempt(publisher.site)
    assert words in said
    assert "The former release is in use again" in said
    assert clock.now_s - 1300.0 <= late_s
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


def test_a_power_cut_before_the_way_back_does_not_bring_the_release_back(
    publisher: Any, board: Any, system: System, clock: Clock
) -> None:
    assert board.attempt(publisher.site) == "installed 2"
    place = read_place(board.prefix / "current")
    write_state(place.updates, State(watched=place.id, refused={place.id: "it crashed"}))
    assert "it crashed" in board.attempt(publisher.site)
    assert board.running() == 1
    assert board.attempt(publisher.site) == "nothing new"


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


def test_the_way_back_that_fails_is_tried_again_and_the_refusal_stays(
    publisher: Any, board: Any, system: System, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert board.attempt(publisher.site) == "installed 2"
    place = read_place(board.prefix / "current")
    with monkeypatch.context() as patch:
        patch.setattr(watch, "run_installer", lambda *_: (_ for _ in ()).throw(watch.UpdateError("no")))
        write_state(place.updates, State(watched=place.id, refused={place.id: "it crashed"}))
        assert board.attempt(publisher.site) == "no"
    assert board.status()["refused"] == {place.id: "it crashed"}
    assert "it crashed" in board.attempt(publisher.site)
    assert board.running() == 1


def test_the_clock_of_the_watch_does_not_jump_and_no_service_is_not_watched(publisher: Any, board: Any) -> None:
    assert watch.boot_s() > 0
    assert watch.boot_s() <= watch.boot_s()
    said: list[str] = []
    assert board.attempt(publisher.site, say=said.append) == "installed 2"
    assert not [text for text in said if "Watching" in text]


def test_the_timer_limits_restarts_and_starts_the_update(
    publisher: Any, board: Any, service: Service, system: System, tmp_path: Path
) -> None:
    unit = service.unit
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
