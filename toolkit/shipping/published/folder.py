"""The state of a published folder, after all of it was verified from `trusted.json`.

The roots must be those of the record, byte by byte, and each further one is signed by enough keys of the root before
it and by enough of its own, as on boards. Timestamp, snapshot and targets must be signed by enough keys of the newest
root, belong to each other, and be no older than those that were seen before; the lists of releases must have the
hashes that targets names. Expired lists are accepted here, because the publisher must be able to renew them.
"""

from __future__ import annotations

import dataclasses
import hashlib
import os
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tuf.api.exceptions import RepositoryError
from tuf.api.metadata import Metadata, MetaFile, Root, Signed, Snapshot, TargetFile, Targets, Timestamp

from edgepress.runtime.errors import reason_of
from edgepress.runtime.updates.releases import MAX_LIST_BYTES, Release, ReleaseList, list_target, parse_list
from edgepress.toolkit.documents import parse_json
from edgepress.toolkit.errors import EdgepressError, PublishError
from edgepress.toolkit.escaping import shell_line
from edgepress.toolkit.shipping.published.files import (
    RECORD,
    Keys,
    ListVersion,
    TrustRecord,
    folders_of,
    merge,
    read_below,
    read_record,
    target_name,
    target_pieces,
    write_record,
)

ABOUT = "publish.json"
"""Name of the file that says where boards find the folder."""
ID_DIGITS = 16
"""Digits of a key's id, in messages and in the name of its file."""
ROLES = {"root": "root", "targets": "targets", "online": "timestamp"}
"""Names of the publisher's keys, and the role of TUF that shows them."""
FOREIGN = (
    "Somebody else may have changed it: copy it from your backup. Nothing was signed. If the backup is older than what "
    "stolen keys have signed meanwhile: edgepress publish trust BUNDLE"
)
"""Hint where a folder does not go on from what is trusted."""


@dataclass(frozen=True)
class Repository:
    """A verified state of a published folder.

    Attributes:
        folder: The published folder.
        keys: The folders of keys, with the record.
        record: What is trusted, with this state.
        roots: The root files by version, as far as the record goes back.
        root: TUF's lists, as the following.
        targets: Length and hash of each file that boards may fetch.
        snapshot: The version of targets.
        timestamp: The version of the snapshot.
        releases: The lists of releases by the application's name.
    """

    folder: Path
    keys: tuple[Path, ...]
    record: TrustRecord
    roots: Mapping[int, bytes]
    root: Metadata[Root]
    targets: Metadata[Targets]
    snapshot: Metadata[Snapshot]
    timestamp: Metadata[Timestamp]
    releases: Mapping[str, ReleaseList]

    def lists(self) -> dict[str, Signed]:
        """What is signed, by role."""
        return {
            "root": self.root.signed,
            "targets": self.targets.signed,
            "snapshot": self.snapshot.signed,
            "timestamp": self.timestamp.signed,
        }

    def releases_of(self, name: str) -> list[tuple[Release, TargetFile]]:
        """The releases of an application that were not withdrawn, and their bundles."""
        files = self.targets.signed.targets
        entries = self.releases[name].releases if name in self.releases else ()
        return [(entry, files[entry.target]) for entry in entries if not entry.withdrawn and entry.target in files]

    def next_release(self, name: str) -> int:
        """The number above all releases of an application."""
        entries = self.releases[name].releases if name in self.releases else ()
        return 1 + max((entry.release for entry in entries), default=0)


def read_repository(
    folder: Path, keys: Keys, *, lost: Collection[str] = (), anchor: TrustRecord | None = None
) -> Repository:
    """Read the newest state of a folder, after all of it was verified.

    Args:
        folder: The published folder.
        keys: Folders of keys with the record of what is trusted.
        lost: TUF's roles whose lists count without a signature if they are those of the record: a rotation without the
            former keys may have been cut between the root and the lists.
        anchor: The record; None: that of the folders of keys.

    Raises:
        InputError: No folder of keys was given.
        PublishError: There is no record, or the folder does not go on from it, or is damaged.
    """
    require_published(folder)
    folders = folders_of(keys)
    record = read_record(folder, folders) if anchor is None else anchor
    try:
        _require_url(folder, record)
        roots = _read_roots(folder, record)
        root = Metadata[Root].from_bytes(roots[max(roots)])
        signed, seen = _read_lists(folder, root, record, lost)
        releases = _read_releases(folder, signed["targets"])
        sha256 = {version: _hash(data) for version, data in roots.items()}
        merged = dataclasses.replace(record, root=roots[max(roots)], roots={**record.roots, **sha256}, lists=seen)
        merged.to_bytes()
    except EdgepressError as e:
        raise PublishError(f"{folder} is not a complete published folder: {e.message}", FOREIGN) from e
    except (OSError, KeyError, ValueError, RepositoryError) as e:
        problem = f"{folder} is not a complete published folder: {reason_of(e)}."
        raise PublishError(problem, f"{FOREIGN}. If a rotation with --lost was interrupted, do it again.") from e
    lists = {"targets": signed["targets"], "snapshot": signed["snapshot"], "timestamp": signed["timestamp"]}
    return Repository(folder, folders, merged, roots, root, **lists, releases=releases)


def require_published(folder: Path) -> None:
    """Raise a PublishError if a folder is no published one."""
    if not (folder / "metadata").is_dir():
        raise PublishError(f"{folder} is not a published folder.", f"Make one: {command_to_begin(folder)}")


