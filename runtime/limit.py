"""A limit on the time of one call of an engine: a loop in a model file may never end.

An engine can't be interrupted, but it lets other threads run while it works, so one of them can end the process. Only
commands set a limit (`--limit`): a program that imports edgepress.runtime is not ended by it.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING

from edgepress.runtime.errors import EdgepressError, EngineError, reason_of

if TYPE_CHECKING:
    from typing import Any

    import numpy as np
    import numpy.typing as npt

    from edgepress.runtime.arrays import Run


class Limit:
    """The limit of this process.

    Attributes:
        began: When the call that runs now began, `time.monotonic`; None if none does.
        before_end: What is done before the process ends, the last one first: what this thread can do while the others
            wait for the engine.
    """

    def __init__(self) -> None:
        self.began: float | None = None
        self.before_end: list[Callable[[], object]] = []

    @contextmanager
    def watch(self, seconds: float) -> Iterator[None]:
        """End the process, with exit code 1, when a call in this block takes longer, or one that the block left."""
        done = threading.Event()
        before = [*self.before_end]
        threading.Thread(target=self._watch, args=(seconds, done), daemon=True).start()
        try:
            yield
        finally:
            if self.began is None:
                done.set()
                self.before_end[:] = before

    def _watch(self, seconds: float, done: threading.Event) -> None:
        while not done.wait(min(1.0, seconds / 10)):
            if (began := self.began) is not None and time.monotonic() - began > seconds:
                for do in reversed(self.before_end):
                    with suppress(Exception):
                        do()
                os._exit(1)


LIMIT = Limit()


def guarded(run: Run, failed: str) -> Run:
    """The call of an engine, under the limit, with its exceptions of any kind as errors that begin with `failed`.

    It is called in loops, so without context managers.
    """

    def call(batch: npt.NDArray[Any]) -> npt.NDArray[np.float32]:
        LIMIT.began = time.monotonic()
        try:
            return run(batch)
        except EdgepressError:  # it says what failed
            raise
        except Exception as e:
            raise EngineError(f"{failed}: {reason_of(e)}.", "Convert it again, or use another engine.") from e
        finally:
            LIMIT.began = None

    return call
