"""Memory of this process that is free, given back to the system: two processes convert side by side, within limits."""

from __future__ import annotations

import contextlib
import ctypes
import gc

LARGE_BYTES = 1 << 27


def sweep(size_bytes: int) -> None:
    """After a step that left much behind: collect cycles, such as TensorFlow's graphs are, and give all back.

    Where the C library is glibc, which would keep gigabytes of a large model; see malloc_trim(3).

    Args:
        size_bytes: Of the model; a small one is not worth the quarter of a second.
    """
    if size_bytes > LARGE_BYTES:
        gc.collect()
        with contextlib.suppress(AttributeError, OSError):
            ctypes.CDLL(None).malloc_trim(0)
