"""Files of a published folder, bounded and reached by no link, and `trusted.json`, the publisher's own record of trust.

What the publisher trusts: the file `trusted.json` beside the private keys, which nobody else writes.

    {"schema_version": 1, "url": "https://updates.example.com/", "root": "{...}", "roots": {"1": "5f..."},
     "lists": {"timestamp": {"version": 9, "sha256": "a1..."}, "snapshot": {...}, "targets": {...}}, "written": ["b2"]}

It holds the newest root (TUF's list of trusted keys) as it is in the published folder, the hashes of all roots, and
the newest lists that were seen, so that nothing older is signed again. `written` has the hashes of the last lists of
bundles that were written from here. It is not secret; each folder of keys that is used alone needs a copy.
"""

from __future__ import annotations

import errno
import hashlib
import json
import os
import stat
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

from tuf.api.metadata import TargetFile

from edgepress.converters.files import write_bytes
from edgepress.runtime.errors import parsing
from edgepress.toolkit.documents import parse_json, read_limited
from edgepress.toolkit.errors import EdgepressError, InputError, PublishError
from edgepress.toolkit.escaping import shell_line

MOST_BYTES = 8 << 20
"""Bytes of a list in a published folder at most; boards accept less."""
_PIECE = 1 << 20


def path_below(folder: Path, name: str) -> Path:
    """The path of a file of a published folder.

    Args:
        folder: The folder, which may be a link itself.
        name: Name of the file below it, with slashes.

    Raises:
        ValueError: The name leads out of the folder.
        OSError: A folder on the way, or the file, is a link.
    """
    path = folder
    for part in name.split("/"):
        if part in ("", ".", "..") or "\\" in part or "\0" in part:
            raise ValueError(f"the name {name!r} leads out of the folder")
        path /= part
        if path.is_symlink():
            raise OSError(errno.ELOOP, "it is a link, and links in a published folder are not followed", str(path))
    return path


def open_below(folder: Path, name: str, most: int = MOST_BYTES) -> BinaryIO:
    """Open a regular file of a published folder.

    Args:
        folder: The folder.
        name: Name of the file below it, with slashes.
        most: Its bytes at most.

    Raises:
        ValueError: The name leads out of the folder, or the file has more bytes.
        OSError: It can't be opened, is not a regular file, or is reached by a link.
    """
    path = path_below(folder, name)
    options = getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0)
    if not stat.S_ISREG(path.lstat().st_mode):  # to open a device may do something
        raise OSError(errno.EINVAL, "it is not a regular file", str(path))
    file = os.fdopen(os.open(path, os.O_RDONLY | options), "rb")
    status = os.fstat(file.fileno())
    if stat.S_ISREG(status.st_mode) and status.st_size <= most:
        return file
    file.close()
    if not stat.S_ISREG(status.st_mode):
        raise OSError(errno.EINVAL, "it is not a regular file", str(path))
    raise ValueError(f"{path.name} has more than {most} bytes")


def read_below(folder: Path, name: str, most: int = MOST_BYTES) -> bytes:
    """The content of a regular file of a published folder; arguments and errors are those of `open_below`."""
    with open_below(folder, name, most) as file:
        content = file.read(most + 1)
    if len(content) > most:  # it has grown meanwhile
        raise ValueError(f"{name.rpartition('/')[2]} has more than {most} bytes")
    return content


def target_name(target: TargetFile) -> str:
    """Name below a published folder of a target: behind its hash, as in TUF's consistent snapshots."""
    parent, _, name = target.path.rpartition("/")
    return f"targets/{parent}/{target.hashes['sha256']}.{name}"


def target_pieces(folder: Path, target: TargetFile) -> Iterator[bytes]:
    """The content of a target, a mebibyte at a time; the last piece comes only if the whole is what was signed.

    Raises:
        ValueError: It is something else.
        OSError: It can't be read, or is not a regular file.
    """
    digest = hashlib.sha256()
    left = target.length
    with open_below(folder, target_name(target), target.length) as file:
        while piece := file.read(min(_PIECE, left)):
            left -= len(piece)
            digest.update(piece)
            if not left and digest.hexdigest() != target.hashes["sha256"]:
                break
            yield piece
    if left or digest.hexdigest() != target.hashes["sha256"]:
        raise ValueError("its hash is another one")


RECORD = "trusted.json"
"""Name of the file in a folder of keys."""
MAX_RECORD_BYTES = 1 << 22
"""Limit on its size."""
MAX_WRITTEN = 1000
"""Lists of bundles whose hashes are kept."""
Keys = str | Path | Sequence[str | Path]
"""A folder of keys, or several."""


class ListVersion(NamedTuple):
    """Version and SHA-256 of a signed list."""

    version: int
    sha256: str


