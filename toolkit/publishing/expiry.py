"""When the signatures of a published folder expire, and whether its files are complete: `publish check`."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path

from edgepress.converters.files import sha256_of_file
from edgepress.toolkit.errors import PublishError
from edgepress.toolkit.escaping import shell_line
from edgepress.toolkit.publishing.repository import read_repository, target_path, utc_now

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
    """A published folder that is complete, with its lists."""

    folder: Path
    lists: tuple[Expiry, ...]
    targets: int

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
        return {"folder": str(self.folder), "passed": self.passed, "targets": self.targets, "lists": lists}


def check(to: str | Path, *, days: float = 7.0, now: datetime | None = None) -> CheckedFolder:
    """Check a published folder: its signatures, the hash of each file, and when the lists expire.

    Args:
        to: The folder.
        days: A list that expires in fewer days is named.
        now: The time; None: that of the clock.

    Raises:
        PublishError: The folder is incomplete or damaged.
    """
    folder = Path(to)
    repository = read_repository(folder)
    for target in repository.targets.signed.targets.values():
        path = target_path(folder, target)
        if not path.is_file():
            raise PublishError(f"{path} is missing.", "Copy it from your backup, or publish the bundle again.")
        if sha256_of_file(path) != target.hashes["sha256"]:
            raise PublishError(f"{path} is damaged: its hash is another one.", "Copy it from your backup.")
    limit = (now or utc_now()) + timedelta(days=days)
    lists = repository.lists()
    ends = tuple(Expiry(role, each.version, each.expires, each.expires < limit) for role, each in lists.items())
    return CheckedFolder(folder, ends, len(repository.targets.signed.targets))
