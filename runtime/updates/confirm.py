"""What an update does first: it takes the lock, ends an interrupted switch, and heeds the release that a user has left.

The release that a user has left by hand: updates take it, or one below it, again only when they are told to.

`install.sh rollback`, and `install.sh install` of a lower number, write `PREFIX/.left` before they switch:

    {"release": 3, "id": "5f...", "at": "2026-12-01T10:00:00Z", "by": "rollback"}

It does not count while that release is in use, as after a power cut before the switch or when it was taken again, nor
once a higher one is. Without the file, the link to the former release says the same, with less certainty.
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
import shlex
import sys
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from edgepress.runtime.errors import UpdateError
from edgepress.runtime.filetypes import open_regular
from edgepress.runtime.updates.installer import VerdictError, run_installer
from edgepress.runtime.updates.place import Place, read_release
from edgepress.runtime.updates.releases import DATE, date_of
from edgepress.runtime.updates.state import State, read_state, with_verdict, write_state
from edgepress.runtime.updates.trust import utc_now
from edgepress.runtime.updates.watch import Failure, can_go_back, go_back, reason_of_failure, watch

MAX_ATTEMPTS = 3
"""How often a release is tried whose self-test ends without a result, or whose watch is interrupted."""
BLAME = timedelta(hours=24)
"""Time after the switch to a release in which it is to blame if systemd gives its service up."""


def confirm(place: Place, state: State, say: Callable[[str], object]) -> tuple[State, UpdateError | None]:
    """Leave the release in use if it was refused or its service has failed; go on with a switch that was killed.

    Returns:
        The state after it, and why the release could not be tested; an update may still fix that.

    Raises:
        VerdictError: It does not work; the former release runs again.
    """
    try:
        if state.watched == place.id:
            _watch_again(place, state, say)
        elif why := reason_of_failure(place):
            if _is_new(place, state) and can_go_back(place, state, place.release):
                go_back(place, state, (place.release, place.id), Failure(why))
            say(f"Starting the service of release {place.release} again, because it has failed")
            run_installer(place, place.release_folder, "restart")
    except VerdictError as e:
        write_state(place.updates, with_verdict(state, (place.release, place.id), e.message))
        raise
    except UpdateError as e:  # that the system refused it says nothing of the release
        state = read_state(place.updates)
        if state.watched:
            state = dataclasses.replace(state, attempts=state.attempts | {place.id: 1})
            write_state(place.updates, state)
        return state, e
    if state.watched:
        attempts = {release: count for release, count in state.attempts.items() if release != place.id}
        state = dataclasses.replace(state, watched="", attempts=attempts)
        write_state(place.updates, state)
    return state, None


def _watch_again(place: Place, state: State, say: Callable[[str], object]) -> None:
    """Test a release whose watch was interrupted, such as because it resets the board; go back if it does not work."""
    release = (place.release, place.id)
    count = state.attempts.get(place.id, 0)
    if place.id in state.refused:
        go_back(place, state, release, Failure("it was refused before"))
    if count >= MAX_ATTEMPTS:
        go_back(place, state, release, Failure(f"its watch was interrupted {count} times"))
    state = dataclasses.replace(state, attempts=state.attempts | {place.id: count + 1})
    write_state(place.updates, state)
    say(f"Testing release {place.release}, because the update to it was interrupted")
    run_installer(place, place.release_folder, "confirm")
    if failure := watch(place, release, say=say):
        go_back(place, state, release, failure)


def _is_new(place: Place, state: State) -> bool:
    """Whether the updater has switched to the release in use lately, so that it is to blame if it does not work."""
    at = state.switched.get(place.id)
    return bool(at) and timedelta() <= utc_now() - date_of(str(at)) <= BLAME


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


LOCK = ".lock"
"""File in the updater's folder that a running update has locked; whoever can read it can lock it, so others can't."""


@contextlib.contextmanager
def alone(place: Place) -> Iterator[None]:
    """Let no other update of this installation run at the same time."""
    if sys.platform == "win32":
        raise UpdateError("Updates run on Linux only.")
    import fcntl

    with open(os.open(place.updates / LOCK, os.O_RDWR | os.O_CREAT, 0o600), "a", encoding="utf-8") as file:
        os.fchmod(file.fileno(), 0o600)
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            problem = f"Another update of {place.prefix} is running."
            raise UpdateError(problem, "Wait until it has finished.") from None
        yield


def is_running(place: Place) -> bool | None:
    """Whether an update of this installation is running now; None if this user may not know."""
    if sys.platform == "win32":
        raise UpdateError("Updates run on Linux only.")
    import fcntl

    try:
        flags = os.O_RDONLY | os.O_NONBLOCK  # to open a pipe would wait
        with open(os.open(place.updates / LOCK, flags), "rb") as file:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except FileNotFoundError:
        return False
    except PermissionError:
        return None
    except BlockingIOError:
        return True
    return False
