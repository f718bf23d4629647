"""A published folder: TUF's metadata and targets, with consistent snapshots, as plain files.

    FOLDER/metadata/1.root.json, 2.root.json, ...    which keys are trusted; all versions are kept
    FOLDER/metadata/7.targets.json                   length and SHA-256 of each bundle and each list of releases
    FOLDER/metadata/9.snapshot.json                  version of the targets
    FOLDER/metadata/timestamp.json                   version and SHA-256 of the snapshot: the newest state
    FOLDER/targets/NAME/HASH.releases.json           the list of releases of an application
    FOLDER/targets/NAME/HASH.NAME-3-ID.zip           a bundle
    FOLDER/publish.json                              where boards find the folder

Every name except timestamp.json is new in every state. So a state is written file by file, each flushed to the disk,
and it becomes the newest one when timestamp.json is renamed, at the very end. A kill before that leaves the former
state; its remains are overwritten by the next call, or are files that no list names.
"""

from __future__ import annotations

import dataclasses
import hashlib
import os
import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, TypeVar

import filelock
from securesystemslib.signer import CryptoSigner
from tuf.api.exceptions import RepositoryError
from tuf.api.metadata import Metadata, MetaFile, Root, Signed, Snapshot, TargetFile, Targets, Timestamp

from edgepress.converters.files import whole_file
from edgepress.runtime.errors import reason_of
from edgepress.toolkit.bundles.updates import command_to_begin, read_published
from edgepress.toolkit.errors import PublishError
from edgepress.toolkit.publishing.flushing import flush_folder

Role = TypeVar("Role", Root, Targets, Snapshot, Timestamp)
ROOT_DAYS = 365
"""Days for which the list of trusted keys is valid."""
TARGETS_DAYS = 180
"""Days for which the list of bundles is valid."""
ONLINE_DAYS = 14
"""Days for which a state counts as the newest one: for so long somebody may hide a newer one from a board."""
LOCK_S = 60.0
"""Seconds to wait for another call that writes the same folder."""
ABOUT = "publish.json"
"""Name of the file that says where boards find the folder."""
_PIECE = 1 << 20


@dataclass(frozen=True)
class Repository:
    """A state of a published folder; the four lists are those of TUF's top-level roles."""

    folder: Path
    root: Metadata[Root]
    targets: Metadata[Targets]
    snapshot: Metadata[Snapshot]
    timestamp: Metadata[Timestamp]

    def lists(self) -> dict[str, Signed]:
        """What is signed, by role."""
        return {
            "root": self.root.signed,
            "targets": self.targets.signed,
            "snapshot": self.snapshot.signed,
            "timestamp": self.timestamp.signed,
        }


@dataclass(frozen=True)
class Signers:
    """Opened private keys by role; `online` signs snapshot and timestamp."""

    targets: Sequence[CryptoSigner]
    online: Sequence[CryptoSigner]


def utc_now() -> datetime:
    """The time, to a second."""
    return datetime.now(UTC).replace(microsecond=0)


@contextmanager
def lock_folder(folder: Path, *, begin: bool = False) -> Iterator[None]:
    """Let no other call write the folder at the same time.

    Args:
        folder: The published folder.
        begin: Whether it is begun, and may not exist yet.

    Raises:
        PublishError: The folder does not exist, or another call has not finished in `LOCK_S`.
    """
    if begin:
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as e:
            raise PublishError(f"{folder} can't be made: {e.strerror}.", "Choose another folder with --to.") from e
    else:
        _require_published(folder)
    try:
        with filelock.FileLock(folder / ".lock", timeout=LOCK_S):
            yield
    except filelock.Timeout:
        problem = f"Another call has been writing {folder} for {LOCK_S:g} s."
        raise PublishError(problem, "Wait until it has finished.") from None


def _require_published(folder: Path) -> None:
    if not (folder / "metadata").is_dir():
        raise PublishError(f"{folder} is not a published folder.", f"Make one: {command_to_begin(folder)}")


def read_repository(folder: Path, *, former: Collection[str] = ()) -> Repository:
    """Read the newest state of a folder, and check its signatures and hashes.

    Args:
        folder: The published folder.
        former: TUF's roles whose lists may also be signed by keys that a former root trusts.

    Raises:
        PublishError: The folder holds no state, or a damaged one.
    """
    _require_published(folder)
    metadata = folder / "metadata"
    try:
        if not root_paths(folder):
            raise ValueError("metadata/*.root.json is missing")
        root = Metadata[Root].from_bytes(read_published(root_paths(folder)[-1]))
        timestamp = Metadata[Timestamp].from_bytes(read_published(metadata / "timestamp.json"))
        snapshot_file = timestamp.signed.snapshot_meta
        snapshot_path = metadata / f"{snapshot_file.version}.snapshot.json"
        snapshot_bytes = read_published(snapshot_path)
        snapshot_file.verify_length_and_hashes(snapshot_bytes)
        snapshot = Metadata[Snapshot].from_bytes(snapshot_bytes)
        targets_file = snapshot.signed.meta["targets.json"]
        targets_path = metadata / f"{targets_file.version}.targets.json"
        targets_bytes = read_published(targets_path)
        targets_file.verify_length_and_hashes(targets_bytes)
        targets = Metadata[Targets].from_bytes(targets_bytes)
        for name, signed in (("root", root), ("timestamp", timestamp), ("snapshot", snapshot), ("targets", targets)):
            roots = [root.signed]
            if name in former:
                roots += [Metadata[Root].from_bytes(read_published(path)).signed for path in root_paths(folder)]
            _verify_any(roots, name, signed)
    except (OSError, IndexError, KeyError, ValueError, RepositoryError) as e:
        problem = f"{folder} is not a complete published folder: {reason_of(e)}."
        hint = "Copy it again from your backup; if a rotation with --lost was interrupted, do it again."
        raise PublishError(problem, hint) from e
    return Repository(folder, root, targets, snapshot, timestamp)


