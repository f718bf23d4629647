"""Listen: samples as they arrive, and an event whenever a label is heard.

    arecord -q -t raw -f S16_LE -c 1 -r 16000 | python -m edgepress.runtime listen model.tflite -

A model answers each window of the last frames, a step apart; the mean of the last answers goes to `EventRule`.
"""

from __future__ import annotations

import argparse
import datetime
import sys
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import TYPE_CHECKING, Any, BinaryIO

import numpy as np
import numpy.typing as npt

from edgepress.runtime.errors import InputError
from edgepress.runtime.sound.event_rule import EventRule
from edgepress.runtime.sound.features import SoundFeatures
from edgepress.runtime.sound.front_end import FrontEnd, net_input
from edgepress.runtime.sound.listen_options import ListenOptions
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
        options: When a label is heard; None: as its contract says (`edgepress calibrate --max-alarms`), or as usual.

    Raises:
        InputError: The model is none of sound, or the step is longer than its window.
    """

    def __init__(self, model: Model, options: ListenOptions | None = None) -> None:
        model.require_labels()
        self._model = model
        self._options = options or usual_options(model)
        self.labels = model.labels
        self.sound = sound_of(model)
        self._front_end = FrontEnd(self.sound)
        self._window = model.shape[0]
        self._step = self._options.step or max(self._window // STEPS, 1)
        if self._step > self._window:
            problem = (
                f"An answer every {self._step} frames leaves sound out: the model takes windows of {self._window}."
            )
            raise InputError(problem, f"Give 1 to {self._window} frames.")
        self._frames = np.zeros((0, self.sound.channels), np.uint16)
        self._last_answers = deque["npt.NDArray[np.float32]"](maxlen=self._options.average)
        self._rule = EventRule(model.labels, self._options, self.sound.rate)
        self._taken = 0
        """Frames that have left the front end before those that are held."""

    def push(self, samples: Samples) -> list[dict[str, Any]]:
        """Take samples, int16, shape (n,); the events that they complete, in their order."""
        events = []
        for now, probabilities in self.answers(samples):
            self._last_answers.append(probabilities)
            if len(self._last_answers) == self._options.average:
                events += self._rule.take(now, np.mean(self._last_answers, axis=0, dtype=np.float64))
        return events

    def answers(self, samples: Samples) -> Iterator[tuple[int, npt.NDArray[np.float32]]]:
        """Take samples; for each window that they complete, the samples up to its end and the labels' probabilities."""
        self._frames = np.concatenate([self._frames, self._front_end.push(samples)])
        while len(self._frames) >= self._window:
            item = net_input(self._frames[: self._window], self.sound).reshape(1, *self._model.shape)
            probabilities = self._model.limits.probabilities(self._model.scores(item))[0]
            yield self.sound.samples_of(self._taken + self._window), np.nan_to_num(probabilities, nan=0.0)
            self._frames = self._frames[self._step :]
            self._taken += self._step


def usual_options(model: Model) -> ListenOptions:
    """When a label is heard, as the contract of a model says."""
    listen = model.contract.listen if model.contract is not None else None
    return listen or ListenOptions()


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
    given = {"ignore": None if args.ignore is None else tuple(args.ignore), "pause_s": args.pause}
    given |= {name: getattr(args, name) for name in ("threshold", "average", "step")}
    options = replace(usual_options(model), **{name: value for name, value in given.items() if value is not None})
    listener = Listener(model, options)
    samples = 0
    events = 0
    for part in samples_from(args.source, listener.sound):
        samples += len(part)
        for event in listener.push(part):
            events += 1
            yield event | {"at": datetime.datetime.now(datetime.UTC).isoformat(timespec="milliseconds")}
    yield {"heard_s": round(samples / listener.sound.rate, 3), "events": events}
