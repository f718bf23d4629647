"""The integer tables of the front end, which follow from its parameters.

Each is made by the same steps in single precision as TFLM's `FrontendPopulateState`. Its functions of libm are
computed in double precision here and rounded once, so that every machine gets the same tables;
`benchmarks/sound/front_end.py` compares them with those of TFLM's source.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from edgepress.runtime.sound.features import SNR_BITS, SoundFeatures

UNIT_BITS = 12
"""Bits after the point of the window and of the weights."""
SMOOTHING_BITS = 14
"""Bits after the point of the shares of the noise reduction."""
LOG_SEGMENTS = 128
MOST_INT16 = 32767
F32 = np.float32
Ints = npt.NDArray[np.int64]


@dataclass(frozen=True, kw_only=True)
class FrontEndTables:
    """The tables of a front end; all arrays are int64 and hold what fits the type that is named.

    Attributes:
        features: The parameters that they were made from.
        window: Weight of each sample, int16, 4096 is 1, shape (window,).
        twiddles: Roots of unity of the complex transform, int16 (real, imaginary), shape (fft_size / 2, 2).
        super_twiddles: Those that make a real transform of it, shape (fft_size / 4, 2).
        first_bin: First bin of each of the `channels + 1` rising slopes, and the end of the last one, int16, shape
            (channels + 2,). The falling slope of a channel has the bins of the next one's rising slope.
        weights: Weight of each bin from `first_bin[0]` in the channel of its own slope, int16, 4096 is 1.
        unweights: Its weight in the channel after that.
        gain: Gain by noise estimate, int16, shape (125,): the first two, then three coefficients and a 0 for each
            interval between powers of two. Empty without PCAN.
        log: What the logarithm to base two has more than its fraction, uint16, 65536 is 1, shape (130,).
        smoothing: Share of a new frame in the noise estimate of even and odd channels, uint16, 16384 is 1.
        min_signal: Share that is left at least, uint16, 16384 is 1.
        snr_shift: By how many bits the product of a channel and its gain is shifted.
    """

    features: SoundFeatures
    window: Ints
    twiddles: Ints
    super_twiddles: Ints
    first_bin: Ints
    weights: Ints
    unweights: Ints
    gain: Ints
    log: Ints
    smoothing: tuple[int, int]
    min_signal: int
    snr_shift: int


def tables_of(features: SoundFeatures) -> FrontEndTables:
    """The tables of a front end with these parameters."""
    first_bin, weights, unweights = _filters(features)
    half = features.fft_size // 2
    shares = [int(F32(F32(share) * F32(1 << SMOOTHING_BITS))) for share in _shares(features)]
    return FrontEndTables(
        features=features,
        window=_window(features.window),
        twiddles=_roots([-2 * math.pi * i / half for i in range(half)]),
        super_twiddles=_roots([-math.pi * ((i + 1) / half + 0.5) for i in range(half // 2)]),
        first_bin=first_bin,
        weights=weights,
        unweights=unweights,
        gain=_gains(features) if features.pcan else np.zeros(0, np.int64),
        log=log_table(),
        smoothing=(shares[0], shares[1]),
        min_signal=shares[2],
        snr_shift=features.gain_bits - features.correction_bits - SNR_BITS,
    )


def log_table() -> Ints:
    """`log2(1 + i/128) - i/128` for i from 0 to 128, 65536 is 1, and a 0 that is never read for an even length."""
    exact = [math.log2(1 + i / LOG_SEGMENTS) - i / LOG_SEGMENTS for i in range(LOG_SEGMENTS + 1)]
    return np.array([*(round(65536 * each) for each in exact), 0], np.int64)


def _shares(features: SoundFeatures) -> tuple[float, float, float]:
    return features.even_smoothing, features.odd_smoothing, features.min_signal


def _window(size: int) -> Ints:
    """A Hann window whose samples lie between the points of the usual one."""
    step = F32(F32(F32(math.pi) * F32(2)) / F32(size))
    phases = [float(F32(step * F32(i + 0.5))) for i in range(size)]
    heights = [F32(F32(0.5) - F32(F32(0.5) * F32(math.cos(phase)))) for phase in phases]
    return np.array([_nearest(height, UNIT_BITS) for height in heights], np.int64)


def _roots(phases: Sequence[float]) -> Ints:
    parts = [(math.cos(phase), math.sin(phase)) for phase in phases]
    return np.floor(0.5 + MOST_INT16 * np.array(parts)).astype(np.int64)


def _mel(hz: Any) -> np.float32:
    ratio = F32(F32(hz) / F32(700))
    return F32(F32(1127) * F32(math.log1p(float(ratio))))


def _filters(features: SoundFeatures) -> tuple[Ints, Ints, Ints]:
    """The first bins of the slopes, and the weights and unweights of all bins."""
    low = _mel(features.lower_hz)
    slopes = features.channels + 1
    spacing = F32(F32(_mel(features.upper_hz) - low) / F32(slopes))
    centers = [F32(low + F32(spacing * F32(i + 1))) for i in range(slopes)]
    half = features.fft_size // 2
    bin_hz = F32(F32(F32(0.5) * F32(features.rate)) / F32(half))
    bin_ = int(F32(F32(1.5) + F32(F32(features.lower_hz) / bin_hz)))  # never 0, the mean
    first_bin = [bin_]
    weights: list[int] = []
    unweights: list[int] = []
    for below, center in zip([low, *centers], centers, strict=False):
        while (mel := _mel(F32(bin_) * bin_hz)) <= center:
            weight = F32(F32(center - mel) / F32(center - below))
            weights.append(_nearest(weight, UNIT_BITS))
            unweights.append(_nearest(F32(F32(1) - weight), UNIT_BITS))
            bin_ += 1
        first_bin.append(bin_)
    return np.array(first_bin, np.int64), np.array(weights, np.int64), np.array(unweights, np.int64)


def _nearest(value: np.float32, bits: int) -> int:
    return math.floor(F32(F32(value * F32(1 << bits)) + F32(0.5)))


def _gains(features: SoundFeatures) -> Ints:
    """The gain as parabolas between powers of two of the noise estimate."""
    unit = F32(1 << (features.smoothing_bits - features.correction_bits))

    def gain(estimate: int) -> int:
        base = float(F32(F32(F32(estimate) / unit) + F32(features.offset)))
        value = F32(F32(1 << features.gain_bits) * F32(base ** float(F32(-features.strength))))
        return MOST_INT16 if value > MOST_INT16 else int(F32(value + F32(0.5)))

    table = [gain(0), gain(1)]
    for bits in range(2, 33):
        start = 1 << (bits - 1)
        end = 2 * start - (bits == 32)
        height = gain(start)
        to_middle = gain(start + start // 2) - height
        to_end = gain(end) - height
        slope = 4 * to_middle - to_end
        table += [height, slope, to_end - slope, 0]
    return np.array(table[:-1], np.int64).astype(np.int16).astype(np.int64)
