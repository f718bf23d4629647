"""The trusted keys of this board: it has its own, and takes others only through the chain from those that it has.

The updater's state holds the hash of each root (TUF's list of trusted keys) that the board has accepted. The first ones
are those of the release that was installed first. A later one counts if the one before it has signed it, by enough
keys; the chain may become longer, never shorter, and no link may change. What a bundle brings as its root is only
compared with the chain, so that a bundle of stolen keys can't replace it; before any of the bundle's code runs.

TUF's client begins with the newest of these roots that can still be read. What it has written is flushed to the disk,
and compared with the hashes: where a root was lost, such as by a power failure, the client fetches it again, and a
replaced key could sign another one.
"""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from edgepress.runtime.errors import UpdateError, parsing
from edgepress.runtime.filetypes import open_regular
from edgepress.runtime.updates.installer import VerdictError
from edgepress.runtime.updates.place import EARLIER_ROOTS, ROOT, Place
from edgepress.runtime.updates.state import State, flush_folder, read_state, write_durably, write_state

if TYPE_CHECKING:
    from tuf.api.metadata import Metadata, Root

MAX_ROOTS = 200
"""Roots that are remembered; the oldest ones are forgotten."""
MAX_ROOT_BYTES = 1 << 18
"""Limit on the size of a root."""
ID_DIGITS = 16
"""Digits of a key's id in messages, as in the names of the publisher's keys."""
COMPARE = (
    "Compare them with what `edgepress publish --check` says where the bundle was made. Only if they are the same: "
)
"""Hint where other keys are to be trusted."""


def read_trust(place: Place, state: State) -> State:
    """The state with this board's roots; without any, those of the release in use count from now on.

    Raises:
        UpdateError: The release's roots can't be read.
    """
    release = place.prefix / "current"
    if state.roots or not (release / ROOT).exists():
        return state
    return _remember(place, state, {version: _hash(data) for version, data in _chain(_roots_of(release)).items()})


def read_root(place: Place, state: State) -> bytes:
    """The newest root that this board has accepted and can still read.

    Raises:
        UpdateError: There is none.
    """
    known = {*state.roots.values()}
    history = [path for path in _history(place).glob("*.root.json") if path.name.split(".")[0].isdecimal()]
    history.sort(key=lambda path: int(path.name.split(".")[0]), reverse=True)
    for path in [*history, place.prefix / "current" / ROOT]:
        with contextlib.suppress(OSError), open_regular(path, MAX_ROOT_BYTES) as file:
            data = file.read()
            if _hash(data) in known:
                return data
    problem = f"The trusted keys of this board can't be read; it trusts version {_newest(state)}."
    raise UpdateError(problem, "Install a bundle with these keys by hand: run update --bundle FILE")


def accept_roots(place: Place, folder: Path, state: State, trusted: str | None) -> State:
    """The state after a bundle's root was found to be on the chain of this board, which it may make longer.

    Args:
        place: The installation.
        folder: The bundle, unpacked or installed.
        state: The state.
        trusted: SHA-256 of a root that the user trusts, by which the board forgets its own; "": there is none; None:
            nobody can be asked, because the bundle was not given by hand.

    Raises:
        VerdictError: The root is not on the chain, and `trusted` is None.
        UpdateError: The root is not on the chain, or can't be read.
    """
    if not (folder / ROOT).exists():  # a bundle without updates, which trusts nobody
        return state
    roots = _roots_of(folder)
    newest = roots[-1]
    current = place.prefix / "current"
    if not state.roots and (current / ROOT).exists() and _roots_of(current)[-1] == newest:
        return state  # the same keys, which the first check notes; TUF's packages may be missing until then
    state = read_trust(place, state)
    if _hash(newest) in state.roots.values() or not state.roots:
        return state
    if trusted != _hash(newest):
        added = _continued(place, state, roots)
        if str(_parse(newest).signed.version) in added:
            return _remember(place, state, {version: _hash(data) for version, data in added.items()}, added)
        problem = f"the bundle trusts other keys than this board: {describe_root(newest)}"
        problem += f"; trusted here: version {_newest(state)}, SHA-256 {state.roots[str(_newest(state))]}"
        if trusted is None:
            raise VerdictError(f"Refused (arbitrary software): {problem}.", "The release in use goes on.")
        raise UpdateError(f"Refused: {problem}.", f"{COMPARE}--trust-keys {_hash(newest)}")
    shutil.rmtree(place.updates / "metadata", ignore_errors=True)
    anew = _chain(roots)
    forgotten = dataclasses.replace(state, roots={}, listed="")
    return _remember(place, forgotten, {version: _hash(data) for version, data in anew.items()}, anew)


def restore_roots(place: Place, former: State) -> None:
    """Trust the keys of before an installation that failed, if a user let others take their place for it."""
    state = read_state(place.updates)
    if former.roots and not former.roots.items() <= state.roots.items():
        shutil.rmtree(place.updates / "metadata", ignore_errors=True)
        write_state(place.updates, dataclasses.replace(state, roots=former.roots, listed=former.listed))


