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
    import tensorflow as tf

    sums: dict[str, Array] = {}
    for batch in program.batches(items):
        for name, value in program.run(batch).items():
            if value.dtype == tf.float32:
                rows = tf.reshape(tf.cast(value, tf.float64), [-1, (program.shapes[name] or (1,))[-1]])
                found = [tf.reduce_sum(rows, 0), tf.reduce_sum(rows**2, 0), tf.fill([rows.shape[1]], float(len(rows)))]
                sums[name] = sums.get(name, 0.0) + np.stack([np.asarray(part, np.float64) for part in found])
    return {name: (x / n, np.maximum(xx / n - (x / n) ** 2, 0)) for name, (x, xx, n) in sums.items()}
