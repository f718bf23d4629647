"""Keep two seconds around what was nearly heard, or heard with little certainty, to label it and train on.

An event is doubtful if the mean of its label reached half of the threshold, and never came nearer to 1 than halfway
from the threshold; or if it reached half of the threshold by answers that are not accepted.
"""

from __future__ import annotations

import dataclasses
import struct
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from edgepress.runtime.keeping import Keeper
from edgepress.runtime.sound.event_rule import EventRule
from edgepress.runtime.sound.listen_options import ListenOptions

BEFORE_S = 1.5
"""Seconds that are kept before the end of the first window that nearly had the label."""
AFTER_S = 0.5
"""Seconds that are kept after it, while the mean may still rise."""
NEARLY = 0.5
"""Share of the threshold from which on a label was nearly heard."""


@dataclasses.dataclass
class _Doubt:
    """What was nearly heard: when, in samples, which label, its largest mean so far, and that of accepted answers."""

    now: int
    label: str
    most: float
    accepted: float


class Doubts:
    """Takes all samples and answers of a stream, and keeps what is doubtful.

    Args:
        keeper: The folder.
        labels: The model's labels.
        options: When a label is heard.
        rate: Samples a second.
    """

    def __init__(self, keeper: Keeper, labels: Sequence[str], options: ListenOptions, rate: int) -> None:
        self._keeper = keeper
        self._labels = labels
        self._sure = (1 + options.threshold) / 2
        self._rate = rate
        self._rule = EventRule(labels, dataclasses.replace(options, threshold=NEARLY * options.threshold), rate)
        self._waiting: dict[str, _Doubt] = {}
        self._samples = np.zeros(0, np.int16)
        self._begin = 0
        """Place of the first sample that is held in the stream."""

    def hear(self, samples: npt.NDArray[np.int16]) -> None:
        """Hold the next samples, int16, shape (n,)."""
        self._samples = np.concatenate([self._samples, samples])

    def take(self, now: int, means: npt.NDArray[np.float64], accepted: npt.NDArray[np.float64]) -> None:
        """Take the means of the last answers.

        Args:
            now: Samples up to the end of the last one's window.
            means: Mean probability of each label, as if all answers were accepted, shape (labels,).
            accepted: The same of those that are.
        """
        self._settle(now - round(AFTER_S * self._rate))
        for event in self._rule.take(now, means):
            self._waiting.setdefault(event["label"], _Doubt(now, event["label"], 0.0, 0.0))
        for doubt in self._waiting.values():
            place = self._labels.index(doubt.label)
            doubt.most = max(doubt.most, float(means[place]))
            doubt.accepted = max(doubt.accepted, float(accepted[place]))

    def forget(self) -> None:
        """Drop samples that no doubt needs any more: call it after the answers of the samples that were heard."""
        end = self._begin + len(self._samples)
        since = min([end, *(doubt.now for doubt in self._waiting.values())]) - round(BEFORE_S * self._rate)
        dropped = max(since - self._begin, 0)
        self._samples = self._samples[dropped:].copy()
        self._begin += dropped

    def end(self, begin: int) -> None:
        """Keep what waits with what there is of it: a gap follows, and then the sample at the place `begin`."""
        self._settle(self._begin + len(self._samples))
        self._samples = self._samples[:0]
        self._begin = begin

    def _settle(self, before: int) -> None:
        """Keep doubts that are so old, and forget those that became sure."""
        for doubt in [doubt for doubt in self._waiting.values() if doubt.now <= before]:
            del self._waiting[doubt.label]
            if doubt.accepted < self._sure:
                self._keep(doubt)

    def _keep(self, doubt: _Doubt) -> None:
        first = max(doubt.now - round(BEFORE_S * self._rate) - self._begin, 0)
        samples = self._samples[first : max(doubt.now + round(AFTER_S * self._rate) - self._begin, 0)]
        if len(samples):
            number = self._labels.index(doubt.label)
            self._keeper.keep(lambda: (".wav", wav_bytes(samples, self._rate)), number, doubt.most)


def wav_bytes(samples: npt.NDArray[np.int16], rate: int) -> bytes:
    """A WAV file of one channel in 16 bits, from samples of shape (n,)."""
    data = samples.astype("<i2").tobytes()
    form = struct.pack("<4sIHHIIHH", b"fmt ", 16, 1, 1, rate, 2 * rate, 2, 16)
    body = b"WAVE" + form + struct.pack("<4sI", b"data", len(data)) + data
    return b"RIFF" + struct.pack("<I", len(body)) + body
