"""The answers of one model file to items, on the board: sent there beside a bundle, whose runtime it uses.

    PYTHONPATH=installed/current python answer.py MODEL ITEMS.npy ENGINE > scores.npy

Items are mapped and answered a few at a time, so memory is flat. What goes to stdout is one array, float32,
shape (N, labels).
"""

import io
import sys

import numpy as np

from edgepress.runtime import load

CALL_BYTES = 1 << 20


def main(path: str, items_path: str, engine: str) -> None:
    """Answer all items of a file."""
    model, items = load(path, engine), np.load(items_path, mmap_mode="r")
    step = max(1, CALL_BYTES // items[0].nbytes)
    parts = [model.scores(np.array(items[start : start + step])) for start in range(0, len(items), step)]
    array = io.BytesIO()  # `save` asks a file where it is, which a pipe can't tell
    np.save(array, np.concatenate(parts))
    sys.stdout.buffer.write(array.getvalue())


if __name__ == "__main__":
    main(*sys.argv[1:])
