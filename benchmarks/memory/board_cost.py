"""What the updater costs a board: time and memory of `run update` beside Python's own start, and its size.

    python benchmarks/memory/board_cost.py [--rounds 9] [--boards here,pi64-py311,pi32-py311]

Measured is the check that a board does every hour, which says that there is nothing new: a simulated board of
benchmarks/updates asks a web server on this machine, with the pinned packages of bundles with updates. Each round
starts Python twice, once to do nothing and once for `run update`, in alternation. Time is that of the processor
(user and system), so waiting and other programs count little; memory is the largest resident size (VmHWM). Printed are
medians over rounds, the ratio of each round with its quartiles, and the bytes that bundles with updates add.

"here" is this machine's Python without its packages; the others are emulated by qemu (tests/support/arm/arm_python.sh).
Limits: the emulator's own memory and its translation are in both sides, so that ratios there are only near those of a
board, and seconds are not a board's; TLS is not used.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "updates"))

from attack_world import serve
from simulated import Board, Publisher

from edgepress.runtime.updates.place import board_type
from edgepress.toolkit.shipping.bundles.boards import BOARDS

ARM = Path(__file__).resolve().parents[2] / "tests" / "support" / "arm" / "arm_python.sh"
PINS = Path(__file__).resolve().parents[2] / "toolkit" / "shipping" / "bundles" / "pins" / "updates.txt"
"""The packages of bundles with updates."""
HERE = "here"
"""Name of this machine among the boards."""
START = "start"
"""Name of Python's own start among the commands."""
PEAK = 'print(next(line.split()[1] for line in open("/proc/self/status") if line.startswith("VmHWM")))'
"""Prints the largest resident size of a process, in kB; what it was before the process became Python does not count."""
UPDATE = f"""\
import runpy, sys
try:
    runpy.run_module("edgepress.runtime.updates", run_name="__main__", alter_sys=True)
finally:
    {PEAK}
"""
"""What `run update` does, with the same end as the other side."""
MEASURE = """\
import json, resource, subprocess, sys
rounds, options, commands = json.loads(sys.argv[1])
figures = {name: [] for name in commands}
for turn in range(-1, rounds):
    for name, words in commands.items():
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        done = subprocess.run([sys.executable, *options, "-c", *words], capture_output=True, text=True)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        if done.returncode:
            sys.exit(done.stdout + done.stderr)
        seconds = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
        if turn >= 0:  # the first one compiles the modules
            figures[name].append([seconds, 1024 * int(done.stdout.split()[-1])])
print(json.dumps(figures))
"""
"""Runs Python programs in alternation; prints processor seconds and peak bytes of each run, by name."""

Runs = Sequence[tuple[float, int]]
"""Processor seconds and peak bytes of each run of a command."""


@dataclass(frozen=True)
class Ratio:
    """A ratio over rounds: its median and quartiles."""

    median: float
    low: float
    high: float

    def __str__(self) -> str:
        return f"{self.median:.1f} ({self.low:.1f}-{self.high:.1f})"


def measure(board: str, commands: Mapping[str, Sequence[str]], path: Sequence[Path], rounds: int) -> dict[str, Runs]:
    """Run Python programs on a board in alternation.

    Args:
        board: `HERE` or a name in `BOARDS`.
        commands: A program as for `python -c` and its arguments, by name.
        path: Folders that Python takes modules from.
        rounds: Runs of each command, after one that is not counted.

    Raises:
        RuntimeError: A program failed.
    """
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(map(str, path)), "PYTHONSAFEPATH": "1"}
    environment.pop("PYTHONDONTWRITEBYTECODE", None)  # a board compiles a module once
    with tempfile.TemporaryDirectory() as compiled:
        given = json.dumps([rounds, ["-X", f"pycache_prefix={compiled}"], commands])
        done = subprocess.run(
            [*interpreter(board, environment), "-c", MEASURE, given], capture_output=True, text=True, env=environment
        )
    if done.returncode:
        raise RuntimeError(f"{board}: {done.stdout}{done.stderr}")
    figures: dict[str, Runs] = json.loads(done.stdout)
    return figures