def _verify_any(roots: Sequence[Root], role: str, signed: Metadata[Any]) -> None:
    """Raise what tuf raises with the first root if none of them trusts the keys that signed a list."""
    for root in roots[1:]:
        with suppress(RepositoryError):
            root.verify_delegate(role, signed.signed_bytes, signed.signatures)
            return
    roots[0].verify_delegate(role, signed.signed_bytes, signed.signatures)


def root_paths(folder: Path) -> list[Path]:
    """The files of all versions of the root, in the order of their versions, as far as none is missing."""
    versions = {
        int(match[1]): path
        for path in (folder / "metadata").glob("*.root.json")
        if (match := re.fullmatch(r"([1-9]\d{0,8})\.root\.json", path.name))
    }
    count = next(n for n in range(len(versions) + 1) if n + 1 not in versions)
    return [versions[n + 1] for n in range(count)]


def write_root(folder: Path, root: Metadata[Root]) -> None:
    """Write a signed root under its version."""
    write_durably(folder / "metadata" / f"{root.signed.version}.root.json", root.to_bytes())


def write_state(
    repository: Repository, signers: Signers, *, files: Mapping[str, TargetFile] | None = None, now: datetime
) -> Repository:
    """Sign the lists anew and write them; boards see the new state from the last step on.

    Args:
        repository: The state before; the new state has the next versions.
        signers: Opened private keys.
        files: What the list of bundles is to hold, whose files are there already; None: it stays, and needs no signer.
        now: The time from which the lists are valid.
    """
    targets = repository.targets
    metadata = repository.folder / "metadata"
    if files is not None:
        listed = Targets(targets.signed.version + 1, expires=now + timedelta(days=TARGETS_DAYS), targets=dict(files))
        targets = sign(listed, signers.targets)
        write_durably(metadata / f"{listed.version}.targets.json", targets.to_bytes())
    expires = now + timedelta(days=ONLINE_DAYS)
    meta = {"targets.json": _describe(targets)}
    snapshot = sign(Snapshot(repository.snapshot.signed.version + 1, expires=expires, meta=meta), signers.online)
    write_durably(metadata / f"{snapshot.signed.version}.snapshot.json", snapshot.to_bytes())
    stamp = Timestamp(repository.timestamp.signed.version + 1, expires=expires, snapshot_meta=_describe(snapshot))
    timestamp = sign(stamp, signers.online)
    write_durably(metadata / "timestamp.json", timestamp.to_bytes())
    return dataclasses.replace(repository, targets=targets, snapshot=snapshot, timestamp=timestamp)


def sign(signed: Role, signers: Sequence[CryptoSigner]) -> Metadata[Role]:
    """Sign a list with all keys."""
    metadata = Metadata(signed)
    for signer in signers:
        metadata.sign(signer, append=True)
    return metadata


def add_target(folder: Path, name: str, source: Path | bytes, *, expected: tuple[int, str] | None = None) -> TargetFile:
    """Copy a file below the folder of targets, under its hash, and describe it.

    Args:
        folder: The published folder.
        name: Its name for boards, such as "digits/digits-3-5f0c1a2b3c4d.zip".
        source: The file, or its content.
        expected: Length and SHA-256 of what was verified; None: those of the source.

    Raises:
        PublishError: The file has another content than it had when it was verified.
    """
    length, digest = expected or _measure(source)
    target = TargetFile(length, {"sha256": digest}, name)
    path = target_path(folder, target)
    if not path.is_file() or _measure(path) != (length, digest):
        write_durably(path, source)
        if _measure(path) != (length, digest):  # the copy counts: the source may change at any time
            path.unlink()
            raise PublishError(f"{source!s} was changed while it was published.", "Publish it again.")
    return target


def target_path(folder: Path, target: TargetFile) -> Path:
    """The file of a target: its name behind its hash, as in TUF's consistent snapshots."""
    parent, _, name = target.path.rpartition("/")
    return folder / "targets" / parent / f"{target.hashes['sha256']}.{name}"


def write_durably(path: Path, source: Path | bytes) -> None:
    """Write a file whole or not at all, and flush it and its folder to the disk."""
    with whole_file(path) as temporary, temporary.open("wb") as file, _pieces(source) as pieces:
        for piece in pieces:
            file.write(piece)
        file.flush()
        os.fsync(file.fileno())
    flush_folder(path.parent)


def _describe(metadata: Metadata[Any]) -> MetaFile:
    """Version, length and hash of a signed list."""
    data = metadata.to_bytes()
    signed: Signed = metadata.signed
    return MetaFile(signed.version, len(data), {"sha256": hashlib.sha256(data).hexdigest()})


def _measure(source: Path | bytes) -> tuple[int, str]:
    """Length and SHA-256 of a file or of bytes."""
    digest = hashlib.sha256()
    length = 0
    with _pieces(source) as pieces:
        for piece in pieces:
            digest.update(piece)
            length += len(piece)
    return length, digest.hexdigest()


@contextmanager
def _pieces(source: Path | bytes) -> Iterator[Iterator[bytes]]:
    """The content of a file, or bytes, a mebibyte at a time."""
    if isinstance(source, bytes):
        yield iter([source])
        return
    with source.open("rb") as file:
        yield iter(lambda: file.read(_PIECE), b"")
