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
import contextlib
import dataclasses
import datetime
import http.server
import json
import shutil
import sys
import tempfile
import threading
import types
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "updates"))

import tuf.ngclient._internal.trusted_metadata_set as trusted_metadata_set
from securesystemslib.signer import CryptoSigner
from simulated import APPLICATION, Board, Publisher, make_bundle
from tuf.api.metadata import Metadata, Root, Timestamp

import edgepress.toolkit.publishing.publish as publishing
from edgepress.runtime.updates import transfer, trust, update
from edgepress.runtime.updates.releases import ReleaseList, list_target, parse_list
from edgepress.toolkit.publishing.keys import find_signers
from edgepress.toolkit.publishing.repository import (
    Signers,
    add_target,
    read_repository,
    target_path,
    write_root,
    write_state,
)
from edgepress.toolkit.publishing.start import TUF_ROLES, rotate

DAYS = datetime.timedelta(days=1)
NOW = datetime.datetime.now(datetime.UTC)
FIRST_RELEASE: Path | None = None
"""A folder with a publisher and a board of release 1, which worlds are copies of; None: each is made anew."""
MEMORY = Path("/dev/shm")
"""A folder in memory: there, to flush files to the disk takes no time."""


class World:
    """A publisher with release 1, a board that runs it, and a mirror that an attacker controls."""

    def __init__(self, folder: Path, **options: Any) -> None:
        self.folder = folder
        copied = FIRST_RELEASE is not None and not options
        if FIRST_RELEASE is not None and copied:
            shutil.copytree(FIRST_RELEASE, folder, symlinks=True, dirs_exist_ok=True)
        self.publisher = Publisher(folder / "publisher", **options)
        self.board = Board(folder / "board")
        if not copied:
            self.publisher.publish(1)
            done = self.board.install(self.publisher.bundle(1))
            if done.returncode:
                raise RuntimeError(done.stderr)
        self.check("nothing new")
        self.mirrors = 0

    def check(self, expected: str) -> None:
        """Let the board look into the publisher's own folder."""
        said = self.board.attempt(self.publisher.site)
        if said != expected:
            raise RuntimeError(f"{expected} was expected from the sound folder: {said}")

    def check_trusting(self, expected: str) -> None:
        """The same, after the user has said that the clock is right now."""
        said = self.board.attempt(self.publisher.site, trust_clock=True)
        if said != expected:
            raise RuntimeError(f"{expected} was expected from the sound folder: {said}")

    def mirror(self) -> Path:
        """A copy of the publisher's folder, which an attacker may change."""
        self.mirrors += 1
        return self.publisher.copy(f"mirror {self.mirrors}")

    def keys(self, role: str, count: int) -> list[CryptoSigner]:
        """Some of the keys of a role, as if they were stolen."""
        repository = read_repository(self.publisher.site)
        keyids = repository.root.signed.roles[TUF_ROLES[role][0]].keyids
        return find_signers([self.publisher.keys], keyids, count, role=role)[:count]


@contextlib.contextmanager
def clock(days: float) -> Iterator[None]:
    """Let the clock of the board be wrong by some days."""

    def now(zone: Any = None) -> datetime.datetime:
        return datetime.datetime.now(datetime.UTC) + days * DAYS

    before = trust.utc_now, update.utc_now, trusted_metadata_set.datetime
    trust.utc_now = update.utc_now = now
    fake = types.SimpleNamespace(now=now)
    trusted_metadata_set.datetime = types.SimpleNamespace(datetime=fake, timezone=datetime.timezone)
    try:
        yield
    finally:
        trust.utc_now, update.utc_now, trusted_metadata_set.datetime = before


class _Server(http.server.ThreadingHTTPServer):
    """A server that gives a folder, and what an attacker likes for one file.

    Attributes:
        folder: The folder.
        evil: End of the path of that file.
        answer: Writes the answer.
    """

    folder: Path
    evil: str
    answer: Callable[[Any], None]

    def handle_error(self, *_: Any) -> None:
        """Say nothing of clients that leave."""


class _Handler(http.server.SimpleHTTPRequestHandler):
    def do_GET(self) -> None:
        server: Any = self.server
        if server.evil and self.path.endswith(server.evil):
            server.answer(self)
        else:
            super().do_GET()

    def translate_path(self, path: str) -> str:
        server: Any = self.server
        return str(server.folder / path.lstrip("/"))

    def log_message(self, *_: Any) -> None:
        pass


