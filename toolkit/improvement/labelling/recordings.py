"""Recordings on the page of `label`: read within limits, drawn as a spectrogram, and made anew to be played.

The page never gets the bytes of a file, which may come from anyone: it gets the samples that were read, in a new file.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from edgepress.runtime.sound.wav import Samples
from edgepress.toolkit.data.sound_files import load_samples
from edgepress.toolkit.errors import InputError

RATE = 16_000
"""Samples a second that are drawn and played."""
MOST_BYTES = 64 << 20
"""Largest file of a recording."""
MOST_SECONDS = 60
"""Seconds that are drawn and played at most, from the beginning."""
COLUMNS = 256
"""Columns of a spectrogram, however long the recording is."""
BLOCK = 512
"""Samples in the Fourier transform of a column."""
QUIETEST_DB = -70.0
"""Level that is drawn white, below the loudest one, which is black."""


def read_recording(path: Path) -> Samples:
    """The first samples of a WAV or FLAC file, int16, shape (n,), `RATE` a second.

    Raises:
        InputError: It can't be read, or is too large.
    """
    try:
        size = path.stat().st_size
    except OSError as e:
        raise InputError(f"The recording {path} can't be read: {e.strerror}.") from e
    if size > MOST_BYTES:
        raise InputError(f"The recording {path} has {size} bytes; accepted: up to {MOST_BYTES}.", "Cut it.")
    return load_samples(path, RATE)[: MOST_SECONDS * RATE]


def spectrogram(samples: Samples) -> npt.NDArray[np.uint8]:
    """Levels over time and frequency as an image, uint8, shape (BLOCK // 4, COLUMNS, 1): dark is loud, low is below.

    Args:
        samples: The samples, int16, shape (n,).
    """
    padded = np.pad(samples.astype(np.float64), BLOCK // 2)
    begins = np.linspace(0, max(len(padded) - BLOCK, 0), COLUMNS).astype(np.int64)
    blocks = padded[begins[:, None] + np.arange(BLOCK)] * np.hanning(BLOCK)
    power: npt.NDArray[Any] = np.abs(np.fft.rfft(blocks)[:, : BLOCK // 2]) ** 2
    pairs = power.reshape(COLUMNS, -1, 2).sum(axis=2)
    levels = 10 * np.log10(np.maximum(pairs, 1.0))
    shares = np.clip((levels - levels.max()) / QUIETEST_DB, 0, 1)
    image: npt.NDArray[np.uint8] = np.rint(255 * shares).astype(np.uint8).T[::-1, :, None]
    return image
