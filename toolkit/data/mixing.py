"""Windows of recordings as other microphones and places would give them: other speed, level and time, with noise.

Samples are changed, not frames, because the front end follows level and noise. Before a window, about as much of the
recording is taken as the noise estimate remembers: usually 2.5 % of it come from each new frame of 10 ms. What a short
recording lacks is taken from noise: a device hears a word between other sounds, and clips alone have silence there.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from edgepress.runtime.sound.features import FrameFeatures
from edgepress.runtime.sound.frames import frames_of_each
from edgepress.runtime.sound.wav import Samples, to_int16
from edgepress.toolkit.data.sound_files import Recordings
from edgepress.toolkit.data.splits import Ints

LEAD_S = 0.5
"""Seconds of sound before a window."""
SPEED = 0.1
"""Natural logarithm of the speed at most; it changes the pitch, too."""
SHIFT = 0.1
"""Share of a window by which it is moved at most."""
GAIN_DB = (-24.0, 6.0)
"""Level, dB."""
NOISY = 0.75
"""Share of the windows to which noise is added."""
SNR_DB = (0.0, 20.0)
"""Level of a window above that of its noise, dB."""
AROUND_DB = (-12.0, 6.0)
"""Level of what is heard before and after a short recording, above that of the noise recording it comes from, dB."""
Floats = npt.NDArray[np.float64]


def mix_frames(
    recordings: Recordings,
    of: Ints,
    begins: Ints,
    *,
    draws: npt.NDArray[np.float32],
    noises: Ints,
    sound: FrameFeatures,
    window: int,
) -> npt.NDArray[np.uint16]:
    """Frames of changed windows, uint16, shape (n, window, channels).

    Args:
        recordings: The recordings.
        of: The number of the recording of each window, shape (n,).
        begins: The first frame of each in its recording, shape (n,).
        draws: A random number in [0, 1) for each, shape (n,), on which alone its changes depend.
        noises: Numbers of the recordings that are noise; without one, it is pink noise.
        sound: The front end.
        window: Frames of a window.
    """
    recordings.hold([*of.tolist(), *noises.tolist()])
    lead = round(1000 * LEAD_S / sound.step_ms)
    length = sound.samples_of(window)
    signals = []
    for number, begin, draw in zip(of.tolist(), begins.tolist(), draws.tolist(), strict=True):
        rng = np.random.default_rng(int(draw * 2**24))
        around = np.zeros(lead * sound.step + length)
        if len(noises) and rng.random() < NOISY:
            around = _noise(recordings, noises, len(around), rng) * 10 ** (rng.uniform(*AROUND_DB) / 20)
        signal = _move(recordings.samples(number), begin * sound.step, length, around, rng)
        if rng.random() < NOISY:
            noise = _noise(recordings, noises, len(signal), rng)
            signal = signal + noise * _noise_gain(signal[-length:], noise, rng)
        signals.append(to_int16(signal * 10 ** (rng.uniform(*GAIN_DB) / 20)))
    return frames_of_each(np.stack(signals), sound)[:, lead:]


def _move(samples: Samples, begin: int, length: int, around: Floats, rng: np.random.Generator) -> Floats:
    """The samples of a window and those before it, at another speed and at another time; `around` beyond them."""
    in_front = max(length - len(samples), 0)  # silence, which a short recording's frames begin with
    speed = float(np.exp(rng.uniform(-SPEED, SPEED)))
    end = begin + length - in_front + rng.uniform(-SHIFT, SHIFT) * length
    return _stretch(samples, end - len(around) * speed, speed, around)


def _stretch(samples: Samples, begin: float, speed: float, around: Floats) -> Floats:
    """As many samples as `around` has, from a time on, at a speed; `around` beyond the recording."""
    at = begin + np.arange(len(around)) * speed
    first = max(int(np.floor(begin)), 0)
    part = samples[first : max(int(at[-1]) + 2, first)]
    if not len(part):
        return around
    stretched: Floats = np.interp(at - first, np.arange(len(part)), part)
    return np.where((at >= 0) & (at <= len(samples) - 1), stretched, around)


def _noise(recordings: Recordings, noises: Ints, count: int, rng: np.random.Generator) -> Floats:
    """Noise of some place, repeated if it is too short, or pink noise."""
    if not len(noises):
        spectrum = rng.standard_normal((2, count // 2 + 1)) / np.sqrt(np.arange(1, count // 2 + 2))
        pink: Floats = np.fft.irfft(spectrum[0] + 1j * spectrum[1], count)
        return pink
    samples = recordings.samples(int(rng.choice(noises)))
    start = int(rng.integers(len(samples)))
    rows = np.arange(start, start + count) % len(samples)
    return samples[rows].astype(np.float64)


def _noise_gain(signal: Floats, noise: Floats, rng: np.random.Generator) -> float:
    """By what the noise is multiplied; it stays as it is below silence."""
    ratio = 10 ** (-rng.uniform(*SNR_DB) / 20)
    level = float(np.sqrt(np.mean(noise**2)))
    wanted = float(np.sqrt(np.mean(signal**2)))
    return float(ratio * wanted / level) if level and wanted else 1.0
