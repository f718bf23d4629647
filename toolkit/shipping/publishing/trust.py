"""What a published folder's signatures are worth: when they expire, whether files lack, and trust made anew."""

from __future__ import annotations

import dataclasses
import hashlib
import os
import zipfile
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from tuf.api.metadata import Metadata, Root

from edgepress.runtime.errors import parsing
from edgepress.runtime.updates.place import ROOT
from edgepress.toolkit.documents import parse_json, read_limited
from edgepress.toolkit.errors import InputError, PublishError
from edgepress.toolkit.escaping import shell_line
from edgepress.toolkit.shipping.bundles.verify import verify
from edgepress.toolkit.shipping.published.files import (
    MAX_RECORD_BYTES,
    MOST_BYTES,
    RECORD,
    Keys,
    TrustRecord,
    folders_of,
    read_below,
    read_record,
    target_name,
    write_record,
)
from edgepress.toolkit.shipping.published.folder import (
    ABOUT,
    Repository,
    keys_of,
    read_repository,
    remember,
    require_published,
)
from edgepress.toolkit.shipping.publishing.repository import is_whole, lock_folder, utc_now


@dataclass(frozen=True)
class Trusted:
    """What is trusted from now on.

    Attributes:
        repository: The published folder.
        anchor: Version and SHA-256 of the root from which it was verified.
    """

    repository: Repository
    anchor: tuple[int, str]

    def to_dict(self) -> dict[str, Any]:
        """The document that `publish trust --json` prints."""
        record = self.repository.record
        version, sha256 = self.anchor
        roles = keys_of(self.repository.root.signed)
        lists = {
            role: {"version": signed.version, "expires": signed.expires.isoformat()}
            for role, signed in self.repository.lists().items()
        }
        releases = [
            {"name": name, "release": entry.release, "id": entry.id, "withdrawn": entry.withdrawn}
            for name, each in self.repository.releases.items()
            for entry in each.releases
        ]
        return {
            "folder": str(self.repository.folder),
            "url": record.url,
            "anchor": {"version": version, "sha256": sha256},
            "root_version": self.repository.root.signed.version,
            "root_sha256": hashlib.sha256(record.root).hexdigest(),
            "keys": {role: {"ids": ids, "threshold": threshold} for role, (ids, threshold) in roles.items()},
            "lists": lists,
            "releases": releases,
        }


def trust(
    to: str | Path, keys: Keys, *, source: str | Path | None = None, accept: Callable[[Trusted], bool]
) -> Trusted:
    """Let the publisher trust the state of a published folder, beside its keys.

    Args:
        to: The published folder.
        keys: Folders of keys; `trusted.json` is written into each.
        source: A bundle, or a root such as that of a board (`current/updates/root.json`), from which the folder is
            verified; None: the record of the folders of keys, whose lists of bundles may have been signed elsewhere.
        accept: Called with what is to be trusted; False: nothing is written.

    Raises:
        InputError: The source can't be read, or it was not accepted.
        PublishError: The folder does not go on from the source, or is damaged.
    """
    folder = Path(to)
    folders = folders_of(keys)
    require_published(folder)
    with lock_folder(folder):
        anchor = read_record(folder, folders) if source is None else _anchor(folder, Path(source))
        repository = read_repository(folder, folders, anchor=anchor)
        record = repository.record
        record = dataclasses.replace(record, written=(*record.written, record.lists["targets"].sha256))
        version = min(anchor.roots) if source is not None else max(anchor.roots)
        trusted = Trusted(dataclasses.replace(repository, record=record), (version, anchor.roots[version]))
        if not accept(trusted):
            raise InputError(f"{RECORD} was not changed.")
        write_record(record, folders)
    return trusted


def _anchor(folder: Path, source: Path) -> TrustRecord:
    """A record that trusts a root of the user's, and has seen no list."""
    root = _root_in(source)
    with parsing(
        source,
        "Give a bundle, or a board's current/updates/root.json.",
        failed="is no list of trusted keys",
        error=PublishError,
    ):
        version = Metadata[Root].from_bytes(root).signed.version
        if Metadata[Root].from_bytes(root).signed.type != Root.type:
            raise ValueError("it is another list")
    with parsing(folder / ABOUT, "Copy it from your backup.", failed="is damaged", error=PublishError):
        url = str(parse_json(read_below(folder, ABOUT))["url"])
    return TrustRecord(url, root, {version: hashlib.sha256(root).hexdigest()})


