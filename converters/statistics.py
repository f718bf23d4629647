"""Statistics of a graph's tensors over the calibration items, in one streaming pass, and the ranges that follow.

Each tensor keeps its smallest and largest value and a histogram of fixed size, so that memory does not grow with the
number of items and one pass serves every method, every scheme and the simulation. A method turns them into a range:

* `minmax`: all that was seen, so that no value is clipped;
* `percentile`: all but the outermost `TAIL` of the values on each side;
* `mse`: the range with the smallest mean squared error of rounding and clipping (Banner et al. 2019, arXiv:1810.05723,
  search it for one distribution; Nagel et al. 2021, arXiv:2106.08295, section 3.1, by grid search, as here);
* `entropy`: the threshold whose quantized distribution is nearest to the true one in Kullback-Leibler divergence
  (Migacz, "8-bit inference with TensorRT", GTC 2017).

`CalibrationMethods` names the method of every tensor. Tensors that must not be clipped (`Statistics.protect`) and those
of known range (`Statistics.know`) keep theirs whatever is chosen.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from math import ceil, floor, frexp, gcd
from typing import Literal, get_args

import numpy as np
import numpy.typing as npt

from edgepress.converters.arrays import Array, Doubles
from edgepress.converters.errors import ConversionError

Ranges = dict[str, tuple[float, float]]
"""Smallest and largest value by tensor name."""
Method = Literal["minmax", "percentile", "mse", "entropy"]
METHODS: tuple[Method, ...] = get_args(Method)
CalibrationMethod = Method | Literal["auto"]
"""How ranges are found: by one method, or by trials (`ptq.calibration`)."""
CALIBRATION_METHODS: tuple[CalibrationMethod, ...] = (*METHODS, "auto")

BINS = 2048
"""Bins of a histogram on each side of zero; at least half of those on the longer side are in use."""
SAMPLE = 4096
"""Values that one call adds to a tensor's histogram at most, evenly spread; extremes are taken from all values."""
TAIL = 1e-4
"""Share of the values that `percentile` clips on each side."""
STEPS = 64
"""Ranges that `mse` and `entropy` try on each side."""
SMALLEST = 1e-4
"""A narrower range is widened to this: int16x8 kernels refuse a ReLU6 whose 6 overflows at so fine a scale
(`no_integer_overflow_from_quantization`), and a tensor that small is dead."""
SMALLEST_POWER = -120
"""The width of bins begins as 2 to this power, so that its inverse is a float32."""
CLIPPED_BITS = 8
"""With more bits than these, every method keeps all values: rounding costs less than any clipping."""


@dataclass(frozen=True)
class CalibrationMethods:
    """The method of every tensor.

    Attributes:
        default: That of tensors that are not named.
        tensors: That of others, by name.
    """

    default: Method = "minmax"
    tensors: Mapping[str, Method] = field(default_factory=dict)

    def __hash__(self) -> int:
        return hash((self.default, frozenset(self.tensors.items())))

    def method(self, name: str) -> Method:
        """The method of a tensor."""
        return self.tensors.get(name, self.default)

    def with_tensors(self, names: Iterable[str], method: Method) -> CalibrationMethods:
        """The same with another method of some tensors."""
        return CalibrationMethods(self.default, {**self.tensors, **dict.fromkeys(names, method)})


class Histogram:
    """How often the values of one tensor fell into bins of equal width.

    The width is a power of two and is doubled when a value falls outside, which merges bins in pairs: the counts are
    those that the final width would have given from the start, in whatever order the values come.

    Attributes:
        low: Smallest value.
        high: Largest value.
    """

    def __init__(self) -> None:
        self.low, self.high = np.inf, -np.inf
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
        bottom, top = np.maximum(BINS - near, first), np.minimum(BINS + near, last)
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
        counts, levels = self._counts.astype(np.float64), 2**bits
        # Zeros are exact in every grid; without this, those of a ReLU would outweigh all else.
        counts[BINS] = min(counts[BINS], max(counts[BINS - 1], counts[BINS + 1]))
        first, last = BINS + floor(low / self.width), BINS + ceil(high / self.width)
        reach = max(BINS - first, last - BINS)
        best, ends = np.inf, (low, high)
        for i in range(STEPS):
            half = round(reach * (STEPS - i) / STEPS)
            start, end = max(first, BINS - half), min(last, BINS + half)
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
    p, q = true / max(true.sum(), 1.0), rounded / max(rounded.sum(), 1.0)
    return float(np.sum(p[used] * np.log(p[used] / np.maximum(q[used], 1e-9))))