def describe_root(data: bytes) -> str:
    """A root in words: version, end, hash and the ids of its keys."""
    root = _parse(data).signed
    roles = (("root", "root"), ("targets", "targets"), ("online", "timestamp"))
    keys = [
        f"{name} {' '.join(key[:ID_DIGITS] for key in keys.keyids)} ({keys.threshold} must sign)"
        for name, keys in ((name, root.roles[role]) for name, role in roles)
    ]
    return f"version {root.version} until {root.expires:%Y-%m-%d}, SHA-256 {_hash(data)}, keys of {', '.join(keys)}"


def remember_roots(place: Place, state: State, first: bytes) -> State:
    """Flush TUF's lists to the disk, compare the roots with those that were seen before, and remember them.

    Args:
        place: The installation.
        state: The state.
        first: The root that TUF's client has begun with.

    Raises:
        UpdateError: The roots end before the newest one that was seen, or one has changed.
    """
    metadata = place.updates / "metadata"
    _flush(metadata)
    newest = int((metadata / "root.json").readlink().name.partition(".")[0])
    hashes = {
        str(version): _hash((_history(place) / f"{version}.root.json").read_bytes())
        for version in range(_parse(first).signed.version, newest + 1)
    }
    changed = [version for version in hashes if state.roots.get(version, hashes[version]) != hashes[version]]
    if newest < _newest(state) or changed:
        shutil.rmtree(metadata)  # what replaced keys may have signed; it is fetched again
        problem = f"version {changed[0]} has other keys than before" if changed else f"they end at version {newest}"
        raise UpdateError(
            f"Refused (arbitrary software): the trusted keys are not those of the last check: {problem}; "
            f"this board trusts version {_newest(state)}.",
            "Check the address, or ask whoever publishes these updates; the release in use goes on.",
        )
    return _remember(place, state, hashes)


def _continued(place: Place, state: State, roots: list[bytes]) -> dict[str, bytes]:
    """Those of some roots, the oldest first, that continue the chain of this board, by version."""
    from tuf.api.exceptions import RepositoryError

    last = _parse(read_root(place, state))
    added: dict[str, bytes] = {}
    for data in roots:
        root = _parse(data)
        version = root.signed.version
        if state.roots.get(str(version)) == _hash(data):
            last = max(last, root, key=lambda each: each.signed.version)
        elif version == last.signed.version + 1 and version > _newest(state):
            try:
                for signer in (last, root):
                    signer.signed.verify_delegate("root", root.signed_bytes, root.signatures)
            except RepositoryError:
                break
            last = root
            added[str(version)] = data
    return added


def _chain(roots: list[bytes]) -> dict[str, bytes]:
    """The last of some roots, and those before it that lead to it by their signatures, by version."""
    from tuf.api.exceptions import RepositoryError

    chain = [roots[-1]]
    for data in reversed(roots[:-1]):
        older = _parse(data).signed
        newer = _parse(chain[-1])
        if older.version != newer.signed.version - 1:
            break
        try:
            older.verify_delegate("root", newer.signed_bytes, newer.signatures)
        except RepositoryError:
            break
        chain.append(data)
    return {str(_parse(data).signed.version): data for data in chain}


def _remember(place: Place, state: State, hashes: dict[str, str], files: dict[str, bytes] | None = None) -> State:
    """The state with further roots, which is written; first their files, so that TUF's client can begin with them."""
    for version, data in (files or {}).items():
        write_durably(_history(place) / f"{version}.root.json", data)
    roots = dict(sorted((state.roots | hashes).items(), key=lambda item: int(item[0]))[-MAX_ROOTS:])
    if roots != state.roots:
        state = dataclasses.replace(state, roots=roots)
        place.updates.mkdir(exist_ok=True)
        write_state(place.updates, state)
    return state


def _roots_of(folder: Path) -> list[bytes]:
    """The roots in a release's folder, the oldest first."""
    earlier = sorted((folder / EARLIER_ROOTS).glob("*.root.json"), key=lambda path: (len(path.name), path.name))
    roots = []
    for path in [*earlier, folder / ROOT]:
        with _reading(path), open_regular(path, MAX_ROOT_BYTES) as file:
            roots.append(file.read())
    return roots


def _parse(data: bytes) -> Metadata[Root]:
    from tuf.api.metadata import Metadata

    with _reading(ROOT):
        root: Metadata[Root] = Metadata.from_bytes(data)
        if root.signed.type != "root":
            raise ValueError(f"it is a list of the role {root.signed.type}")
        return root


@contextlib.contextmanager
def _reading(path: Path | str) -> Iterator[None]:
    with parsing(path, "Install the bundle again.", failed="is damaged", error=UpdateError):
        yield


def _newest(state: State) -> int:
    return max(map(int, state.roots), default=0)


def _history(place: Place) -> Path:
    return place.updates / "metadata" / "root_history"


def _flush(folder: Path) -> None:
    """Flush all files below a folder, and their names."""
    for path in [*folder.rglob("*"), folder]:
        if path.is_dir():
            flush_folder(path)
        elif path.is_file() and not path.is_symlink():
            with path.open("rb") as file:
                os.fsync(file.fileno())


def _hash(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()
