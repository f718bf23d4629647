"""A histogram of a tensor's values, of fixed size, and the ranges that follow from it."""

from __future__ import annotations

from collections.abc import Callable
from math import ceil, floor, frexp, gcd

import numpy as np
import numpy.typing as npt

from edgepress.converters.arrays import Array, Doubles

BINS = 2048
"""Bins of a histogram on each side of zero; at least half of those on the longer side are in use."""
SAMPLE = 4096
"""Values that one call adds to a tensor's histogram at most, evenly spread; extremes are taken from all values."""
TAIL = 1e-4
"""Share of the values that `percentile` clips on each side."""
STEPS = 64
"""Ranges that `mse` and `entropy` try on each side."""
SMALLEST_POWER = -120
"""The width of bins begins as 2 to this power, so that its inverse is a float32."""
CLIPPED_BITS = 8
"""With more bits than these, every method keeps all values: rounding costs less than any clipping."""


class Histogram:
    """How often the values of one tensor fell into bins of equal width.

    The width is a power of two and is doubled when a value falls outside, which merges bins in pairs: the counts are
    those that the final width would have given from the start, in whatever order the values come.

    Attributes:
        low: Smallest value.
        high: Largest value.
    """

    def __init__(self) -> None:
        self.low = np.inf
        self.high = -np.inf
        self._counts = np.zeros(2 * BINS, np.int64)
        self._power = SMALLEST_POWER  # the width is 2 to this power

    def add(self, values: Array) -> None:
        """Count values of any shape; after NaN or infinity, only the extremes are kept up to date."""
        if not values.size:
            return
        # NaN stays, unlike with min and max.
        self.low = float(np.minimum(self.low, values.min()))
        self.high = float(np.maximum(self.high, values.max()))
        if not self.finite:
            return
        flat = values.reshape(-1)
        stride = max(1, flat.size // SAMPLE)
        while gcd(stride, flat.size) > 1:  # otherwise, it would meet some channels or columns only
            stride += 1
        flat = flat[::stride]
        self._grow(max(self.high, -self.low))
        places = np.floor(flat * np.float32(2.0**-self._power)).astype(np.intp)  # exact: a power of two
        self._counts += np.bincount(places + BINS, minlength=2 * BINS)

    def _grow(self, largest: float) -> None:
        times = frexp(largest)[1] - (BINS.bit_length() - 1) - self._power  # then, largest < BINS * width
        if largest > 0 and times > 0:
            merged = (np.arange(2 * BINS) - BINS >> times) + BINS
            self._counts = np.bincount(merged, self._counts, 2 * BINS).astype(np.int64)
            self._power += times

    @property
    def finite(self) -> bool:
        """Whether there are values, and neither NaN nor infinity among them."""
        return bool(np.isfinite(self.low) and np.isfinite(self.high))

    @property
    def extremes(self) -> tuple[float, float]:
        """Smallest and largest value, and 0, which an integer has to stand for exactly."""
        return min(self.low, 0.0), max(self.high, 0.0)

    @property
    def width(self) -> float:
        """Width of a bin."""
        return float(2.0**self._power)

    @property
    def counts(self) -> npt.NDArray[np.int64]:
        """Values in each bin, int64 (2 * BINS,): bin i holds those from (i - BINS) * width to the next."""
        return self._counts

    def percentile(self, bits: int) -> tuple[float, float]:
        """The range without the outermost `TAIL` of the values on each side."""
        low, high = self.extremes
        below = np.concatenate([[0], np.cumsum(self._counts)])
        cut = int(TAIL * below[-1])
        first = int(np.searchsorted(below, cut, "right")) - 1
        last = int(np.searchsorted(below, below[-1] - cut, "left"))
        return (
            min(max(low, (first - BINS) * self.width), 0.0),
            max(min(high, (last - BINS) * self.width), 0.0),
        )

    def mse(self, bits: int) -> tuple[float, float]:
        """The range with the smallest mean squared error of rounding to `bits` bits and clipping."""
        low, high = self.extremes
        lows, ends = self._edges(low, floor, max)
        highs, tops = self._edges(high, ceil, min)
        errors = self.squared_error(lows[:, None], highs[None], bits, first=ends[:, None], last=tops[None])
        i, j = np.unravel_index(int(np.argmin(errors)), errors.shape)
        return float(lows[i]), float(highs[j])

    def _edges(
        self, end: float, rounding: Callable[[float], int], nearer: Callable[[float, float], float]
    ) -> tuple[Doubles, npt.NDArray[np.intp]]:
        """Ends that are tried on one side, the extreme first, and the edges of bins at them."""
        if end == 0:
            return np.zeros(1), np.full(1, BINS, np.intp)
        places = [rounding(end * (STEPS - i) / STEPS / self.width) for i in range(STEPS)]
        return np.array([nearer(end, p * self.width) for p in places]), np.array(places, np.intp) + BINS

    def squared_error(
        self,
        low: Doubles,
        high: Doubles,
        bits: int,
        *,
        first: npt.NDArray[np.intp],
        last: npt.NDArray[np.intp],
    ) -> Doubles:
        """Mean squared error of rounding to a range and clipping to it, computed from the histogram.

        Args:
            low: Lower ends, of any shape.
            high: Upper ends, broadcast with them.
            bits: Bits of the integers.
            first: First bins that are not clipped.
            last: The bins after the last ones that are not clipped.
        """
        number, mean, square = self._moments
        step = (high - low) / (2**bits - 1)
        near = np.clip(np.floor(step / 2 / self.width), 0, None).astype(np.intp)  # these are rounded to 0
        bottom = np.maximum(BINS - near, first)
        top = np.minimum(BINS + near, last)
        rounded = (number[last] - number[first] - (number[top] - number[bottom])) * step**2 / 12
        zeroed = square[top] - square[bottom]
        above = (square[-1] - square[last]) - 2 * high * (mean[-1] - mean[last]) + high**2 * (number[-1] - number[last])
        below = square[first] - 2 * low * mean[first] + low**2 * number[first]
        return np.asarray((rounded + zeroed + above + below) / max(number[-1], 1.0), np.float64)

    @property
    def _moments(self) -> tuple[Doubles, ...]:
        """Sums over the bins before each edge: of the counts, of the values and of their squares."""
        values = (np.arange(2 * BINS) - BINS + 0.5) * self.width
        values[BINS] = 0.0  # mostly the zeros of a ReLU
        return tuple(np.concatenate([[0.0], np.cumsum(self._counts * values**power)]) for power in range(3))

    def entropy(self, bits: int) -> tuple[float, float]:
        """The range within the threshold of the smallest divergence, the same on both sides."""
        low, high = self.extremes
        counts = self._counts.astype(np.float64)
        levels = 2**bits
        # Zeros are exact in every grid; without this, those of a ReLU would outweigh all else.
        counts[BINS] = min(counts[BINS], max(counts[BINS - 1], counts[BINS + 1]))
        first = BINS + floor(low / self.width)
        last = BINS + ceil(high / self.width)
        reach = max(BINS - first, last - BINS)
        best = np.inf
        ends = (low, high)
        for i in range(STEPS):
            half = round(reach * (STEPS - i) / STEPS)
            start = max(first, BINS - half)
            end = min(last, BINS + half)
            if end - start < levels:
                break
            if (divergence := _divergence(counts, start, end, levels)) < best:
                best = divergence
                ends = (max(low, (start - BINS) * self.width), min(high, (end - BINS) * self.width))
        return ends


def _divergence(counts: Doubles, start: int, end: int, levels: int) -> float:
    """Kullback-Leibler divergence of a clipped histogram, rounded to levels, from the true one."""
    inside = counts[start:end]
    true = inside.copy()
    true[0] += counts[:start].sum()
    true[-1] += counts[end:].sum()
    groups = np.arange(end - start) * levels // (end - start)
    used = true > 0
    members = np.bincount(groups, used, levels)
    rounded = np.where(used, (np.bincount(groups, inside, levels) / np.maximum(members, 1))[groups], 0.0)
    p = true / max(true.sum(), 1.0)
    q = rounded / max(rounded.sum(), 1.0)
    return float(np.sum(p[used] * np.log(p[used] / np.maximum(q[used], 1e-9))))