class Statistics:
    """Histograms of a graph's tensors, by name."""

    def __init__(self) -> None:
        self._tensors: dict[str, Histogram] = {}
        self._known: Ranges = {}
        self._learned: Ranges = {}
        self._protected: set[str] = set()
        self._found: dict[tuple[str, Method, int], tuple[float, float]] = {}

    def add(self, name: str, values: Array) -> None:
        """Take values of a tensor into account."""
        if values.size:
            if name not in self._tensors:
                self._tensors[name] = Histogram()
            self._tensors[name].add(values)
            self._found.clear()

    def know(self, name: str, low: float, high: float) -> None:
        """Set a range that does not depend on the values seen, such as that of pixels."""
        self._known[name] = (low, high)

    def learn(self, ranges: Ranges) -> None:
        """Set ranges of 8-bit tensors that were learned, by name.

        Some may be of tensors that a rewrite left out, or gave other values under the same name: those count only where
        the values seen are about as large.
        """
        self._learned = {name: pair for name, pair in ranges.items() if name in self._tensors}

    def protect(self, names: Iterable[str]) -> None:
        """Keep tensors from being clipped: their extremes count most, or their scale is fixed."""
        self._protected.update(names)

    @property
    def names(self) -> tuple[str, ...]:
        """The tensors whose range a choice decides."""
        return tuple(name for name in self._tensors if name not in self._protected and name not in self._known)

    def histogram(self, name: str) -> Histogram:
        """That of one tensor."""
        return self._tensors[name]

    def ranges(self, methods: CalibrationMethods | None = None, *, bits: int = 8) -> Ranges:
        """The range of every tensor; 0 is in each.

        Args:
            methods: The method of each tensor; None keeps all values.
            bits: Bits of the activations; with more than `CLIPPED_BITS`, all values are kept.

        Raises:
            ConversionError: A tensor was NaN or infinite.
        """
        bad = [name for name, histogram in self._tensors.items() if not (histogram.finite or name in self._known)]
        if bad:
            raise ConversionError(
                f"The tensor {bad[0]} is NaN or infinite on calibration data.",
                "Check the model's weights and its data.",
            )
        few = bits <= CLIPPED_BITS
        methods, decided = methods or CalibrationMethods(), {*self.names} if few else set()
        measured = {
            name: self.range(name, methods.method(name) if name in decided else "minmax", bits)
            for name in self._tensors
            if name not in self._known
        }
        learned = {name: pair for name, pair in self._learned.items() if few and _alike(pair, measured.get(name, pair))}
        return measured | learned | self._known

    def range(self, name: str, method: Method, bits: int = 8) -> tuple[float, float]:
        """The range of one tensor by a method."""
        key = (name, method, bits)
        if key not in self._found:
            histogram = self._tensors[name]
            low, high = histogram.extremes if method == "minmax" else getattr(histogram, method)(bits)
            self._found[key] = (low, max(high, low + SMALLEST))
        return self._found[key]


ALIKE = 8.0
"""Widths of a learned range and a measured one of the same tensor, each divided by the other, at most."""


def _alike(learned: tuple[float, float], measured: tuple[float, float]) -> bool:
    """Whether two ranges can be of the same tensor: one holds nine tenths of the other, and is not much wider."""
    common = min(learned[1], measured[1]) - max(learned[0], measured[0])
    narrow, wide = sorted(high - low for low, high in (learned, measured))
    return common >= 0.9 * narrow and wide <= ALIKE * narrow
