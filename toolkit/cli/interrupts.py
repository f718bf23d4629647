"""Make sure that Ctrl-C stops a command, and that `kill` stops it as cleanly."""

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
    """Raise KeyboardInterrupt for SIGTERM, too, and again if it was raised where Python must ignore it.

    SIGTERM, which schedulers send, would end Python at once and leave child processes and their files behind. An
    interrupt that arrives while a destructor runs - TensorFlow has many - is printed as "Exception ignored" and lost;
    the command would run on to its end.
    """
    before = sys.unraisablehook

    def again(unraisable: Any) -> None:
        if unraisable.exc_type is not KeyboardInterrupt:
            before(unraisable)
            return
        threading.Timer(0.05, _thread.interrupt_main).start()  # a little later, when the destructor has ended

    sys.unraisablehook = again
    in_main = threading.current_thread() is threading.main_thread()  # no other may set handlers
    terminate = signal.signal(signal.SIGTERM, signal.default_int_handler) if in_main else None
    try:
        yield
    finally:
        sys.unraisablehook = before
        if in_main:
            signal.signal(signal.SIGTERM, terminate or signal.SIG_DFL)
