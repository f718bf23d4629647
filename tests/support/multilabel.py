"""Multi-label data: small pictures in which each label is a bright bar of its own place."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt

NAMES = ("cat", "dog", "fox", "owl")
SIDE = 32


def pictures(count: int, seed: int) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.int64]]:
    """Grey pictures (count, SIDE, SIDE) and which of the four labels each has, (count, 4): several, one or none."""
    rng = np.random.default_rng(seed)
    y = (rng.random((count, len(NAMES))) < rng.uniform(0.2, 0.6, len(NAMES))).astype(np.int64)
    x = rng.integers(0, 90, (count, SIDE, SIDE)).astype(np.uint8)
    for item, label in zip(*np.nonzero(y), strict=True):
        x[item, 8 * label : 8 * label + 6, 4:28] += np.uint8(rng.integers(20, 70))
    return x, y


def saved(path: Path, count: int, seed: int) -> Path:
    """The same as an `.npz` with names of the labels."""
    x, y = pictures(count, seed)
    np.savez(path, x=x, y=y, labels=np.array(NAMES))
    return path
