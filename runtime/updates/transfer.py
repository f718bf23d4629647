"""Bytes from a web server or a folder: never more than was announced, never slower than a limit, and resumed.

A broken transfer of a bundle goes on where it ended, also in the next run: the part is kept under the hash of the
whole, and what is kept is checked with it at the end.
"""

from __future__ import annotations

import hashlib
import http.client
import os
import shutil
import stat
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from tuf.api.exceptions import DownloadError, DownloadHTTPError, DownloadLengthMismatchError, SlowRetrievalError
from tuf.ngclient import FetcherInterface

from edgepress.runtime.errors import UpdateError
from edgepress.runtime.text import holds_login
from edgepress.runtime.updates.state import flush_folder
from edgepress.runtime.updates.web import Guard, open_url

if TYPE_CHECKING:
    from tuf.api.metadata import TargetFile

SILENCE_S = 30.0
"""Seconds without a byte after which a server counts as dead."""
PATIENCE_S = 60.0
"""Seconds after which a transfer must have been at least as fast as `SLOWEST`."""
SLOWEST = 1000.0
"""Bytes a second that a transfer must reach on average."""
ATTEMPTS = 5
"""Connections that may break one after the other without a new byte."""
PAUSE_S = 1.0
"""Seconds before the first new attempt; they double each time."""
ROOM = 3
"""A bundle needs its size this many times on the disk: as a file, unpacked and installed."""
SPARE_BYTES = 16 << 20
"""Bytes that are left free on the disk."""
_PIECE = 1 << 16


class UpdateSource(FetcherInterface):
    """A published folder at an address, or in a folder of this machine.

    Attributes:
        base: The address or the path, without a slash at its end.
        missing: The last address that had no file; "" if there was none.
    """

    def __init__(self, base: str) -> None:
        self.base = base.rstrip("/") or base
        self.missing = ""
        self.is_web = base.startswith(("http://", "https://"))
        if self.is_web and holds_login(base):
            raise UpdateError("The address of the updates holds a login.", "Accepted: https://HOST/..., without one.")
        if not self.is_web and not Path(base, "metadata").is_dir():
            problem = f"{base} is neither an address of a web server nor a published folder."
            raise UpdateError(problem, "Accepted: https://..., http://..., or a folder with the folder metadata in it.")

    def _fetch(self, url: str) -> Iterator[bytes]:
        """The content of an address; tuf counts the bytes and limits them."""
        return self.stream(url)

    def stream(self, url: str, offset: int = 0) -> Iterator[bytes]:
        """The content of an address from an offset on.

        Raises:
            DownloadHTTPError: There is no such file; the status is 404 for a folder, too.
            DownloadError: The connection broke, or the server does not go on at the offset.
            SlowRetrievalError: The transfer is too slow.
        """
        pieces = _web_pieces(url, offset) if self.is_web else _file_pieces(Path(url), offset)
        began = time.monotonic()
        count = 0
        try:
            for piece in pieces:
                yield piece
                count += len(piece)
                lasted = time.monotonic() - began
                if lasted > PATIENCE_S and count < SLOWEST * lasted:
                    raise SlowRetrievalError(f"{count} bytes in {lasted:.0f} s")
        except DownloadHTTPError:
            self.missing = url
            raise
        except DownloadError:
            raise
        except urllib.error.HTTPError as e:
            self.missing = url
            raise DownloadHTTPError(f"the server answers {e.code}", e.code) from e
        except FileNotFoundError as e:
            self.missing = url
            raise DownloadHTTPError(f"{e.filename} does not exist", 404) from e
        except TimeoutError as e:
            raise SlowRetrievalError(f"no byte in {SILENCE_S:g} s") from e
        except (OSError, http.client.HTTPException, ValueError) as e:
            raise DownloadError(f"{getattr(e, 'reason', None) or e}") from e


