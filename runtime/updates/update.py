"""The order of an update: check, fetch, unpack, install beside, self-test, switch.

Each step leaves the release in use as it is until the link `current` is replaced, in one step, by install.sh. A run
that is killed anywhere is repeated by the next one: what was unpacked is removed, what was downloaded is used. A
release that fails its self-test is written down, and no later run tries it again.
"""

from __future__ import annotations

import contextlib
import dataclasses
import shutil
import sys
from collections.abc import Callable, Iterator
from typing import Any

from edgepress.runtime.errors import UpdateError
from edgepress.runtime.updates.installer import VerdictError, run_installer, unpack
from edgepress.runtime.updates.place import Place, board_id, read_release
from edgepress.runtime.updates.releases import CHANNELS, DATE, Release, offered
from edgepress.runtime.updates.state import State, read_state, write_state
from edgepress.runtime.updates.transfer import Source
from edgepress.runtime.updates.trust import Trusted, utc_now


def update(
    place: Place,
    *,
    source: str = "",
    channel: str = "",
    trust_clock: bool = False,
    say: Callable[[str], object] = str,
) -> dict[str, Any]:
    """Look for a newer release and install it.

    Args:
        place: The installation.
        source: Address or folder of the updates; "": the one in the bundle.
        channel: The board's channel from now on; "": the one that it has.
        trust_clock: Forget when the last check was, because the clock was wrong then and is right now.
        say: Called with a sentence when a step begins.

    Returns:
        "result" ("installed" or "nothing new"), "release" in use, its "id", "newest" release offered, and "refused".

    Raises:
        UpdateError: Nothing was installed; the message says why.
    """
    base = source or place.url
    if not base:
        raise UpdateError("The bundle does not say where its updates are.", "Give the address: run update --from URL")
    if channel and channel not in CHANNELS:
        raise UpdateError(f"The channel is {channel!r}; accepted: {', '.join(CHANNELS)}.")
    place.updates.mkdir(exist_ok=True)
    with _alone(place):
        shutil.rmtree(place.updates / "unpacked", ignore_errors=True)
        state = read_state(place.updates)
        if channel or trust_clock:
            checked = "" if trust_clock else state.checked
            state = dataclasses.replace(state, channel=channel or state.channel, checked=checked)
            write_state(place.updates, state)
        try:
            state, result = _update(place, Source(base), state, say)
        except UpdateError as e:
            state = read_state(place.updates)
            write_state(
                place.updates, dataclasses.replace(state, last={"result": "error", **e.to_dict(), "at": _now()})
            )
            raise
        write_state(place.updates, dataclasses.replace(state, last=result | {"at": _now()}))
        return result


def status(place: Place) -> dict[str, Any]:
    """What runs and what the updater remembers, as `run status --json` prints it."""
    state = read_state(place.updates)
    return {
        "name": place.name,
        "release": place.release,
        "id": place.id,
        "previous": former_release(place),
        "board": place.board,
        "channel": state.channel,
        "source": place.url or None,
        "checked": state.checked or None,
        "newest": state.newest,
        "refused": state.refused,
        "last": state.last,
    }


def former_release(place: Place) -> int | None:
    """Number of the release that ran before the one in use; None if there is none."""
    former = place.release_folder / "former"
    return read_release(former.resolve())[0] if former.exists() else None


def choose(place: Place, state: State, releases: list[Release]) -> Release | None:
    """The newest release to install; None if there is none.

    It is above the release in use and was not refused. After `install.sh rollback`, it is also above the release that
    the user left, which is the former one then.
    """
    above = max(place.release, former_release(place) or 0)
    wanted = [each for each in releases if each.release > above and each.id not in state.refused]
    return wanted[0] if wanted else None


def _update(place: Place, source: Source, state: State, say: Callable[[str], object]) -> tuple[State, dict[str, Any]]:
    """Check and install; the state after it and the result."""
    say(f"Looking for updates of {place.name} at {source.base}")
    trusted = Trusted(place, source, state)
    state = trusted.state
    releases = offered(trusted.releases.releases, board=place.board, channel=state.channel, board_id=board_id(place))
    newest = max([state.newest, *(each.release for each in releases)])
    state = dataclasses.replace(state, checked=_now(), listed=trusted.releases.dated, newest=newest)
    write_state(place.updates, state)
    chosen = choose(place, state, releases)
    if chosen is None:
        refused = {each.release: state.refused[each.id] for each in releases if each.id in state.refused}
        return state, _result("nothing new", place.release, place.id, newest=newest, refused=refused)
    say(f"Downloading release {chosen.release}")
    try:
        bundle = trusted.fetch_bundle(chosen.target, place.updates / "download")
        folder = unpack(bundle, place, chosen, place.updates / "unpacked")
        say(f"Installing release {chosen.release} beside release {place.release}, and running its self-test")
        run_installer(place, folder, "stage")
        say(f"Switching to release {chosen.release}")
        run_installer(place, folder, "switch")
    except VerdictError as e:
        write_state(place.updates, dataclasses.replace(state, refused=state.refused | {chosen.id: e.message}))
        raise
    finally:
        shutil.rmtree(place.updates / "unpacked", ignore_errors=True)
    bundle.unlink(missing_ok=True)
    return state, _result("installed", chosen.release, chosen.id, newest=newest, refused={})


def _result(result: str, release: int, release_id: str, *, newest: int, refused: dict[int, str]) -> dict[str, Any]:
    return {"result": result, "release": release, "id": release_id, "newest": newest, "refused": refused}


def _now() -> str:
    return utc_now().strftime(DATE)


@contextlib.contextmanager
def _alone(place: Place) -> Iterator[None]:
    """Let no other update of this installation run at the same time."""
    if sys.platform == "win32":
        raise UpdateError("Updates run on Linux only.")
    import fcntl

    with (place.updates / ".lock").open("w", encoding="utf-8") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            what = f"Another update of {place.prefix} is running."
            raise UpdateError(what, "Wait until it has finished.") from None
        yield
