"""Write a published folder: TUF's metadata and targets, with consistent snapshots, as plain files.

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

`edgepress.toolkit.shipping.published.folder` reads and verifies it. What was written is noted in `trusted.json` beside
the keys: the hash of a list of bundles before boards can see it, and all else afterwards.
"""

from __future__ import annotations

import dataclasses
import hashlib
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, TypeVar

import filelock
from securesystemslib.signer import CryptoSigner
from tuf.api.metadata import Metadata, MetaFile, Root, Signed, Snapshot, TargetFile, Targets, Timestamp

from edgepress.converters.files import whole_file
from edgepress.runtime.errors import reason_of
from edgepress.toolkit.errors import PublishError
from edgepress.toolkit.escaping import shell_line
from edgepress.toolkit.shipping.published.files import ListVersion, path_below, target_name, target_pieces
from edgepress.toolkit.shipping.published.folder import Repository, remember, require_published, root_name
from edgepress.toolkit.shipping.publishing.keys import flush_folder

Role = TypeVar("Role", Root, Targets, Snapshot, Timestamp)
ROOT_DAYS = 365
"""Days for which the list of trusted keys is valid."""
TARGETS_DAYS = 180
"""Days for which the list of bundles is valid."""
ONLINE_DAYS = 14
"""Days for which a state counts as the newest one: for so long somebody may hide a newer one from a board."""
LOCK_S = 60.0
"""Seconds to wait for another call that writes the same folder."""
_PIECE = 1 << 20


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
        require_published(folder)
    try:
        path_below(folder, ".lock")  # it would be emptied
        with filelock.FileLock(folder / ".lock", timeout=LOCK_S):
            yield
    except filelock.Timeout:
        problem = f"Another call has been writing {folder} for {LOCK_S:g} s."
        raise PublishError(problem, "Wait until it has finished.") from None
    except OSError as e:
        raise PublishError(f"{folder} can't be locked: {e.strerror}.", "Check the folder and its permissions.") from e


def require_written(repository: Repository) -> None:
    """Raise a PublishError if the list of bundles, which is to be signed again, was not written from here.

    It is signed by the keys of `targets`, perhaps by stolen ones: then new keys must not sign it as well.
    """
    if repository.record.lists["targets"].sha256 in repository.record.written:
        return
    listed = [
        f"{name} {entry.release}{' (withdrawn)' * entry.withdrawn}"
        for name, each in repository.releases.items()
        for entry in each.releases
    ]
    problem = f"The list of bundles in {repository.folder}, version {repository.targets.signed.version},"
    problem += f" was signed with the keys of targets, but not from here. Its releases: {', '.join(listed) or 'none'}."
    accept = shell_line("edgepress", "publish", "trust", "--to", repository.folder, "--keys", repository.keys[0])
    hint = "If you published them elsewhere, with the same keys: "
    raise PublishError(problem, f"{hint}{accept}. Else the keys may be stolen: copy the folder from your backup.")


def write_root(folder: Path, root: Metadata[Root]) -> None:
    """Write a signed root under its version."""
    write_durably(_place(folder, root_name(root.signed.version)), root.to_bytes())


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
    lists = dict(repository.record.lists)
    record = repository.record

    def write(name: str, metadata: Metadata[Any]) -> None:
        write_durably(_place(repository.folder, f"metadata/{name}"), metadata.to_bytes())
        lists[metadata.signed.type] = ListVersion(metadata.signed.version, _hash(metadata))

    if files is not None:
        listed = Targets(targets.signed.version + 1, expires=now + timedelta(days=TARGETS_DAYS), targets=dict(files))
        targets = sign(listed, signers.targets)
        record = dataclasses.replace(record, written=(*record.written, _hash(targets)))
        remember(dataclasses.replace(repository, record=record))
        write(f"{listed.version}.targets.json", targets)
    expires = now + timedelta(days=ONLINE_DAYS)
    meta = {"targets.json": _describe(targets)}
    snapshot = sign(Snapshot(repository.snapshot.signed.version + 1, expires=expires, meta=meta), signers.online)
    write(f"{snapshot.signed.version}.snapshot.json", snapshot)
    stamp = Timestamp(repository.timestamp.signed.version + 1, expires=expires, snapshot_meta=_describe(snapshot))
    timestamp = sign(stamp, signers.online)
    write("timestamp.json", timestamp)
    record = dataclasses.replace(record, lists=lists)
    after = dataclasses.replace(repository, record=record, targets=targets, snapshot=snapshot, timestamp=timestamp)
    remember(after)
    return after


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
    path = _place(folder, target_name(target))
    if not is_whole(folder, target):
        write_durably(path, source)
        if not is_whole(folder, target):  # the copy counts: the source may change at any time
            path.unlink()
            raise PublishError(f"{source!s} was changed while it was published.", "Publish it again.")
    return target


def is_whole(folder: Path, target: TargetFile) -> bool:
    """Whether the file of a target has the hash that was signed."""
    try:
        for _ in target_pieces(folder, target):
            pass
    except (OSError, ValueError):
        return False
    return True


def _place(folder: Path, name: str) -> Path:
    """Where a file is written below a published folder; a link in its place is replaced, and none is followed.

    Raises:
        PublishError: A folder on the way is a link, or the name leads out of the folder.
    """
    parent, _, last = name.rpartition("/")
    try:
        return path_below(folder, parent) / last
    except (OSError, ValueError) as e:
        raise PublishError(f"{folder / name} can't be written: {reason_of(e)}.", "Copy the folder anew.") from e


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
    signed: Signed = metadata.signed
    return MetaFile(signed.version, len(metadata.to_bytes()), {"sha256": _hash(metadata)})


def _hash(metadata: Metadata[Any]) -> str:
    return hashlib.sha256(metadata.to_bytes()).hexdigest()


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
