"""The rule by which answers become events: the same in `listen`, in evaluations of streams, and in exported C."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from edgepress.runtime.sound.listen_options import ListenOptions


class EventRule:
    """Takes the mean probabilities of one answer after the other, and returns events.

    A label is heard when its mean reaches the threshold; again, when it has been below it, and the pause is over.

    Args:
        labels: The model's labels.
        options: When a label is heard.
        rate: Samples a second.
    """

    def __init__(self, labels: Sequence[str], options: ListenOptions, rate: int) -> None:
        self._places = [place for place, label in enumerate(labels) if label not in options.ignore]
        self._labels = labels
        self._options = options
        self._rate = rate
        self._below = dict.fromkeys(labels, True)
        self._last: dict[str, int] = {}

    def take(self, now: int, means: npt.NDArray[np.float64]) -> list[dict[str, Any]]:
        """The events of an answer after so many samples: `time_s`, `label` and its mean `probability`.

        Args:
            now: Samples up to the end of its window.
            means: Mean probability of each label over the last answers, shape (labels,).
        """
        events = []
        for place in self._places:
            label = self._labels[place]
            probability = float(means[place])
            if probability < self._options.threshold:
                self._below[label] = True
            elif self._below[label] and not self._is_paused(label, now):
                self._below[label] = False
                self._last[label] = now
                time_s = round(now / self._rate, 3)
                events.append({"time_s": time_s, "label": label, "probability": round(probability, 4)})
        return events

    def _is_paused(self, label: str, now: int) -> bool:
        return label in self._last and now - self._last[label] < self._options.pause_s * self._rate
