"""Listen: samples as they arrive, and an event whenever a label is heard.

    arecord -q -t raw -f S16_LE -c 1 -r 16000 | python -m edgepress.runtime listen model.tflite -

A model answers each window of the last frames, a step apart; the mean of the last answers goes to `EventRule`. An
answer that is not accepted is for no label there.
"""

from __future__ import annotations

import argparse
import datetime
import os
import sys
import time
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import replace
from itertools import chain, islice
from typing import IO, TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from edgepress.runtime.errors import InputError
from edgepress.runtime.keeping import QUOTA, Keeper
from edgepress.runtime.sound.doubt import Doubts
from edgepress.runtime.sound.event_rule import EventRule
from edgepress.runtime.sound.features import FrameFeatures
from edgepress.runtime.sound.frames import front_end_of, net_input
from edgepress.runtime.sound.listen_options import ListenOptions
from edgepress.runtime.sound.microphone import PREFIX, Microphone
from edgepress.runtime.sound.wav import SUFFIX, read_wav, with_rate
from edgepress.runtime.sound.windows import STEPS
from edgepress.runtime.streams import broker_for, connected

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
        self._front_end = front_end_of(self.sound)
        self._window = model.shape[0]
        self._step = self._options.step or max(self._window // STEPS, 1)
        if self._step > self._window:
            problem = (
                f"An answer every {self._step} frames leaves sound out: the model takes windows of {self._window}."
            )
            raise InputError(problem, f"Give 1 to {self._window} frames.")
        self._frames = np.zeros((0, self.sound.channels), np.uint16)
        self._last_answers = deque["npt.NDArray[np.float32]"](maxlen=self._options.average)
        self._doubts: Doubts | None = None
        self._judged = -self._window
        """The first frame of the window that the test for drift had last."""
        self._rule = EventRule(model.labels, self._options, self.sound.rate)
        self._taken = 0
        """Frames that have left the front end before those that are held."""

    def keep(self, keeper: Keeper) -> None:
        """Keep doubtful sounds there, from now on."""
        self._doubts = Doubts(keeper, self.labels, self._options, self.sound.rate)

    def reset(self) -> None:
        """Forget the sound so far, after which there is a gap; time goes on, and so does the pause of a label."""
        self._taken += len(self._frames)
        self._frames = self._frames[:0]
        self._front_end.reset()
        self._last_answers.clear()
        if self._doubts is not None:
            self._doubts.end(self._taken * self.sound.step)

    def push(self, samples: Samples) -> list[dict[str, Any]]:
        """Take samples, int16, shape (n,); the events that they complete, in their order."""
        events = []
        if self._doubts is not None:
            self._doubts.hear(samples)
        for now, answer in self.answers(samples):
            self._last_answers.append(answer)
            if len(self._last_answers) == self._options.average:
                accepted, means = np.mean(self._last_answers, axis=0, dtype=np.float64)
                events += self._rule.take(now, accepted)
                if self._doubts is not None:
                    self._doubts.take(now, means, accepted)
        if self._doubts is not None:
            self._doubts.forget()
        return events

    def answers(self, samples: Samples) -> Iterator[tuple[int, npt.NDArray[np.float32]]]:
        """Take samples; for each window that they complete, the samples up to its end and the answer.

        An answer is float32, shape (2, labels): the labels' probabilities, 0 if the contract does not accept them, and
        the same as if it did.
        """
        self._frames = np.concatenate([self._frames, self._front_end.push(samples)])
        while len(self._frames) >= self._window:
            item = net_input(self._frames[: self._window], self.sound).reshape(1, *self._model.shape)
            yield self.sound.samples_of(self._taken + self._window), self._judge(item)
            self._frames = self._frames[self._step :]
            self._taken += self._step

    def _judge(self, item: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
        """The answer to a window, which the test for drift has, too, unless it overlaps the last one that it had."""
        limits = self._model.limits
        scores = self._model.scores(item)
        drift = self._model.drift
        if drift is not None and self._taken - self._judged >= self._window:
            drift.look(item[0], float(limits.certainty(scores)[0]))
            self._judged = self._taken
        probabilities = np.nan_to_num(limits.probabilities(scores)[0], nan=0.0)
        accepted = limits.accepted(scores)
        kept = probabilities if accepted is None or accepted[0] else np.zeros_like(probabilities)
        return np.stack([kept, probabilities])


def usual_options(model: Model) -> ListenOptions:
    """When a label is heard, as the contract of a model says."""
    listen = model.contract.listen if model.contract is not None else None
    return listen or ListenOptions()


def sound_of(model: Model) -> FrameFeatures:
    """The front end of a model.

    Raises:
        InputError: It has none.
    """
    sound = model.contract.sound if model.contract is not None else None
    if sound is None:
        hint = "Train one: edgepress train --data FOLDER, with a folder of recordings for each class."
        raise InputError(f"{model.path} is no model of sound: its contract has no front end.", hint)
    return sound


def raw_samples(file: IO[bytes]) -> Iterator[Samples]:
    """Samples in 16 bits as they arrive, lower byte first, until the end."""
    rest = b""
    read: Callable[[int], bytes] = getattr(file, "read1", file.read)  # what is there, and not only a full chunk
    while data := read(CHUNK):
        data = rest + data
        whole = len(data) - len(data) % 2
        rest = data[whole:]
        yield np.frombuffer(data[:whole], "<i2").astype(np.int16)


def samples_from(
    source: str, sound: FrameFeatures, tell: Callable[[str], None] = lambda text: None
) -> Iterator[Samples | None]:
    """The samples of a source, as they arrive; None where some are missing.

    Args:
        source: - for standard input, a microphone (alsa:NAME), a file or pipe of raw samples, or a WAV file.
        sound: The front end.
        tell: Called with a sentence when a microphone loses samples, is lost or is back.

    Raises:
        InputError: It can't be read.
    """
    if source == "-":
        yield from raw_samples(sys.stdin.buffer)
    elif source.startswith(PREFIX):
        yield from Microphone(source.removeprefix(PREFIX), sound.rate, tell).samples(raw_samples)
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


def listen_with(model: Model, args: argparse.Namespace, tell: Callable[[str], None]) -> Iterator[dict[str, Any]]:
    """One document an event, with the time of day, and one at the end of the sound; events also go to a broker.

    Nothing is kept or sent before there is sound, so that a command that is refused leaves nothing.
    Of a model that watches for drift, each has the state of the test (`DriftWatch.state`), and an alarm is an event.
    """
    given = {"ignore": None if args.ignore is None else tuple(args.ignore), "pause_s": args.pause}
    given |= {name: getattr(args, name) for name in ("threshold", "average", "step")}
    options = replace(usual_options(model), **{name: value for name, value in given.items() if value is not None})
    listener = Listener(model, options)
    broker = broker_for(model, args, tell)
    parts = samples_from(args.source, listener.sound, tell)
    first = list(islice(parts, 1))
    if (keeper := _keeper(model, args, tell)) is not None:
        listener.keep(keeper)
    count = samples = 0
    alarm = False
    run = f"{os.getpid()}-{time.time_ns():x}"
    with connected(broker) as send:
        for part in chain(first, parts):
            if part is None:
                listener.reset()
                continue
            samples += len(part)
            events = listener.push(part)
            state = {} if model.drift is None else {"drift": model.drift.state()}
            for event in events:
                count += 1
                event |= {"at": _now()}
                if send is not None:
                    about = {"id": f"{run}-{count}", "what": "heard", "score": event["probability"], **event}
                    send(about | ({"drift": bool(state["drift"]["alarm"])} if state else {}))
                yield event | state
            if state and state["drift"]["alarm"] and not alarm:
                alarm = True
                about = {"what": "drift", "at": _now(), "promise": state["drift"]["meaning"], "drift": True}
                if send is not None:
                    send({"id": f"{run}-drift", "label": None, **about})
    listener.reset()
    state = {} if model.drift is None else {"drift": model.drift.state()}
    yield {"heard_s": round(samples / listener.sound.rate, 3), "events": count} | state


def _now() -> str:
    return datetime.datetime.now(datetime.UTC).isoformat(timespec="milliseconds")


def _keeper(model: Model, args: argparse.Namespace, tell: Callable[[str], None]) -> Keeper | None:
    """Where doubtful sounds are kept, if the options name a folder.

    Raises:
        InputError: The folder or the quota can't be used.
    """
    if args.keep is None:
        return None
    quota = QUOTA if args.quota is None else args.quota
    about: dict[str, Any] = {"labels": model.labels, "model": model.path.name}
    return Keeper(args.keep, quota, **about, prepare=None, on_trouble=tell)
