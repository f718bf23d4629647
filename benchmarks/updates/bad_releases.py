"""Publish releases that are bad in different ways, and check that no board stays on one longer than is promised.

    python benchmarks/updates/bad_releases.py [--only slower,hangs]

A board runs release 1 with a service that answers frames; release 2 is bad. Updater, shadow run, watch and install.sh
are the real ones; the model is a stub, and so are systemd, whose answers a script gives, and the clock of the watch and
of systemd, which only waiting moves. Afterwards release 1 must run, and release 2 must be refused, unless something
else may be to blame: a full disk, or a flood of requests, in which neither release answers. When that is over, release
2 is tried again, and a sound release 3 must be installed. Printed are the time that release 2 was in use after it had
failed, by that clock, and the reason. Exits with 1 if anything was not so. The disk is a small file system in memory
(root).
"""

from __future__ import annotations

import argparse
import contextlib
import http.server
import os
import shutil
import subprocess
import sys
import tempfile
import threading
import types
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "updates"))

from simulated import Board, How, Publisher

from edgepress.runtime.updates import frames, transfer, watch
from edgepress.runtime.updates.frames import FrameKeeper

PROMISED_S = 60.0
"""Longest time that a release may be in use after it has failed, in seconds."""
LIMITS = {"frames": 60, "max_slowdown": 3.0, "min_agreement": 0.95}
"""Limits of the shadow run: the stub answers in so little time that a busy machine disturbs it."""
DISK = "6m"
"""Size of the small disk."""
LARGE = 3_200_000
"""Bytes of a model that fits on it once."""
LOG = "log"
"""File of another program that fills the disk, beside the installation."""
FILLING = f"""\
import os, sys
log = os.path.join(sys.argv[2], "..", "..", "..", "{LOG}")
if not os.path.exists(log):
    with open(log, "wb", buffering=0) as file:
        while os.statvfs(log).f_bavail:
            file.write(bytes(4096))
"""
"""Fills the disk once, while the self-test runs."""
SYSTEMCTL = """\
#!/bin/sh
case $1 in
  is-active) cat {folder}/state ;;
  show) cat {folder}/restarts ;;
  restart) echo active >{folder}/state; echo 0 >{folder}/restarts ;;
esac
exit 0
"""