def _root_in(source: Path) -> bytes:
    """The root in a bundle, in a file of its own, or in the record of another folder of keys."""
    if not source.is_file():
        raise InputError(f"{source} does not exist or is not a file.", "Give a bundle, or a root.json of a board.")
    if not zipfile.is_zipfile(source):
        with parsing(source, "", failed="is no list of trusted keys", error=PublishError):
            return read_limited(source, MOST_BYTES)
    manifest = verify(source).manifest
    sizes = {file.path: file.size_bytes for file in manifest.files}
    if not 0 < sizes.get(ROOT, 0) <= MAX_RECORD_BYTES:
        raise PublishError(f"{source} has no list of trusted keys.", "Give a bundle that was made with --updates.")
    with zipfile.ZipFile(source) as archive:
        return archive.read(f"{manifest.name}/{ROOT}")


RENEW = {"root": "rotate --role none", "targets": "renew --all", "snapshot": "renew", "timestamp": "renew"}
"""What signs each list anew, after "edgepress publish"."""


@dataclass(frozen=True)
class Expiry:
    """One list: its role, its version, when it expires, and whether that is too soon."""

    role: str
    version: int
    expires: datetime
    soon: bool


@dataclass(frozen=True)
class CheckedFolder:
    """A published folder that is complete.

    Attributes:
        folder: The folder.
        lists: Its lists.
        targets: Number of files that boards may fetch.
        root_sha256: SHA-256 of the newest list of trusted keys.
        keys: Ids of the trusted keys by role.
    """

    folder: Path
    lists: tuple[Expiry, ...]
    targets: int
    root_sha256: str
    keys: dict[str, list[str]]

    @property
    def passed(self) -> bool:
        """Whether no list expires too soon."""
        return not any(each.soon for each in self.lists)

    @property
    def commands(self) -> list[str]:
        """The commands that sign the lists anew that expire too soon, each once."""
        words = {RENEW[each.role]: None for each in self.lists if each.soon}
        if RENEW["targets"] in words:
            words.pop(RENEW["timestamp"], None)
        return [
            shell_line("edgepress", "publish", *each.split(), "--to", self.folder, "--keys", "KEYS") for each in words
        ]

    def to_dict(self) -> dict[str, object]:
        """The document that `publish check --json` prints."""
        lists = [
            {"role": e.role, "version": e.version, "expires": e.expires.isoformat(), "soon": e.soon} for e in self.lists
        ]
        about = {"folder": str(self.folder), "passed": self.passed, "targets": self.targets, "lists": lists}
        return about | {"root_sha256": self.root_sha256, "keys": self.keys}


def check(to: str | Path, *, keys: Keys, days: float = 7.0, now: datetime | None = None) -> CheckedFolder:
    """Check a published folder: its signatures, the hash of each file, and when the lists expire.

    Args:
        to: The folder.
        keys: Folders of keys with `trusted.json`, which says what is trusted; no private key is read.
        days: A list that expires in fewer days is named.
        now: The time; None: that of the clock.

    Raises:
        PublishError: The folder is incomplete or damaged.
    """
    folder = Path(to)
    repository = read_repository(folder, keys)
    with suppress(InputError):  # to note what was seen is not needed to check it
        remember(repository)
    for target in repository.targets.signed.targets.values():
        path = folder / target_name(target)
        if not os.path.lexists(path):
            raise PublishError(f"{path} is missing.", "Copy it from your backup, or publish the bundle again.")
        if not is_whole(folder, target):
            raise PublishError(f"{path} is damaged: it is not the file that was signed.", "Copy it from your backup.")
    limit = (now or utc_now()) + timedelta(days=days)
    lists = repository.lists()
    ends = tuple(Expiry(role, each.version, each.expires, each.expires < limit) for role, each in lists.items())
    trusted = {role: ids for role, (ids, _) in keys_of(repository.root.signed).items()}
    files = len(repository.targets.signed.targets)
    return CheckedFolder(folder, ends, files, hashlib.sha256(repository.record.root).hexdigest(), trusted)
