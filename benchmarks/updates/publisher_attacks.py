"""Attack the publisher through the published folder, and count what gets through.

    python benchmarks/updates/publisher_attacks.py [--seed 1] [--drawn 20]

The attacker can write the published folder, and in some attacks has keys: those of targets and online, keys that were
replaced since, or fewer root keys than must sign. Each attack is done with thresholds of 1 of 1 and of 2 of 3 keys;
then `publish`, `withdraw`, `renew`, `renew --all`, `rotate` of each role, `check` and `bundle` are called. What may not
work must be refused, and must change neither the folder nor a key; the board must not install what the attacker wrote,
in an update, after a rollback or from an installed release. Afterwards the publisher's backup of the folder must work.
The drawn attacks are put together from the same steps: other roles, another order, roots that are skipped or replayed,
older states, expired lists. Prints a table, and exits with 1 if anything got through. Everything is on this machine.
"""

from __future__ import annotations

import argparse
import hashlib
import random
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "updates"))

from folder_attacks import ATTACKS, STEPS, Folder

from edgepress.runtime.errors import EdgepressError
from edgepress.toolkit.shipping.bundles.updates import open_published
from edgepress.toolkit.shipping.publishing.publish import publish, renew, withdraw
from edgepress.toolkit.shipping.publishing.start import init, rotate
from edgepress.toolkit.shipping.publishing.trust import check

THRESHOLDS = {
    "1 of 1": {"root_keys": 1, "root_threshold": 1},
    "2 of 3": {"root_keys": 3, "root_threshold": 2, "targets_keys": 3, "targets_threshold": 2},
}
"""Options of `publish init`."""
MEMORY = Path("/dev/shm")
"""A folder in memory: there, to flush files to the disk takes no time."""


HUGE = 64 << 20
"""Bytes from which on a file is compared by its size."""


@dataclass(frozen=True)
class Outcome:
    """What became of an attack: calls that were refused, and what got through."""

    refused: int
    through: list[str]


def calls(world: Folder) -> dict[str, Callable[[], Any]]:
    """The publisher's calls by name."""
    site, keys = world.publisher.site, world.publisher.keys
    rotations = {f"rotate {role}": lambda role=role: rotate(site, keys, role=role) for role in world.ROLES}
    return {
        "check": lambda: check(site, keys=keys),
        "bundle": lambda: open_published(site, keys),
        "publish": lambda: publish(world.next_bundle, site, keys=keys),
        "withdraw": lambda: withdraw("demo", 1, site, keys=keys),
        "renew": lambda: renew(site, keys=keys),
        "renew --all": lambda: renew(site, keys=keys, all_lists=True),
        "init": lambda: init(site, keys),
        **rotations,
    }


def hashes(folder: Path) -> dict[str, str]:
    """The hash of each regular file below a folder, or its size if it is huge, and where its links lead."""

    def describe(path: Path) -> str:
        if path.is_symlink():
            return str(path.readlink())
        if (size := path.stat().st_size) > HUGE:
            return str(size)
        return hashlib.sha256(path.read_bytes()).hexdigest()

    files = [path for path in folder.rglob("*") if path.is_symlink() or path.is_file()]
    return {str(path.relative_to(folder)): describe(path) for path in files if path.name != ".lock"}


def copy(source: Path, target: Path) -> Path:
    """Replace a folder by a copy of another, with its links and pipes as they are."""
    shutil.rmtree(target, ignore_errors=True)
    subprocess.run(["cp", "-a", str(source), str(target)], check=True)
    return target


def attack(
    world: Folder, steps: Sequence[Callable[[Folder], None]], allowed: Sequence[str] = (), *, board: bool = True
) -> Outcome:
    """Do an attack, and then all calls of the publisher and updates of the board.

    Args:
        world: A publisher, his backups and a board.
        steps: What the attacker does, one after the other.
        allowed: Calls that do not have to be refused.
        board: Whether the board is to look at the folder of the attacker, too.
    """
    backup = copy(world.publisher.folder, world.folder / "backup")
    for step in steps:
        step(world)
    evil = copy(world.publisher.folder, world.folder / "evil")
    through = []
    refused = 0
    for name, call in calls(world).items():
        if name in allowed:
            continue
        before = hashes(world.publisher.folder)
        try:
            call()
        except EdgepressError:
            refused += 1
        else:
            through.append(f"{name} was not refused")
        changed = {path for path, sha256 in hashes(world.publisher.folder).items() if before.get(path) != sha256}
        if changed:
            through.append(f"{name} changed {', '.join(sorted(changed))[:200]}")
            copy(evil, world.publisher.folder)
    if board:
        through += world.board_after(evil / "site")
    copy(backup, world.publisher.folder)
    for name, call in calls(world).items():
        if name != "init":
            try:
                call()
            except EdgepressError as e:
                through.append(f"{name} does not work with the backup: {e}")
    return Outcome(refused, through)


def drawn(random_: random.Random) -> tuple[str, list[Callable[[Folder], None]]]:
    """An attack that is put together from one to three steps."""
    names = random_.sample([*STEPS], random_.choice([1, 1, 2, 3]))
    seed = random_.random()

    def steps(name: str) -> Callable[[Folder], None]:
        return lambda world: STEPS[name](world, random.Random(f"{seed} {name}"))

    return " + ".join(names), [steps(name) for name in names]


def main() -> None:
    """Do all attacks, and as many drawn ones as were asked for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--drawn", type=int, default=20)
    arguments = parser.parse_args()
    random_ = random.Random(arguments.seed)
    rows = [(name, row.steps, row.allowed) for name, row in ATTACKS.items()]
    rows += [(f"drawn: {name}", steps, ()) for name, steps in (drawn(random_) for _ in range(arguments.drawn))]
    failures = refused = 0
    with tempfile.TemporaryDirectory(dir=MEMORY if MEMORY.is_dir() else None) as folder:
        for threshold, options in THRESHOLDS.items():
            template = Folder.begin(Path(folder) / threshold, options)
            for number, (name, steps, allowed) in enumerate(rows):
                world = template.copy(Path(folder) / f"{threshold} {number}")
                outcome = attack(world, steps, allowed)
                shutil.rmtree(world.folder)
                failures += len(outcome.through)
                refused += outcome.refused
                print(f"{threshold}, {name}: {outcome.refused} calls refused, {len(outcome.through)} got through")
                for text in outcome.through:
                    print(f"    {' '.join(text.split())[:300]}")
    print(f"{2 * len(rows)} attacks, {refused} calls refused; got through: {failures}")
    sys.exit(failures > 0)


if __name__ == "__main__":
    main()
