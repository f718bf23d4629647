"""The mean and the variance of every channel of every tensor over items."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from edgepress.converters.graph.program import Program

Array = npt.NDArray[Any]
Moments = Mapping[str, tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]]
"""Means and variances by tensor, each of shape (channels,)."""


def channel_moments(program: Program, items: Array) -> Moments:
    """Measure the channels, that is each index of the last axis, of every float tensor.

    Args:
        program: The float program.
        items: Items (n, *item shape).
    """
    sums: dict[str, Array] = {}
    for batch in program.batches(items):
        for name, value in program.run(batch).items():
            found = np.asarray(value)
            if found.dtype == np.float32:
                rows = found.reshape(-1, (program.shapes[name] or (1,))[-1])
                squares = np.einsum("ij,ij->j", rows, rows, dtype=np.float64)
                total = [rows.sum(0, dtype=np.float64), squares, np.full(rows.shape[1], float(len(rows)))]
                sums[name] = sums.get(name, 0.0) + np.stack(total)
    return {name: (x / n, np.maximum(xx / n - (x / n) ** 2, 0)) for name, (x, xx, n) in sums.items()}
