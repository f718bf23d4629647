"""One update of an installation at a time: the lock of a running one."""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Iterator

from edgepress.runtime.errors import UpdateError
from edgepress.runtime.updates.place import Place

LOCK = ".lock"
"""File in the updater's folder that a running update has locked; whoever can read it can lock it, so others can't."""


@contextlib.contextmanager
def alone(place: Place) -> Iterator[None]:
    """Let no other update of this installation run at the same time."""
    if sys.platform == "win32":
        raise UpdateError("Updates run on Linux only.")
    import fcntl

    with open(os.open(place.updates / LOCK, os.O_RDWR | os.O_CREAT, 0o600), "a", encoding="utf-8") as file:
        os.fchmod(file.fileno(), 0o600)
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            problem = f"Another update of {place.prefix} is running."
            raise UpdateError(problem, "Wait until it has finished.") from None
        yield


def is_running(place: Place) -> bool | None:
    """Whether an update of this installation is running now; None if this user may not know."""
    if sys.platform == "win32":
        raise UpdateError("Updates run on Linux only.")
    import fcntl

    try:
        flags = os.O_RDONLY | os.O_NONBLOCK  # to open a pipe would wait
        with open(os.open(place.updates / LOCK, flags), "rb") as file:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except FileNotFoundError:
        return False
    except PermissionError:
        return None
    except BlockingIOError:
        return True
    return False
