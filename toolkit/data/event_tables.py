"""Recordings by name, the table of what there is to hear in them, and which of that was heard."""

from __future__ import annotations

import csv
import math
import os
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from edgepress.toolkit.data.sound_files import recordings_in
from edgepress.toolkit.errors import InputError

COLUMNS = ("start_s", "end_s", "label")
"""Columns of a table of events; `file` is needed for several recordings."""
AFTER_S = 1.0
"""Seconds after the end of an event in which it may still be heard."""
MOST_EVENTS = 1_000_000
MOST_TABLE_BYTES = 64 << 20


class Event(NamedTuple):
    """A sound that a person has labelled: seconds of its beginning and end in the recording, and its label."""

    start_s: float
    end_s: float
    label: str


def find_recordings(sources: Sequence[str | Path]) -> list[Path]:
    """The recordings that are named, and those in folders, in order.

    Raises:
        InputError: There is none, or one is named twice.
    """
    files: list[Path] = []
    for source in map(Path, sources):
        files += recordings_in(source) if source.is_dir() else [source]
    if not files:
        raise InputError("There is no recording to listen to.", "Name WAV or FLAC files, or a folder of them.")
    if twice := sorted(str(path) for path, count in Counter(files).items() if count > 1):
        raise InputError(f"{twice[0]} is named twice.", "Name each recording once.")
    return files


def read_events(path: Path, recordings: Sequence[Path], labels: Sequence[str]) -> dict[Path, list[Event]]:
    """The events of each recording in a CSV table.

    Raises:
        InputError: The table can't be read, or a row names no recording, no label or no times.
    """
    events: dict[Path, list[Event]] = {}
    by_name: dict[str, list[Path]] = {}
    for recording in recordings:
        by_name.setdefault(recording.name, []).append(recording)
    try:
        if path.stat().st_size > MOST_TABLE_BYTES:
            raise InputError(f"{path} has more than {MOST_TABLE_BYTES} bytes.", "Give a table of events.")
        with path.open(newline="", encoding="utf-8-sig") as file:
            reader = csv.DictReader(file)
            if missing := [name for name in COLUMNS if name not in (reader.fieldnames or ())]:
                hint = f"Accepted: a first line of {', '.join(COLUMNS)}, and file for several recordings."
                raise InputError(f"{path} has no column {missing[0]}.", hint)
            for number, row in enumerate(reader, 2):
                recording, event = _read_row(row, f"{path}, line {number}", by_name, labels)
                events.setdefault(recording, []).append(event)
                if number > MOST_EVENTS:
                    raise InputError(f"{path} has more than {MOST_EVENTS} rows.", "Give fewer events.")
    except (OSError, UnicodeDecodeError, csv.Error) as e:
        hint = f"Accepted: a CSV table with the columns {', '.join(COLUMNS)}, and file for several recordings."
        raise InputError(f"{path} can't be read: {getattr(e, 'strerror', None) or e}.", hint) from e
    return {recording: sorted(each) for recording, each in events.items()}


def match(expected: Sequence[Event], times: Iterable[float]) -> tuple[dict[int, float], list[float]]:
    """When each expected event was heard first, by its place, and the times when none was there to hear.

    A sound that is heard twice in its time is no false alarm.
    """
    heard: dict[int, float] = {}
    alarms = []
    for time in times:
        near = [place for place, each in enumerate(expected) if each.start_s <= time <= each.end_s + AFTER_S]
        new = [place for place in near if place not in heard]
        if new:
            heard[new[0]] = time
        elif not near:
            alarms.append(time)
    return heard, alarms


def _read_row(
    row: Mapping[str | None, Any], place: str, by_name: Mapping[str, Sequence[Path]], labels: Sequence[str]
) -> tuple[Path, Event]:
    if missing := [name for name in COLUMNS if row.get(name) is None]:
        hint = f"Accepted: {', '.join(COLUMNS)}, and file for several recordings."
        raise InputError(f"{place} has no {missing[0]}.", hint)
    try:
        start, end = float(row["start_s"]), float(row["end_s"])
    except ValueError as e:
        problem = f"{place}: an event from {row['start_s'][:40]!r} to {row['end_s'][:40]!r}."
        raise InputError(problem, "Accepted: seconds, such as 12.5.") from e
    if not 0 <= start <= end < math.inf:
        raise InputError(f"{place}: an event from {start:g} to {end:g} s.", "Accepted: 0 <= start_s <= end_s.")
    if row["label"] not in labels:
        hint = f"Accepted: {', '.join(labels[:20])}."
        raise InputError(f"{place}: the model has no label {row['label'][:60]!r}.", hint)
    name = row.get("file")
    if name is None and [len(paths) for paths in by_name.values()] == [1]:
        ((only,),) = by_name.values()
        return only, Event(start, end, row["label"])
    if not name:
        raise InputError(f"{place} names no recording, and there are several.", "Give its path in the column file.")
    ends = Path(os.path.normpath(name)).as_posix()
    candidates = by_name.get(ends.rpartition("/")[2], ())
    near = [path for path in candidates if path.as_posix() == ends or path.as_posix().endswith(f"/{ends}")]
    if len(near) != 1:
        which = "none" if not near else "several"
        raise InputError(f"{place}: {which} of the recordings is named {ends[:100]!r}.", "Give its path.")
    return near[0], Event(start, end, row["label"])