@dataclass(frozen=True)
class TrustRecord:
    """What the publisher trusts.

    Attributes:
        url: Where boards find the published folder; "" if they are told.
        root: The newest root that was verified, as it is in its file.
        roots: SHA-256 of each root by its version, without a gap up to the newest.
        lists: The newest timestamp, snapshot and targets that were seen; empty before the folder was begun.
        written: SHA-256 of the last lists of bundles (targets) that were written from here, the newest last.
    """

    url: str
    root: bytes
    roots: Mapping[int, str]
    lists: Mapping[str, ListVersion] = field(default_factory=dict)
    written: tuple[str, ...] = ()

    def to_bytes(self) -> bytes:
        """The file's content."""
        lists = {role: seen._asdict() for role, seen in self.lists.items()}
        document = asdict(self) | {"root": self.root.decode(), "lists": lists}
        return (json.dumps({"schema_version": 1} | document, indent=1) + "\n").encode()


def folders_of(keys: Keys) -> tuple[Path, ...]:
    """The folders of keys."""
    return (Path(keys),) if isinstance(keys, str | Path) else tuple(Path(each) for each in keys)


def read_record(folder: Path, keys: Sequence[Path]) -> TrustRecord:
    """The records in some folders of keys as one: the newest root, and the newest of each list.

    Args:
        folder: The published folder, for messages.
        keys: Folders of keys.

    Raises:
        InputError: No folder was given.
        PublishError: There is no record, one is damaged, or they are of different published folders.
    """
    if not keys:
        raise InputError("No folder of keys was given.", "Name it with --keys.")
    records = [_parse(path / RECORD) for path in keys if (path / RECORD).is_file()]
    if not records:
        where = ", ".join(map(str, keys))
        problem = f"{RECORD}, which says what keys {folder} is signed with, was not found in {where}."
        trust = shell_line("edgepress", "publish", "trust", "BUNDLE_OR_ROOT", "--to", folder, "--keys", keys[0])
        hint = "Copy it from another folder of keys or a backup, or make it from a bundle or a board's current/updates/"
        raise PublishError(problem, f"{hint}root.json: {trust}")
    return merge(records)


def merge(records: Sequence[TrustRecord]) -> TrustRecord:
    """Several records as one.

    Raises:
        PublishError: They are of different published folders.
    """
    roots: dict[int, str] = {}
    lists: dict[str, ListVersion] = {}
    for record in records:
        newer = {role: seen for role, seen in record.lists.items() if seen >= lists.get(role, (0, ""))}
        same = {role for role, seen in record.lists.items() if seen.version == lists.get(role, seen).version}
        if any(roots.get(version, sha256) != sha256 for version, sha256 in record.roots.items()) or any(
            record.lists[role] != lists.get(role, record.lists[role]) for role in same
        ):
            problem = f"The files {RECORD} in the folders of keys are of different published folders."
            raise PublishError(problem, "Give the folders of keys of this published folder only.")
        roots |= record.roots
        lists |= newer
    newest = max(records, key=lambda record: max(record.roots))
    written = dict.fromkeys(sha256 for record in records for sha256 in record.written)
    if "targets" in lists and lists["targets"].sha256 in written:  # the newest one stays, whatever is cut
        written[lists["targets"].sha256] = written.pop(lists["targets"].sha256)
    return TrustRecord(newest.url, newest.root, roots, lists, (*written,)[-MAX_WRITTEN:])


def write_record(record: TrustRecord, keys: Iterable[Path]) -> None:
    """Write a record into folders of keys; one of them must take it, others may be read-only media.

    Raises:
        InputError: It was written into none.
    """
    errors: list[EdgepressError] = []
    count = 0
    for folder in dict.fromkeys(keys):
        path = folder / RECORD
        if not folder.is_dir():  # a wrong name makes no folder
            continue
        with suppress(OSError):
            if path.read_bytes() == record.to_bytes():
                count += os.access(folder, os.W_OK)  # what is signed next could not be noted elsewhere
                continue
        try:
            write_bytes(path, record.to_bytes())
            count += 1
        except EdgepressError as e:
            errors.append(e)
    if not count:
        nowhere = f"{RECORD} can't be written into any folder of keys."
        raise errors[0] if errors else InputError(nowhere, "Give a writable folder that has a copy: --keys FOLDER")


def _parse(path: Path) -> TrustRecord:
    hint = f"Copy {RECORD} from a backup, or make it anew: edgepress publish trust --help"
    with parsing(path, hint, failed="is damaged", error=PublishError):
        raw: dict[str, Any] = parse_json(read_limited(path, MAX_RECORD_BYTES))
        if raw["schema_version"] != 1:
            raise PublishError(f"{path} was written by a newer edgepress.", "Install that one.")
        roots = {int(version): str(sha256) for version, sha256 in raw["roots"].items()}
        lists = {role: ListVersion(int(seen["version"]), str(seen["sha256"])) for role, seen in raw["lists"].items()}
        root = str(raw["root"]).encode()
        if sorted(roots) != [*range(min(roots), max(roots) + 1)]:
            raise ValueError("a version of the trusted keys is missing")
        return TrustRecord(str(raw["url"]), root, roots, lists, tuple(map(str, raw["written"])))
