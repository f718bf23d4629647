"""Child processes that decode many small images: Pillow decodes those holding Python's lock, so threads don't help."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable
from typing import Any, TypeVar

_T = TypeVar("_T")

MANY = 10_000
"""Small images that this process decodes before it starts children, whose start takes about a second of each core."""
IDLE_S = 30
"""Time without work, seconds, after which a child ends."""


class Decoders:
    """Children of this process that decode, one per core that it may use; none until `MANY` items were asked for."""

    def __init__(self) -> None:
        self._begin()

    def _begin(self) -> None:
        self._process, self._lock, self._count = os.getpid(), threading.Lock(), 0
        self._pool: Any = None
        self._ready: Any = None

    def call(self, function: Callable[..., _T], *arguments: Any, count: int) -> _T | None:
        """Call a function in a child; None if there is none (yet), or if it was lost: the caller does the work then.

        Args:
            function: A function of a module, which can be pickled, as its arguments and result can.
            arguments: What it is called with.
            count: Number of items that it decodes.
        """
        pool = self._pool_for(count)
        if pool is None:
            return None
        from joblib.externals.loky.process_executor import BrokenProcessPool, ShutdownExecutorError

        try:
            found: _T = pool.submit(function, *arguments).result()
        except (BrokenProcessPool, ShutdownExecutorError):  # killed, perhaps for memory
            with self._lock:
                if self._pool is pool:
                    self._count, self._pool, self._ready = 0, None, None
            return None
        return found

    def _pool_for(self, count: int) -> Any:
        """The pool, if its children have started; starts them when it is time, and does not wait for them."""
        if self._process != os.getpid():  # forked: the pool's threads are the parent's, and one may hold the lock
            self._begin()
        with self._lock:
            self._count += count
            if self._pool is None and self._count > MANY:
                from joblib import cpu_count
                from joblib.externals.loky import ProcessPoolExecutor

                if cpu_count() > 1:
                    self._pool = ProcessPoolExecutor(cpu_count(), timeout=IDLE_S, initializer=_ignore_interrupts)
                    self._ready = self._pool.submit(os.getpid)
            return self._pool if self._ready is not None and self._ready.done() else None


def _ignore_interrupts() -> None:
    """Leave Ctrl-C to the parent, which ends its children."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)


DECODERS = Decoders()
