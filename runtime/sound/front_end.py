"""Samples to frames: TFLM's microfrontend in NumPy integers, equal to it to the bit.

A frame is a window of samples, its spectrum in channels of a mel scale, with the noise subtracted and the gain of the
microphone removed, as logarithms. The noise estimate is the memory of the front end: frames depend on all sound before
them, so a recording is computed whole and cut into windows afterwards.

    >>> front_end = FrontEnd(SoundFeatures())
    >>> front_end.push(np.zeros(16000, np.int16)).shape
    (98, 40)

Sources: `tensorflow/lite/experimental/microfrontend` of TensorFlow, and kissfft's transform of 16 bits.
"""

from __future__ import annotations

import functools

import numpy as np
import numpy.typing as npt

from edgepress.runtime.sound.features import SNR_BITS, SoundFeatures
from edgepress.runtime.sound.framing import FRAMES_AT_ONCE, Framing
from edgepress.runtime.sound.tables import SMOOTHING_BITS, UNIT_BITS, FrontEndTables, Ints, tables_of

__all__ = ["FrontEnd", "FrontEndTables", "SoundFeatures", "tables_of"]

WORD = 0xFFFFFFFF
"""What a uint32 holds: results are cut to it where the C code's are."""
PCAN_BITS = 6
"""Bits after the point of what the gain control returns."""
LN_2 = 45426
"""The natural logarithm of two, 65536 is 1."""

Words = npt.NDArray[np.int32]


class FrontEnd(Framing):
    """The integer front end and its memory.

    Attributes:
        features: Its parameters.
        tables: Its tables.
    """

    features: SoundFeatures

    def __init__(self, features: SoundFeatures) -> None:
        self.tables = _tables(features)
        super().__init__(features)

    def reset(self) -> None:
        """See `Framing`."""
        super().reset()
        self._estimate = np.zeros(self.features.channels, np.int64)

    def each(self, samples: npt.NDArray[np.int16]) -> npt.NDArray[np.uint16]:
        """See `Framing`."""
        windows = np.lib.stride_tricks.sliding_window_view(samples, self.features.window, axis=1)
        windows = windows[:, :: self.features.step]
        flat = windows.reshape(-1, self.features.window)
        starts = range(0, len(flat), FRAMES_AT_ONCE)
        parts = [_channels(flat[start : start + FRAMES_AT_ONCE], self.tables) for start in starts]
        signal = np.concatenate(parts).reshape(*windows.shape[:2], -1).swapaxes(0, 1)
        estimates = _noise(signal, np.zeros(signal.shape[1:], np.int64), self.tables)
        return _scaled(signal, estimates, self.tables).swapaxes(0, 1)

    def compute(self, windows: npt.NDArray[np.int16]) -> npt.NDArray[np.uint16]:
        """See `Framing`."""
        signal = _channels(windows, self.tables)
        estimates = _noise(signal, self._estimate, self.tables)
        self._estimate = estimates[-1].copy()
        return _scaled(signal, estimates, self.tables)


@functools.lru_cache(maxsize=16)
def _tables(features: SoundFeatures) -> FrontEndTables:
    return tables_of(features)


def _bits(values: Ints) -> Ints:
    """Bits of each number below 2**53, 0 for 0."""
    return np.frexp(values.astype(np.float64))[1].astype(np.int64)


def _int16(values: npt.NDArray[np.signedinteger]) -> Words:
    """The lower 16 bits with their sign, as a cast to int16 leaves them."""
    return values.astype(np.int16).astype(np.int32)


def _channels(windows: npt.NDArray[np.int16], tables: FrontEndTables) -> Ints:
    """Magnitudes of the channels of windows of samples, shape (frames, window) to (frames, channels)."""
    size = tables.features.fft_size
    signal = _int16((windows.T * tables.window.astype(np.int32)[:, None]) >> UNIT_BITS)
    largest = np.maximum(_int16(np.abs(signal)).max(axis=0), 0).astype(np.int64)
    shift = (15 - _bits(largest)).astype(np.int32)
    padded = np.zeros((size, len(windows)), np.int32)
    padded[: len(signal)] = _int16(signal << shift)
    real, imaginary = _real_transform(padded, tables)
    # Sums stay below 2**53, because the transform divides by its length: doubles have exact roots of them.
    sums = _channel_sums(real, imaginary, tables)
    root = np.sqrt(sums.astype(np.float64)).astype(np.int64)
    to_nearest = sums - root * root > root
    root += to_nearest & ((root != 0xFFFF) | (sums > WORD))  # the root of 32 bits has 16
    return (root >> shift).T.copy()