def download(source: UpdateSource, url: str, target: TargetFile, path: Path) -> None:
    """Download a file and check it; what has arrived stays at `path` if the connection breaks.

    Args:
        source: Where from.
        url: Its address.
        target: Its length and its hashes, from the signed lists.
        path: Where to.

    Raises:
        UpdateError: The disk has too little room, or the connection broke too often.
        DownloadLengthMismatchError: There are more bytes than were announced.
        LengthOrHashMismatchError: By tuf; the file is another one than was announced.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    had = path.stat().st_size if path.exists() else 0
    free = shutil.disk_usage(path.parent).free + had
    needed = ROOM * target.length + SPARE_BYTES
    if free < needed:
        problem = f"The update needs {needed} bytes on the disk of {path.parent}; {free} are free."
        raise UpdateError(problem, "Free some space; the update is tried again.")
    _fill(source, url, target.length, path)
    if had and not _matches(target, path):  # what was kept from an earlier run may be damaged
        path.unlink()
        _fill(source, url, target.length, path)
    if not _matches(target, path):
        with path.open("rb") as file:
            path.unlink()
            target.verify_length_and_hashes(file)


def _fill(source: UpdateSource, url: str, length: int, path: Path) -> None:
    """Append to a file what is missing to its length."""
    failures = 0
    began = time.monotonic()
    had = path.stat().st_size if path.exists() else 0
    while True:
        offset = path.stat().st_size if path.exists() else 0
        if offset > length:
            path.unlink()
            offset = 0
        if offset == length and path.exists():
            break
        try:
            _append(source, url, length, path)
        except (DownloadHTTPError, SlowRetrievalError, DownloadLengthMismatchError):
            raise
        except DownloadError as e:
            size = path.stat().st_size if path.exists() else 0
            grown = size > offset
            lasted = time.monotonic() - began
            if grown and lasted > PATIENCE_S and size - had < SLOWEST * lasted:  # each connection gives a little
                raise SlowRetrievalError(f"{size - had} bytes in {lasted:.0f} s") from e
            failures = 1 if grown else failures + 1
            if failures >= ATTEMPTS:
                problem = f"The transfer from {source.base} broke {failures} times without a new byte: {e}."
                raise UpdateError(problem, "What has arrived is kept; the next update goes on from there.") from e
            time.sleep(PAUSE_S * 2 ** (failures - 1))
    with path.open("rb") as file:
        os.fsync(file.fileno())
    flush_folder(path.parent)


def _append(source: UpdateSource, url: str, length: int, path: Path) -> None:
    """Append what one connection gives."""
    with path.open("ab") as file:
        count = file.tell()
        for piece in source.stream(url, count):
            count += len(piece)
            if count > length:
                raise DownloadLengthMismatchError(f"more than {length} bytes")
            file.write(piece)
        file.flush()
    if count < length:
        raise DownloadError(f"{count} of {length} bytes arrived")


def _matches(target: TargetFile, path: Path) -> bool:
    """Whether a file has the length and the hash."""
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    return path.stat().st_size == target.length and digest == target.hashes.get("sha256")


def _web_pieces(url: str, offset: int) -> Iterator[bytes]:
    headers = {"User-Agent": "edgepress-updates", "Accept-Encoding": "identity"}
    if offset:
        headers["Range"] = f"bytes={offset}-"
    request = urllib.request.Request(url, headers=headers)
    with Guard(PATIENCE_S, SLOWEST) as guard:
        try:
            with open_url(request, guard, SILENCE_S) as response:
                skip = offset if response.status != 206 else 0  # a server that knows no ranges sends everything
                while piece := _next_piece(response, guard):
                    rest = piece[skip:]
                    skip -= len(piece) - len(rest)
                    if rest:
                        yield rest
        except (OSError, http.client.HTTPException, ValueError) as e:
            if guard.late:  # the cause is that its socket was shut down
                raise SlowRetrievalError(f"no answer, or no end, in {PATIENCE_S:g} s") from e
            raise
        if guard.late:
            raise SlowRetrievalError(f"no answer, or no end, in {PATIENCE_S:g} s")


def _next_piece(response: http.client.HTTPResponse, guard: Guard) -> bytes:
    """The next piece of a body; nothing at its end."""
    guard.wait()
    piece = response.read1(_PIECE)
    guard.got(len(piece))
    return piece


def _file_pieces(path: Path, offset: int) -> Iterator[bytes]:
    descriptor = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0))  # to open a FIFO would wait for a writer
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise DownloadHTTPError(f"{path} is not a file", 404)
    with os.fdopen(descriptor, "rb") as file:
        file.seek(offset)
        yield from iter(lambda: file.read(_PIECE), b"")
