"""What the updater remembers between two runs, and files that survive a power failure.

`PREFIX/updates/state.json` is replaced in one step. A missing file is an empty state; a damaged one is an error,
because it says which releases were refused.
"""

from __future__ import annotations

import dataclasses
import json
import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from edgepress.runtime.errors import UpdateError, parsing
from edgepress.runtime.text import json_text

MAX_STATE_BYTES = 1 << 20
"""Limit on the size of the file."""
MAX_REFUSED = 200
"""Releases that are remembered as refused; the oldest ones are forgotten."""


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
        roots: SHA-256 of each list of trusted keys that was seen, by its version.
    """

    checked: str = ""
    listed: str = ""
    channel: str = "stable"
    newest: int = 0
    refused: dict[str, str] = field(default_factory=dict)
    last: dict[str, Any] = field(default_factory=dict)
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
        with path.open("rb") as file:
            raw = json.loads(file.read(MAX_STATE_BYTES))
        state = State(**raw)
        types = {f.name: type(getattr(State(), f.name)) for f in dataclasses.fields(State)}
        if any(type(getattr(state, name)) is not kind for name, kind in types.items()):
            raise TypeError("a field has a wrong type")
    return state


def write_state(folder: Path, state: State) -> None:
    """Write the state; a power failure leaves the former or the new one."""
    kept = dict(list(state.refused.items())[-MAX_REFUSED:])
    document = dataclasses.asdict(dataclasses.replace(state, refused=kept))
    write_durably(folder / "state.json", (json_text(document, indent=1) + "\n").encode())


def write_durably(path: Path, data: bytes) -> None:
    """Write a file whole or not at all, and flush it and its folder to the disk."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.new")
    with temporary.open("wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
    os.replace(temporary, path)
    flush_folder(path.parent)


def flush_folder(folder: Path) -> None:
    """Flush the names in a folder to the disk."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
