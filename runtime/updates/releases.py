"""The signed list of an application's releases: `NAME/releases.json` of a published folder.

A board reads this one file, by its name, and then fetches the one bundle that it names. A list is valid as a whole or
not at all: an unknown field, a wrong type or two entries of one release and board are errors.

    {"schema_version": 1, "name": "digits", "dated": "2026-11-28T16:00:00Z", "releases": [
     {"release": 3, "id": "5f...", "target": "digits/digits-3-5f0c1a2b3c4d.zip", "boards": ["pi64-py313"],
      "channel": "stable", "share": 0.1, "withdrawn": false}]}

Which boards a share takes: a board takes a release if the first 8 bytes of SHA-256 of `ID/BOARD_ID`, as a fraction of
2^64, are below the share. So a larger share only adds boards, and another release begins with other boards.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import re
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from edgepress.runtime.errors import UpdateError, parsing

SCHEMA_VERSION = 1
"""Version of the structure of a list."""
MAX_LIST_BYTES = 1 << 20
"""Limit on the size of a list."""
MAX_RELEASES = 2000
"""Limit on the entries of a list."""
MAX_RELEASE = 999_999_999
"""Largest number of a release."""
CHANNELS = ("stable", "beta")
"""A board of a channel takes releases of it and of those before it in this order."""
NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.+-]{0,63}")
"""What names of applications look like, as `edgepress bundle` accepts them."""
DATE = "%Y-%m-%dT%H:%M:%SZ"
"""Form of dates, ISO 8601 in UTC."""
_ID = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True)
class Release:
    """One release of an application.

    Attributes:
        release: Its number, from 1.
        id: The id in its manifest.
        target: Name of the bundle below the folder of targets.
        boards: Types of boards that it is for, such as "pi64-py313".
        channel: Name in `CHANNELS`.
        share: Share of these boards that takes it, above 0 and at most 1.
        withdrawn: Whether no board may install it any more.
    """

    release: int
    id: str
    target: str
    boards: tuple[str, ...]
    channel: str = "stable"
    share: float = 1.0
    withdrawn: bool = False


@dataclass(frozen=True)
class ReleaseList:
    """All releases of an application; `dated` says when the list was signed, ISO 8601 in UTC."""

    name: str
    dated: str
    releases: tuple[Release, ...] = ()

    def to_bytes(self) -> bytes:
        """The file's content."""
        document = {"schema_version": SCHEMA_VERSION} | dataclasses.asdict(self)
        return (json.dumps(document, indent=1, allow_nan=False) + "\n").encode()


def list_target(name: str) -> str:
    """Name of the list of an application below the folder of targets."""
    return f"{name}/releases.json"


def parse_list(data: bytes, name: str) -> ReleaseList:
    """Parse a list.

    Args:
        data: The file's content.
        name: The application that it must be of.

    Raises:
        UpdateError: It is damaged, of another application, or of a newer version of edgepress.
    """
    with parsing(list_target(name), "", failed="is not a list of releases", error=UpdateError):
        raw = json.loads(data)
        version = raw.pop("schema_version")
        if isinstance(version, int) and version > SCHEMA_VERSION:
            problem = f"The list of releases has version {version}; this board reads up to {SCHEMA_VERSION}."
            raise UpdateError(problem, "Install a newer bundle by hand.")
        if raw["name"] != name:
            raise UpdateError(f"The list is of the application {raw['name']!r}, not of {name} (wrong software).")
        entries = [Release(**entry | {"boards": tuple(entry["boards"])}) for entry in raw.pop("releases")]
        releases = ReleaseList(releases=tuple(entries), **raw)
        date_of(releases.dated)
        _check(entries)
    return releases


def date_of(text: str) -> datetime:
    """A date of a list.

    Raises:
        ValueError: It has another form.
    """
    return datetime.strptime(text, DATE).replace(tzinfo=UTC)


def position(release_id: str, board_id: str) -> float:
    """Where a board stands among all boards for one release, from 0 to below 1."""
    digest = hashlib.sha256(f"{release_id}/{board_id}".encode()).digest()
    return int.from_bytes(digest[:8], "big") / 2.0**64


def offered(releases: Iterable[Release], *, board: str, channel: str, board_id: str) -> list[Release]:
    """The releases that a board may install, the newest first.

    Args:
        releases: All releases.
        board: The board's type.
        channel: The board's channel.
        board_id: The board's own id.
    """
    channels = CHANNELS[: CHANNELS.index(channel) + 1]
    suitable = [
        release
        for release in releases
        if not release.withdrawn
        and board in release.boards
        and release.channel in channels
        and position(release.id, board_id) < release.share
    ]
    return sorted(suitable, key=lambda release: release.release, reverse=True)


def _check(entries: Collection[Release]) -> None:
    """Raise a ValueError if an entry has a value that is not accepted."""
    if len(entries) > MAX_RELEASES:
        raise ValueError(f"it has {len(entries)} releases; accepted: up to {MAX_RELEASES}")
    used: set[tuple[int, str]] = set()
    for entry in entries:
        checks: dict[str, Any] = {
            "release": type(entry.release) is int and 1 <= entry.release <= MAX_RELEASE,
            "id": isinstance(entry.id, str) and _ID.fullmatch(entry.id),
            "target": isinstance(entry.target, str) and all(map(NAME.fullmatch, entry.target.split("/"))),
            "boards": entry.boards and all(isinstance(b, str) and NAME.fullmatch(b) for b in entry.boards),
            "channel": entry.channel in CHANNELS,
            "share": type(entry.share) in (int, float) and 0 < entry.share <= 1,
            "withdrawn": type(entry.withdrawn) is bool,
        }
        if wrong := [name for name, good in checks.items() if not good]:
            raise ValueError(f"the field {wrong[0]} of a release has a value that is not accepted")
        for board in entry.boards:
            if (entry.release, board) in used:
                raise ValueError(f"release {entry.release} occurs twice for {board}")
            used.add((entry.release, board))
