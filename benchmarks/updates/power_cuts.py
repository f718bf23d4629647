"""Kill `run update` at every system call that changes something, start it again, and check what runs.

    python benchmarks/updates/power_cuts.py [--only "new release"] [--every 1]

A tracer (ptrace, benchmarks/faults/install_kills.py) counts the calls of the updater, of install.sh and of all their
processes that create, write, rename, link, remove or flush files, and kills all of them before the n-th one, for every
n, as a power failure does. After each kill

- the old or the new release runs, complete: each file has the hash of its manifest, and its self-test has passed;
- `run update` succeeds when it is started again, and then the new release runs;
- at most two releases and none of the updater's temporary files are left.

What is left is the same after many kills; the same remains are checked once a scenario. The updater, install.sh, `run`
and the calls are real; the model is a stub. Exits with 1 if anything was not as it must be.
"""

from __future__ import annotations

import hashlib
import re
import shutil
import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "faults"))
sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "updates"))

from install_kills import MEMORY, Kills, parse_arguments, traced
from simulated import Board, Publisher, complete

from edgepress.toolkit.publishing.start import rotate

KEPT = {
    "board-id",
    "download",
    "metadata",
    "releases.json",
    "state.json",
    ".lock",
    ".state.json.new",
    ".releases.json.new",
}
"""What the updater may leave after a run that was not killed; the last two are overwritten by the next one."""


@dataclass(frozen=True)
class Scenario:
    """What is killed.

    Attributes:
        releases: Releases that are published after the board was installed; "x" before a number: its self-test fails.
        rotated: Whether the keys of `targets` and `online` are replaced before the update.
        before: The release that runs before.
        after: The release that runs after an update.
    """

    releases: tuple[str, ...]
    rotated: bool
    before: int
    after: int


SCENARIOS = {
    "nothing new": Scenario((), False, 1, 1),
    "new release": Scenario(("2",), False, 1, 2),
    "failing release": Scenario(("x2",), False, 1, 1),
    "new keys": Scenario(("2",), True, 1, 2),
}
"""All scenarios by name."""


class Bench:
    """A publisher and a board that is killed."""

    def __init__(self, folder: Path, scenario: Scenario) -> None:
        self.scenario = scenario
        self.log = folder / "log"
        self.start = folder / "start"
        self.publisher = Publisher(folder / "publisher")
        self.publisher.publish(1)
        self.board = Board(folder / "board", options=" -B")
        done = self.board.install(self.publisher.bundle(1))
        if done.returncode:
            raise RuntimeError(done.stderr)
        for release in scenario.releases:
            self.publisher.publish(int(release.lstrip("x")), broken=release.startswith("x"))
        if scenario.rotated:
            for role in ("targets", "online"):
                rotate(self.publisher.site, [self.publisher.keys], role=role)  # type: ignore[arg-type]
        shutil.copytree(self.board.prefix, self.start, symlinks=True)

    def restore(self) -> None:
        """Make the board what it was before the update."""
        shutil.rmtree(self.board.prefix)
        shutil.copytree(self.start, self.board.prefix, symlinks=True)

    def command(self) -> list[str]:
        """The command line that is killed."""
        return self.board.command("update", "--json", "--from", str(self.publisher.site))

    def remains(self) -> str:
        """A hash of the names, links and contents in the prefix, except dates and random names."""
        found = hashlib.sha256()
        for path in sorted(self.board.prefix.rglob("*")):
            kind = str(path.readlink()) if path.is_symlink() else path.read_bytes() if path.is_file() else b"folder"
            if isinstance(kind, bytes):
                kind = re.sub(rb"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ", b"", kind)
            name = re.sub(r"tmp\w{8}", "tmp", str(path.relative_to(self.board.prefix)))
            name = re.sub(r"\.(room|link|selftest)\.\d+", r".\1", name)
            found.update(f"{name} {kind!r}\n".encode())
        return found.hexdigest()

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
        again = board.update(self.publisher.site)
        if again.get("result") != "nothing new":
            return [f"the update after it says {again}"]
        found = [f"left: {name}" for path in (board.prefix / "updates").iterdir() if (name := path.name) not in KEPT]
        found += [f"left: {path}" for path in (board.prefix / "updates" / "metadata").glob("tmp*")]
        releases = list((board.prefix / "releases").iterdir())
        whole = [release for release in releases if complete(release)]
        if len(whole) > 2 or not (board.prefix / "current").exists():
            found.append(f"{len(whole)} releases are left")
        return found


def cut_all(name: str, folder: Path, *, every: int = 1, say: Callable[[str], None] = print) -> tuple[int, int]:
    """Kill a scenario at each of its changing calls; returns the numbers of kills and of violations."""
    bench = Bench(folder, SCENARIOS[name])
    calls = traced(bench.command(), 0, alone=False, log=bench.log)
    kills = Kills(calls, every, say)
    for number in kills.numbers:
        bench.restore()
        made = traced(bench.command(), number, alone=False, log=bench.log)
        kills.judge(name, number, made, remains=bench.remains(), wrong=bench.wrong)
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