def command_to_begin(folder: Path) -> str:
    """The command that makes a published folder."""
    return shell_line("edgepress", "publish", "init", "--to", folder, "--keys", "KEYS")


def remember(repository: Repository) -> None:
    """Write what is trusted, with this state, beside the keys.

    Raises:
        InputError: It can't be written.
        PublishError: Another call has written something else meanwhile.
    """
    write_record(merge([read_record(repository.folder, repository.keys), repository.record]), repository.keys)


def root_name(version: int) -> str:
    """Name of a root below a published folder."""
    return f"metadata/{version}.root.json"


def keys_of(root: Root) -> dict[str, tuple[list[str], int]]:
    """The ids of the keys of each role, and how many of them must sign."""
    return {name: (root.roles[role].keyids, root.roles[role].threshold) for name, role in ROLES.items()}


def read_target(folder: Path, target: TargetFile, most: int) -> bytes:
    """The content of a target, after its hash was checked; see `target_pieces`."""
    if target.length > most:
        raise ValueError(f"{target.path} has more than {most} bytes")
    return b"".join(target_pieces(folder, target))


def _require_url(folder: Path, record: TrustRecord) -> None:
    """Raise a ValueError if the folder names another address than the record."""
    if not os.path.lexists(folder / ABOUT):
        return
    url = parse_json(read_below(folder, ABOUT))["url"]
    if url != record.url:
        what = f"{ABOUT} has the address {str(url)[:200]!r}, and {RECORD} beside the keys has {record.url!r}"
        raise ValueError(f"{what}; if you changed the address, change it in both")


def _read_roots(folder: Path, record: TrustRecord) -> dict[int, bytes]:
    """The roots of the folder by version, from the oldest one of the record on."""
    roots = {}
    for version, sha256 in sorted(record.roots.items()):
        data = read_below(folder, root_name(version))
        if _hash(data) != sha256:
            raise ValueError(f"{version}.root.json is not the one that {RECORD} beside the keys trusts{_other(data)}")
        roots[version] = data
    last = Metadata[Root].from_bytes(record.root)
    if _hash(record.root) != record.roots[last.signed.version] or last.signed.version != max(roots):
        raise ValueError(f"{RECORD} contradicts itself")
    while os.path.lexists(folder / root_name(last.signed.version + 1)):
        version = last.signed.version + 1
        data = read_below(folder, root_name(version))
        root = Metadata[Root].from_bytes(data)
        try:
            for signer in (last, root):
                signer.signed.verify_delegate(Root.type, root.signed_bytes, root.signatures)
        except RepositoryError as e:
            problem = f"{version}.root.json was not signed by enough keys of the trusted version {version - 1}"
            raise ValueError(f"{problem} ({e}){_other(data)}") from e
        if root.signed.version != version:
            raise ValueError(f"{version}.root.json has the version {root.signed.version}")
        roots[version] = data
        last = root
    return roots


def _other(data: bytes) -> str:
    """What a root says, to compare it."""
    try:
        keys = keys_of(Metadata[Root].from_bytes(data).signed)
    except RepositoryError:
        return ""
    named = [f"{role} {' '.join(key[:ID_DIGITS] for key in ids)}" for role, (ids, _) in keys.items()]
    return f": it has the SHA-256 {_hash(data)} and the keys of {', '.join(named)}"


def _read_lists(
    folder: Path, root: Metadata[Root], record: TrustRecord, lost: Collection[str]
) -> tuple[dict[str, Metadata[Any]], dict[str, ListVersion]]:
    """Timestamp, snapshot and targets, and their versions and hashes."""
    signed: dict[str, Metadata[Any]] = {}
    seen: dict[str, ListVersion] = {}

    def load(role: str, name: str, described: MetaFile | None) -> None:
        data = read_below(folder, f"metadata/{name}")
        metadata = Metadata.from_bytes(data)
        version = ListVersion(metadata.signed.version, _hash(data))
        if described is not None:
            described.verify_length_and_hashes(data)
            if described.version != version.version:
                raise ValueError(f"{name} has the version {version.version}")
        known = record.lists.get(role)
        if role not in lost or version != known:
            root.signed.verify_delegate(role, metadata.signed_bytes, metadata.signatures)
        if metadata.signed.type != role:
            raise ValueError(f"{name} is a list of the role {metadata.signed.type}")
        if known is not None and version != known and version.version <= known.version:
            older = "older than" if version.version < known.version else "another one than"
            seen_before = f"version {known.version}, which {RECORD} beside the keys has seen"
            raise ValueError(f"{name}, version {version.version}, is {older} {seen_before}")
        signed[role] = metadata
        seen[role] = version

    load("timestamp", "timestamp.json", None)
    described = signed["timestamp"].signed.snapshot_meta
    load("snapshot", f"{described.version}.snapshot.json", described)
    described = signed["snapshot"].signed.meta["targets.json"]
    load("targets", f"{described.version}.targets.json", described)
    return signed, seen


def _read_releases(folder: Path, targets: Metadata[Targets]) -> dict[str, ReleaseList]:
    """The lists of releases of all applications, by name."""
    releases = {}
    for path, target in targets.signed.targets.items():
        name = path.partition("/")[0]
        if path != list_target(name):
            continue
        try:
            releases[name] = parse_list(read_target(folder, target, MAX_LIST_BYTES), name)
        except (OSError, ValueError) as e:
            raise ValueError(f"{target_name(target)}: {reason_of(e)}") from e
    return releases


def _hash(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()