@contextlib.contextmanager
def serve(folder: Path, evil: str = "", answer: Callable[[Any], None] | None = None) -> Iterator[str]:
    """Serve a folder on loopback; its address."""
    server = _Server(("127.0.0.1", 0), _Handler)
    server.folder, server.evil = folder, evil
    server.answer = answer  # type: ignore[assignment]
    thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()
        server.server_close()


def endless(handler: Any) -> None:
    """Answer with bytes that do not end."""
    handler.send_response(200)
    handler.end_headers()
    with contextlib.suppress(OSError):
        while True:
            handler.wfile.write(b" " * 65536)


def dripping(handler: Any) -> None:
    """Answer with a byte now and then."""
    handler.send_response(200)
    handler.end_headers()
    with contextlib.suppress(OSError):
        for _ in range(1000):
            handler.wfile.write(b" ")
            handler.wfile.flush()
            threading.Event().wait(0.05)


def broken(handler: Any) -> None:
    """Close the connection without an answer."""
    handler.close_connection = True


def _bundle_of(site: Path, release: int) -> Path:
    return next(site.glob(f"targets/{APPLICATION}/*.{APPLICATION}-{release}-*.zip"))


def _sign_as(world: World, site: Path, signers: Signers, release: int) -> None:
    """Publish a bundle of an attacker in a mirror, signed with some keys."""
    repository = read_repository(world.publisher.site)
    evil = make_bundle(world.folder / "evil.zip", release, site=world.publisher.site, size=9000)
    listed = repository.targets.signed.targets[list_target(APPLICATION)]
    former = parse_list(target_path(world.publisher.site, listed).read_bytes(), APPLICATION)
    entry = dataclasses.replace(former.releases[0], release=release, target=f"{APPLICATION}/evil.zip")
    files = {
        list_target(APPLICATION): add_target(
            site, list_target(APPLICATION), ReleaseList(APPLICATION, former.dated, (entry,)).to_bytes()
        ),
        entry.target: add_target(site, entry.target, evil),
    }
    write_state(dataclasses.replace(repository, folder=site), signers, files=files, now=NOW)


def arbitrary_bundle(world: World) -> list[str]:
    """The bundle is another file of the same length."""
    world.publisher.publish(2)
    mirror = world.mirror()
    bundle = _bundle_of(mirror, 2)
    content = bytearray(bundle.read_bytes())
    content[len(content) // 2] ^= 1
    bundle.write_bytes(content)
    said = [world.board.attempt(mirror)]
    world.check("installed 2")
    return said


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
    bundle = _bundle_of(mirror, 2)
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
    shutil.copy(_bundle_of(mirror, 1), _bundle_of(mirror, 2))
    said = [world.board.attempt(mirror)]
    site = world.mirror()
    signers = Signers(world.keys("targets", 1), world.keys("online", 1))
    _sign_as(world, site, signers, 3)  # all keys are stolen; the bundle is not the one of the list
    return [*said, world.board.attempt(site)]


def malicious_mirror(world: World) -> list[str]:
    """Files are missing or are something else."""
    world.publisher.publish(2)
    said = []
    missing = world.mirror()
    _bundle_of(missing, 2).unlink()
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


def stolen_online(world: World) -> list[str]:
    """The online key is stolen: the attacker signs which state is the newest, but not which bundles there are."""
    mirror = world.mirror()
    _sign_as(world, mirror, Signers([], world.keys("online", 1)), 9)
    return [world.board.attempt(mirror)]


def stolen_targets(world: World) -> list[str]:
    """One of two targets keys that must sign, and the online key, are stolen."""
    mirror = world.mirror()
    _sign_as(world, mirror, Signers(world.keys("targets", 2)[:1], world.keys("online", 1)), 9)
    return [world.board.attempt(mirror)]


def stolen_root(world: World) -> list[str]:
    """One of two root keys that must sign is stolen: the attacker writes a root with his own keys."""
    mirror = world.mirror()
    attacker = Publisher(world.folder / "attacker")
    repository = read_repository(world.publisher.site)
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
    _sign_as(world, mirror, stolen, 9)
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