def _channel_sums(real: Words, imaginary: Words, tables: FrontEndTables) -> Ints:
    """Weighted energies of the channels, shape (bins, frames) to (channels, frames)."""
    first = tables.first_bin[0]
    bins = slice(first, tables.first_bin[-1])
    energy = real[bins].astype(np.int64) ** 2 + imaginary[bins].astype(np.int64) ** 2
    totals = np.zeros((2, len(energy) + 1, energy.shape[1]), np.int64)
    np.cumsum(energy * tables.weights[:, None], axis=0, out=totals[0, 1:])
    np.cumsum(energy * tables.unweights[:, None], axis=0, out=totals[1, 1:])
    rising, falling = np.diff(totals[:, tables.first_bin - first], axis=1)
    sums: Ints = rising[1:] + falling[:-1]
    return sums


def _real_transform(signal: Words, tables: FrontEndTables) -> tuple[Words, Words]:
    """The spectrum of real signals: each pair of samples is a complex one; shape (fft_size, frames) to half of it."""
    half = len(signal) // 2
    order = transform_order(half)
    real, imaginary = _transform(signal[0::2][order], signal[1::2][order], tables.twiddles.astype(np.int32))
    up = np.arange(1, half // 2 + 1)
    down = half - up
    # Both halves of the spectrum, each divided by two with rounding.
    real_up = _divided(real[up], 2)
    imaginary_up = _divided(imaginary[up], 2)
    real_down = _divided(real[down], 2)
    imaginary_down = _divided(_int16(-imaginary[down]), 2)
    even_real = _int16(real_up + real_down)
    even_imaginary = _int16(imaginary_up + imaginary_down)
    odd_real = _int16(real_up - real_down)
    odd_imaginary = _int16(imaginary_up - imaginary_down)
    odd_real, odd_imaginary = _product(odd_real, odd_imaginary, tables.super_twiddles.astype(np.int32))
    spectrum_real = np.zeros((half + 1, signal.shape[1]), np.int32)
    spectrum_imaginary = np.zeros_like(spectrum_real)
    spectrum_real[up] = (even_real + odd_real) >> 1
    spectrum_imaginary[up] = (even_imaginary + odd_imaginary) >> 1
    spectrum_real[down] = (even_real - odd_real) >> 1
    spectrum_imaginary[down] = (odd_imaginary - even_imaginary) >> 1
    return spectrum_real, spectrum_imaginary


def _factors(size: int) -> list[int]:
    """The radixes of a transform, from the outermost: fours, and a two at the end."""
    bits = size.bit_length() - 1
    return [4] * (bits // 2) + [2] * (bits % 2)


@functools.lru_cache(maxsize=16)
def transform_order(size: int) -> Ints:
    """The order of inputs in which every step of a transform combines neighbours."""
    order = np.zeros(1, np.int64)
    for radix in reversed(_factors(size)):
        order = np.concatenate([k + radix * order for k in range(radix)])
    return order


def _transform(real: Words, imaginary: Words, roots: Words) -> tuple[Words, Words]:
    """The complex transform, shape (size, frames), divided by its size a step at a time."""
    size, frames = real.shape
    length = 1
    for radix in reversed(_factors(size)):
        real = _divided(real.reshape(-1, radix, length, frames), radix)
        imaginary = _divided(imaginary.reshape(-1, radix, length, frames), radix)
        turn = np.arange(length) * (size // (length * radix))
        parts = [(real[:, 0], imaginary[:, 0])]
        parts += [_product(real[:, k], imaginary[:, k], roots[k * turn]) for k in range(1, radix)]
        butterfly = _two if radix == 2 else _four
        new_real, new_imaginary = butterfly(parts)
        # Sums of 16 bits wrap; wrapping once at their end is the same.
        real = _int16(np.stack(new_real, axis=1)).reshape(size, frames)
        imaginary = _int16(np.stack(new_imaginary, axis=1)).reshape(size, frames)
        length *= radix
    return real, imaginary


def _two(parts: list[tuple[Words, Words]]) -> tuple[list[Words], list[Words]]:
    (a_real, a_imaginary), (b_real, b_imaginary) = parts
    return [a_real + b_real, a_real - b_real], [a_imaginary + b_imaginary, a_imaginary - b_imaginary]


def _four(parts: list[tuple[Words, Words]]) -> tuple[list[Words], list[Words]]:
    (a_real, a_imaginary), (b_real, b_imaginary), (c_real, c_imaginary), (d_real, d_imaginary) = parts
    odd_real = b_real - d_real
    odd_imaginary = b_imaginary - d_imaginary
    even_real = b_real + d_real
    even_imaginary = b_imaginary + d_imaginary
    sum_real = a_real + c_real
    sum_imaginary = a_imaginary + c_imaginary
    rest_real = a_real - c_real
    rest_imaginary = a_imaginary - c_imaginary
    return (
        [sum_real + even_real, rest_real + odd_imaginary, sum_real - even_real, rest_real - odd_imaginary],
        [
            sum_imaginary + even_imaginary,
            rest_imaginary - odd_real,
            sum_imaginary - even_imaginary,
            rest_imaginary + odd_real,
        ],
    )


def _divided(values: Words, by: int) -> Words:
    return _int16((values * (32767 // by) + (1 << 14)) >> 15)


def _product(real: Words, imaginary: Words, roots: Words) -> tuple[Words, Words]:
    """Products with roots of unity, shape (..., n, frames) with (n, 2)."""
    cosine = roots[:, :1]
    sine = roots[:, 1:]
    new_real = (real * cosine - imaginary * sine + (1 << 14)) >> 15
    new_imaginary = (real * sine + imaginary * cosine + (1 << 14)) >> 15
    return _int16(new_real), _int16(new_imaginary)


def _noise(signal: Ints, estimate: Ints, tables: FrontEndTables) -> Ints:
    """The noise estimates with each frame, shape (frames, ..., channels): the only step that depends on earlier ones.

    Args:
        signal: The magnitudes, shape (frames, ..., channels), not empty.
        estimate: The estimate before them, shape (..., channels).
        tables: The front end.
    """
    shares = np.take(np.array(tables.smoothing, np.int64), np.arange(signal.shape[-1]) & 1)
    kept = (1 << SMOOTHING_BITS) - shares
    new = ((signal << tables.features.smoothing_bits) & WORD) * shares
    estimates = np.empty_like(signal)
    for row, of_frame in zip(estimates, new, strict=True):
        np.multiply(estimate, kept, out=row)
        row += of_frame
        row >>= SMOOTHING_BITS
        estimate = row
    return estimates


def _scaled(signal: Ints, estimates: Ints, tables: FrontEndTables) -> npt.NDArray[np.uint16]:
    """Frames from magnitudes and noise estimates, both of one shape (..., channels)."""
    features = tables.features
    scaled = (signal << features.smoothing_bits) & WORD
    subtracted = (scaled - np.minimum(estimates, scaled)) >> features.smoothing_bits
    values = np.maximum(subtracted, (signal * tables.min_signal) >> SMOOTHING_BITS)
    if features.pcan:
        snr = ((values * _gain(estimates, tables.gain)) >> tables.snr_shift) & WORD
        squared = ((snr * snr) & WORD) >> (2 + 2 * SNR_BITS - PCAN_BITS)
        values = np.where(snr < 2 << SNR_BITS, squared, (snr >> (SNR_BITS - PCAN_BITS)) - (1 << PCAN_BITS))
    if features.log:
        bits = features.correction_bits
        values = (values << bits) & WORD if bits >= 0 else values >> -bits
        values = np.where(values > 1, _log(np.maximum(values, 2), tables.log, features.scale_shift), 0)
    frames: npt.NDArray[np.uint16] = np.minimum(values, 0xFFFF).astype(np.uint16)
    return frames


def _gain(estimates: Ints, table: Ints) -> Ints:
    """The gain at noise estimates: a parabola in the interval between powers of two that each lies in."""
    bits = np.maximum(_bits(estimates), 2)
    place = 4 * bits - 6
    part = np.where(bits < 11, estimates << np.maximum(11 - bits, 0), estimates >> np.maximum(bits - 11, 0)) & 0x3FF
    height = (table[place + 2] * part) >> 5
    height = ((height + (table[place + 1] << 5)) * part + (1 << 14)) >> 15
    inside = (height + table[place]).astype(np.int16).astype(np.int64)
    gain = np.where(estimates <= 2, table[np.minimum(estimates, 2)], inside)
    return gain & WORD  # parabolas may fall below 0, and the C code multiplies by it without a sign


def _log(values: Ints, table: Ints, scale_shift: int) -> Ints:
    """Natural logarithms of whole numbers from 2, times two to the power of `scale_shift`."""
    whole = _bits(values) - 1
    part = values - (1 << whole)
    part = np.where(whole < 16, part << np.maximum(16 - whole, 0), part >> np.maximum(whole - 16, 0))
    segment = part >> 9
    start = table[segment]
    more = ((table[segment + 1] - start) * (part - (segment << 9))) >> 16
    base_two = (whole << 16) + part + start + more
    natural = (LN_2 * base_two + (1 << 15)) >> 16
    scaled: Ints = ((natural << scale_shift) + (1 << 15)) >> 16
    return scaled
