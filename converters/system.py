"""What systems do differently below files and child processes: pipes that a child inherits, renaming, freed memory.

Imports the standard library alone, because child processes in other environments load it.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

RENAME_S = 2.0 if sys.platform == "win32" else 0.0
"""Seconds for which `replace` tries again."""

if sys.platform == "win32":
    from multiprocessing.connection import PipeConnection

    def inherited(pipe: PipeConnection[Any, Any]) -> tuple[int, dict[str, Any]]:
        """The number by which a child process opens this end of a pipe, and options of its `subprocess.Popen`."""
        handle = pipe.fileno()
        os.set_handle_inheritable(handle, True)
        return handle, {"startupinfo": subprocess.STARTUPINFO(lpAttributeList={"handle_list": [handle]})}

    def opened(number: int) -> PipeConnection[Any, Any]:
        """The child's end of the pipe."""
        return PipeConnection(number)

else:
    from multiprocessing.connection import Connection

    def inherited(pipe: Connection[Any, Any]) -> tuple[int, dict[str, Any]]:
        """The number by which a child process opens this end of a pipe, and options of its `subprocess.Popen`."""
        return pipe.fileno(), {"pass_fds": [pipe.fileno()]}

    def opened(number: int) -> Connection[Any, Any]:
        """The child's end of the pipe."""
        return Connection(number)


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
