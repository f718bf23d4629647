"""Measure how many wrong changes to code that decides and computes the tests notice: mutation testing.

    pip install cosmic-ray==8.7.0
    python benchmarks/development/mutation.py --sample 16               # 16 mutants a room
    python benchmarks/development/mutation.py --rooms stats,comparison  # every mutant of two rooms
    python benchmarks/development/mutation.py --rooms rewrites --files wide_taps,windows
    python benchmarks/development/mutation.py --named                   # those of `mutation_named.toml` alone

Cosmic Ray makes the mutants: one operator, number, condition, loop, keyword or decorator changed at a time. It was
chosen over mutmut because it mutates a string of source code, so that nothing has to know that `toolkit/` is installed
as `edgepress.toolkit`, and because it mutates constants of a module and decorated functions, which mutmut leaves alone.
Its own runner starts the test command anew for each mutant, which takes seconds; here the libraries are imported once,
and each mutant gets a fork that imports the mutated source in place of the module and runs the tests of its room until
one fails; those that noticed former mutants run first. No file is changed. Child processes that a test starts run the
code as it is, so a room needs tests that call its code themselves; `mutation_rooms.py` names the rooms and their tests.

Of Cosmic Ray's operators only those are used that programmers' mistakes look like: `<` becomes `<=` and `>=`, but not
`is`; `+` becomes `-`, but not `<<`. Mutants that do not compile, or that differ only in annotations, in `strict` of zip
or in how arguments may be passed, are not counted.

The score of a room is the share of its mutants that make a test fail, or run into the time limit. Survivors are listed
with their reason from `mutation_survivors.toml`, or without one: those are what tests miss. Each is named by its
function and by its change, so that the reason stays when code moves. Exit code 1: the score is below `--least`, or a
deliberate mistake survived.
"""

from __future__ import annotations

import argparse
import importlib
import os
import random
import sys
import tomllib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from mutation_judging import EXAMPLES, FOLDERS, ROOT, TOO_LONG, Outcome, judge, judge_room
from mutation_mutants import Mutant, mutants_of
from mutation_rooms import ROOMS

SURVIVORS = Path(__file__).with_name("mutation_survivors.toml")
"""The mutants that may live, each with its reason."""
NAMED = Path(__file__).with_name("mutation_named.toml")
"""The deliberate mistakes."""
PRELOAD = (
    "numpy scipy.stats sklearn.metrics hypothesis pydantic typer rich.table PIL.Image psutil jinja2 _pytest.python"
)
"""Imported once, before the forks."""


def main() -> int:
    """Run the mutants and print the scores."""
    args = _arguments()
    sys.path[:0] = [str(ROOT / ".types"), *(str(ROOT / "tests" / part) for part in ("support", *FOLDERS))]
    os.chdir(ROOT)
    _links()
    os.environ |= {"PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1", "EDGEPRESS_EXAMPLES": str(EXAMPLES)}
    for name in PRELOAD.split():
        importlib.import_module(name)
    reasons = tomllib.loads(SURVIVORS.read_text()) if SURVIVORS.exists() else {}
    unnoticed = _named(args) if args.rooms is None or args.named else 0
    if args.named:
        return 1 if unnoticed else 0
    print(f"{f'A sample of {args.sample} mutants a room, seed {args.seed}' if args.sample else 'Every mutant'}:\n")
    outcomes: dict[str, list[Outcome]] = {}
    for name in args.rooms or ROOMS:
        room = ROOMS[name]
        files = sorted(path for pattern in room.files.split() for path in ROOT.glob(pattern))
        files = [path for path in files if not args.files or path.stem in args.files]
        mutants = [m for path in files for m in mutants_of(path)]
        if args.sample:
            mutants = random.Random(args.seed).sample(mutants, min(args.sample, len(mutants)))
        outcomes[name] = judge_room(mutants, room, args.jobs)
        _report(name, outcomes[name], reasons)
    every = [o for room in outcomes.values() for o in room]
    killed = sum(o.killed for o in every)
    bare = sum(not o.killed and o.mutant.name not in reasons for o in every)
    score = 100 * killed / max(1, len(every))
    print(f"\nOverall: {killed} of {len(every)} mutants killed, {score:.1f} %; {bare} survivors without a reason.")
    return 1 if score < args.least or unnoticed else 0


def _arguments() -> Any:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--rooms", type=lambda text: text.split(","), help=f"of {','.join(ROOMS)}; default: all")
    parser.add_argument("--files", type=lambda text: text.split(","), help="modules of the rooms; default: all")
    parser.add_argument("--sample", type=int, default=0, help="mutants a room; default: every one")
    parser.add_argument("--seed", type=int, default=0, help="of the sample")
    parser.add_argument("--jobs", type=int, default=min(2, os.cpu_count() or 1), help="forks at a time")
    parser.add_argument("--least", type=float, default=85.0, help="score below which the exit code is 1, percent")
    parser.add_argument("--named", action="store_true", help="only the deliberate mistakes")
    return parser.parse_args()


def _links() -> None:
    """The links that make the folders importable as edgepress.*, as `./check` makes them."""
    folder = ROOT / ".types" / "edgepress"
    folder.mkdir(parents=True, exist_ok=True)
    parts = {"__init__.py": "runtime/_package/__init__.py"} | {p: p for p in ("toolkit", "converters", "runtime")}
    for link, target in parts.items():
        if not (folder / link).is_symlink():
            (folder / link).symlink_to(Path("..", "..", target))


def _named(args: Any) -> int:
    """The deliberate mistakes: how many survived."""
    groups: dict[str, list[Mutant]] = {}
    lost = []
    for what, row in tomllib.loads(NAMED.read_text()).items():
        paths = [path for pattern in row["file"].split() for path in sorted(ROOT.glob(pattern))]
        file = next((path for path in paths if row["before"] in path.read_text()), None)
        if file is None:
            lost.append(what)
        else:
            source = file.read_text().replace(row["before"], row["after"], 1)
            groups.setdefault(row["tests"], []).append(Mutant(file, file.stem, what, source))
    outcomes = [o for tests, mutants in groups.items() for o in judge(mutants, tests, args.jobs)]
    print("Deliberate mistakes:\n")
    for o in outcomes:
        print(f"  {'killed   ' if o.killed else 'SURVIVED '} {o.mutant.change}")
    for what in lost:
        print(f"  NOT FOUND {what}: the code to change is not there")
    print()
    return len(lost) + sum(not o.killed for o in outcomes)


def _report(room: str, outcomes: Sequence[Outcome], reasons: dict[str, str]) -> None:
    killed, slow = sum(o.killed for o in outcomes), sum(o.how == TOO_LONG for o in outcomes)
    score = 100 * killed / max(1, len(outcomes))
    print(f"{room}: {killed} of {len(outcomes)} killed, {score:.1f} %{f'; {slow} by the time limit' if slow else ''}")
    for o in outcomes:
        if not o.killed:
            print(f"  survived  {o.mutant.name}\n            {reasons.get(o.mutant.name, 'NO REASON')}")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
