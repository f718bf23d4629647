"""Listen: samples as they arrive, and an event whenever a label is heard.

    arecord -q -t raw -f S16_LE -c 1 -r 16000 | python -m edgepress.runtime listen model.tflite -

A model answers each window of the last frames, a step apart. A label is heard when the mean of its probabilities over
the last answers reaches the threshold; again, when it has been below it, and the pause is over.
"""

from __future__ import annotations

import argparse
import datetime
import sys
from collections import deque
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any, BinaryIO

import numpy as np
import numpy.typing as npt

from edgepress.runtime.errors import InputError
from edgepress.runtime.sound.features import SoundFeatures
from edgepress.runtime.sound.front_end import FrontEnd, net_input
from edgepress.runtime.sound.listen_options import IGNORED, ListenOptions
from edgepress.runtime.sound.wav import SUFFIX, read_wav, with_rate
from edgepress.runtime.sound.windows import STEPS

if TYPE_CHECKING:
    from edgepress.runtime.model import Model

    Samples = npt.NDArray[np.int16]

CHUNK = 1 << 16
"""Bytes that are read at once at most; less is taken as it arrives."""


class Listener:
    """Takes samples, and returns events.

    Args:
        model: A model of sound.
        options: When a label is heard.

    Raises:
        InputError: The model is none of sound.
    """

    def __init__(self, model: Model, options: ListenOptions | None = None) -> None:
        model.require_labels()
        self._model = model
        self._options = options or ListenOptions()
        self.sound = sound_of(model)
        self._front_end = FrontEnd(self.sound)
        self._window = model.shape[0]
        self._step = self._options.step or max(self._window // STEPS, 1)
        self._frames = np.zeros((0, self.sound.channels), np.uint16)
        self._answers = deque["npt.NDArray[np.float32]"](maxlen=self._options.average)
        self._below = dict.fromkeys(model.labels, True)
        self._last: dict[str, int] = {}
        self._taken = 0
        """Frames that have left the front end before those that are held."""

    def push(self, samples: Samples) -> list[dict[str, Any]]:
        """Take samples, int16, shape (n,); the events that they complete, in their order.

        An event has the seconds of sound before the end of its window, `time_s`, the `label`, and the mean
        `probability`.
        """
        self._frames = np.concatenate([self._frames, self._front_end.push(samples)])
        events = []
        while len(self._frames) >= self._window:
            events += self._answer()
            self._frames = self._frames[self._step :]
            self._taken += self._step
        return events

    def _answer(self) -> list[dict[str, Any]]:
        item = net_input(self._frames[: self._window], self.sound).reshape(1, *self._model.shape)
        scores = self._model.limits.probabilities(self._model.scores(item))[0]
        self._answers.append(np.nan_to_num(scores, nan=0.0))
        mean = np.mean(self._answers, axis=0, dtype=np.float64)
        now = self.sound.samples_of(self._taken + self._window)
        return [
            event
            for label, each in zip(self._model.labels, mean, strict=True)
            if (event := self._look(label, each, now))
        ]

    def _look(self, label: str, probability: float, now: int) -> dict[str, Any] | None:
        """The event of a label, if it is heard now, after so many samples, and was not before."""
        if label in self._options.ignore:
            return None
        if probability < self._options.threshold:
            self._below[label] = True
            return None
        paused = label in self._last and now - self._last[label] < self._options.pause_s * self.sound.rate
        if not self._below[label] or paused or len(self._answers) < self._options.average:
            return None
        self._below[label] = False
        self._last[label] = now
        return {"time_s": round(now / self.sound.rate, 3), "label": label, "probability": round(float(probability), 4)}


def sound_of(model: Model) -> SoundFeatures:
    """The front end of a model.

    Raises:
        InputError: It has none.
    """
    sound = model.contract.sound if model.contract is not None else None
    if sound is None:
        hint = "Train one: edgepress train --data FOLDER, with a folder of recordings for each class."
        raise InputError(f"{model.path} is no model of sound: its contract has no front end.", hint)
    return sound


def raw_samples(file: BinaryIO) -> Iterator[Samples]:
    """Samples in 16 bits as they arrive, lower byte first, until the end."""
    rest = b""
    read: Callable[[int], bytes] = getattr(file, "read1", file.read)  # what is there, and not only a full chunk
    while data := read(CHUNK):
        data = rest + data
        whole = len(data) - len(data) % 2
        rest = data[whole:]
        yield np.frombuffer(data[:whole], "<i2").astype(np.int16)


def samples_from(source: str, sound: SoundFeatures) -> Iterator[Samples]:
    """The samples of standard input (-), of a file or pipe of raw samples, or of a WAV file, a second at a time.

    Raises:
        InputError: It can't be read.
    """
    if source == "-":
        yield from raw_samples(sys.stdin.buffer)
    elif source.lower().endswith(SUFFIX):
        samples, rate = read_wav(source)
        samples = with_rate(samples, rate, sound.rate, f"The recording {source}")
        for start in range(0, len(samples), sound.rate):
            yield samples[start : start + sound.rate]
    else:
        try:
            with open(source, "rb") as file:
                yield from raw_samples(file)
        except OSError as e:
            raise InputError(f"{source} can't be read: {e.strerror}.", "Give a WAV file, a pipe, or -.") from e


def listen_with(model: Model, args: argparse.Namespace) -> Iterator[dict[str, Any]]:
    """One document an event, with the time of day, and one at the end of the sound."""
    ignore = IGNORED if args.ignore is None else tuple(args.ignore)
    options = ListenOptions(
        threshold=args.threshold, average=args.average, pause_s=args.pause, ignore=ignore, step=args.step
    )
    listener = Listener(model, options)
    samples = 0
    events = 0
    for part in samples_from(args.source, listener.sound):
        samples += len(part)
        for event in listener.push(part):
            events += 1
            yield event | {"at": datetime.datetime.now(datetime.UTC).isoformat(timespec="milliseconds")}
    yield {"heard_s": round(samples / listener.sound.rate, 3), "events": events}
