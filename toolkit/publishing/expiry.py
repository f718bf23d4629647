"""When the signatures of a published folder expire, and whether its files are complete: `publish check`."""

from __future__ import annotations

import hashlib
import os
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path

from edgepress.toolkit.errors import InputError, PublishError
from edgepress.toolkit.escaping import shell_line
from edgepress.toolkit.published.files import target_name
from edgepress.toolkit.published.folder import keys_of, read_repository, remember
from edgepress.toolkit.published.record import Keys
from edgepress.toolkit.publishing.repository import is_whole, utc_now

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