class World:
    """A board with a service, and the clock."""

    def __init__(self, folder: Path, board_folder: Path) -> None:
        self.folder = folder
        self.now_s = 0.0
        self.events: list[tuple[float, Callable[[], object]]] = []
        self.failed_s: float | None = None
        self.silent: set[int | None] = set()
        self.publisher = Publisher(folder / "publisher")
        self.publisher.publish(1)
        self.board = Board(board_folder)
        done = self.board.install(self.publisher.bundle(1))
        if done.returncode:
            raise RuntimeError(done.stderr)

    def tell(self, state: str, restarts: int) -> None:
        """What systemd says from now on."""
        (self.folder / "state").write_text(f"{state}\n")
        (self.folder / "restarts").write_text(f"{restarts}\n")
        if state == "failed" or restarts > watch.MAX_RESTARTS:
            self.failed_s = self.now_s

    def fall_silent(self) -> None:
        """Release 2 does not answer its health check any more."""
        self.silent = {2}
        self.failed_s = self.now_s

    def flood(self) -> None:
        """Others ask for so much that no release answers its health check any more."""
        self.silent = {1, 2}
        self.failed_s = self.now_s

    def fill_disk(self) -> None:
        """Another program fills the disk."""
        with (self.board.prefix.parent / LOG).open("wb") as file:
            file.write(bytes(shutil.disk_usage(self.board.prefix).free))

    def end_trouble(self) -> None:
        """The flood is over, and the disk has room again."""
        self.silent = set()
        if (self.board.prefix.parent / LOG).exists():
            os.truncate(self.board.prefix.parent / LOG, 0)

    def sleep(self, seconds: float) -> None:
        """Let time go by."""
        self.now_s += seconds
        for event in [event for event in self.events if event[0] <= self.now_s]:
            self.events.remove(event)
            event[1]()

    @contextlib.contextmanager
    def running(self) -> Iterator[None]:
        """Run the service, and replace systemd and the clock."""
        world = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                self.send_response(503 if world.board.running() in world.silent else 200)
                self.end_headers()

            def log_message(self, *_: Any) -> None:
                pass

        server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        ended = threading.Event()
        kept = self.folder / "run" / "edgepress-demo"
        units, programs = self.folder / "units", self.folder / "bin"
        for each in (kept, units, programs):
            each.mkdir(parents=True)
        port = server.server_address[1]
        (units / "edgepress-demo.service").write_text(
            f"ExecStart={self.board.prefix}/current/run serve --port {port}\n"
        )
        (self.board.prefix / ".units").write_text(f"{units}\n")
        (programs / "systemctl").write_text(SYSTEMCTL.format(folder=self.folder))
        (programs / "systemctl").chmod(0o755)
        self.tell("active", 0)
        before = dict(os.environ)
        os.environ |= {"PATH": f"{programs}:{before['PATH']}", "RUNTIME_DIRECTORY": str(kept)}
        keeper = FrameKeeper(self.board.prefix / "current" / "model.tflite")

        def answer() -> None:
            count = 0
            while not ended.wait(0.002):
                keeper.keep(bytes([37 * count % 60]) * 50)  # all in 60 frames, not in order: many scenes
                count += 1

        threads = [threading.Thread(target=server.serve_forever, args=(0.01,)), threading.Thread(target=answer)]
        for thread in threads:
            thread.start()
        saved = watch.boot_s, watch.time, frames.RUN, frames.LOOK_S
        watch.boot_s = lambda: self.now_s
        watch.time = types.SimpleNamespace(sleep=self.sleep)  # type: ignore[assignment]
        frames.RUN, frames.LOOK_S = kept.parent, 0.02
        try:
            yield
        finally:
            ended.set()
            server.shutdown()
            server.server_close()
            for thread in threads:
                thread.join()
            watch.boot_s, watch.time, frames.RUN, frames.LOOK_S = saved
            os.environ.clear()
            os.environ |= before


@dataclass(frozen=True)
class Bad:
    """A bad release.

    Attributes:
        words: What the board must say.
        made: Arguments of `make_bundle`.
        happens: What happens to the world, and after how many seconds.
        blamed: Whether the release must be refused for good.
        disk: Whether the board has a small disk.
        full_at: Beginning of what the updater says when another program fills the disk; "": none does.
        then: What the board must say when the trouble that is not the release's is over; "": it is not asked.
    """

    words: str
    made: Mapping[str, Any] = field(default_factory=dict)
    happens: tuple[tuple[float, Callable[[World], object]], ...] = ()
    blamed: bool = True
    disk: bool = False
    full_at: str = ""
    then: str = ""


BAD = {
    "self-test fails": Bad("fails its self-test", {"broken": True}),
    "slower": Bad("times as long as the release in use", {"how": How(us=2000)}),
    "answers differently": Bad("agrees with the release in use on", {"how": How(differs=30)}),
    "crashes on some frames": Bad("ended with exit code 9", {"how": How(crashes=1)}),
    "crashes at once": Bad("was restarted 3 times", {}, ((20, lambda world: world.tell("activating", 3)),)),
    "crashes after nine minutes": Bad("its service has failed", {}, ((540, lambda world: world.tell("failed", 2)),)),
    "hangs": Bad("has not answered for", {}, ((300, lambda world: world.fall_silent()),)),
    "crashes after an hour": Bad("is not started again", {}, ((3600, lambda world: world.tell("failed", 2)),)),
    "is flooded": Bad(
        "does not answer either", {}, ((300, lambda world: world.flood()),), blamed=False, then="installed 2"
    ),
    "fills the disk": Bad("", {"size": LARGE}, blamed=False, disk=True),
    "self-test fails on a full disk": Bad(
        "is full", {"broken": True, "stub": FILLING}, blamed=False, disk=True, then="fails its self-test"
    ),
    "answers differently on a full disk": Bad(
        "agrees with the release in use on",
        {"how": How(differs=30)},
        disk=True,
        full_at="Answering",
        then="nothing new",
    ),
}
"""All bad releases by name."""


