"""The order of an update: check, fetch, unpack, install beside, self-test, shadow run, switch, watch.

Each step leaves the release in use as it is until the link `current` is replaced, in one step, by install.sh. A run
that is killed anywhere is repeated by the next one: what was unpacked is removed, what was downloaded is used. A
release that fails its self-test is written down, and no later run tries it again. So is, before the switch, the release
that is switched to: if the run is killed before that release has answered, the next one tests it or goes back.
"""

from __future__ import annotations

import contextlib
import dataclasses
import shlex
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from edgepress.runtime.errors import UpdateError
from edgepress.runtime.installed import HINT, damage_of
from edgepress.runtime.updates.confirm import MAX_ATTEMPTS, Left, alone, command_forward, confirm, is_running, read_left
from edgepress.runtime.updates.frames import REQUEST, keeps_no_frames
from edgepress.runtime.updates.installer import (
    UnsureError,
    VerdictError,
    former_folder,
    read_bundle,
    remove_release,
    run_installer,
    staging_folder,
    system_error,
    unpack,
)
from edgepress.runtime.updates.place import Place, board_id, read_release
from edgepress.runtime.updates.releases import CHANNELS, DATE, Release, offered
from edgepress.runtime.updates.roots import accept_roots, read_trust, restore_roots
from edgepress.runtime.updates.shadow import shadow_run
from edgepress.runtime.updates.state import State, read_state, with_verdict, write_state
from edgepress.runtime.updates.transfer import UpdateSource
from edgepress.runtime.updates.trust import Trusted, utc_now
from edgepress.runtime.updates.watch import go_back, in_use, watch


def update(
    place: Place,
    *,
    source: str = "",
    bundle: Path | None = None,
    channel: str = "",
    shadow: int | None = None,
    trust_clock: bool = False,
    forward: bool = False,
    trust_keys: str = "",
    say: Callable[[str], object] = str,
) -> dict[str, Any]:
    """Look for a newer release and install it.

    Args:
        place: The installation.
        source: Address or folder of the updates; "": the one in the bundle.
        bundle: A bundle to install instead of what is offered; whoever gives it trusts it.
        channel: The board's channel from now on; "": the one that it has.
        shadow: Number of frames that both releases answer before the switch, 0: none; None: as the new release says.
        trust_clock: Forget when the last check was, because the clock was wrong then and is right now.
        forward: Take what a user has left by hand, too.
        trust_keys: SHA-256 of the root in `bundle`, to trust its keys instead of those that this board has.
        say: Called with a sentence when a step begins.

    Returns:
        "result" ("installed" or "nothing new"), "release" in use, its "id", "newest" release offered, "refused", and
        "left": the release that a user has left by hand, if it still counts, with the command that takes it again.

    Raises:
        UpdateError: Nothing was installed; the message says why.
    """
    if channel and channel not in CHANNELS:
        raise UpdateError(f"The channel is {channel!r}; accepted: {', '.join(CHANNELS)}.")
    place.updates.mkdir(exist_ok=True)
    with alone(place), _recorded(place):
        shutil.rmtree(place.updates / "unpacked", ignore_errors=True)
        (place.updates / REQUEST).unlink(missing_ok=True)  # one that was killed may have left it
        state = read_state(place.updates)
        if channel or trust_clock:
            checked = "" if trust_clock else state.checked
            state = dataclasses.replace(state, channel=channel or state.channel, checked=checked)
            write_state(place.updates, state)
        state, trouble = confirm(place, state, say)
        if in_use(place) != place.id:  # it has gone back without a verdict, or somebody else has changed it meanwhile
            what = f"Release {place.release}, to which this update belongs, is not in use any more."
            run = shlex.quote(str(place.prefix / "current" / "run"))
            raise trouble or UpdateError(what, f"The next update goes on from the release in use: {run} update")
        if damage := damage_of(place.release_folder):
            damage = f"Release {place.release}, which is in use, is damaged: {damage}."
            say(f"{damage} Nothing is compared with it")
            shadow = 0
        left = None if forward else read_left(place)
        if bundle is not None:
            state, result = _take(place, bundle, state, trust_keys, damage=damage, shadow=shadow, say=say)
        elif source or place.url:
            origin = UpdateSource(source or place.url)
            state, result = _update(place, origin, state, left=left, damage=damage, shadow=shadow, say=say)
        else:
            what = "The bundle does not say where its updates are."
            raise UpdateError(what, "Give the address: run update --from URL")
        if result["result"] != "installed" and (trouble is not None or damage):
            raise trouble or UpdateError(damage, HINT)
        if left is not None and result["result"] != "installed":
            result["left"] = left.to_dict() | {"forward": command_forward(place, source)}
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
        "rolled_back": _rolled_back(place, state),
        "shadow": state.shadow or None,
        "last": state.last,
        "note": keeps_no_frames(place) or None,
        "updating": is_running(place),
    }


