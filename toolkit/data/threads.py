"""Apply a function to many items in threads, computing a few results ahead."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

_T = TypeVar("_T")
_R = TypeVar("_R")


def in_threads(function: Callable[[_T], _R], items: Iterable[_T], *, most: int = 8) -> Iterator[_R]:
    """Yield the results in order; at most `most` threads run, and few results wait.

    Pillow and hashlib release the GIL: on two cores, with Pillow alone, this is 2.0 times as fast for photos of
    3024x3024 and 1.7 times for 512x384; for 100x100 it is up to a fifth slower.
    """
    workers = min(most, os.cpu_count() or 1)
    with ThreadPoolExecutor(workers) as pool:
        pending: deque[Future[_R]] = deque()
        try:
            for item in items:
                pending.append(pool.submit(function, item))
                if len(pending) > 2 * workers:
                    yield pending.popleft().result()
            while pending:
                yield pending.popleft().result()
        finally:
            for future in pending:
                future.cancel()
