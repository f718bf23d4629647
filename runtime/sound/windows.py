"""Windows of a recording: which ones a data set and `classify` take."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any, TypeGuard

import numpy as np
import numpy.typing as npt

from edgepress.runtime.sound.features import FrameFeatures
from edgepress.runtime.sound.frames import frames_of, net_input
from edgepress.runtime.sound.wav import SUFFIX, Samples, read_wav, with_rate

ONE_WINDOW = 3.0
"""Windows of a recording up to which it gives one."""
STEPS = 4
"""Steps of a window from one answer to the next."""
QUIETEST = 0.25
"""Least energy of a window as a share of that of the loudest one of its recording, 6 dB below it: people record a word
with pauses before and after it."""
MOSTLY = 0.75
"""Share of a recording's energy that makes one window all there is to hear."""
AT_ONCE = 64
"""Windows that a model answers at once."""


def is_recording(source: Any) -> TypeGuard[str | os.PathLike[str] | bytes]:
    """Whether something is the path of a WAV file, or the bytes of one."""
    if isinstance(source, bytes):
        return source[:4] == b"RIFF" and source[8:12] == b"WAVE"
    return isinstance(source, (str, os.PathLike)) and os.fspath(source).lower().endswith(SUFFIX)


def windows_of(
    samples: Samples, sound: FrameFeatures, window: int, step: int, quietest: float = QUIETEST
) -> tuple[npt.NDArray[np.uint16], npt.NDArray[np.int64]]:
    """The frames of a recording, uint16 (frames, channels), and the first frame of each of its windows.

    A recording of up to three windows, or with nearly all energy in one, has one window: the loudest, after silence in
    front if it is shorter. A longer one has windows a step apart without those of digital silence, unless there is
    nothing else, and without quiet ones.

    Args:
        samples: Its samples, int16, shape (n,).
        sound: The front end.
        window: Frames of a window.
        step: Frames from one window to the next.
        quietest: Least energy of a window as a share of that of the loudest one, 0-1; 0 keeps all, such as of
            background.
    """
    missing = sound.samples_of(window) - len(samples)
    if missing > 0:
        samples = np.concatenate([np.zeros(missing, np.int16), samples])
    frames = frames_of(samples, sound)
    starts = np.arange(len(frames) - window + 1)
    energy = np.concatenate([[0.0], np.cumsum(samples.astype(np.float64) ** 2)])
    begin = starts * sound.step
    loudness = energy[begin + sound.samples_of(window)] - energy[begin]
    is_one = len(frames) <= ONE_WINDOW * window or (quietest > 0 and loudness.max() > MOSTLY * energy[-1])
    if is_one:
        return frames, starts[[np.argmax(loudness)]]
    heard = np.concatenate([[0], np.cumsum(frames.any(axis=1))])
    has_sound = heard[starts + window] > heard[starts]
    kept = starts[::step][(has_sound & (loudness >= quietest * loudness.max()))[::step]]
    return frames, kept if len(kept) else starts[:1]


def items_of(
    source: str | os.PathLike[str] | bytes, sound: FrameFeatures, shape: tuple[int, ...]
) -> Iterator[npt.NDArray[np.float32]]:
    """The windows of a WAV file as a net takes them, a quarter of a window apart: batches of float32 (n, *shape).

    Args:
        source: Its path, or its bytes.
        sound: The front end.
        shape: Shape of an item, (frames, channels) or (frames, channels, 1).

    Raises:
        InputError: It can't be read, or its rate is no multiple of the front end's.
    """
    name = "The recording" if isinstance(source, bytes) else f"The recording {Path(os.fspath(source))}"
    samples, rate = read_wav(source)
    window = shape[0]
    frames, starts = windows_of(with_rate(samples, rate, sound.rate, name), sound, window, max(window // STEPS, 1))
    for begin in range(0, len(starts), AT_ONCE):
        rows = starts[begin : begin + AT_ONCE, None] + np.arange(window)
        yield net_input(frames[rows], sound).reshape(-1, *shape)
