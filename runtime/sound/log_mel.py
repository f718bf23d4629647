"""The front end `log-mel`: logarithms of energies on a mel scale, as most nets on spectrograms take them, in floats.

A frame is the energy spectrum of a window of samples, in triangles of a mel scale, as natural logarithms of the energy
plus one. The energy is 1 where a tone in the middle of a bin has an amplitude of one step of 16 bits, so silence is 0.
Frames are stored as whole numbers, `LOG_MEL_UNIT` times the logarithm: the last bits of a machine's sines and
logarithms then rarely matter. There is no memory, and neither noise nor the gain of a microphone is removed.

Source: S. S. Stevens, J. Volkmann, E. B. Newman, "A scale for the measurement of the psychological magnitude pitch",
Journal of the Acoustical Society of America 8 (1937), with the formula 1127 ln(1 + f / 700).
"""

from __future__ import annotations

import functools

import numpy as np
import numpy.typing as npt

from edgepress.runtime.sound.features import LogMelFeatures
from edgepress.runtime.sound.framing import FRAMES_AT_ONCE, Framing

Floats = npt.NDArray[np.float64]


class LogMel(Framing):
    """The front end `log-mel`."""

    features: LogMelFeatures

    def each(self, samples: npt.NDArray[np.int16]) -> npt.NDArray[np.uint16]:
        """See `Framing`."""
        windows = np.lib.stride_tricks.sliding_window_view(samples, self.features.window, axis=1)
        windows = windows[:, :: self.features.step]
        flat = windows.reshape(-1, self.features.window)
        parts = [self.compute(flat[start : start + FRAMES_AT_ONCE]) for start in range(0, len(flat), FRAMES_AT_ONCE)]
        return np.concatenate(parts).reshape(*windows.shape[:2], -1)

    def compute(self, windows: npt.NDArray[np.int16]) -> npt.NDArray[np.uint16]:
        """See `Framing`."""
        window, filters = _tables(self.features)
        spectrum = np.fft.rfft(windows * window, self.features.fft_size, axis=1)
        # Not a product of matrices, whose sums libraries of machines add in different orders.
        energies = np.einsum("nb,bc->nc", spectrum.real**2 + spectrum.imag**2, filters, optimize=False)
        frames: npt.NDArray[np.uint16] = np.rint(np.log1p(energies) * self.features.unit).astype(np.uint16)
        return frames


@functools.lru_cache(maxsize=16)
def _tables(features: LogMelFeatures) -> tuple[Floats, Floats]:
    """The window, shape (window,), and the weight of each bin in each channel, shape (fft_size / 2 + 1, channels)."""
    window = np.sin(np.pi * (np.arange(features.window) + 0.5) / features.window) ** 2
    window /= window.sum() / 2
    hz = np.arange(features.fft_size // 2 + 1) * features.rate / features.fft_size
    low, high = _mel(np.array([features.lower_hz, features.upper_hz]))
    edges = np.linspace(low, high, features.channels + 2)
    rising = (_mel(hz)[:, None] - edges[:-2]) / np.diff(edges)[:-1]
    falling = (edges[2:] - _mel(hz)[:, None]) / np.diff(edges)[1:]
    return window, np.maximum(np.minimum(rising, falling), 0.0)


def _mel(hz: Floats) -> Floats:
    return 1127.0 * np.log1p(hz / 700.0)
