"""Temporary folders that are removed soon after their process was killed.

Each folder holds a file that its process locks. The kernel frees the lock when the process ends, however it ends.
`ScratchFolder` first removes the folders beside it whose locks are free, and so does a child process that notices that
its parent was killed. Folders of other users, targets of links, and folders without a lock are never touched.

Imports the standard library and `system` alone, because child processes in other environments load it.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import stat
import tempfile
import time
from pathlib import Path
from types import TracebackType

from edgepress.converters.process.system import lock

PREFIX = "edgepress-"
LOCK = ".edgepress-lock"
"""The file in a folder that is locked."""
EMPTY_S = 3600.0
"""Age at which an empty folder is removed, seconds: its process was killed before it made the lock."""
_NO_LINK = getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0)


class ScratchFolder:
    """A new folder that is removed when the block ends, or soon after this process was killed.

    Args:
        prefix: The beginning of its name after `PREFIX`.
        parent: The folder to make it in; None: the system's for temporary files.

    Attributes:
        name: Its path.
    """

    def __init__(self, prefix: str = "", parent: str | Path | None = None) -> None:
        folder = Path(tempfile.gettempdir() if parent is None else parent)
        remove_abandoned(folder)
        self._lock: int | None = None
        while True:
            self.name = tempfile.mkdtemp(prefix=f"{PREFIX}{prefix}", dir=folder)
            path = os.path.join(self.name, LOCK)
            try:
                self._lock = os.open(path, os.O_CREAT | os.O_RDWR, 0o600)
                lock(self._lock)
                if os.path.exists(path):
                    return
            except (BlockingIOError, FileNotFoundError):
                pass  # another process removed it before it was locked
            except OSError:  # without locks, nobody can tell that a folder is abandoned
                with contextlib.suppress(OSError):
                    os.unlink(path)
                return
            self.cleanup()

    def cleanup(self) -> None:
        """Remove the folder, as far as that is possible."""
        if self._lock is not None:
            if os.name == "nt":  # an open file can't be removed there
                os.close(self._lock)
            with contextlib.suppress(OSError):  # another process, or a cleaner of temporary files, was faster
                _remove(self.name)
            if os.name != "nt":
                os.close(self._lock)
            self._lock = None
        shutil.rmtree(self.name, ignore_errors=True)

    def __enter__(self) -> str:
        return self.name

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        self.cleanup()


def remove_abandoned(parent: str | Path) -> None:
    """Remove the scratch folders in a folder that killed processes of this user left behind."""
    with contextlib.suppress(OSError):
        for entry in [entry for entry in os.scandir(parent) if entry.name.startswith(PREFIX)]:
            with contextlib.suppress(OSError):
                _remove_if_abandoned(entry)


def _remove_if_abandoned(entry: os.DirEntry[str]) -> None:
    status = entry.stat(follow_symlinks=False)
    if not stat.S_ISDIR(status.st_mode) or (hasattr(os, "getuid") and status.st_uid != os.getuid()):
        return
    try:
        number = os.open(os.path.join(entry.path, LOCK), os.O_RDWR | _NO_LINK)
    except FileNotFoundError:
        if time.time() - status.st_mtime > EMPTY_S:
            os.rmdir(entry.path)  # fails unless it is empty
        return
    try:
        if stat.S_ISREG(os.fstat(number).st_mode):
            lock(number)
            _remove(entry.path)
    finally:
        os.close(number)


def _remove(folder: str) -> None:
    """Remove a folder, its lock last: a folder that somebody still writes to is then found again later."""
    for entry in os.scandir(folder):
        if entry.name == LOCK:
            continue
        if entry.is_dir(follow_symlinks=False):
            shutil.rmtree(entry.path, ignore_errors=True)
        else:
            with contextlib.suppress(OSError):
                os.unlink(entry.path)
    if os.listdir(folder) == [LOCK]:
        with contextlib.suppress(OSError):
            os.unlink(os.path.join(folder, LOCK))
            os.rmdir(folder)