def former_release(place: Place) -> int | None:
    """Number of the release that ran before the one in use; None if there is none."""
    former = former_folder(place)
    return read_release(former)[0] if former.exists() else None


def _rolled_back(place: Place, state: State) -> list[dict[str, Any]]:
    """What was left for the release in use: by hand, with the command that takes it again, and by the updater."""
    left = read_left(place)
    by_hand = [] if left is None else [{**left.to_dict(), "by": "hand", "forward": command_forward(place, "")}]
    back = state.went_back
    by_updater = [{**back, "by": "updater", "forward": None}] if back and back["release"] >= place.release else []
    return by_hand + [each for each in by_updater if each["id"] != place.id]


def choose(
    place: Place, state: State, releases: list[Release], *, left: Left | None = None, damaged: bool = False
) -> Release | None:
    """The newest release to install; None if there is none.

    Args:
        place: The installation.
        state: What the updater remembers; a release that was refused is not taken.
        releases: What is offered, the newest first.
        left: The release that a user has left by hand; what is taken is above it, and above the release in use.
        damaged: Whether the release in use is damaged, so that it is taken again.
    """
    above = place.release if left is None else max(place.release, left.release)
    wanted = [each for each in releases if each.release > above or (damaged and each.id == place.id)]
    return next((each for each in wanted if each.id not in state.refused), None)


def _update(
    place: Place,
    source: UpdateSource,
    state: State,
    *,
    left: Left | None,
    damage: str,
    shadow: int | None,
    say: Callable[[str], object],
) -> tuple[State, dict[str, Any]]:
    """Check and install; the state after it and the result."""
    say(f"Looking for updates of {place.name} at {source.base}")
    trusted = Trusted(place, source, state)
    state = trusted.state
    releases = offered(trusted.releases.releases, board=place.board, channel=state.channel, board_id=board_id(place))
    newest = max([state.newest, *(each.release for each in releases)])
    checked = max(state.checked, _now())  # a clock that is set back in small steps does not lower it
    state = dataclasses.replace(state, checked=checked, listed=trusted.releases.dated, newest=newest)
    write_state(place.updates, state)
    chosen = choose(place, state, releases, left=left, damaged=bool(damage))
    if chosen is None:
        for part in (place.updates / "download").glob("*.zip"):
            part.unlink()
        refused = {each.release: state.refused[each.id] for each in releases if each.id in state.refused}
        return state, _result("nothing new", place.release, place.id, newest=newest, refused=refused)
    say(f"Downloading release {chosen.release}")
    bundle = trusted.fetch_bundle(chosen.target, place.updates / "download")
    try:
        state = _try(place, bundle, chosen, state=state, shadow=shadow, say=say)
    except VerdictError:
        bundle.unlink(missing_ok=True)
        raise
    bundle.unlink(missing_ok=True)
    return state, _result("installed", chosen.release, chosen.id, newest=newest, refused={})


def _take(
    place: Place,
    bundle: Path,
    state: State,
    trust_keys: str,
    *,
    damage: str,
    shadow: int | None,
    say: Callable[[str], object],
) -> tuple[State, dict[str, Any]]:
    """Install a bundle that was given; the state after it and the result."""
    release, release_id = read_bundle(bundle, place)
    if release_id == place.id and not damage:
        state = accept_roots(place, place.release_folder, state, trust_keys)
        return state, _result("nothing new", release, release_id, newest=max(release, state.newest), refused={})
    if release < place.release:
        hint = "To go back: sh current/install.sh rollback"
        raise UpdateError(f"Release {release} is older than release {place.release}, which is in use.", hint)
    if release_id in state.refused:
        problem = f"Release {release} was refused before: {state.refused[release_id]}"
        raise UpdateError(problem, "Build it again, with a higher --release.")
    chosen = Release(release, release_id, bundle.name, (place.board,))
    state = _try(place, bundle, chosen, state=state, trust_keys=trust_keys, shadow=shadow, say=say)
    return state, _result("installed", release, release_id, newest=max(release, state.newest), refused={})


