"""Kill `run update` at every system call that changes something, start it again, and check what runs.

    python benchmarks/updates/power_cuts.py [--only "new release"] [--every 1]

A tracer (ptrace, benchmarks/faults/install_kills.py) counts the calls of the updater, of install.sh and of all their
processes that create, write, rename, link, remove or flush files, and kills all of them before the n-th one, for every
n, as a power failure does. After each kill

- the old or the new release runs, complete: each file has the hash of its manifest, and its self-test has passed;
- `run update` succeeds when it is started again, and then the new release runs;
- at most two releases and none of the updater's temporary files are left.

What is left is the same after many kills; the same remains are checked once a scenario. The updater, install.sh, `run`
and the calls are real; the model is a stub. For the shadow run another process, which is not killed, keeps frames as
the service does. Exits with 1 if anything was not as it must be.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "faults"))
sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "updates"))

from install_kills import MEMORY, Kills, parse_arguments, traced
from simulated import APPLICATION, Board, Publisher, complete

from edgepress.runtime.updates.state import RESERVE
from edgepress.toolkit.shipping.publishing.start import rotate

KEPT = {
    "board-id",
    "download",
    "metadata",
    "releases.json",
    "state.json",
    RESERVE,
    ".lock",
    ".state.json.new",
    ".releases.json.new",
}
"""What the updater may leave after a run that was not killed; the last two are overwritten by the next one."""
VARIES = re.compile(
    rb"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ|"
    rb'"(?:until_s|slowdown|p50_us|p99_us|memory_bytes|temperature_c)": [\d.e+-]+'
)
"""What the files of two updates differ in: dates, and the figures of a shadow run."""
LIMITS = {"frames": 4, "max_slowdown": 1000.0}
"""Limits of the shadow run: a busy machine must not let it fail."""
KEEPER = """\
import os, sys, time
from pathlib import Path
from edgepress.runtime.updates.frames import FrameKeeper

keeper, parent = FrameKeeper(Path(sys.argv[1])), os.getppid()
while os.getppid() == parent:
    keeper.keep(bytes(50))
    time.sleep(0.002)
