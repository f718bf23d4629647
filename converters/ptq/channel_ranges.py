"""The smallest and largest value of every channel of every tensor, which one pass over calibration items measures."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from edgepress.converters.arrays import Array, Doubles
from edgepress.converters.graph.program import Program
from edgepress.converters.statistics import SMALLEST, Ranges

ChannelRanges = Mapping[str, tuple[Doubles, Doubles]]
"""Smallest and largest values by tensor, each of shape (channels,)."""


def channel_ranges(program: Program, items: Array) -> ChannelRanges:
    """Measure the range of each channel, that is each index of the last axis, of every float tensor.

    Args:
        program: The float program.
        items: Calibration items (n, *item shape).
    """
    import tensorflow as tf

    def measure(batch: Any) -> dict[str, tuple[Any, Any]]:
        rows = {
            name: tf.reshape(value, [-1, (program.shapes[name] or (1,))[-1]])
            for name, value in program.run(batch).items()
            if value.dtype == tf.float32
        }
        return {name: (tf.reduce_min(row, 0), tf.reduce_max(row, 0)) for name, row in rows.items()}

    # An unrolled loop takes its items one by one: hundreds of calls of a thousand small operations.
    measured = measure if program.batched else tf.function(measure, autograph=False)
    ranges: dict[str, tuple[Array, Array]] = {}
    for batch in program.batches(items):
        for name, (low, high) in measured(batch).items():
            old = ranges.get(name, (np.inf, -np.inf))
            ranges[name] = np.minimum(old[0], low), np.maximum(old[1], high)
    return {name: (low.astype(np.float64), high.astype(np.float64)) for name, (low, high) in ranges.items()}


def tensor_ranges(channels: ChannelRanges, source: str, source_range: tuple[float, float] | None) -> Ranges:
    """Ranges of whole tensors, for litert-quantizer.

    Args:
        channels: Ranges of the channels.
        source: Name of the input.
        source_range: Range of the input, if it is known beforehand.
    """
    ranges = {}
    for name, (low, high) in channels.items():
        least = float(np.min(low))
        most = float(np.max(high))
        ranges[name] = least, max(most, least + SMALLEST)
    if source_range is not None:
        ranges[source] = source_range
    return ranges


def move_ranges(
    ranges: ChannelRanges, *, factors: Mapping[str, Doubles] | None = None, shifts: Mapping[str, Doubles] | None = None
) -> ChannelRanges:
    """Ranges once channels are divided by factors, and shifts subtracted, by tensor."""
    by = factors or {}
    less = shifts or {}

    def move(name: str, side: Doubles) -> Doubles:
        return np.asarray(side / by.get(name, 1.0) - less.get(name, 0.0), np.float64)

    return {name: (move(name, low), move(name, high)) for name, (low, high) in ranges.items()}
