"""What systems do differently below files and child processes: inherited pipes, locks, renaming, freed memory.

Imports the standard library alone, because child processes in other environments load it.
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import gc
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

LARGE_BYTES = 1 << 27
"""Size of a model from which on freed memory is returned to the system."""
M_MMAP_THRESHOLD = -3
"""The number of this parameter in glibc's malloc.h."""
MAPPED_BYTES = 256 << 10
"""Size from which blocks are mapped by `map_large_blocks`."""
RENAME_S = 2.0 if sys.platform == "win32" else 0.0
"""Seconds for which `replace` tries again."""

if sys.platform == "win32":
    import msvcrt
    from multiprocessing.connection import PipeConnection

    def inherited(pipe: PipeConnection[Any, Any]) -> tuple[int, dict[str, Any]]:
        """The number by which a child process opens this end of a pipe, and options of its `subprocess.Popen`."""
        handle = pipe.fileno()
        os.set_handle_inheritable(handle, True)
        return handle, {"startupinfo": subprocess.STARTUPINFO(lpAttributeList={"handle_list": [handle]})}

    def opened(number: int) -> PipeConnection[Any, Any]:
        """The child's end of the pipe."""
        return PipeConnection(number)

    def lock(number: int) -> None:
        """Lock an open file until it is closed.

        Raises:
            BlockingIOError: Another process has locked it.
            OSError: The system has no locks there.
        """
        try:
            msvcrt.locking(number, msvcrt.LK_NBLCK, 1)
        except PermissionError as e:
            raise BlockingIOError(*e.args) from e

else:
    from multiprocessing.connection import Connection

    def inherited(pipe: Connection[Any, Any]) -> tuple[int, dict[str, Any]]:
        """The number by which a child process opens this end of a pipe, and options of its `subprocess.Popen`."""
        return pipe.fileno(), {"pass_fds": [pipe.fileno()]}

    def opened(number: int) -> Connection[Any, Any]:
        """The child's end of the pipe."""
        return Connection(number)

    def lock(number: int) -> None:
        """Lock an open file until it is closed, here and in all forks.

        Raises:
            BlockingIOError: Another process has locked it.
            OSError: The system has no locks there.
        """
        try:
            import fcntl
        except ImportError as e:
            raise OSError(errno.ENOSYS, "no locks") from e
        fcntl.flock(number, fcntl.LOCK_EX | fcntl.LOCK_NB)


def replace(temporary: Path, path: Path) -> None:
    """Give a file its final name, replacing a file that has it.

    Windows refuses it for as long as another program, such as a virus scanner, has one of the two open: so it is tried
    again for `RENAME_S`.

    Raises:
        OSError: It can't be renamed.
    """
    until = time.monotonic() + RENAME_S
    while True:
        try:
            os.replace(temporary, path)
            return
        except PermissionError:
            if time.monotonic() >= until:
                raise
            time.sleep(0.05)


def trim_memory() -> None:
    """Return freed memory to the system where the C library keeps it, which is glibc; see malloc_trim(3)."""
    if sys.platform == "linux":
        with contextlib.suppress(AttributeError, OSError):
            ctypes.CDLL(None).malloc_trim(0)


def map_large_blocks() -> None:
    """Let glibc map every block of 256 KiB or more, so that it returns to the system when it is freed; see mallopt(3).

    Without this, the threshold rises with the largest block that was freed, and a server that has read large requests
    keeps hundreds of megabytes.
    """
    if sys.platform == "linux":
        with contextlib.suppress(AttributeError, OSError):
            ctypes.CDLL(None).mallopt(M_MMAP_THRESHOLD, MAPPED_BYTES)


def free_memory(size_bytes: int) -> None:
    """Collect reference cycles, such as TensorFlow's graphs, and return the freed memory to the system.

    Without this, glibc would keep gigabytes after converting a large model.

    Args:
        size_bytes: Size of the model; for a small one nothing is done, because it takes a quarter of a second.
    """
    if size_bytes > LARGE_BYTES:
        gc.collect()
        trim_memory()
