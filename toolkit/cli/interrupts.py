"""Make sure that Ctrl-C stops a command, and that SIGTERM stops it as cleanly."""

from __future__ import annotations

import _thread
import contextlib
import signal
import sys
import threading
from collections.abc import Iterator
from typing import Any


@contextlib.contextmanager
def not_swallowed() -> Iterator[None]:
    """Raise KeyboardInterrupt for SIGTERM, too, and raise it again if Python had to ignore it.

    SIGTERM, which schedulers send, would end Python at once and leave child processes and their files behind. An
    interrupt during a destructor (TensorFlow has many) is printed as "Exception ignored" and lost, and the command
    would continue.
    """
    before = sys.unraisablehook

    def again(unraisable: Any) -> None:
        if unraisable.exc_type is not KeyboardInterrupt:
            before(unraisable)
            return
        threading.Timer(0.05, _thread.interrupt_main).start()  # after the destructor has ended

    sys.unraisablehook = again
    in_main = threading.current_thread() is threading.main_thread()  # only this thread may set handlers
    terminate = signal.signal(signal.SIGTERM, signal.default_int_handler) if in_main else None
    try:
        yield
    finally:
        sys.unraisablehook = before
        if in_main:
            signal.signal(signal.SIGTERM, terminate or signal.SIG_DFL)
