"""Frames that a running service keeps for a shadow run, only while an update asks for them.

The updater writes into `PREFIX/updates/frames.json` how many frames it wants. The service then keeps the bodies of the
next requests that it has answered in `$RUNTIME_DIRECTORY`, a folder in memory that systemd makes for it and removes
when it stops; no other user but root can read it. With the next answer after the file is removed, or after the time
that it names, the frames are removed, too.

What a service wrote is not trusted: `read_frames` takes regular files only, within limits.
"""

from __future__ import annotations

import contextlib
import json
import os
import stat
import time
from collections.abc import Callable
from pathlib import Path

from edgepress.runtime.system import boot_s, read_text
from edgepress.runtime.updates.place import Place
from edgepress.runtime.updates.state import write_durably

REQUEST = "frames.json"
"""File in the updater's folder that says how many frames are wanted."""
MAX_FRAMES = 10_000
"""Limit on the number of frames."""
MAX_FRAME_BYTES = 8 << 20
"""Limit on the size of a frame, that of a request to the service."""
MAX_FRAMES_BYTES = 32 << 20
"""Limit on the size of all frames, which lie in memory."""
WAIT_S = 600.0
"""Longest time that an update waits for frames, in seconds."""
LOOK_S = 0.5
"""Time between two looks at what the service has kept, in seconds."""
RUN = Path("/run")
"""Where systemd makes the folders of services."""
BOOT_ID = Path("/proc/sys/kernel/random/boot_id")
"""An id of this start of the board."""
UNITS = ".units"
"""File in the prefix that install.sh writes if there is a service or a timer: the folder of their units."""


class FrameKeeper:
    """Keeps frames in a service, while they are wanted; it never disturbs the service."""

    def __init__(self, model: Path, shown: Callable[[bytes], bytes] | None = None) -> None:
        """Begin; `model` is the model's path in its release, `shown` makes a file of what it looks at in a body."""
        self._shown = shown
        folder = os.environ.get("RUNTIME_DIRECTORY", "")
        parents = model.resolve().parents
        self._folder = Path(folder) if folder and len(parents) > 2 else None
        self._request = parents[2] / "updates" / REQUEST if self._folder is not None else Path()
        self._asked = 0
        self._wanted = 0
        self._until_s = 0.0
        self._kept: list[Path] = []
        self._size = 0

    def keep(self, body: bytes) -> None:
        """Keep the body of a request that was answered, if an update wants it."""
        if self._folder is not None:
            with contextlib.suppress(OSError, ValueError, KeyError, TypeError):
                self._keep(self._folder, body)

    def _keep(self, folder: Path, body: bytes) -> None:
        try:
            asked = self._request.stat().st_mtime_ns
        except FileNotFoundError:
            asked = 0
        if asked != self._asked or (self._wanted and boot_s() > self._until_s):
            for path in self._kept:
                path.unlink(missing_ok=True)
            self._kept = []
            self._size = 0
            self._wanted = 0
            if asked != self._asked:
                self._asked = asked
                self._wanted = self._read() if asked else 0
        if len(self._kept) >= self._wanted:
            return
        body = body if self._shown is None else self._shown(body)
        if self._size + len(body) <= MAX_FRAMES_BYTES:
            path = folder / f"{asked}-{len(self._kept):05}.frame"
            self._kept.append(path)
            self._size += len(body)
            path.with_suffix(".part").write_bytes(body)
            os.replace(path.with_suffix(".part"), path)

    def _read(self) -> int:
        """Number of frames that are wanted now; an update that was killed may have left its request behind."""
        request = json.loads(self._request.read_bytes())
        self._until_s = float(request["until_s"])
        now = request["boot"] == read_text(BOOT_ID).strip() and boot_s() <= self._until_s
        return min(int(request["frames"]), MAX_FRAMES) if now else 0


def keeps_no_frames(place: Place) -> str:
    """Why the service of an installation can't keep frames; "" if it can, or if there is none."""
    units = read_text(place.prefix / UNITS).strip()
    unit = read_text(Path(units) / f"edgepress-{place.name}.service") if units else ""
    if not unit or "RuntimeDirectory=" in unit:
        return ""
    return (
        "The service was installed by an earlier release and can't keep frames, so that agreement is not judged. "
        "Install it again, as it was: sudo sh install.sh --service"
    )


def frames_folder(name: str) -> Path:
    """The folder in memory of the service of an application; it exists while the service runs."""
    return RUN / f"edgepress-{name}"


def wait_for_frames(folder: Path, request: Path, count: int, *, say: Callable[[str], object]) -> list[bytes]:
    """Ask the running service for frames, and wait until it has kept them.

    Args:
        folder: The folder of the service.
        request: The file that asks for them.
        count: Number of frames that are wanted.
        say: Called with a sentence while it takes long.

    Returns:
        The bodies of requests; fewer than `count` if too few came in `WAIT_S`, none if no service runs.
    """
    if not folder.is_dir():
        return []
    say(f"Waiting for {count} frames that the service answers, at most {WAIT_S / 60:g} minutes")
    document = {"frames": count, "boot": read_text(BOOT_ID).strip(), "until_s": boot_s() + WAIT_S + 5}
    write_durably(request, (json.dumps(document) + "\n").encode())
    asked = request.stat().st_mtime_ns
    until = time.monotonic() + WAIT_S
    frames: list[bytes] = []
    try:
        while time.monotonic() < until and len(frames) < count and folder.is_dir():
            time.sleep(LOOK_S)
            frames = read_frames(folder, asked, count)
    finally:
        request.unlink(missing_ok=True)
    return frames


def read_frames(folder: Path, asked: int, count: int) -> list[bytes]:
    """The first frames that were kept for a request, in their order, without files that are not regular or too large.

    Args:
        folder: The folder of the service.
        asked: When the request was written, nanoseconds, by which the service names them.
        count: Largest number of frames.
    """
    frames: list[bytes] = []
    left = MAX_FRAMES_BYTES
    for path in sorted(folder.glob(f"{asked}-*.frame"))[:count]:
        with contextlib.suppress(OSError):
            flags = os.O_RDONLY | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0)
            with os.fdopen(os.open(path, flags), "rb") as file:
                about = os.fstat(file.fileno())
                if stat.S_ISREG(about.st_mode) and about.st_size <= min(left, MAX_FRAME_BYTES):
                    frames.append(file.read(MAX_FRAME_BYTES))
                    left -= len(frames[-1])
    return frames
