"""The trusted keys that this board has seen, so that revoked ones do not come back.

TUF's client begins with the root in the bundle at each check, and takes the later ones from `metadata/root_history/`.
One that it can't read there, such as after a power failure, it fetches again, and then the keys of a root that was
replaced since would count once more. So what the client has written is flushed to the disk, and the hash of each root
goes into the updater's state: the chain may become longer, never shorter, and no link may change.
"""

from __future__ import annotations

import dataclasses
import hashlib
import os
import shutil
from pathlib import Path

from tuf.api.metadata import Metadata, Root

from edgepress.runtime.errors import UpdateError, parsing
from edgepress.runtime.filetypes import open_regular
from edgepress.runtime.updates.place import ROOT, Place
from edgepress.runtime.updates.state import State, flush_folder, write_state

MAX_ROOTS = 200
"""Roots that are remembered; the oldest ones are forgotten."""


def read_root(place: Place, state: State) -> tuple[bytes, State]:
    """The root in the release in use, and the state for it.

    A root of a seen version with other bytes is of another published folder: its bundle was installed by hand, and
    what was learned from the former folder is forgotten.

    Raises:
        UpdateError: The file is missing or damaged.
    """
    path = place.release_folder / ROOT
    with parsing(path, "Install the bundle again.", failed="is damaged", error=UpdateError):
        with open_regular(path) as file:
            root = file.read()
        version = Metadata[Root].from_bytes(root).signed.version
    if state.roots.get(str(version), _hash(root)) != _hash(root):
        shutil.rmtree(place.updates / "metadata", ignore_errors=True)
        state = dataclasses.replace(state, roots={}, listed="")
        write_state(place.updates, state)
    return root, state


def remember_roots(place: Place, state: State) -> State:
    """Flush TUF's lists to the disk, compare the roots with those that were seen before, and remember them.

    Raises:
        UpdateError: The roots end before the newest one that was seen, or one has changed.
    """
    metadata = place.updates / "metadata"
    _flush(metadata)
    newest = int((metadata / "root.json").readlink().name.partition(".")[0])
    first = Metadata[Root].from_bytes((place.release_folder / ROOT).read_bytes()).signed.version
    hashes = {
        str(version): _hash((metadata / "root_history" / f"{version}.root.json").read_bytes())
        for version in range(first, newest + 1)
    }
    seen = max(map(int, state.roots), default=0)
    changed = [version for version in hashes if state.roots.get(version, hashes[version]) != hashes[version]]
    if newest < seen or changed:
        shutil.rmtree(metadata)  # what replaced keys may have signed; it is fetched again
        problem = f"version {changed[0]} has other keys than before" if changed else f"they end at version {newest}"
        raise UpdateError(
            f"Refused (arbitrary software): the trusted keys are not those of the last check: {problem}; "
            f"this board trusts version {seen}.",
            "Check the address, or ask whoever publishes these updates; the release in use goes on.",
        )
    roots = dict(sorted((state.roots | hashes).items(), key=lambda item: int(item[0]))[-MAX_ROOTS:])
    if roots != state.roots:
        state = dataclasses.replace(state, roots=roots)
        write_state(place.updates, state)
    return state


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
