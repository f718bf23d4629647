"""Intervals: what tensors and accumulators can be for any input.

Rounding, clamping and products with weights are monotone, so the ends of intervals suffice. They prove that a faster
rounding is exact, and show channels whose output never changes.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from edgepress.converters.to_c.arithmetic import Integers


@dataclass(frozen=True, eq=False)
class Range:
    """The least and the largest value by channel, which is the last axis."""

    low: Integers
    high: Integers

    @classmethod
    def of(cls, low: int, high: int, channels: int) -> Range:
        """The same for all channels."""
        ends = (np.broadcast_to(np.int64(end), channels) for end in (low, high))  # which takes no memory
        return cls(*ends)

    def within(self, limit: int) -> bool:
        """Whether every value is nearer to 0 than `limit`."""
        return bool((self.low > -limit).all() and (self.high < limit).all())

    def joined(self) -> Range:
        """The range over all channels, as one."""
        return Range(self.low.min(keepdims=True), self.high.max(keepdims=True))

    def as_channels(self, channels: int) -> Range:
        """The range for a tensor of other channels: the same if there are as many, else that over all of them."""
        if len(self.low) == channels:
            return self
        whole = self.joined()
        return Range.of(int(whole.low[0]), int(whole.high[0]), channels)

    def minus(self, zero_point: int, *, padded: bool = False) -> Range:
        """The range of values minus a zero point; `padded`: some of them may be padding, which is 0."""
        low = self.low - zero_point
        high = self.high - zero_point
        return Range(np.minimum(low, 0), np.maximum(high, 0)) if padded else Range(low, high)

    def through(self, function: Callable[[Integers], Integers]) -> Range:
        """The range of a function that never falls."""
        return Range(function(self.low), function(self.high))

    @property
    def constant_channels(self) -> int:
        """Number of channels with one value."""
        return int((self.low == self.high).sum())


def sums(weights: Integers, inputs: Range, bias: Integers) -> Range:
    """The range of accumulators.

    Args:
        weights: Shape (outputs, taps, channels).
        inputs: The zero point taken off, of each channel, or of shape (outputs, 1, 1).
        bias: One an output.
    """
    low = np.where(weights > 0, weights * inputs.low, weights * inputs.high).sum(axis=(1, 2))
    high = np.where(weights > 0, weights * inputs.high, weights * inputs.low).sum(axis=(1, 2))
    return Range(bias + low, bias + high)
