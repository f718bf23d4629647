"""What an update does first: it goes on with an interrupted switch, and looks after a service that has failed."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from datetime import timedelta

from edgepress.runtime.errors import UpdateError
from edgepress.runtime.updates.installer import VerdictError, run_installer
from edgepress.runtime.updates.place import Place
from edgepress.runtime.updates.releases import date_of
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
