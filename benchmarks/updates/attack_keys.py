"""Attacks on the updates of a board with keys of the attacker or stolen ones, and with a wrong clock."""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "updates"))

from attack_world import World, clock, sign_as
from simulated import Publisher
from tuf.api.metadata import Metadata, Root, Timestamp

from edgepress.toolkit.shipping.published.folder import read_repository
from edgepress.toolkit.shipping.publishing.repository import Signers, write_root
from edgepress.toolkit.shipping.publishing.start import rotate


def arbitrary_keys(world: World) -> list[str]:
    """The attacker's own folder, signed with his own keys."""
    other = Publisher(world.folder / "attacker")
    other.publish(9)
    mirror = world.mirror()
    shutil.rmtree(mirror)
    shutil.copytree(other.site, mirror)
    said = [world.board.attempt(mirror)]
    shutil.copy(world.publisher.site / "metadata" / "1.root.json", mirror / "metadata" / "1.root.json")
    return [*said, world.board.attempt(mirror)]


def fast_forward(world: World) -> list[str]:
    """The versions are the largest possible: without a key, and with the stolen online key until it is replaced."""
    mirror = world.mirror()
    stamp = mirror / "metadata" / "timestamp.json"
    forged = json.loads(stamp.read_bytes())
    forged["signed"]["version"] = 2**31 - 1
    stamp.write_text(json.dumps(forged))
    said = [world.board.attempt(mirror)]
    stolen = Metadata[Timestamp].from_file(str(world.publisher.site / "metadata" / "timestamp.json"))
    stolen.signed.version = 2**31 - 1
    stolen.sign(world.keys("online", 1)[0])
    stamp.write_bytes(stolen.to_bytes())
    if world.board.attempt(mirror) != "nothing new":
        raise RuntimeError("the fast-forwarded timestamp is to be accepted")
    world.publisher.publish(2)
    said.append(world.board.attempt(world.publisher.site))
    rotate(world.publisher.site, [world.publisher.keys], role="online")
    world.check("installed 2")
    return said


def stolen_online(world: World) -> list[str]:
    """The online key is stolen: the attacker signs which state is the newest, but not which bundles there are."""
    mirror = world.mirror()
    sign_as(world, mirror, Signers([], world.keys("online", 1)), 9)
    return [world.board.attempt(mirror)]


def stolen_targets(world: World) -> list[str]:
    """One of two targets keys that must sign, and the online key, are stolen."""
    mirror = world.mirror()
    sign_as(world, mirror, Signers(world.keys("targets", 2)[:1], world.keys("online", 1)), 9)
    return [world.board.attempt(mirror)]


def stolen_root(world: World) -> list[str]:
    """One of two root keys that must sign is stolen: the attacker writes a root with his own keys."""
    mirror = world.mirror()
    attacker = Publisher(world.folder / "attacker")
    repository = read_repository(world.publisher.site, world.publisher.keys)
    evil = Metadata[Root].from_file(str(attacker.site / "metadata" / "1.root.json"))
    evil.signed.version = 2
    evil.sign(world.keys("root", 2)[0])
    write_root(mirror, evil)
    if repository.root.signed.roles["root"].threshold != 2:
        raise RuntimeError("the threshold is to be 2")
    return [world.board.attempt(mirror)]


def stolen_and_replaced(world: World) -> list[str]:
    """All keys but the root's are stolen; after a rotation they sign nothing any more."""
    stolen = Signers(world.keys("targets", 2), world.keys("online", 1))
    for role in ("targets", "online"):
        rotate(world.publisher.site, [world.publisher.keys], role=role)  # type: ignore[arg-type]
    world.check("nothing new")
    mirror = world.mirror()
    sign_as(world, mirror, stolen, 9)
    return [world.board.attempt(mirror)]


def clock_back(world: World) -> list[str]:
    """The clock is before the last check; on a board that has never checked, before the date of the list."""
    world.publisher.publish(2)
    said = []
    with clock(-1):
        said.append(world.board.attempt(world.publisher.site))
    (world.board.prefix / "updates" / "state.json").unlink()
    with clock(-20000):
        said.append(world.board.attempt(world.publisher.site))
    world.check("installed 2")
    return said


def clock_forth(world: World) -> list[str]:
    """The clock is years ahead; when it is right again, updates go on."""
    world.publisher.publish(2)
    said = []
    for days in (15, 200, 4000):
        with clock(days):
            said.append(world.board.attempt(world.publisher.site))
    world.check("installed 2")
    return said
