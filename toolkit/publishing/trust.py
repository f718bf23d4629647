"""Make `trusted.json` anew, from a root that the user has from elsewhere, or for lists that were signed elsewhere."""

from __future__ import annotations

import dataclasses
import hashlib
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tuf.api.metadata import Metadata, Root

from edgepress.runtime.errors import parsing
from edgepress.runtime.updates.place import ROOT
from edgepress.toolkit.bundles.verify import verify
from edgepress.toolkit.documents import parse_json, read_limited
from edgepress.toolkit.errors import InputError, PublishError
from edgepress.toolkit.published.files import MOST_BYTES, read_below
from edgepress.toolkit.published.folder import ABOUT, Repository, keys_of, read_repository, require_published
from edgepress.toolkit.published.record import (
    MAX_RECORD_BYTES,
    RECORD,
    Keys,
    TrustRecord,
    folders_of,
    read_record,
    write_record,
)
from edgepress.toolkit.publishing.repository import lock_folder


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
