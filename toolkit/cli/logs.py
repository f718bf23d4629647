"""Redirect the libraries' messages from the screen to a log file while a command runs.

TensorFlow, XNNPACK and the interpreters write to file descriptors 1 and 2 from native code, which Python can't prevent.
So the descriptors point to a log file, while `sys.stdout` and `sys.stderr` keep writing to the screen; child processes
inherit this. Python's `logging` and `warnings` go to the file, too. Only the command line does this, not the library.
"""

from __future__ import annotations

import contextlib
import datetime
import logging
import os
import sys
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import TextIO

KEPT_LOGS = 20
"""How many of the newest logs are kept."""
QUIET = {"TF_CPP_MIN_LOG_LEVEL": "1", "GRPC_VERBOSITY": "ERROR"}


@contextlib.contextmanager
def off_screen() -> Iterator[Path]:
    """Redirect native output, logging and warnings to a log file and yield its path; an empty file is removed.

    Standard streams that do not use their usual descriptors (in a test or a notebook) are left unchanged.
    """
    path = _new_log()
    for name, value in QUIET.items():
        os.environ.setdefault(name, value)
    with contextlib.ExitStack() as undo, path.open("a", buffering=1, encoding="utf-8", errors="replace") as log:
        for fd, name in ((1, "stdout"), (2, "stderr")):
            _divert(fd, name, log, undo)
        _log_to(log, undo)
        yield path
    if path.is_file() and not path.stat().st_size:
        path.unlink()


def _divert(fd: int, name: str, log: TextIO, undo: contextlib.ExitStack) -> None:
    stream: TextIO = getattr(sys, name)
    try:
        if stream.fileno() != fd:
            return
    except (OSError, ValueError, AttributeError):  # no descriptor at all, or the stream is closed or None
        return
    stream.flush()
    copy = os.dup(fd)
    screen = open(copy, "w", encoding=stream.encoding, errors=stream.errors, buffering=1)  # noqa: SIM115

    def restore() -> None:
        with contextlib.suppress(OSError):  # a closed pipe
            screen.flush()
        setattr(sys, name, stream)
        os.dup2(copy, fd)
        with contextlib.suppress(OSError):
            screen.close()

    undo.callback(restore)
    os.dup2(log.fileno(), fd)
    setattr(sys, name, screen)


def _log_to(log: TextIO, undo: contextlib.ExitStack) -> None:
    root = logging.getLogger()
    handler = logging.StreamHandler(log)
    root.addHandler(handler)  # with a handler, TensorFlow and absl add none that write to the screen
    undo.callback(root.removeHandler, handler)
    if not sys.warnoptions:  # otherwise the user wants warnings
        undo.enter_context(warnings.catch_warnings())
        logging.captureWarnings(True)
        undo.callback(logging.captureWarnings, False)


def _new_log() -> Path:
    """Create a log file in the user's log folder and remove the oldest; the null device if that is impossible."""
    try:
        import platformdirs

        folder = platformdirs.user_log_path("edgepress")
        path = folder / f"{datetime.datetime.now():%Y%m%d-%H%M%S}-{os.getpid()}.log"
        folder.mkdir(parents=True, exist_ok=True)
        path.touch()
    except (OSError, ModuleNotFoundError):  # whatever the command needs platformdirs for says so itself
        return Path(os.devnull)
    for old in sorted(folder.glob("*.log"))[:-KEPT_LOGS]:
        with contextlib.suppress(OSError):  # another process removed it
            old.unlink()
    return path