"""
"""Answers the same frame again and again."""


@dataclass(frozen=True)
class Scenario:
    """What is killed.

    Attributes:
        releases: Releases that are published after the board was installed; "x" before a number: its self-test fails.
        rotated: Whether the keys of `targets` and `online` are replaced before the update.
        shadow: Whether the releases are compared on frames of a service.
        before: The release that runs before.
        after: The release that runs after an update.
    """

    releases: tuple[str, ...]
    rotated: bool
    before: int
    after: int
    shadow: bool = False


SCENARIOS = {
    "nothing new": Scenario((), False, 1, 1),
    "new release": Scenario(("2",), False, 1, 2),
    "failing release": Scenario(("x2",), False, 1, 1),
    "new keys": Scenario(("2",), True, 1, 2),
    "shadow run": Scenario(("2",), False, 1, 2, shadow=True),
}
"""All scenarios by name."""


class Bench:
    """A publisher and a board that is killed."""

    def __init__(self, folder: Path, scenario: Scenario) -> None:
        self.scenario = scenario
        self.log = folder / "log"
        self.start = folder / "start"
        self.publisher = Publisher(folder / "publisher")
        run = folder / "run"
        made = {"shadow": LIMITS, "run": run} if scenario.shadow else {}
        self.publisher.publish(1, made=made)
        self.board = Board(folder / "board", options=" -B")
        done = self.board.install(self.publisher.bundle(1, **made))
        if done.returncode:
            raise RuntimeError(done.stderr)
        for release in scenario.releases:
            self.publisher.publish(int(release.lstrip("x")), broken=release.startswith("x"), made=made)
        if scenario.rotated:
            for role in ("targets", "online"):
                rotate(self.publisher.site, [self.publisher.keys], role=role)  # type: ignore[arg-type]
        shutil.copytree(self.board.prefix, self.start, symlinks=True)
        self.keeper = self.keep_frames(run / f"edgepress-{APPLICATION}") if scenario.shadow else None

    def keep_frames(self, folder: Path) -> subprocess.Popen[bytes]:
        """Start a process that keeps frames in a folder."""
        folder.mkdir(parents=True)
        environment = {"RUNTIME_DIRECTORY": str(folder), "PYTHONPATH": os.pathsep.join(sys.path)}
        command = [sys.executable, "-c", KEEPER, str(self.board.prefix / "current" / "model.tflite")]
        return subprocess.Popen(command, env=os.environ | environment)

    def close(self) -> None:
        """End what keeps frames."""
        if self.keeper is not None:
            self.keeper.kill()
            self.keeper.wait()

    def restore(self) -> None:
        """Make the board what it was before the update."""
        shutil.rmtree(self.board.prefix)
        shutil.copytree(self.start, self.board.prefix, symlinks=True)

    def command(self) -> list[str]:
        """The command line that is killed."""
        return self.board.command("update", "--json", "--from", str(self.publisher.site))

    def remains(self) -> str:
        """A hash of the names, links and contents in the prefix, except what varies and random names."""
        digest = hashlib.sha256()
        for path in sorted(self.board.prefix.rglob("*")):
            kind = str(path.readlink()) if path.is_symlink() else path.read_bytes() if path.is_file() else b"folder"
            if isinstance(kind, bytes):
                kind = str(len(kind)) if RESERVE in path.name else VARIES.sub(b"", kind)
            name = re.sub(r"tmp\w{8}", "tmp", str(path.relative_to(self.board.prefix)))
            name = re.sub(r"\.(room|link|selftest)\.\d+", r".\1", name)
            digest.update(f"{name} {kind!r}\n".encode())
        return digest.hexdigest()

    def wrong(self) -> list[str]:
        """What is not as it must be after a kill, and after the next update."""
        scenario, board = self.scenario, self.board
        running = board.running()
        if running not in (scenario.before, scenario.after):
            return [f"{running} runs after the kill"]
        document = board.update(self.publisher.site)
        refused = any(release.startswith("x") for release in scenario.releases)
        if "error" in document and not refused:
            return [f"the next update fails: {document['error']['message']}"]
        if board.running() != scenario.after:
            return [f"{board.running()} runs after the next update"]
        if scenario.shadow and (source := board.status()["shadow"]["source"]) != "service":
            return [f"the shadow run has answered what comes from: {source}"]
        again = board.update(self.publisher.site)
        if again.get("result") != "nothing new":
            return [f"the update after it says {again}"]
        left = [f"left: {name}" for path in (board.prefix / "updates").iterdir() if (name := path.name) not in KEPT]
        left += [f"left: {path}" for path in (board.prefix / "updates" / "metadata").glob("tmp*")]
        releases = list((board.prefix / "releases").iterdir())
        whole = [release for release in releases if complete(release)]
        if len(whole) > 2 or not (board.prefix / "current").exists():
            left.append(f"{len(whole)} releases are left")
        return left


def cut_all(name: str, folder: Path, *, every: int = 1, say: Callable[[str], None] = print) -> tuple[int, int]:
    """Kill a scenario at each of its changing calls; returns the numbers of kills and of violations."""
    with contextlib.closing(Bench(folder, SCENARIOS[name])) as bench:
        calls = traced(bench.command(), 0, alone=False, log=bench.log)
        if not calls:
            raise RuntimeError(f"The update changes nothing: {bench.log.read_text()}")
        kills = Kills(calls, every, say)
        for number in kills.numbers:
            bench.restore()
            done = traced(bench.command(), number, alone=False, log=bench.log)
            kills.judge(name, number, done, remains=bench.remains(), wrong=bench.wrong)
            if number % 20 == 0:
                print(f"{name}: {number} of {len(calls)}", file=sys.stderr, flush=True)
        return kills.summary(name)


def main() -> None:
    """Kill all scenarios that were asked for."""
    arguments = parse_arguments(__doc__, SCENARIOS)
    kills = violations = 0
    for name in arguments.only.split(","):
        with tempfile.TemporaryDirectory(dir=MEMORY if MEMORY.is_dir() else None) as folder:
            more, wrong = cut_all(name, Path(folder), every=arguments.every)
        kills, violations = kills + more, violations + wrong
    print(f"{kills} kills, {violations} violations")
    sys.exit(violations > 0)


if __name__ == "__main__":
    main()
