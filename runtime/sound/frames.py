"""Frames of any front end, and what a net takes of them. Which front end makes them is decided here alone."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from edgepress.runtime.sound.features import FrameFeatures, LogMelFeatures, SoundFeatures
from edgepress.runtime.sound.framing import Framing
from edgepress.runtime.sound.front_end import FrontEnd
from edgepress.runtime.sound.log_mel import LogMel


def front_end_of(features: FrameFeatures) -> Framing:
    """A front end with these parameters."""
    if isinstance(features, LogMelFeatures):
        return LogMel(features)
    assert isinstance(features, SoundFeatures)
    return FrontEnd(features)


def frames_of(samples: npt.NDArray[np.int16], features: FrameFeatures) -> npt.NDArray[np.uint16]:
    """The frames of a whole recording, uint16, shape (frames, channels)."""
    return front_end_of(features).push(samples)


def frames_of_each(samples: npt.NDArray[np.int16], features: FrameFeatures) -> npt.NDArray[np.uint16]:
    """The frames of several recordings of one length, shape (n, samples) to uint16 (n, frames, channels)."""
    return front_end_of(features).each(samples)


def net_input(frames: npt.NDArray[np.uint16], features: FrameFeatures) -> npt.NDArray[np.float32]:
    """Frames as a net takes them: divided by the unit and limited to the value range, float32."""
    values = frames.astype(np.float32) * np.float32(1 / features.unit)
    np.minimum(values, np.float32(features.value_range[1]), out=values)
    return values
