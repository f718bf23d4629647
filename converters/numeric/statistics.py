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

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Literal, get_args

from edgepress.converters.arrays import Array
from edgepress.converters.errors import ConversionError
from edgepress.converters.numeric.histogram import CLIPPED_BITS, Histogram

Ranges = dict[str, tuple[float, float]]
"""Smallest and largest value by tensor name."""
Method = Literal["minmax", "percentile", "mse", "entropy"]
METHODS: tuple[Method, ...] = get_args(Method)
CalibrationMethod = Method | Literal["auto"]
"""How ranges are found: by one method, or by trials (`ptq.calibration`)."""
CALIBRATION_METHODS: tuple[CalibrationMethod, ...] = (*METHODS, "auto")

SMALLEST = 1e-4
"""A narrower range is widened to this: int16x8 kernels refuse a ReLU6 whose 6 overflows at so fine a scale
(`no_integer_overflow_from_quantization`), and a tensor that small is dead."""


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
        methods = methods or CalibrationMethods()
        decided = {*self.names} if few else set()
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
"""Largest ratio of the widths of a learned and a measured range of one tensor that are alike."""


def _alike(learned: tuple[float, float], measured: tuple[float, float]) -> bool:
    """Whether two ranges can be of the same tensor: one holds nine tenths of the other, and is not much wider."""
    common = min(learned[1], measured[1]) - max(learned[0], measured[0])
    narrow, wide = sorted(high - low for low, high in (learned, measured))
    return common >= 0.9 * narrow and wide <= ALIKE * narrow
