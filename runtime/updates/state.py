"""What the updater remembers between two runs, and files that survive a power failure.

`PREFIX/updates/state.json` is replaced in one step. A missing file is an empty state; a damaged one is an error,
because it says which releases were refused.

A full disk must not lose a refusal, so `PREFIX/updates/state.json.reserve` keeps room for later states. Where a state
that decides what runs has no room, the reserve is shortened, a little for each state, so that a program that goes on
filling the disk does not get all of it. It is filled again when there is room for several of it.
"""

from __future__ import annotations

import contextlib
import dataclasses
import errno
import json
import os
import shutil
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from edgepress.runtime.errors import UpdateError, parsing
from edgepress.runtime.filetypes import open_regular
from edgepress.runtime.text import MOST, json_text, one_line
from edgepress.runtime.updates.releases import CHANNELS, DATE, MAX_RELEASE, date_of

MAX_STATE_BYTES = 4 << 20
"""Limit on the size of the file; `MAX_REFUSED` reasons twice, each of `MOST` characters, are below half of it."""
MAX_REFUSED = 200
"""Releases that are remembered as refused; the oldest ones are forgotten."""
RESERVE = "state.json.reserve"
"""File beside the state that is given up when the disk is full; its name is no shorter than that of a new state."""
RESERVE_BYTES = 256 << 10
"""Size of the reserve; a state is a few kB."""
RESERVE_ROOM = 8 * RESERVE_BYTES
"""Free bytes on the disk below which no reserve is written, so that the reserve fills no disk that is almost full."""
RESERVE_STEP = 16 << 10
"""Bytes that are given up beside the size of a state, for whole blocks and what the file system writes about a file."""
DECIDING = ("refused", "watched", "switched", "attempts")
"""Fields that decide what runs; a state that changes none of them does not get room of the reserve."""
FULL = (errno.ENOSPC, errno.EDQUOT)
"""Errors of a full disk and of a user's full share of it."""


@dataclass(frozen=True)
class State:
    """What the updater remembers.

    Attributes:
        checked: Time of the last complete check by this board's clock, ISO 8601 in UTC; "" if there was none.
        listed: Date of the newest list of releases that was accepted; "" if there was none.
        channel: The board's channel.
        newest: Highest release that the lists have offered to this board.
        refused: Releases that are not tried again: the reason by id.
        last: The result of the last run, as `run status` shows it.
        attempts: How often the self-test of a release ended without a result, by id.
        watched: Id of the release that was switched to and has not answered yet; "" if there is none.
        switched: When the updater switched last, ISO 8601 in UTC, by the id of that release.
        shadow: The figures of the last shadow run, as `run status` shows them.
        went_back: The last release that the updater has left after it had switched to it: "release", "id", "at", "why".
        roots: SHA-256 of each list of trusted keys that was seen, by its version.
    """

    checked: str = ""
    listed: str = ""
    channel: str = "stable"
    newest: int = 0
    refused: dict[str, str] = field(default_factory=dict)
    last: dict[str, Any] = field(default_factory=dict)
    attempts: dict[str, int] = field(default_factory=dict)
    watched: str = ""
    switched: dict[str, str] = field(default_factory=dict)
    shadow: dict[str, Any] = field(default_factory=dict)
    went_back: dict[str, Any] = field(default_factory=dict)
    roots: dict[str, str] = field(default_factory=dict)


def read_state(folder: Path) -> State:
    """Read the state in `PREFIX/updates`.

    Raises:
        UpdateError: The file is damaged.
    """
    path = folder / "state.json"
    if not path.exists():
        return State()
    with parsing(path, f"Remove it: rm {path}", failed="is damaged", error=UpdateError):
        with open_regular(path) as file:
            raw: dict[str, Any] = dict(json.loads(file.read(MAX_STATE_BYTES)).items())
        types = {f.name: type(getattr(State(), f.name)) for f in dataclasses.fields(State)}
        state = State(**{name: raw[name] for name in types if name in raw})  # a newer updater may have written more
        _check(state, types)
    return state