def interpreter(board: str, environment: dict[str, str]) -> list[str]:
    """The command line of a board's Python, and what it needs in the environment."""
    if board == HERE:
        return [str(Path(sys.base_prefix, "bin", f"python{sys.version_info[0]}.{sys.version_info[1]}"))]
    arch = {"aarch64": "arm64", "armv7l": "armhf"}[BOARDS[board].machine]
    settings = {"ARM_ARCH": arch, "ARM_PYTHON": BOARDS[board].python, "ARM_WHEELS": f"-r {PINS}", "ARM_DEBS": ""}
    environment |= settings | {"PYTHON": sys.executable}
    return [str(ARM)]


def compare(ours: Runs, theirs: Runs, column: int) -> Ratio:
    """The ratio of each round, of the processor's time (column 0) or of the memory (1)."""
    ratios = [our[column] / their[column] for our, their in zip(ours, theirs, strict=True)]
    low, median, high = statistics.quantiles(ratios, n=4, method="inclusive")
    return Ratio(median, low, high)


def median_of(runs: Runs) -> str:
    """Median time and memory of a command."""
    seconds, peak = (statistics.median(run[column] for run in runs) for column in (0, 1))
    return f"{1e3 * seconds:.0f} ms, {peak / 1e6:.1f} MB"


def install_packages(folder: Path) -> Path:
    """Install the pinned packages into a folder, as on a board, but not compiled."""
    words = ["-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-deps", "--no-compile"]
    subprocess.run([sys.executable, *words, "--target", str(folder), "-r", str(PINS)], check=True)
    return folder


def size_of(folder: Path) -> int:
    """Bytes of all files below a folder."""
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


def print_size(release: Path, packages: Path) -> None:
    """Print what a bundle with updates has more than others."""
    own = size_of(release / "edgepress" / "runtime" / "updates") + size_of(release / "updates")
    own += sum((release / unit).stat().st_size for unit in ("update.unit", "timer.unit"))
    plain = size_of(packages)
    subprocess.run([sys.executable, "-m", "compileall", "-q", str(packages)], check=True)
    compiled = f"{size_of(packages) / 1e6:.1f} MB as pip compiles them"
    print(f"size of the updater: {own / 1e3:.0f} kB of its own, {plain / 1e6:.1f} MB of packages, {compiled}")


def update_table(boards: Sequence[str], rounds: int) -> None:
    """Measure `run update` when there is nothing new, on each board, and print a table."""
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        publisher = Publisher(folder / "publisher")
        made = {"boards": (board_type(), *(board for board in boards if board != HERE))}
        publisher.publish(1, made=made)
        board = Board(folder / "board")
        done = board.install(publisher.bundle(1, **made))
        if done.returncode:
            raise RuntimeError(done.stderr)
        release = (board.prefix / "current").resolve()
        packages = install_packages(folder / "packages")
        print("{:12}{:>24}{:>24}{:>20}{:>20}".format("board", "Python's start", "run update", "time", "memory"))
        with serve(publisher.site) as address:
            commands = {START: [PEAK], "update": [UPDATE, "update", str(release), "--json", "--from", address]}
            for name in boards:
                runs = measure(name, commands, [release, packages], rounds)
                ratios = [str(compare(runs["update"], runs[START], column)) for column in (0, 1)]
                sides = [median_of(runs[side]) for side in (START, "update")]
                print("{:12}{:>24}{:>24}{:>20}{:>20}".format(name, *sides, *ratios), flush=True)
        print_size(release, packages)


def main() -> None:
    """Print what was asked for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=9, help="runs of each command, at least 2")
    parser.add_argument("--boards", default=f"{HERE},pi64-py311,pi32-py311", help="boards, separated by commas")
    arguments = parser.parse_args()
    update_table(arguments.boards.split(","), arguments.rounds)


if __name__ == "__main__":
    main()
