"""What every front end does: samples as they arrive are cut into windows, and a frame is made of each."""

from __future__ import annotations

from abc import ABC, abstractmethod

import numpy as np
import numpy.typing as npt

from edgepress.runtime.sound.features import FrameFeatures

FRAMES_AT_ONCE = 512
"""A transform of so many frames lies in the cache of a core."""


class Framing(ABC):
    """A front end and its memory.

    Attributes:
        features: Its parameters.
    """

    def __init__(self, features: FrameFeatures) -> None:
        self.features = features
        self.reset()

    def reset(self) -> None:
        """Forget all sound so far."""
        self._rest = np.zeros(0, np.int16)

    def push(self, samples: npt.NDArray[np.int16]) -> npt.NDArray[np.uint16]:
        """The frames that are complete with these samples, which follow those before.

        Args:
            samples: Any number of samples, int16, shape (n,).

        Returns:
            The frames, uint16, shape (frames, channels), perhaps none.
        """
        if samples.dtype != np.int16 or samples.ndim != 1:
            raise TypeError(f"samples are int16 in one dimension, not {samples.dtype} of shape {samples.shape}")
        known = np.concatenate([self._rest, samples]) if len(self._rest) else samples
        step = self.features.step
        count = self.features.frames_of(len(known))
        self._rest = known[count * step :].copy()
        frames = np.empty((count, self.features.channels), np.uint16)
        if not count:
            return frames
        windows = np.lib.stride_tricks.sliding_window_view(known, self.features.window)[::step]
        for start in range(0, count, FRAMES_AT_ONCE):
            part = windows[start : start + FRAMES_AT_ONCE]
            frames[start : start + len(part)] = self.compute(part)
        return frames

    @abstractmethod
    def each(self, samples: npt.NDArray[np.int16]) -> npt.NDArray[np.uint16]:
        """The frames of several recordings of one length: (n, samples) to uint16 (n, frames, channels)."""

    @abstractmethod
    def compute(self, windows: npt.NDArray[np.int16]) -> npt.NDArray[np.uint16]:
        """The frames of the next windows of samples: (n, window), n > 0, to uint16 (n, channels)."""
