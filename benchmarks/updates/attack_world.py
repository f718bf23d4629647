"""What attacks on updates need: a publisher and its board, mirrors of its folder, a server and a wrong clock."""

from __future__ import annotations

import contextlib
import dataclasses
import datetime
import http.server
import shutil
import sys
import threading
import types
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "updates"))

import tuf.ngclient._internal.trusted_metadata_set as trusted_metadata_set
from securesystemslib.signer import CryptoSigner
from simulated import APPLICATION, Board, Publisher, make_bundle

from edgepress.runtime.updates import trust, update
from edgepress.runtime.updates.releases import ReleaseList, list_target
from edgepress.toolkit.shipping.published.files import RECORD
from edgepress.toolkit.shipping.published.folder import read_repository
from edgepress.toolkit.shipping.publishing.keys import find_signers
from edgepress.toolkit.shipping.publishing.repository import Signers, add_target, write_state
from edgepress.toolkit.shipping.publishing.start import TUF_ROLES

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
        repository = read_repository(self.publisher.site, self.publisher.keys)
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


def bundle_of(site: Path, release: int) -> Path:
    """The bundle of a release in a published folder."""
    return next(site.glob(f"targets/{APPLICATION}/*.{APPLICATION}-{release}-*.zip"))


def sign_as(world: World, site: Path, signers: Signers, release: int) -> None:
    """Publish a bundle of an attacker in a mirror, signed with some keys."""
    repository = read_repository(world.publisher.site, world.publisher.keys)
    evil = make_bundle(world.folder / "evil.zip", release, site=world.publisher.site, size=9000)
    former = repository.releases[APPLICATION]
    entry = dataclasses.replace(former.releases[0], release=release, target=f"{APPLICATION}/evil.zip")
    files = {
        list_target(APPLICATION): add_target(
            site, list_target(APPLICATION), ReleaseList(APPLICATION, former.dated, (entry,)).to_bytes()
        ),
        entry.target: add_target(site, entry.target, evil),
    }
    own = world.folder / "attacker's keys"  # the publisher's record of what was signed is not the attacker's
    own.mkdir(exist_ok=True)
    shutil.copy(world.publisher.keys / RECORD, own)
    write_state(dataclasses.replace(repository, folder=site, keys=(own,)), signers, files=files, now=NOW)
