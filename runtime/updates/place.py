"""The folder of an installation, as install.sh lays it out, and what this board is.

PREFIX/current/                the release in use: MANIFEST.json, updates/root.json, updates/settings.json
PREFIX/releases/ID-BOARD/      all releases
PREFIX/updates/                what the updater keeps, see below
PREFIX/updates/metadata/       TUF's lists that this board has accepted
PREFIX/updates/download/       a bundle as far as it has arrived
PREFIX/updates/unpacked/       a bundle while it is installed
PREFIX/updates/state.json      what was refused and when the last check was
PREFIX/updates/state.json.reserve  room for later states on a full disk
PREFIX/updates/board-id        this board's id, if the hardware and the system have none
"""

from __future__ import annotations

import hashlib
import json
import platform
import sys
import uuid
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edgepress.runtime.errors import UpdateError, parsing
from edgepress.runtime.filetypes import open_regular
from edgepress.runtime.updates.state import write_durably

ROOT = "updates/root.json"
"""The trusted keys, in a release's folder."""
EARLIER_ROOTS = "updates/roots"
"""Folder of the lists of trusted keys before it, in a release's folder, so that a board can follow the chain."""
SETTINGS = "updates/settings.json"
"""The application's name and where its updates are, in a release's folder."""
SERIAL = Path("/sys/firmware/devicetree/base/serial-number")
"""The serial number of a board, such as a Raspberry Pi."""
MAX_ID_BYTES = 4096
"""Limit on the size of an id."""
MACHINE_ID = Path("/etc/machine-id")
"""The id of a system, machine-id(5)."""


@dataclass(frozen=True)
class Place:
    """An installation.

    Attributes:
        prefix: The folder that install.sh installed to.
        release_folder: The folder of the release in use.
        name: Name of the application.
        url: Where its updates are, if the bundle says so.
        release: Number of the release in use; 0 if it has none.
        id: Id in the manifest of the release in use.
        board: This board's type, such as "pi64-py313".
    """

    prefix: Path
    release_folder: Path
    name: str
    url: str
    release: int
    id: str
    board: str

    @property
    def updates(self) -> Path:
        """What the updater keeps."""
        return self.prefix / "updates"


def read_place(release_folder: Path) -> Place:
    """Read an installation from the folder of the release in use.

    Args:
        release_folder: The folder, or the link `current` to it.

    Raises:
        UpdateError: It is not an installed release with updates.
    """
    folder = release_folder.resolve()
    if not (folder / SETTINGS).is_file() or folder.parent.name != "releases":
        problem = f"{release_folder} is not an installed release with updates."
        raise UpdateError(problem, "Build its bundle with: edgepress bundle --updates FOLDER")
    with parsing(folder / SETTINGS, "Install the bundle again.", failed="is damaged", error=UpdateError):
        settings = json.loads((folder / SETTINGS).read_bytes())
        name = str(settings["name"])
        url = str(settings["url"])
    release, release_id = read_release(folder)
    return Place(folder.parent.parent, folder, name, url, release, release_id, board_type())


def read_release(folder: Path) -> tuple[int, str]:
    """Number and id of the release in a folder; the number is 0 if the manifest has none.

    Raises:
        UpdateError: The manifest is missing or damaged.
    """
    path = folder / "MANIFEST.json"
    with parsing(path, "Install the bundle again.", failed="is damaged", error=UpdateError):
        with open_regular(path) as file:
            manifest: dict[str, Any] = json.loads(file.read())
        return int(manifest.get("release") or 0), str(manifest["id"])


def board_type() -> str:
    """This board's type, as install.sh names it."""
    machine = platform.machine().lower()
    kind = "pi" if machine.startswith(("arm", "aarch")) else "pc" if machine in ("x86_64", "amd64") else machine
    bits = 64 if sys.maxsize > 2**32 else 32
    return f"{kind}{bits}-py{sys.version_info[0]}{sys.version_info[1]}"


def board_id(place: Place) -> str:
    """An id that this board keeps and no other board has; it does not show the serial number.

    The file `board-id` counts first, so that a test or a maker can set it; then the serial number of the hardware, then
    the system's id. A board without any gets a random one.
    """
    own = place.updates / "board-id"
    for path in (own, SERIAL, MACHINE_ID):
        try:
            with open_regular(path) as file:
                text = file.read(MAX_ID_BYTES).decode(errors="replace").strip("\0 \n")
        except OSError:
            continue
        if text:
            return text if path == own else hashlib.sha256(f"edgepress/{place.name}/{text}".encode()).hexdigest()[:32]
    identifier = uuid.uuid4().hex
    write_durably(own, f"{identifier}\n".encode())
    return identifier
