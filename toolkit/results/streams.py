"""What `evaluate --stream --json` records of recordings: which events were heard, and when, and the false alarms.

Anybody may have written such a document: its size and the type of every field are checked as those of `benchmark.json`.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edgepress.toolkit.documents import parse_json, read_limited, with_halves_as_words
from edgepress.toolkit.errors import InputError
from edgepress.toolkit.results.file import first_wrong

SCHEMA_VERSION = 1
COMMAND = "edgepress evaluate FILE --stream RECORDINGS --events TABLE --json > result.json"
LEAST_HOURS = 1e-6
"""Length of all recordings at least; it also allows for the rounding of a sum."""
MOST_HOURS = 1e6
"""Length of all recordings at most."""
MOST_THRESHOLDS = 1000
"""Thresholds of a curve at most."""
MOST_EVENTS = 1 << 40
"""Events, or false alarms, at most."""
MARKS = {"hours", "alarms_per_hour", "rule"}
"""Fields that the document of recordings has, and no other one."""


@dataclass(frozen=True)
class HeardEvent:
    """An event that a person has labelled, and when it was heard.

    Attributes:
        start_s, end_s: Seconds of its beginning and end in the recording.
        label: Its label.
        heard_s: When it was heard; null if it was missed.
    """

    start_s: float
    end_s: float
    label: str
    heard_s: float | None = None

    @property
    def delay_s(self) -> float | None:
        """Seconds from its end to when it was heard; None if it was missed."""
        return None if self.heard_s is None else self.heard_s - self.end_s


@dataclass(frozen=True)
class FalseAlarm:
    """A label that was heard and was not there.

    Attributes:
        time_s: When, in seconds from the beginning of the recording.
        label: The label.
    """

    time_s: float
    label: str


@dataclass(frozen=True)
class HeardFile:
    """A recording, and what was heard in it.

    Attributes:
        file: Its path.
        sha256: SHA-256 of the file.
        seconds: Its length.
        events: What there was to hear.
        alarms: What was heard besides.
    """

    file: str
    sha256: str
    seconds: float
    events: tuple[HeardEvent, ...]
    alarms: tuple[FalseAlarm, ...]


@dataclass(frozen=True, kw_only=True)
class HeardCount:
    """What was heard at one threshold, of one label or of all.

    Attributes:
        label: The label; "" for all.
        threshold: The threshold.
        events, missed: Number of labelled events, and of those that were missed.
        alarms: Number of false alarms.
        delay_s: Median delay in seconds; null if nothing was heard.
    """

    label: str
    threshold: float
    events: int
    missed: int
    alarms: int
    delay_s: float | None


@dataclass(frozen=True, kw_only=True)
class StreamResult:
    """What is read of the document.

    Attributes:
        file, sha256: The model's file, and its SHA-256.
        engine: The engine that answered.
        hours: Length of the recordings that were answered.
        rule: When a label is heard: "threshold" and the other options of `listen`.
        labels: Labels that are events.
        heard: The recordings.
        curve: What was heard at each of several thresholds, in their order.
        per_label: What was heard of each label, at the threshold of `rule`.
    """

    file: str
    sha256: str
    engine: str
    hours: float
    rule: dict[str, Any]
    labels: tuple[str, ...]
    heard: tuple[HeardFile, ...]
    curve: tuple[HeardCount, ...] = ()
    per_label: tuple[HeardCount, ...] = ()

    @property
    def alarms(self) -> int:
        """Number of false alarms."""
        return sum(len(file.alarms) for file in self.heard)


def is_stream_result(path: Path) -> bool:
    """Whether a file is a result about recordings; False if it can't be read."""
    try:
        return path.is_file() and parse_json(read_limited(path)).keys() >= MARKS
    except (OSError, ValueError):
        return False


def load_stream(path: Path) -> StreamResult:
    """Read a document of `evaluate --stream --json`.

    Raises:
        InputError: It is damaged, or was written by another version of edgepress.
    """
    from pydantic import TypeAdapter

    try:
        text = read_limited(path)
        version = parse_json(text).get("schema_version")
        if version is None:
            raise InputError(
                f"{path} does not say which events were missed: its edgepress was older.", f"Run {COMMAND}"
            )
        if version != SCHEMA_VERSION:
            problem = f"{path} has version {version!r} of a result about recordings; accepted: {SCHEMA_VERSION}."
            raise InputError(problem, "Upgrade edgepress on this machine.")
        result = TypeAdapter(StreamResult).validate_json(with_halves_as_words(text), strict=True)
        for wrong in _find_errors(result):
            raise ValueError(wrong)
    except OSError as e:
        raise InputError(f"{path} can't be read: {e.strerror or e}.", "Check the path.") from e
    except ValueError as e:  # pydantic's error is a ValueError, too
        raise InputError(f"{path} is not a valid result about recordings: {first_wrong(e)}.", f"Run {COMMAND}") from e
    return result


def _find_errors(result: StreamResult) -> Iterator[str]:
    """What types cannot express."""
    seconds = sum(file.seconds for file in result.heard if file.seconds > 0)
    if not LEAST_HOURS <= result.hours <= min(seconds / 3600 + LEAST_HOURS, MOST_HOURS):
        yield f"hours is {result.hours:g}, accepted: above 0, to the length of the recordings"
    threshold = result.rule.get("threshold")
    if not isinstance(threshold, (int, float)) or not 0 < threshold <= 1:
        yield f"rule.threshold is {threshold!r}, accepted: above 0 to 1"
    for n, file in enumerate(result.heard):
        if not file.sha256:
            yield f"heard.{n}.sha256 is empty"
    for n, count in enumerate((*result.curve, *result.per_label)):
        if not 0 < count.threshold <= 1:
            yield f"threshold {n + 1} is {count.threshold!r}, accepted: above 0 to 1"
        if not 0 <= count.missed <= count.events <= MOST_EVENTS or not 0 <= count.alarms <= MOST_EVENTS:
            yield f"of {count.events} events, {count.missed} are missed, with {count.alarms} false alarms"
    if len(result.curve) > MOST_THRESHOLDS:
        yield f"curve has {len(result.curve)} thresholds, accepted: up to {MOST_THRESHOLDS}"