def try_release(name: str, folder: Path) -> tuple[float, str, list[str]]:
    """Publish a bad release; the seconds that it was in use after it failed, what was said, and what is wrong."""
    bad = BAD[name]
    with contextlib.ExitStack() as stack:
        board_folder = folder / "board"
        board_folder.mkdir(parents=True)
        if bad.disk:
            stack.enter_context(small_disk(board_folder))
        world = World(folder, board_folder)
        stack.enter_context(world.running())
        world.events = [(at_s, lambda happen=happen: happen(world)) for at_s, happen in bad.happens]  # type: ignore[misc]
        made = {**bad.made}
        world.publisher.publish(2, broken=made.pop("broken", False), made=made | {"shadow": LIMITS})

        def hear(text: str) -> None:
            if bad.full_at and text.startswith(bad.full_at):
                world.fill_disk()

        said = world.board.attempt(world.publisher.site, say=hear)
        while world.events:  # the hours after the watch; systemd starts the update when it gives the service up
            world.sleep(watch.LOOK_S)
            if not world.events:
                said = world.board.attempt(world.publisher.site)
        in_use_s = 0.0 if world.failed_s is None else world.now_s - world.failed_s
        wrong = [] if bad.words in said else [f"it says: {said}"]
        if world.board.running() != 1:
            wrong.append(f"release {world.board.running()} runs")
        if in_use_s > PROMISED_S:
            wrong.append(f"the release was in use for {in_use_s:.0f} s after it failed")
        if len(world.board.status()["refused"]) != bad.blamed:
            wrong.append("it is refused for good" if not bad.blamed else "it is not refused for good")
        world.end_trouble()
        if bad.then and bad.then not in (then := world.board.attempt(world.publisher.site)):
            wrong.append(f"when that is over, it says: {then}")
        world.publisher.publish(3, made={"shadow": LIMITS})
        if (then := world.board.attempt(world.publisher.site)) != "installed 3":
            wrong.append(f"a sound release is not installed: {then}")
        return in_use_s, said, wrong


@contextlib.contextmanager
def small_disk(folder: Path) -> Iterator[None]:
    """Mount a small file system in memory, and let the updater try although it sees too little room."""
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={DISK}", "tmpfs", str(folder)], check=True)
    saved = transfer.ROOM, transfer.SPARE_BYTES
    transfer.ROOM, transfer.SPARE_BYTES = 0, 0
    try:
        yield
    finally:
        transfer.ROOM, transfer.SPARE_BYTES = saved
        subprocess.run(["umount", "-l", str(folder)], check=True)


def main() -> None:
    """Try all bad releases that were asked for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", default=",".join(BAD), help="bad releases, separated by commas")
    arguments = parser.parse_args()
    failures = 0
    for name in arguments.only.split(","):
        if BAD[name].disk and os.geteuid() != 0:
            print(f"{name}: not tried, because only root can mount a disk")
            continue
        with tempfile.TemporaryDirectory() as folder:
            in_use_s, said, wrong = try_release(name, Path(folder))
        failures += bool(wrong)
        print(f"{name}: in use for {in_use_s:.0f} s after it failed; {'WRONG: ' + '; '.join(wrong) if wrong else said}")
    print(f"{failures} of {len(arguments.only.split(','))} releases were not handled as promised")
    sys.exit(failures > 0)


if __name__ == "__main__":
    main()
