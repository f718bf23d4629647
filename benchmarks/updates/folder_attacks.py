"""What an attacker does to a published folder: whole attacks, and steps of which attacks are drawn."""

from __future__ import annotations

import dataclasses
import datetime
import json
import random
import shutil
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "updates"))

from securesystemslib.signer import CryptoSigner
from simulated import Board, Publisher
from tuf.api.metadata import Metadata, Root, Snapshot, Targets, Timestamp

from edgepress.toolkit.shipping.bundles.verify import verify
from edgepress.toolkit.shipping.published.folder import read_repository
from edgepress.toolkit.shipping.publishing.publish import withdraw
from edgepress.toolkit.shipping.publishing.repository import Signers, add_target, utc_now, write_state
from edgepress.toolkit.shipping.publishing.start import role_signers, rotate

FAR = datetime.timedelta(days=3000)
"""How long ago or ahead lists of the attacker end."""


class Folder:
    """A publisher with a history, older states of his folder, an attacker with own keys, and a board.

    Releases 1 to 3 were published, 2 was withdrawn, and the keys of each role were replaced once. The board runs
    release 1 and has seen the newest state.

    Attributes:
        states: Copies of the folder after each step of the history, the oldest first.
        stolen: Keys by role that were replaced since.
        next_bundle: A bundle that is not published yet.
    """

    ROLES = ("root", "targets", "online", "none")

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.publisher = Publisher(folder / "publisher")
        self.attacker = Publisher(folder / "attacker")
        self.board = Board(folder / "board")
        self.states = sorted(folder.glob("state *"))
        self.former_keys = folder / "former keys"
        self.next_bundle = folder / "next.zip"

    @classmethod
    def begin(cls, folder: Path, options: Mapping[str, Any]) -> Folder:
        """Make the history with options of `publish init`."""
        publisher = Publisher(folder / "publisher", **options)
        Publisher(folder / "attacker").publish(9)
        keys, site = publisher.keys, publisher.site

        def keep(number: int) -> None:
            shutil.copytree(site, folder / f"state {number}")

        publisher.publish(1)
        done = Board(folder / "board").install(publisher.bundle(1))
        if done.returncode:
            raise RuntimeError(done.stderr)
        shutil.copytree(keys, folder / "former keys")
        keep(1)
        publisher.publish(2)
        keep(2)
        withdraw("demo", 2, site, keys=keys)
        keep(3)
        for number, role in enumerate(("targets", "root", "online"), 4):
            rotate(site, keys, role=role)  # type: ignore[arg-type]
            keep(number)
        publisher.publish(3, channel="beta")
        world = cls(folder)
        shutil.copy(publisher.bundle(4), world.next_bundle)
        if world.board.attempt(site) != "nothing new":
            raise RuntimeError("the board is to have seen the newest state")
        return world

    def copy(self, folder: Path) -> Folder:
        """A copy to attack."""
        return Folder(Path(shutil.copytree(self.folder, folder, symlinks=True)))

    @property
    def metadata(self) -> Path:
        """The folder of the lists."""
        return self.publisher.site / "metadata"

    def newest(self, role: str) -> Path:
        """The newest list of a role."""
        if role == "timestamp":
            return self.metadata / "timestamp.json"
        return max(self.metadata.glob(f"*.{role}.json"), key=lambda path: int(path.name.split(".")[0]))

    def keys(self, role: str, *, former: bool = False) -> list[CryptoSigner]:
        """The keys of a role, or those that were replaced."""
        if not former:
            return role_signers(read_repository(self.publisher.site, self.publisher.keys), role, None)
        return role_signers(read_repository(self.states[0], self.former_keys), role, None)

    def board_after(self, evil: Path) -> list[str]:
        """What the board takes of a folder of the attacker: by an update, after a rollback, as a bundle by hand."""
        said = [self.board.attempt(evil)]
        bundle = self.attacker.folder / "bundles" / "9.zip"
        for action in ("install", "update"):
            if not self.board.install(bundle, action).returncode:
                said.append(f"installed 9 by install.sh {action}")
        current = self.board.prefix / "current"
        subprocess.run(["sh", str(current / "install.sh"), "rollback"], capture_output=True)
        said += [self.board.attempt(evil), self.board.attempt(self.attacker.site)]
        return [f"the board: {text}" for text in said if text.startswith("installed")]


def sign_lists(world: Folder, signers: Signers) -> None:
    """Sign a list of bundles with the attacker's release 9 in the published folder."""
    repository = read_repository(world.publisher.site, world.publisher.keys)
    own = world.folder / "copied record"
    shutil.copytree(world.publisher.keys, own, dirs_exist_ok=True)
    evil = world.attacker.folder / "bundles" / "9.zip"
    former = repository.releases["demo"]
    manifest = verify(evil).manifest
    entry = dataclasses.replace(former.releases[0], release=9, id=manifest.id, target="demo/evil.zip")
    listed = dataclasses.replace(former, releases=(*former.releases, entry))
    site = world.publisher.site
    files = dict(repository.targets.signed.targets) | {
        "demo/evil.zip": add_target(site, "demo/evil.zip", evil),
        "demo/releases.json": add_target(site, "demo/releases.json", listed.to_bytes()),
    }
    write_state(dataclasses.replace(repository, keys=(own,)), signers, files=files, now=utc_now())


