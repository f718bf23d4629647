"""Evaluate a model of sound on recordings as `listen` hears them: missed events, false alarms an hour, and delays.

A model that is right in 99 of 100 windows may be wrong many times an hour, so windows say little of what a device does.
Every recording is answered once; the rule of `listen` is then applied to its answers for each threshold.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from edgepress.converters.files import sha256_of_file
from edgepress.converters.process.worker import ChildDied, Worker
from edgepress.runtime import Contract
from edgepress.runtime.sessions import file_format
from edgepress.runtime.sound.event_rule import EventRule
from edgepress.runtime.sound.listen_options import ListenOptions
from edgepress.toolkit.arguments import OnProgress, check_arguments
from edgepress.toolkit.data.event_tables import Event, find_recordings, match, read_events
from edgepress.toolkit.data.for_model import describe
from edgepress.toolkit.data.sound_files import load_samples
from edgepress.toolkit.errors import InputError
from edgepress.toolkit.machine.environments import engine_for, python_for
from edgepress.toolkit.measurement.benchmarking.answers import crash_error
from edgepress.toolkit.results.streams import SCHEMA_VERSION, FalseAlarm, HeardEvent, HeardFile
from edgepress.toolkit.stats.rates import exact_share, rate_interval
from edgepress.toolkit.workers.listening import Listening, listen_on, open_listener
from edgepress.toolkit.workers.opening import Candidate

THRESHOLDS = (*(round(0.05 * n, 2) for n in range(1, 20)), 0.96, 0.97, 0.98, 0.99, 0.995, 0.999)
"""Thresholds of a curve."""
PART_S = 60
"""Seconds of sound that a process is given at once."""
SILENCE_S = 600.0
"""Seconds that such a part may take."""


@dataclass(frozen=True)
class HeardRecording:
    """A recording, and what a model answered while it ran.

    Attributes:
        file: The recording.
        seconds: Its length.
        ends: Samples up to the end of each window, int64, shape (n,).
        probabilities: Probability of each label, float32, shape (n, labels).
        events: What there is to hear.
        sha256: SHA-256 of the file; "" if it is not known.
    """

    file: Path
    seconds: float
    ends: npt.NDArray[np.int64]
    probabilities: npt.NDArray[np.float32]
    events: tuple[Event, ...]
    sha256: str = ""


@dataclass(frozen=True)
class Count:
    """What was heard at one threshold, of one label or of all.

    Attributes:
        label: The label; "" for all.
        threshold: The threshold.
        events: Number of labelled events.
        missed: How many of them were not heard.
        alarms: Number of times that a label was heard and was not there.
        delays_s: Seconds from the end of each event that was heard to when it was; below 0 if it was heard before.
    """

    label: str
    threshold: float
    events: int
    missed: int
    alarms: int
    delays_s: tuple[float, ...]

    @property
    def delay_s(self) -> float | None:
        """The median delay; None if nothing was heard."""
        return float(np.median(self.delays_s)) if self.delays_s else None

    def to_dict(self, hours: float) -> dict[str, Any]:
        """The row as JSON documents show it; intervals of 95 %, None without events."""
        return {
            "label": self.label,
            "threshold": self.threshold,
            "events": self.events,
            "missed": self.missed,
            "missed_share": asdict(exact_share(self.missed, self.events)) if self.events else None,
            "alarms": self.alarms,
            "alarms_per_hour": asdict(rate_interval(self.alarms, hours)),
            "delay_s": self.delay_s,
        }


@dataclass(frozen=True)
class StreamEvaluation:
    """What a model hears in recordings.

    Attributes:
        file: The model's file.
        contract: What it says of itself.
        engine: The engine that answered.
        options: The rule, with the threshold of the headline.
        recordings: The recordings with the model's answers.
    """

    file: Path
    contract: Contract
    engine: str
    options: ListenOptions
    recordings: tuple[HeardRecording, ...]

    @property
    def labels(self) -> tuple[str, ...]:
        """Labels that are events."""
        return self.options.events_of(self.contract.labels)

    @property
    def hours(self) -> float:
        """Length of the recordings that were answered."""
        return sum(recording.seconds for recording in self.recordings if len(recording.ends)) / 3600

    @property
    def unanswered(self) -> int:
        """Number of recordings that are shorter than a window: nothing is heard in them."""
        return sum(not len(recording.ends) for recording in self.recordings)

    def count(self, **changes: Any) -> list[Count]:
        """What is heard by the rule, perhaps with other options: the sum over labels, and each label."""
        options = replace(self.options, **changes)
        heard = self._heard(options)
        counts = [_count(options.threshold, label, heard) for label in self.labels]
        total = Count(
            "",
            options.threshold,
            sum(each.events for each in counts),
            sum(each.missed for each in counts),
            sum(each.alarms for each in counts),
            tuple(delay for each in counts for delay in each.delays_s),
        )
        return [total, *counts]

    def curve(self) -> list[Count]:
        """The sum over labels at each of `THRESHOLDS`."""
        return [self.count(threshold=threshold)[0] for threshold in THRESHOLDS]

    def to_dict(self) -> dict[str, Any]:
        """The document that `evaluate --stream --json` prints."""
        hours = self.hours
        total, *labels = self.count()
        return {
            "schema_version": SCHEMA_VERSION,
            "file": str(self.file),
            "sha256": sha256_of_file(self.file) if self.file.is_file() else "",
            "engine": self.engine,
            "recordings": [str(recording.file) for recording in self.recordings],
            "hours": hours,
            "unanswered": self.unanswered,
            "rule": asdict(self.options),
            "labels": self.labels,
            **total.to_dict(hours),
            "per_label": [count.to_dict(hours) for count in labels],
            "curve": [count.to_dict(hours) for count in self.curve()],
            "heard": [asdict(file) for file in self._heard(self.options)],
        }

    def _heard(self, options: ListenOptions) -> list[HeardFile]:
        """Which events of each recording are heard by a rule, and the false alarms."""
        assert self.contract.sound is not None
        heard = []
        for each in self.recordings:
            reported = events_of(each, self.contract.labels, options, self.contract.sound.rate)
            events: list[HeardEvent] = []
            alarms: list[FalseAlarm] = []
            for label in self.labels:
                expected = [event for event in each.events if event.label == label]
                times, false = match(expected, [event["time_s"] for event in reported if event["label"] == label])
                events += [HeardEvent(*event, heard_s=times.get(place)) for place, event in enumerate(expected)]
                alarms += [FalseAlarm(time, label) for time in false]
            heard.append(HeardFile(str(each.file), each.sha256, each.seconds, tuple(events), tuple(alarms)))
        return heard


def _count(threshold: float, label: str, heard: Sequence[HeardFile]) -> Count:
    events = [event for file in heard for event in file.events if event.label == label]
    alarms = sum(alarm.label == label for file in heard for alarm in file.alarms)
    delays = tuple(event.delay_s for event in events if event.delay_s is not None)
    return Count(label, threshold, len(events), len(events) - len(delays), alarms, delays)


def events_of(
    recording: HeardRecording, labels: Sequence[str], options: ListenOptions, rate: int
) -> list[dict[str, Any]]:
    """The events that `listen` reports of a recording."""
    rows = recording.probabilities
    if len(rows) < options.average:
        return []
    windows = np.lib.stride_tricks.sliding_window_view(rows, options.average, axis=0)
    means = windows.mean(axis=2, dtype=np.float64)
    places = [place for place, label in enumerate(labels) if label not in options.ignore]
    above = (means[:, places] >= options.threshold).any(axis=1)
    above[1:] |= above[:-1]  # a row below the threshold ends an event, and others change nothing
    rule = EventRule(labels, options, rate)
    ends = recording.ends[options.average - 1 :]
    return [event for place in np.flatnonzero(above) for event in rule.take(int(ends[place]), means[place])]


@check_arguments
def evaluate_stream(
    file: str | Path,
    *recordings: str | Path,
    events: str | Path | None = None,
    threshold: float | None = None,
    average: int | None = None,
    step: int | None = None,
    engine: str | None = None,
    threads: int = 1,
    on_progress: OnProgress | None = None,
) -> StreamEvaluation:
    """What a model of sound hears in recordings, as `listen` on a board does.

    Args:
        file: A `.tflite` or `.onnx` model of sound.
        recordings: WAV or FLAC files, or folders of them.
        events: A CSV table of what there is to hear: `start_s`, `end_s`, `label`, and `file` for several recordings.
            None: nothing, so that everything heard is a false alarm.
        threshold: Mean probability from which on a label is heard; None as the file says, as for the next two.
        average: Number of answers in the mean.
        step: Frames from one answer to the next.
        engine: Engine that runs the file; None takes the first installed one that opens it.
        threads: Number of threads that it may use.
        on_progress: Called with "sound" and the share that is done, 0-1.

    Raises:
        EdgepressError: The file, a recording or the table can't be used.
    """
    path = Path(file)
    contract = describe(path).contract
    if contract.sound is None:
        raise InputError(f"{path} is no model of sound: its contract has no front end.", "Omit --stream.")
    name = engine_for(path, file_format(path), engine)
    given: dict[str, Any] = {"threshold": threshold, "average": average, "step": step}
    usual = contract.listen or ListenOptions()
    options = replace(usual, **{key: value for key, value in given.items() if value is not None})
    if not options.events_of(contract.labels):
        problem = f"{path} has no label that is an event: {', '.join(contract.labels[:20])} are none."
        raise InputError(problem, "Train on sounds that are to be heard, in folders of other names.")
    sources = find_recordings(recordings)
    expected = read_events(Path(events), sources, contract.labels) if events is not None else {}
    candidate = Candidate(path, name, threads, contract=contract.to_json())
    answered = []
    try:
        with Worker(python=python_for(name), silence_s=SILENCE_S) as worker:
            for number, source in enumerate(sources):
                samples = load_samples(source, contract.sound.rate)
                seconds = len(samples) / contract.sound.rate
                if late := [event for event in expected.get(source, ()) if event.start_s > seconds]:
                    problem = (
                        f"{events}: an event of {source} begins at {late[0].start_s:g} s, and it has {seconds:.1f} s."
                    )
                    raise InputError(problem, "Accepted: seconds from the beginning of the recording.")
                (_,) = worker.call(open_listener, Listening(candidate, options.step))
                parts: list[Any] = []
                for start in range(0, len(samples), PART_S * contract.sound.rate):
                    parts += worker.call(listen_on, samples[start : start + PART_S * contract.sound.rate])
                    if on_progress is not None:
                        on_progress("sound", (number + start / len(samples)) / len(sources))
                ends, probabilities = (np.concatenate(column) for column in zip(*parts, strict=True))
                there = tuple(expected.get(source, ()))
                answered.append(HeardRecording(source, seconds, ends, probabilities, there, sha256_of_file(source)))
    except ChildDied as e:
        raise crash_error(candidate, e) from e
    if not any(len(each.ends) for each in answered):
        window = contract.sound.samples_of(contract.input.shape[0]) / contract.sound.rate
        problem = f"No recording is as long as a window of the model, {window:.2f} s."
        raise InputError(problem, "Give recordings as a device hears them: minutes or hours.")
    return StreamEvaluation(path, contract, name, options, tuple(answered))
