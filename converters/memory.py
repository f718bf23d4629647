"""Return free memory to the system: two processes convert at the same time, within limits."""

from __future__ import annotations

import gc

from edgepress.converters.system import trim_memory

LARGE_BYTES = 1 << 27


def sweep(size_bytes: int) -> None:
    """Collect reference cycles, such as TensorFlow's graphs, and return the freed memory to the system.

    Without this, glibc would keep gigabytes after converting a large model.

    Args:
        size_bytes: Size of the model; for a small one nothing is done, because it takes a quarter of a second.
    """
    if size_bytes > LARGE_BYTES:
        gc.collect()
        trim_memory()
