"""Samples of WAV and FLAC files at one rate, and the recordings of a data set that are read again to be mixed."""

from __future__ import annotations

import math
import os
import threading
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from edgepress.converters.files import require_memory
from edgepress.runtime.errors import MissingExtraError
from edgepress.runtime.sound.wav import MOST_FILE_BYTES, SUFFIX, Samples, read_wav, to_int16, with_rate
from edgepress.toolkit.data.decoding import in_threads
from edgepress.toolkit.data.readers.folder_layout import is_ignored
from edgepress.toolkit.errors import DataError, InputError

FLAC = ".flac"
SUFFIXES = frozenset({SUFFIX, FLAC})
MOST_SECONDS = 4 * 3600
"""Longest recording."""
SMALLER = "Augment windows instead of samples, with --augmentation masks, or give fewer recordings."


@dataclass(frozen=True)
class Recordings:
    """Files that are read when their samples are needed, and then held.

    Attributes:
        paths: The files.
        rate: The rate of their samples.
        noises: Numbers of those that are of no class that is heard, such as `background`.
    """

    paths: tuple[Path, ...]
    rate: int
    noises: tuple[int, ...]
    _held: dict[int, Samples] = field(default_factory=dict, compare=False, repr=False)
    _lock: threading.Lock = field(default_factory=threading.Lock, compare=False, repr=False)

    def hold(self, numbers: Sequence[int]) -> None:
        """Read the files of these numbers.

        Raises:
            DataError: They take more memory than is free.
            InputError: One can't be read any more.
        """
        if self._held.keys() >= set(numbers):
            return
        with self._lock:  # batches are made in threads, which read a long recording once
            missing = sorted(set(numbers) - self._held.keys())
            for number, samples in zip(missing, in_threads(self._load, missing), strict=True):
                require_memory(self.paths[number], samples.nbytes, SMALLER, error=DataError)
                self._held[number] = samples

    def samples(self, number: int) -> Samples:
        """The samples of a file, int16, shape (n,)."""
        self.hold([number])
        return self._held[number]

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickle it without the samples."""
        return Recordings, (self.paths, self.rate, self.noises)

    def _load(self, number: int) -> Samples:
        return load_samples(self.paths[number], self.rate)


def recordings_in(folder: Path) -> list[Path]:
    """The WAV and FLAC files of a folder and its folders, without hidden ones, in order."""
    recordings = []
    for parent, folders, files in os.walk(folder):
        folders[:] = [name for name in folders if not is_ignored(name)]
        recordings += [Path(parent, name) for name in files if is_recording(name) and not is_ignored(name)]
    return sorted(recordings)


def is_recording(name: str) -> bool:
    """Whether a file is a WAV or FLAC file by its name."""
    return os.path.splitext(name)[1].lower() in SUFFIXES


def load_samples(path: Path, rate: int) -> Samples:
    """The samples of a WAV or FLAC file at a rate, int16, shape (n,).

    Raises:
        InputError: It can't be read, or is longer than four hours.
    """
    samples, own = _read_flac(path) if path.suffix.lower() == FLAC else read_wav(path)
    require_length(samples, own, MOST_SECONDS, f"The recording {path}")
    return at_rate(samples, own, rate)


def require_length(samples: Samples, own: int, most: int, name: str) -> None:
    """Raise InputError if samples, `own` a second, are longer than so many seconds."""
    if len(samples) > most * own:
        raise InputError(f"{name} has {len(samples) // own} s; accepted: up to {most}.", "Cut it.")


def at_rate(samples: Samples, own: int, rate: int) -> Samples:
    """Samples, of which `own` are a second, at any other rate: as the runtime if it can, else by SciPy."""
    if own % rate == 0:
        return with_rate(samples, own, rate, "")
    from scipy.signal import resample_poly

    common = math.gcd(own, rate)
    return to_int16(resample_poly(samples.astype(np.float32), rate // common, own // common))


def _read_flac(path: Path) -> tuple[Samples, int]:
    soundfile = require_soundfile()
    try:
        if path.stat().st_size > MOST_FILE_BYTES:
            raise InputError(f"The recording {path} has more than {MOST_FILE_BYTES} bytes.", "Cut it.")
        parts = []
        with soundfile.SoundFile(path) as file:
            if file.format != "FLAC":  # libsndfile goes by the content
                raise InputError(f"The recording {path} is no FLAC file, but {file.format}.", "Name it by its format.")
            own = int(file.samplerate)
            if file.frames > MOST_SECONDS * own:
                raise InputError(f"The recording {path} has {file.frames // own} s.", f"Accepted: {MOST_SECONDS}.")
            for block in file.blocks(1 << 18, dtype="int32", always_2d=True):
                parts.append(to_int16(block.mean(axis=1) / 65536))
    except (soundfile.SoundFileError, OSError, ValueError) as e:
        raise InputError(f"The recording {path} can't be read: {str(e).rstrip('.')}.") from e
    if not sum(map(len, parts)):
        raise InputError(f"The recording {path} holds no samples.")
    return np.concatenate(parts), own


def require_soundfile() -> Any:
    """The package soundfile.

    Raises:
        MissingExtraError: It is not installed.
    """
    try:
        import soundfile
    except ImportError as e:
        raise MissingExtraError("Reading FLAC files", "soundfile", "sound") from e
    return soundfile
