"""Watch the service after a switch, and go back to the former release if it does not stay up.

For ten minutes the service must answer its health check, and systemd must not have restarted it more than twice.
Afterwards systemd itself watches: `install.sh --timer` lets it start the service three times in ten minutes, and then
starts the update, which finds a failed service (`reason_of_failure`). In the first day after the switch the update goes
back; later, or if there is nothing to go back to, it starts the service again.

Times are those since the start of the board, so a clock that jumps changes nothing. Before the former release comes
back, the reason is written down, so that no power cut makes a board try the release again.

A service that ended is to blame itself. One that was only silent is compared with that of the former release, which
install.sh asks for half a minute: if both are silent, then a flood of requests, the network or want of memory explains
it, and the release is tried again.
"""

from __future__ import annotations

import contextlib
import dataclasses
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import NoReturn

from edgepress.runtime.errors import UpdateError
from edgepress.runtime.installed import damage_of
from edgepress.runtime.system import boot_s
from edgepress.runtime.updates.frames import UNITS
from edgepress.runtime.updates.installer import VerdictError, run_installer
from edgepress.runtime.updates.place import Place, read_release
from edgepress.runtime.updates.state import State, with_verdict, with_way_back, write_state

WATCH_S = 600.0
"""Time to watch a service after a switch, in seconds."""
LOOK_S = 10.0
"""Time between two looks, in seconds."""
SILENT_S = 20.0
"""Longest time without an answer, in seconds; a service that is restarted is silent for less."""
MAX_RESTARTS = 2
"""Restarts of the service while it is watched."""


@dataclass(frozen=True)
class Failure:
    """Why a release must not stay.

    Attributes:
        reason: The reason, the end of a sentence.
        silent: Whether its service has run all the time and did not answer, which something else than the release may
            explain.
    """

    reason: str
    silent: bool = False


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


def reason_of_failure(place: Place) -> str:
    """Why the service of the release in use is not up for good; "" if it is, or if that is not known."""
    with contextlib.suppress(UpdateError):
        if health(place).state == "failed":
            return "its service has failed, and is not started again"
    return ""


def watch(place: Place, release: tuple[int, str], *, say: Callable[[str], object]) -> Failure | None:
    """Watch the service after a switch.

    Args:
        place: The installation; its release folder may be that of the former release.
        release: Number and id of the release to watch.
        say: Called with a sentence when it begins.

    Returns:
        Why the release must not stay; None if it may, or if there is no service.

    Raises:
        UpdateError: Another release is in use now, or the health of the service was never known.
    """
    known: bool | None = None
    answered_s = began_s = boot_s()
    while boot_s() < began_s + WATCH_S:
        if in_use(place) != release[1]:
            raise UpdateError(f"Release {release[0]} was left by hand while its service was watched.")
        try:
            service = health(place)
        except UpdateError:  # such as while systemd is started anew
            known = known or False
            answered_s = boot_s()
            time.sleep(LOOK_S)
            continue
        if service.state == "none":
            return None
        if not known:
            minutes = f"{WATCH_S / 60:g} minutes"
            say(f"Watching the service for {minutes}; if this ends early, the next update goes on with it")
        known = True
        now_s = boot_s()
        if service.state == "failed":
            return Failure("its service has failed")
        if service.restarts > MAX_RESTARTS:
            minutes = f"{(now_s - began_s) / 60:.1f} minutes"
            return Failure(f"its service was restarted {service.restarts} times in {minutes}")
        if service.answers:
            answered_s = now_s
        elif now_s - answered_s > SILENT_S:
            silent = service.state == "active" and not service.restarts
            return Failure(f"its service has not answered for {now_s - answered_s:.0f} s", silent=silent)
        time.sleep(LOOK_S)
    if known is False:
        raise UpdateError(
            f"The health of the service of release {release[0]} is not known.", "The next update watches it."
        )
    return None


def can_go_back(place: Place, state: State, number: int) -> bool:
    """Whether there is a whole former release, that has no higher number than the one in use and was not refused."""
    former = place.prefix / "current" / "former"
    if not (former / "selftest.json").exists():
        return False
    former_number, former_id = read_release(former.resolve())
    return former_number <= number and former_id not in state.refused and not damage_of(former.resolve())


def go_back(place: Place, state: State, release: tuple[int, str], failure: Failure) -> NoReturn:
    """Go back to the former release, and try this one again only if the former one is silent, too.

    Args:
        place: The installation; its release folder may be that of the former release.
        state: The state.
        release: Number and id of the release to leave.
        failure: The reason.

    Raises:
        VerdictError: The former release is in use again; the message says why.
        UpdateError: Both services are silent and the former release is in use again; or another release is in use
            already, or there is none to go back to, or the way back failed.
    """
    number, release_id = release
    what = state.refused.get(release_id) or f"Release {number} was left: {failure.reason}."
    if in_use(place) != release_id or not can_go_back(place, state, number):
        write_state(place.updates, dataclasses.replace(state, watched=""))
        hint = "It stays in use until there is a newer release."
        raise UpdateError(f"Release {number} does not work: {failure.reason}. There is no release to go back to.", hint)
    refused = dataclasses.replace(with_verdict(state, release, what), watched=release_id)
    with contextlib.suppress(OSError):  # a full disk keeps no board on a release that does not work
        write_state(place.updates, refused)
    silent = _return(place, release_id)
    if silent and failure.silent and release_id not in state.refused:
        attempts = {each: count for each, count in state.attempts.items() if each != release_id}
        cause = "The former release is in use again, and its service does not answer either."
        tried_again = dataclasses.replace(state, watched="", attempts=attempts)
        with contextlib.suppress(OSError):  # then it stays refused
            write_state(place.updates, with_way_back(tried_again, release, f"{what} {cause}"))
        hint = "Something else may be the cause, such as too many requests; the release is tried again."
        raise UpdateError(f"{what} {cause}", hint)
    with contextlib.suppress(OSError):  # the refusal is written down already, if that was possible
        write_state(place.updates, dataclasses.replace(refused, watched=""))
    end = " Its service does not answer." if silent else ""
    raise VerdictError(f"{what} The former release is in use again.{end}", "It is not tried again.")


def _return(place: Place, release_id: str) -> bool:
    """Switch to the former release, and restart its service; whether that did not answer in half a minute.

    Raises:
        UpdateError: The release with this id is still in use.
    """
    try:
        run_installer(place, place.release_folder, "back")
    except UpdateError:
        if in_use(place) == release_id:
            raise
        with contextlib.suppress(UpdateError):
            return not health(place).answers
        return True
    return False


def in_use(place: Place) -> str:
    """Id of the release that is in use now."""
    return read_release((place.prefix / "current").resolve())[1]