def _try(
    place: Place,
    bundle: Path,
    chosen: Release,
    *,
    state: State,
    shadow: int | None,
    say: Callable[[str], object],
    trust_keys: str | None = None,
) -> State:
    """Install a bundle, and write a verdict down; the state after it. `trust_keys` is as `accept_roots` takes it."""
    former = state = read_trust(place, state)
    try:
        folder = unpack(bundle, place, chosen, place.updates / "unpacked")
        state = accept_roots(place, folder, state, trust_keys)  # before any code of the bundle runs
        return _install(place, folder, chosen, state=state, shadow=shadow, say=say)
    except VerdictError as e:
        write_state(place.updates, with_verdict(read_state(place.updates), (chosen.release, chosen.id), e.message))
        with contextlib.suppress(UpdateError):  # it was not even installed
            folder = staging_folder(place, chosen)
            if folder.resolve() != former_folder(place):
                remove_release(folder)
        raise
    finally:
        shutil.rmtree(place.updates / "unpacked", ignore_errors=True)
        with contextlib.suppress(UpdateError):  # the first error tells more
            if in_use(place) == place.id != chosen.id:
                restore_roots(place, former)


def _install(
    place: Place, folder: Path, chosen: Release, *, state: State, shadow: int | None, say: Callable[[str], object]
) -> State:
    """Install an unpacked bundle beside the release in use, compare the two, and switch to it; the state after it.

    Raises:
        VerdictError: The release is not to be tried again.
        UpdateError: It could not be installed; it is tried again.
    """
    say(f"Installing release {chosen.release} beside release {place.release}, and running its self-test")
    try:
        run_installer(place, folder, "stage")
        release_folder = staging_folder(place, chosen)
        figures = shadow_run(place, release_folder, shadow, say=say)
    except UnsureError as e:
        count = state.attempts.get(chosen.id, 0) + 1
        if count >= MAX_ATTEMPTS:
            problem = f"{e.message} This happened {count} times."
            raise VerdictError(problem, "The release in use goes on; this one is not tried again.") from e
        write_state(place.updates, dataclasses.replace(state, attempts=state.attempts | {chosen.id: count}))
        raise
    if figures:
        state = dataclasses.replace(state, shadow={"release": chosen.release, **figures, "at": _now()})
    if figures.get("why"):
        with contextlib.suppress(OSError):  # the verdict matters more than the figures
            write_state(place.updates, state)
        problem = f"Release {chosen.release} is refused by the shadow run: {figures['why']}."
        raise VerdictError(problem, "The release in use goes on; this one is not tried again.")
    say(f"Switching to release {chosen.release}")
    state = dataclasses.replace(state, watched=chosen.id, switched={chosen.id: _now()}, attempts={chosen.id: 1})
    write_state(place.updates, state)
    run_installer(place, folder, "switch")
    if failure := watch(place, (chosen.release, chosen.id), say=say):
        go_back(place, state, (chosen.release, chosen.id), failure)
    return dataclasses.replace(state, watched="", attempts={})


@contextlib.contextmanager
def _recorded(place: Place) -> Iterator[None]:
    """Write down why a run fails, for `run status`."""
    try:
        yield
    except (UpdateError, OSError, MemoryError) as e:
        error = e if isinstance(e, UpdateError) else system_error(e)
        with contextlib.suppress(UpdateError, OSError):  # if that fails, too, the first error tells more
            state = read_state(place.updates)
            last = {"result": "error", **error.to_dict(), "at": _now()}
            write_state(place.updates, dataclasses.replace(state, last=last))
        if error is e:
            raise
        raise error from e


def _result(result: str, release: int, release_id: str, *, newest: int, refused: dict[int, str]) -> dict[str, Any]:
    return {"result": result, "release": release, "id": release_id, "newest": newest, "refused": refused}


def _now() -> str:
    return utc_now().strftime(DATE)
