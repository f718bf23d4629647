"""Make sure that Ctrl-C stops a command."""

from __future__ import annotations

import _thread
import contextlib
import sys
import threading
from collections.abc import Iterator
from typing import Any


@contextlib.contextmanager
def not_swallowed() -> Iterator[None]:
    """Raise KeyboardInterrupt again if it was raised where Python must ignore it.

    An interrupt that arrives while a destructor runs - TensorFlow has many - is printed as "Exception ignored" and
    lost; the command would run on to its end.
    """
    before = sys.unraisablehook

    def again(unraisable: Any) -> None:
        if unraisable.exc_type is not KeyboardInterrupt:
            before(unraisable)
            return
        threading.Timer(0.05, _thread.interrupt_main).start()  # a little later, when the destructor has ended

    sys.unraisablehook = again
    try:
        yield
    finally:
        sys.unraisablehook = before
