"""The release that a user has left by hand: updates take it, or one below it, again only when they are told to.

`install.sh rollback`, and `install.sh install` of a lower number, write `PREFIX/.left` before they switch:

    {"release": 3, "id": "5f...", "at": "2026-12-01T10:00:00Z", "by": "rollback"}

It does not count while that release is in use, as after a power cut before the switch or when it was taken again, nor
once a higher one is. Without the file, the link to the former release says the same, with less certainty.
"""

from __future__ import annotations

import json
import shlex
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import Any

from edgepress.runtime.errors import UpdateError
from edgepress.runtime.filetypes import open_regular
from edgepress.runtime.updates.place import Place, read_release
from edgepress.runtime.updates.releases import DATE, date_of

LEFT = ".left"
"""The file, in the folder that was installed to."""
MAX_BYTES = 4096
"""Limit on its size."""
WHY = {"rollback": "by hand, with install.sh rollback", "install": "by hand, by installing an older release"}
"""How a user leaves a release, by the action of install.sh."""


@dataclass(frozen=True)
class Left:
    """A release that was left.

    Attributes:
        release: Its number.
        id: The id in its manifest.
        at: When, ISO 8601 in UTC.
        why: Why, the end of a sentence.
    """

    release: int
    id: str
    at: str
    why: str

    def to_dict(self) -> dict[str, Any]:
        """Its entry in the documents of `run update` and `run status`."""
        return asdict(self)


def read_left(place: Place) -> Left | None:
    """The release that a user has left by hand for the one in use, if no higher one has been in use since."""
    left = _recorded(place) or _linked(place)
    return left if left is not None and left.release >= place.release and left.id != place.id else None


def command_forward(place: Place, source: str) -> str:
    """The command that takes it again, from a source of updates if one was given."""
    words = [str(place.prefix / "current" / "run"), "update", *(["--from", source] if source else []), "--forward"]
    return shlex.join(words)


def _recorded(place: Place) -> Left | None:
    """What install.sh has written; None if it has not, or if that is damaged."""
    try:
        with open_regular(place.prefix / LEFT) as file:
            raw = json.loads(file.read(MAX_BYTES))
        date_of(raw["at"])
        return Left(int(raw["release"]), str(raw["id"]), raw["at"], WHY[raw["by"]])
    except (OSError, ValueError, LookupError, TypeError):
        return None


def _linked(place: Place) -> Left | None:
    """The former release, if its number is higher than that of the one in use: users alone change the link so."""
    former = place.release_folder / "former"
    try:
        release, release_id = read_release(former.resolve(strict=True))
        at = datetime.fromtimestamp(former.lstat().st_mtime, UTC).strftime(DATE)
    except (OSError, UpdateError):
        return None
    return Left(release, release_id, at, "by hand") if release > place.release else None