def own_root(world: Folder, version: int, signers: Sequence[CryptoSigner] = (), **roles: bool) -> None:
    """Write a root of a version with the attacker's keys for some roles, signed by him and by others."""
    path = world.metadata / f"{version}.root.json"
    base = path if path.exists() else world.newest("root")
    root = Metadata[Root].from_file(str(base))
    own = read_repository(world.attacker.site, world.attacker.keys)
    for role in root.signed.roles:
        if roles.get(role, True):
            for keyid in own.root.signed.roles[role].keyids:
                root.signed.add_key(own.root.signed.keys[keyid], role)
            root.signed.roles[role].threshold = 1
    root.signed.version = version
    root.signatures.clear()
    for signer in [*signers, *role_signers(own, "root", None)]:
        root.sign(signer, append=True)
    path.write_bytes(root.to_bytes())


def edit_first_root(world: Folder) -> None:
    """1.root.json has the attacker's keys beside the publisher's, thresholds of 1, and his signature."""
    own_root(world, 1)


def edit_all_roots(world: Folder) -> None:
    """Each root has the attacker's keys, signed by him; he signs the lists, too."""
    for path in world.metadata.glob("*.root.json"):
        own_root(world, int(path.name.split(".")[0]))
    resign(world, ("targets", "snapshot", "timestamp"))


def further_root(world: Folder) -> None:
    """A next root with the attacker's keys, signed by him only; and lists by him."""
    own_root(world, 1 + int(world.newest("root").name.split(".")[0]))
    resign(world, ("targets", "snapshot", "timestamp"))


def root_of_former_keys(world: Folder) -> None:
    """A next root that the replaced root keys have signed."""
    own_root(world, 1 + int(world.newest("root").name.split(".")[0]), world.keys("root", former=True))


def root_of_too_few_keys(world: Folder) -> None:
    """A next root that one root key fewer than must has signed."""
    own_root(world, 1 + int(world.newest("root").name.split(".")[0]), world.keys("root")[:-2])


def fork_of_former_keys(world: Folder) -> None:
    """The root by which root keys were replaced is another one, which the former keys have signed: the attacker's."""
    own_root(world, 3, world.keys("root", former=True))
    for path in world.metadata.glob("*.root.json"):
        if int(path.name.split(".")[0]) > 3:
            path.unlink()
    resign(world, ("targets", "snapshot", "timestamp"))


def whole_folder(world: Folder) -> None:
    """The whole folder is the attacker's."""
    shutil.rmtree(world.publisher.site)
    shutil.copytree(world.attacker.site, world.publisher.site)


def own_lists_below_the_root(world: Folder) -> None:
    """The attacker's lists below the publisher's roots."""
    for path in [*world.metadata.iterdir()]:
        if not path.name.endswith("root.json"):
            path.unlink()
    for path in (world.attacker.site / "metadata").iterdir():
        if not path.name.endswith("root.json"):
            shutil.copy(path, world.metadata)
    shutil.copytree(world.attacker.site / "targets", world.publisher.site / "targets", dirs_exist_ok=True)


def edited_releases(world: Folder) -> None:
    """A number in the list of releases is 999999998, so that no later release were possible."""
    for path in world.publisher.site.glob("targets/demo/*.releases.json"):
        path.write_text(path.read_text().replace('"release": 3', '"release": 999999998'))


def stolen_lists(world: Folder) -> None:
    """The keys of targets and online are stolen: a list with release 9, which new keys must not sign."""
    sign_lists(world, Signers(world.keys("targets"), world.keys("online")))


def former_lists(world: Folder) -> None:
    """The same with the keys that were replaced."""
    sign_lists(world, Signers(world.keys("targets", former=True), world.keys("online", former=True)))


def stolen_online(world: Folder) -> None:
    """The online key is stolen: a newer timestamp and snapshot of the list in which nothing was withdrawn."""
    shutil.copy(world.states[1] / "metadata" / "3.targets.json", world.metadata)
    repository = read_repository(world.publisher.site, world.publisher.keys)
    old = Metadata[Targets].from_file(str(world.metadata / "3.targets.json"))
    own = world.folder / "copied record"
    shutil.copytree(world.publisher.keys, own, dirs_exist_ok=True)
    replaced = dataclasses.replace(repository, targets=old, keys=(own,))
    write_state(replaced, Signers((), world.keys("online")), now=utc_now())


def other_address(world: Folder) -> None:
    """The address is the attacker's."""
    (world.publisher.site / "publish.json").write_text(json.dumps({"url": "https://attacker.example"}))


