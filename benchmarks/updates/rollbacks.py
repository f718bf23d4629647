"""Roll boards back by hand in random histories, and check that they always come forward again.

    python benchmarks/updates/rollbacks.py [--rollbacks 20] [--boards 1] [--seed 1]

Between rollbacks, in random order: releases are published and withdrawn, the board updates, loses its state or the
record of what was left, and rolls back twice; commands are killed at a random moment. After each rollback

- the release before runs, whole, and `run status` names what was left, when and why;
- an update takes a newer release, or, if there is none, does not take it again by itself;
- then one of four ways, drawn, takes it again: `run update --bundle`, `run update --forward`, the bundle's own
  `install.sh install`, and `install.sh rollback`.

The publisher, the updater, `run` and install.sh are the real ones, the runtime is the stub of `simulated.py`.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import random
import signal
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "updates"))

from simulated import Board, Publisher

from edgepress.runtime.updates.confirm import LEFT
from edgepress.toolkit.shipping.publishing.publish import withdraw

MEMORY = Path("/dev/shm")
"""A folder in memory: there, to flush files to the disk takes no time."""
WAYS = ("bundle", "forward", "install", "rollback")
"""How a board comes forward again."""
LAST_KILL_S = 1.5
"""Commands are killed after at most so many seconds."""


class History:
    """A board whose user changes their mind.

    Attributes:
        published: The newest release.
        withdrawn: Releases that were withdrawn.
        wrong: What was not as it must be.
        ways: How often each way was taken.
    """

    def __init__(self, folder: Path, random_numbers: random.Random) -> None:
        self.draw = random_numbers
        self.publisher = Publisher(folder / "publisher")
        self.board = Board(folder / "board")
        self.published = 1
        self.withdrawn: set[int] = set()
        self.wrong: list[str] = []
        self.ways = dict.fromkeys((*WAYS, "newer"), 0)
        self.publisher.publish(1)
        assert self.board.install(self.publisher.bundle(1)).returncode == 0

    def run(self, words: Sequence[str], *, killed: bool = False) -> str:
        """Run a command, perhaps kill it and all that it started; what it printed."""
        process = subprocess.Popen(
            words,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )
        with contextlib.suppress(subprocess.TimeoutExpired):
            return process.communicate(timeout=self.draw.uniform(0, LAST_KILL_S) if killed else 600)[0]
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        return process.communicate()[0]

    def update(self, *words: str, killed: bool = False) -> str:
        """Run `run update`."""
        return self.run(self.board.command("update", *words), killed=killed)

    def update_from_site(self, *words: str, killed: bool = False) -> str:
        """Run `run update --from`."""
        return self.update("--from", str(self.publisher.site), *words, killed=killed)

    def script(self, action: str, *, killed: bool = False) -> str:
        """Run the installed install.sh."""
        return self.run(["sh", str(self.board.prefix / "current" / "install.sh"), action], killed=killed)

    def require(self, holds: bool, text: str) -> None:
        """Note what is wrong."""
        if not holds:
            self.wrong.append(text)

    def step(self) -> None:
        """Do something between two rollbacks."""
        step = self.draw.choice(["publish", "update", "withdraw", "lose state", "killed update", "twice"])
        if step == "publish":
            self.published += 1
            self.publisher.publish(self.published)
        elif step == "update":
            self.update_from_site()
        elif step == "withdraw":
            release = self.draw.randint(1, self.published)
            self.withdrawn.add(release)
            withdraw("demo", release, self.publisher.site, keys=self.publisher.keys)
        elif step == "lose state":
            (self.board.prefix / "updates" / "state.json").unlink(missing_ok=True)
        elif step == "killed update":
            self.update_from_site(killed=True)
        else:
            self.script("rollback")
            self.script("rollback")
        self.require(self.board.running() is not None, f"after {step} no whole release runs")

    def roll_back(self) -> None:
        """Roll back by hand from a release to a lower one, and come forward again."""
        left = self.board.running() or 0
        while not (former := self.board.status()["previous"]) or former >= left:  # a new release comes first
            self.published += 1
            self.publisher.publish(self.published)
            self.update_from_site("--forward")
            left = self.board.running() or 0
        if self.draw.random() < 0.3:
            self.script("rollback", killed=True)
        if self.board.running() == left:
            said = self.script("rollback")
            self.require(self.board.running() == former, f"rollback from {left} to {former}: {said}")
        if lost := self.draw.random() < 0.2:
            (self.board.prefix / LEFT).unlink(missing_ok=True)
        rows = [row for row in self.board.status()["rolled_back"] if row["by"] == "hand"]
        told = [row for row in rows if row["release"] >= left and row["at"] and "by hand" in row["why"]]
        self.require(bool(told), f"status does not say that {left} was left (lost: {lost}): {rows}")
        highest = max([left, *(row["release"] for row in rows)])
        newer = {*range(highest + 1, self.published + 1)} - self.withdrawn
        said = self.update_from_site()
        expected = max(newer, default=former)
        self.require(self.board.running() == expected, f"an update after the rollback from {left}: {said}")
        if newer:
            self.ways["newer"] += 1
            return
        self.require(f"release {highest} " in said, f"the update does not name release {highest}: {said}")
        if self.draw.random() < 0.3:
            (self.board.prefix / "updates" / "state.json").unlink(missing_ok=True)
        self.go_forward(left)

    def go_forward(self, left: int) -> None:
        """Take a release again, in a drawn way; a first try may be killed."""
        way = self.draw.choice(WAYS if left not in self.withdrawn else [each for each in WAYS if each != "forward"])
        for killed in [True, False] if self.draw.random() < 0.3 else [False]:
            if killed and way == "install":
                continue
            if way == "bundle":
                said = self.update("--bundle", str(self.publisher.bundle(left)), killed=killed)
            elif way == "forward":
                said = self.update_from_site("--forward", killed=killed)
            elif way == "install":
                said = self.board.install(self.publisher.bundle(left)).stderr
            elif self.board.running() != left:
                said = self.script("rollback", killed=killed)
        self.ways[way] += 1
        running = self.board.running() or 0
        right = running >= left if way == "forward" else running == left
        self.require(right, f"{way} does not take {left} again, {running} runs: {said}")


def rolled_back(folder: Path, count: int, random_numbers: random.Random) -> History:
    """The history of a board that is rolled back so many times."""
    history = History(folder, random_numbers)
    for number in range(1, count + 1):
        for _ in range(random_numbers.randint(0, 3)):
            history.step()
        history.roll_back()
        print(f"{number} of {count} rollbacks", file=sys.stderr, flush=True)
    return history


def main() -> None:
    """Roll boards back as often as was asked for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rollbacks", type=int, default=20, help="rollbacks of each board")
    parser.add_argument("--boards", type=int, default=1, help="number of boards")
    parser.add_argument("--seed", type=int, default=1)
    arguments = parser.parse_args()
    wrong = 0
    for seed in range(arguments.seed, arguments.seed + arguments.boards):
        with tempfile.TemporaryDirectory(dir=MEMORY if MEMORY.is_dir() else None) as folder:
            history = rolled_back(Path(folder), arguments.rollbacks, random.Random(seed))
        wrong += len(history.wrong)
        print(*history.wrong, sep="\n", end="\n" * bool(history.wrong))
        ways = ", ".join(f"{count} by {way}" for way, count in history.ways.items())
        print(f"seed {seed}: {arguments.rollbacks} rollbacks, forward again {ways}; {len(history.wrong)} wrong")
    sys.exit(bool(wrong))


if __name__ == "__main__":
    main()
