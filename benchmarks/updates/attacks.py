"""Attack the updates of a board in every way that TUF's specification names, and count what is installed.

    python benchmarks/updates/attacks.py

Each attack of The Update Framework 1.0, section 1.5.2, is done in one or more variants by somebody who controls the
server, and in some the clock of the board or keys below the threshold. Before each variant a board runs release 1 of 2,
or 2, and the publisher's folder is sound. Afterwards the board must run what it ran, and say which attack it refused;
then the sound folder must work again. Prints a table, and exits with 1 if anything of an attacker was installed, if a
refusal has other words, or if a board does not recover. Everything is on this machine.
"""

from __future__ import annotations

import argparse
import datetime
import shutil
import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "updates"))

from attack_keys import (
    arbitrary_keys,
    clock_back,
    clock_forth,
    fast_forward,
    stolen_and_replaced,
    stolen_online,
    stolen_root,
    stolen_targets,
)
from attack_world import MEMORY, World, broken, bundle_of, clock, dripping, endless, serve, sign_as
from simulated import APPLICATION

import edgepress.toolkit.shipping.publishing.publish as publishing
from edgepress.runtime.updates import transfer
from edgepress.toolkit.shipping.publishing.repository import Signers


def arbitrary_bundle(world: World) -> list[str]:
    """The bundle is another file of the same length."""
    world.publisher.publish(2)
    mirror = world.mirror()
    bundle = bundle_of(mirror, 2)
    content = bytearray(bundle.read_bytes())
    content[len(content) // 2] ^= 1
    bundle.write_bytes(content)
    said = [world.board.attempt(mirror)]
    world.check("installed 2")
    return said


def rollback_state(world: World) -> list[str]:
    """The former state of the folder, correctly signed, after the board has seen a newer one."""
    old = world.mirror()
    world.publisher.publish(2)
    world.check("installed 2")
    return [world.board.attempt(old)]


def rollback_timestamp_lost(world: World) -> list[str]:
    """The same to a board that has lost TUF's lists, such as by a worn card."""
    old = world.mirror()
    later = datetime.datetime.now(datetime.UTC) + datetime.timedelta(seconds=2)
    before = publishing.utc_now
    publishing.utc_now = lambda: later.replace(microsecond=0)
    try:
        world.publisher.publish(2)
    finally:
        publishing.utc_now = before
    world.check("installed 2")
    shutil.rmtree(world.board.prefix / "updates" / "metadata")
    return [world.board.attempt(old)]


def rollback_bundle(world: World) -> list[str]:
    """An older, correctly signed bundle is given to install.sh as an update."""
    world.publisher.publish(2)
    world.check("installed 2")
    return [world.board.install(world.publisher.bundle(1), action).stderr for action in ("update", "switch")]


def freeze(world: World) -> list[str]:
    """The same state for ever, while the publisher has a newer one."""
    old = world.mirror()
    world.publisher.publish(2)
    with clock(13.9):
        early = world.board.attempt(old)
    if early != "nothing new":
        raise RuntimeError(f"a state is valid for 14 days: {early}")
    with clock(14.1):
        said = [world.board.attempt(old)]
    if "Refused (clock)" not in world.board.attempt(world.publisher.site):  # it has seen a date in two weeks
        raise RuntimeError("a clock that was set back is to be refused")
    world.check_trusting("installed 2")
    return said


def endless_data(world: World) -> list[str]:
    """Bytes without an end, in place of each file that a board fetches."""
    world.publisher.publish(2)
    said = []
    for name in ["timestamp.json", ".snapshot.json", ".targets.json", "2.root.json", ".releases.json", ".zip"]:
        with serve(world.mirror(), name, endless) as address:
            said.append(world.board.attempt(address))
    world.check("installed 2")
    return said


def slow_data(world: World) -> list[str]:
    """A byte now and then, in place of the timestamp and of the bundle."""
    world.publisher.publish(2)
    said = []
    before = transfer.PATIENCE_S
    transfer.PATIENCE_S = 0.3
    try:
        for name in ("timestamp.json", ".zip"):
            with serve(world.mirror(), name, dripping) as address:
                said.append(world.board.attempt(address))
    finally:
        transfer.PATIENCE_S = before
    world.check("installed 2")
    return said


def extraneous_dependencies(world: World) -> list[str]:
    """A pinned package in the bundle is another one."""
    world.publisher.publish(2)
    mirror = world.mirror()
    bundle = bundle_of(mirror, 2)
    sound = bundle.read_bytes()
    bundle.write_bytes(sound.replace(b"tuf==7", b"tux==7"))
    if bundle.read_bytes() == sound:
        raise RuntimeError("the bundle has no pinned package")
    return [world.board.attempt(mirror)]


def mix_and_match(world: World) -> list[str]:
    """Lists of different states, each correctly signed, under the names of the newest state."""
    old = world.mirror()
    world.publisher.publish(2)
    said = []
    for role in ("snapshot", "targets"):
        mirror = world.mirror()
        newest = sorted((mirror / "metadata").glob(f"*.{role}.json"), key=lambda p: int(p.name.split(".")[0]))[-1]
        former = sorted((old / "metadata").glob(f"*.{role}.json"), key=lambda p: int(p.name.split(".")[0]))[-1]
        shutil.copy(former, newest)
        said.append(world.board.attempt(mirror))
    mirror = world.mirror()
    lists = {path.name: path for path in (mirror / "targets" / APPLICATION).glob("*.releases.json")}
    older = {path.name for path in (old / "targets" / APPLICATION).glob("*.releases.json")}
    newest = next(path for name, path in lists.items() if name not in older)
    shutil.copy(lists[older.pop()], newest)
    said.append(world.board.attempt(mirror))
    world.check("installed 2")
    return said


def wrong_software(world: World) -> list[str]:
    """A correctly signed bundle in place of another: a former release, and another application's in a signed list."""
    world.publisher.publish(2)
    mirror = world.mirror()
    shutil.copy(bundle_of(mirror, 1), bundle_of(mirror, 2))
    said = [world.board.attempt(mirror)]
    site = world.mirror()
    signers = Signers(world.keys("targets", 1), world.keys("online", 1))
    sign_as(world, site, signers, 3)  # all keys are stolen; the bundle is not the one of the list
    return [*said, world.board.attempt(site)]


def malicious_mirror(world: World) -> list[str]:
    """Files are missing or are something else."""
    world.publisher.publish(2)
    said = []
    missing = world.mirror()
    bundle_of(missing, 2).unlink()
    said.append(world.board.attempt(missing))
    with serve(missing) as address:
        said.append(world.board.attempt(address))
    page = world.mirror()
    (page / "metadata" / "timestamp.json").write_text("<html>Log in to the network</html>")
    said.append(world.board.attempt(page))
    world.check("installed 2")
    return said


def unreachable(world: World) -> list[str]:
    """A mirror that closes each connection; nothing is refused, and nothing is installed."""
    before = transfer.PAUSE_S
    transfer.PAUSE_S = 0.01
    try:
        world.publisher.publish(2)
        said = []
        for name in ("timestamp.json", ".zip"):
            with serve(world.mirror(), name, broken) as address:
                said.append(world.board.attempt(address))
    finally:
        transfer.PAUSE_S = before
    world.check("installed 2")
    return said


@dataclass(frozen=True)
class Attack:
    """An attack: what does it, the words of each refusal, or of all, and how the folder was begun."""

    act: Callable[[World], list[str]]
    words: str | tuple[str, ...]
    several_keys: bool = False


ATTACKS = {
    "arbitrary software: another file": Attack(arbitrary_bundle, "Refused (arbitrary software"),
    "arbitrary software: other keys": Attack(arbitrary_keys, "Refused (arbitrary software)"),
    "rollback: a former state": Attack(rollback_state, "Refused (rollback)"),
    "rollback: and lost lists": Attack(rollback_timestamp_lost, "Refused (rollback)"),
    "rollback: a former bundle": Attack(rollback_bundle, "Release 1 is older than release 2"),
    "fast-forward": Attack(fast_forward, ("Refused (arbitrary software)", "Refused (rollback)")),
    "indefinite freeze": Attack(freeze, "Refused (indefinite freeze)"),
    "endless data": Attack(endless_data, "Refused (endless data)"),
    "slow retrieval": Attack(slow_data, "Refused (slow retrieval)"),
    "extraneous dependencies": Attack(extraneous_dependencies, "extraneous dependencies)"),
    "mix-and-match": Attack(mix_and_match, "Refused (mix-and-match)"),
    "wrong software": Attack(wrong_software, "wrong software"),
    "malicious mirror: other files": Attack(malicious_mirror, "Refused (malicious mirror)"),
    "malicious mirror: no answers": Attack(unreachable, ("can't be fetched", "broke 5 times without a new byte")),
    "stolen keys: online": Attack(stolen_online, "Refused (arbitrary software)"),
    "stolen keys: targets": Attack(stolen_targets, "Refused (arbitrary software)", True),
    "stolen keys: root": Attack(stolen_root, "Refused (arbitrary software)", True),
    "stolen keys: replaced since": Attack(stolen_and_replaced, "Refused (arbitrary software)", True),
    "clock set back": Attack(clock_back, "Refused (clock)"),
    "clock set forth": Attack(clock_forth, "Refused (indefinite freeze)"),
}
"""All attacks by name."""
SEVERAL = {"root_keys": 2, "root_threshold": 2, "targets_keys": 3, "targets_threshold": 2}
"""How a folder is begun whose roles need several keys."""


def attack(name: str, folder: Path) -> tuple[list[str], list[str]]:
    """Do an attack: the refusals of its variants, and what is wrong with them."""
    row = ATTACKS[name]
    world = World(folder, **(SEVERAL if row.several_keys else {}))
    said = row.act(world)
    expected = (row.words,) * len(said) if isinstance(row.words, str) else row.words
    wrong = [
        f"{text!r} does not say {words!r}" for text, words in zip(said, expected, strict=True) if words not in text
    ]
    wrong += [f"was installed: {text}" for text in said if text.startswith(("installed", "nothing new"))]
    running = world.board.running()
    if running not in (1, 2):
        wrong.append(f"release {running} runs")
    return said, wrong


def main() -> None:
    """Do all attacks that were asked for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", default="", help="attacks whose names begin with this")
    arguments = parser.parse_args()
    variants = failures = 0
    for name in ATTACKS:
        if not name.startswith(arguments.only):
            continue
        with tempfile.TemporaryDirectory(dir=MEMORY if MEMORY.is_dir() else None) as folder:
            said, wrong = attack(name, Path(folder))
        variants += len(said)
        failures += len(wrong)
        print(f"{name}: {len(said)} variants, {len(wrong)} wrong")
        for text in wrong or sorted({*said}):
            print(f"    {' '.join(text.split())[:300]}")
    print(f"{variants} variants of {len(ATTACKS)} attacks; wrong: {failures}")
    sys.exit(failures > 0)


if __name__ == "__main__":
    main()
