"""Compute a model file's scores for items on a board: copied there, and run with the runtime of an installed bundle.

    PYTHONPATH=installed/current python answer.py MODEL ITEMS.npy ENGINE > scores.npy

Items are memory-mapped and processed a few at a time. The output is one array, float32, shape (N, labels).
"""

import io
import sys

import numpy as np

from edgepress.runtime import load

CALL_BYTES = 1 << 20
"""Bytes of items that are sent in one call, about."""


def main(path: str, items_path: str, engine: str) -> None:
    """Write the scores for all items to stdout."""
    model = load(path, engine)
    items = np.load(items_path, mmap_mode="r")
    step = max(1, CALL_BYTES // items[0].nbytes)
    parts = [model.scores(np.array(items[start : start + step])) for start in range(0, len(items), step)]
    array = io.BytesIO()  # `save` needs a seekable file, and stdout may be a pipe
    np.save(array, np.concatenate(parts))
    sys.stdout.buffer.write(array.getvalue())


if __name__ == "__main__":
    main(*sys.argv[1:])
