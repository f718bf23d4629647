"""Watch the service after a switch, and go back to the former release if it does not stay up.

For ten minutes the service must answer its health check, and systemd must not have restarted it more than twice.
Afterwards systemd itself watches: `install.sh --timer` limits the restarts of the service to two in ten minutes, and
starts the update when there are more, which finds a failed service and goes back (`failed`).

Times are those since the start of the board, so a clock that jumps changes nothing. Before the former release comes
back, the reason is written down, so that no power cut makes a board try the release again.
"""

from __future__ import annotations

import contextlib
import dataclasses
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import NoReturn

from edgepress.runtime.errors import UpdateError
from edgepress.runtime.updates.installer import VerdictError, run_installer
from edgepress.runtime.updates.place import Place
from edgepress.runtime.updates.state import State, write_state

WATCH_S = 600.0
"""Time to watch a service after a switch, in seconds."""
LOOK_S = 10.0
"""Time between two looks, in seconds."""
SILENT_S = 20.0
"""Longest time without an answer, in seconds; a service that is restarted is silent for less."""
MAX_RESTARTS = 2
"""Restarts of the service while it is watched."""
UNITS = ".units"
"""File in the prefix that install.sh writes if there is a service or a timer."""


@dataclass(frozen=True)
class Health:
    """What install.sh says of the service.

    Attributes:
        state: Its state as `systemctl is-active` names it; "none" if there is no service.
        restarts: How often systemd has restarted it since it was started.
        answers: Whether it answers its health check.
    """

    state: str
    restarts: int
    answers: bool


def boot_s() -> float:
    """Seconds since the board has started."""
    if sys.platform == "linux":
        return time.clock_gettime(time.CLOCK_BOOTTIME)
    return time.monotonic()


def health(place: Place) -> Health:
    """The health of the service of an installation.

    Raises:
        UpdateError: install.sh did not say.
    """
    if not (place.prefix / UNITS).exists():
        return Health("none", 0, answers=False)
    words = run_installer(place, place.release_folder, "health").split()
    if len(words) != 3 or not words[1].isdecimal():
        raise UpdateError("install.sh does not know the health of the service.")
    return Health(words[0], int(words[1]), answers=words[2] == "yes")


def failed(place: Place) -> str:
    """Why the service of the release in use is not up for good; "" if it is, or if that is not known."""
    with contextlib.suppress(UpdateError):
        if health(place).state == "failed":
            return "its service has failed, and is not started again"
    return ""


def watch(place: Place, *, say: Callable[[str], object]) -> str:
    """Watch the service after a switch.

    Args:
        place: The installation; its release folder may be that of the former release.
        say: Called with a sentence when it begins.

    Returns:
        Why the release must not stay; "" if it may, or if there is no service.
    """
    answered_s = began_s = boot_s()
    while boot_s() < began_s + WATCH_S:
        try:
            found = health(place)
        except UpdateError:  # such as while somebody runs install.sh
            found = Health("unknown", 0, answers=True)
        if found.state == "none":
            return ""
        if answered_s == began_s:
            minutes = f"{WATCH_S / 60:g} minutes"
            say(f"Watching the service for {minutes}; if this ends early, the next update goes on with it")
        now_s = boot_s()
        if found.state == "failed":
            return "its service has failed"
        if found.restarts > MAX_RESTARTS:
            return f"its service was restarted {found.restarts} times in {(now_s - began_s) / 60:.1f} minutes"
        if found.answers:
            answered_s = now_s
        elif now_s - answered_s > SILENT_S:
            return f"its service has not answered for {now_s - answered_s:.0f} s"
        time.sleep(LOOK_S)
    return ""


def go_back(place: Place, state: State, release: tuple[int, str], why: str) -> NoReturn:
    """Go back to the former release, and never try this one again.

    Args:
        place: The installation; its release folder may be that of the former release.
        state: The state.
        release: Number and id of the release to leave.
        why: The reason.

    Raises:
        VerdictError: Always; it says why.
    """
    number, release_id = release
    what = state.refused.get(release_id) or f"Release {number} was left: {why}. The former release is in use again."
    state = dataclasses.replace(state, watched=release_id, refused=state.refused | {release_id: what})
    with contextlib.suppress(OSError):  # a full disk keeps no board on a release that does not work
        write_state(place.updates, state)
    run_installer(place, place.release_folder, "back")
    write_state(place.updates, dataclasses.replace(state, watched=""))
    raise VerdictError(what, "It is not tried again.")