def _check(state: State, types: dict[str, type]) -> None:
    """Raise a ValueError if a field has a value that the updater does not write."""
    wrong = [name for name, kind in types.items() if type(getattr(state, name)) is not kind]
    if not wrong:
        checks = {
            "checked": not state.checked or date_of(state.checked),
            "listed": not state.listed or date_of(state.listed),
            "channel": state.channel in CHANNELS,
            "newest": 0 <= state.newest <= MAX_RELEASE,
            "refused": all(isinstance(reason, str) for reason in state.refused.values()),
            "attempts": all(type(count) is int for count in state.attempts.values()),
            "switched": all(isinstance(at, str) and date_of(at) for at in state.switched.values()),
            "went_back": not state.went_back or _is_way_back(state.went_back),
            "roots": all(key.isdecimal() and isinstance(value, str) for key, value in state.roots.items()),
        }
        wrong = [name for name, good in checks.items() if not good]
    if wrong:
        raise ValueError(f"the field {wrong[0]} has a value that is not accepted")


def _is_way_back(fields: dict[str, Any]) -> bool:
    """Whether these are the fields of a release that was left."""
    texts = ("id", "at", "why")
    return type(fields.get("release")) is int and all(isinstance(fields.get(name), str) for name in texts)


def with_verdict(state: State, release: tuple[int, str], why: str) -> State:
    """The state in which a release, of this number and id, is not tried again."""
    state = dataclasses.replace(state, watched="", refused=state.refused | {release[1]: why})
    return with_way_back(state, release, why) if release[1] in state.switched else state


def with_way_back(state: State, release: tuple[int, str], why: str) -> State:
    """The state in which a release, of this number and id, was left just now, after the switch to it."""
    at = datetime.now(UTC).strftime(DATE)
    return dataclasses.replace(state, went_back={"release": release[0], "id": release[1], "at": at, "why": why})


def write_state(folder: Path, state: State) -> None:
    """Write the state; a power failure leaves the former or the new one.

    Raises:
        OSError: It could not be written. If one of `DECIDING` has changed, a full disk is such a reason only after the
            reserve has been given up.
    """
    document = {name: _bounded(value) for name, value in dataclasses.asdict(state).items()}
    data = (json_text(document, indent=1) + "\n").encode()
    while True:
        try:
            write_durably(folder / "state.json", data)
            break
        except OSError as e:
            if e.errno not in FULL or not _decides(folder, state):
                raise
            if not _shorten_reserve(folder, len(data) + RESERVE_STEP):
                raise
    _fill_reserve(folder)


def _decides(folder: Path, state: State) -> bool:
    """Whether a state differs in one of `DECIDING` from the one that was written last."""
    try:
        written = read_state(folder)
    except UpdateError:
        return True
    return any(getattr(state, name) != getattr(written, name) for name in DECIDING)


def _fill_reserve(folder: Path) -> None:
    """Make the reserve whole if the disk has room for several of it; it is never a reason for an error."""
    path = folder / RESERVE
    with contextlib.suppress(OSError):
        if path.exists() and path.stat().st_size >= RESERVE_BYTES:
            return
        if shutil.disk_usage(folder).free >= RESERVE_ROOM:
            write_durably(path, os.urandom(RESERVE_BYTES))  # a file system that compresses would keep no room for zeros


def _shorten_reserve(folder: Path, size: int) -> bool:
    """Give bytes of the reserve up, and its name with the last ones; False if nothing is left to give up."""
    path = folder / RESERVE
    try:
        if (unfinished := temporary_of(path)).exists():  # a power failure has left it
            unfinished.unlink()
        elif (left := path.stat().st_size - size) > 0:
            with path.open("r+b") as file:
                file.truncate(left)
                with contextlib.suppress(OSError):
                    os.fsync(file.fileno())  # some file systems reuse bytes only after that
            return True
        else:
            path.unlink()
    except OSError:
        return False
    with contextlib.suppress(OSError):
        flush_folder(folder)
    return True


def _bounded(value: Any) -> Any:
    """A value with texts of others cut and old entries left out, so that the file stays short enough to be read."""
    if isinstance(value, dict):
        return {key: _bounded(each) for key, each in list(value.items())[-MAX_REFUSED:]}
    return one_line(value, MOST) if isinstance(value, str) else value


def write_durably(path: Path, data: bytes) -> None:
    """Write a file whole or not at all, and flush it and its folder to the disk."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = temporary_of(path)
    try:
        with temporary.open("wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except OSError:
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)  # half a file would keep room on a full disk
        raise
    flush_folder(path.parent)


def temporary_of(path: Path) -> Path:
    """The file that is written before it replaces another."""
    return path.with_name(f".{path.name}.new")


def flush_folder(folder: Path) -> None:
    """Flush the names in a folder to the disk."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
