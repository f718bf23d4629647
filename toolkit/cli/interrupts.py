"""Make sure that Ctrl-C stops a command, and that other signals to end stop it as cleanly."""

from __future__ import annotations

import _thread
import contextlib
import signal
import sys
import threading
from collections.abc import Iterator
from typing import Any

ENDING = [getattr(signal, name) for name in ("SIGTERM", "SIGHUP") if hasattr(signal, name)]
"""Signals that end a command: those of schedulers, and of a terminal or a connection that is closed."""


@contextlib.contextmanager
def not_swallowed() -> Iterator[None]:
    """Raise KeyboardInterrupt for `ENDING`, too, and raise it again if Python had to ignore it.

    They would end Python at once and leave child processes and their files behind. One that is ignored, as after
    nohup, stays so. An interrupt during a destructor (TensorFlow has many) is printed as "Exception ignored" and lost,
    and the command would continue.
    """
    before = sys.unraisablehook

    def again(unraisable: Any) -> None:
        if unraisable.exc_type is not KeyboardInterrupt:
            before(unraisable)
            return
        threading.Timer(0.05, _thread.interrupt_main).start()  # after the destructor has ended

    sys.unraisablehook = again
    in_main = threading.current_thread() is threading.main_thread()  # only this thread may set handlers
    handled = {number: signal.getsignal(number) for number in ENDING if in_main}
    handled = {number: handler for number, handler in handled.items() if handler != signal.SIG_IGN}
    for number in handled:
        signal.signal(number, signal.default_int_handler)
    try:
        yield
    finally:
        sys.unraisablehook = before
        for number, handler in handled.items():
            signal.signal(number, handler or signal.SIG_DFL)