def resign(world: Folder, roles: Sequence[str], end: datetime.timedelta = FAR) -> None:
    """Sign lists with the attacker's keys, with another end."""
    own = read_repository(world.attacker.site, world.attacker.keys)
    kinds: dict[str, Any] = {"targets": Targets, "snapshot": Snapshot, "timestamp": Timestamp}
    for role in roles:
        path = world.newest(role)
        signed = Metadata[kinds[role]].from_file(str(path))  # type: ignore[valid-type]
        signed.signed.expires = utc_now() + end
        signed.signatures.clear()
        for signer in role_signers(own, "targets" if role == "targets" else "online", None):
            signed.sign(signer, append=True)
        path.write_bytes(signed.to_bytes())


def replay(world: Folder, random_: random.Random) -> None:
    """An older state, as it was signed."""
    shutil.rmtree(world.publisher.site)
    shutil.copytree(random_.choice(world.states), world.publisher.site)


def replay_lists(world: Folder, random_: random.Random) -> None:
    """Older lists, as they were signed, below all roots."""
    old = random_.choice(world.states) / "metadata"
    shutil.copy(old / "timestamp.json", world.metadata)
    for role in ("snapshot", "targets"):
        if random_.random() < 0.5:
            for path in old.glob(f"*.{role}.json"):
                shutil.copy(path, world.metadata)


def remove_roots(world: Folder, random_: random.Random) -> None:
    """The newest roots are missing, so that replaced keys count again; or one in the middle is."""
    versions = sorted(int(path.name.split(".")[0]) for path in world.metadata.glob("*.root.json"))
    cut = random_.choice(versions)
    for version in versions:
        if version == cut or (version > cut and random_.random() < 0.7):
            (world.metadata / f"{version}.root.json").unlink()


def move_roots(world: Folder, random_: random.Random) -> None:
    """A root has the name of another version."""
    paths = sorted(world.metadata.glob("*.root.json"))
    if len(paths) < 2:
        return edit_first_root(world)
    one, other = random_.sample(paths, 2)
    shutil.copy(one, other)


def own_keys_in_a_root(world: Folder, random_: random.Random) -> None:
    """A root of any version has the attacker's keys for some roles, signed by him and by keys that were replaced."""
    newest = int(world.newest("root").name.split(".")[0])
    roles = {role: random_.random() < 0.5 for role in ("root", "targets", "snapshot")}
    signers = world.keys("root", former=True) if random_.random() < 0.5 and newest > 2 else ()
    own_root(world, random_.randint(1, newest + 1), signers, **roles)


def own_signatures(world: Folder, random_: random.Random) -> None:
    """Lists of some roles are signed by the attacker; they end in the past or far ahead."""
    roles = random_.sample(["targets", "snapshot", "timestamp"], random_.randint(1, 3))
    resign(world, roles, random_.choice([FAR, -FAR]))


def damaged(world: Folder, random_: random.Random) -> None:
    """A byte of a list that counts is another one."""
    path = world.newest(random_.choice(["root", "targets", "snapshot", "timestamp"]))
    content = bytearray(path.read_bytes())
    content[random_.randrange(len(content))] ^= 1 << random_.randrange(7)
    path.write_bytes(content)


@dataclasses.dataclass(frozen=True)
class Attack:
    """What the attacker does, and which calls do not have to be refused."""

    steps: Sequence[Callable[[Folder], None]]
    allowed: Sequence[str] = ()


def _first(step: Callable[[Folder, random.Random], None], seed: int = 0) -> Callable[[Folder], None]:
    return lambda world: step(world, random.Random(seed))


ATTACKS = {
    "folder: the first root edited": Attack([edit_first_root]),
    "folder: all roots edited": Attack([edit_all_roots]),
    "folder: a further root": Attack([further_root]),
    "folder: another folder": Attack([whole_folder]),
    "folder: lists of another folder": Attack([own_lists_below_the_root]),
    "folder: a number of a release": Attack([edited_releases]),
    "folder: another address": Attack([other_address]),
    "folder: an older state": Attack([_first(replay)]),
    "folder: older lists": Attack([_first(replay_lists)]),
    "folder: roots removed": Attack([_first(remove_roots)]),
    "former root keys: a further root": Attack([root_of_former_keys]),
    "former root keys: another root in the middle": Attack([fork_of_former_keys]),
    "too few root keys": Attack([root_of_too_few_keys]),
    "former keys of targets and online": Attack([former_lists]),
    "key of online": Attack([stolen_online]),
    "keys of targets and online": Attack([stolen_lists], ("check", "bundle", "renew", "rotate root", "rotate none")),
}
"""Attacks by name; after the last one, only calls that sign the list of bundles anew are refused."""
STEPS: dict[str, Callable[[Folder, random.Random], None]] = {
    "older state": replay,
    "older lists": replay_lists,
    "roots removed": remove_roots,
    "roots moved": move_roots,
    "own keys in a root": own_keys_in_a_root,
    "own signatures": own_signatures,
    "damaged": damaged,
}
"""Steps of drawn attacks."""
