"""Compare two results of `evaluate --stream`: what two models, or two rules of one, hear in the same recordings.

edgepress compare old.json new.json --fail-if 'alarms>1/h' --fail-if 'missed_rise>2'
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import fields, replace
from pathlib import Path

from edgepress.runtime.sound.listen_options import ListenOptions
from edgepress.toolkit.errors import InputError
from edgepress.toolkit.measurement.comparison.gates import METRICS, OPEN, Gate, require_metrics
from edgepress.toolkit.measurement.comparison.judging import Comparison, judge
from edgepress.toolkit.measurement.comparison.match import BOTH, MatchedPair
from edgepress.toolkit.measurement.comparison.stream_figures import HeardTwice, Scaled, StreamChange
from edgepress.toolkit.results.streams import COMMAND, HeardFile, StreamResult

MOST_LABELS = 20
"""Labels that a note names."""
MOST = 1e6
"""So many times the recordings decide all but what is at its limit: a minute becomes two years."""


def compare_streams(
    old: StreamResult,
    new: StreamResult,
    gates: Sequence[Gate] = (),
    *,
    strict: bool = False,
    names: tuple[str, str] = ("OLD", "NEW"),
) -> Comparison:
    """Compare what two models hear in the same recordings.

    Args:
        old: The older result.
        new: The newer result.
        gates: The limits.
        strict: Decide by estimates instead of intervals; unknown figures fail.
        names: Names of OLD and NEW.

    Raises:
        InputError: Recordings or events differ, or a limit is on a figure of benchmarks.
    """
    require_metrics(gates, of_streams=True)
    both = pair_recordings(old, new, names)
    change = both.change
    pair = MatchedPair(
        name=f"{Path(new.file).name} on {new.engine}",
        scheme="",
        engine=new.engine,
        threads=1,
        batch=1,
        host="",
        old_file=old.file,
        new_file=new.file,
        state=BOTH,
        figures=both.figures(change),
    )
    judged = judge([pair], gates, strict=strict, names=names, notes=_notes(old, new))
    verdicts = [
        replace(verdict, fix=_fix(gate, both, change) if verdict.outcome == OPEN else "")
        for gate, verdict in zip(gates, judged.verdicts, strict=True)
    ]
    return replace(judged, verdicts=tuple(verdicts), stream=change)


def pair_recordings(old: StreamResult, new: StreamResult, names: tuple[str, str] = ("OLD", "NEW")) -> HeardTwice:
    """Both results with recordings, and events in these, in one order.

    Raises:
        InputError: A recording is in one of them alone, or its events differ.
    """
    sides = [sorted(map(_sorted, result.heard), key=lambda f: (f.sha256, f.file)) for result in (old, new)]
    counts = [Counter(file.sha256 for file in side) for side in sides]
    for here, side in enumerate(sides):
        for file in side:
            if counts[here][file.sha256] > counts[1 - here][file.sha256]:
                _refuse(f"{file.file} of {names[here]} is none of the recordings of {names[1 - here]}, by its content")
    for first, second in zip(*sides, strict=True):
        events = [{(e.start_s, e.end_s, e.label) for e in file.events} for file in (first, second)]
        if different := sorted(events[0] ^ events[1]):
            start, end, label = different[0]
            name = names[different[0] in events[1]]
            _refuse(f"only {name} has the event {label!r} from {start:g} to {end:g} s of {second.file}")
        if len(first.events) != len(second.events):
            _refuse(f"{second.file} has {len(first.events)} events in {names[0]}, {len(second.events)} in {names[1]}")
    pair = replace(old, heard=tuple(sides[0])), replace(new, heard=tuple(sides[1]))
    same = bool(old.sha256) and (old.sha256, old.engine, old.rule) == (new.sha256, new.engine, new.rule)
    alike = [[(file.events, file.alarms) for file in side] for side in sides]
    return HeardTwice(*pair, alike=same and alike[0] == alike[1])


def _sorted(file: HeardFile) -> HeardFile:
    return replace(file, events=tuple(sorted(file.events, key=lambda e: (e.start_s, e.end_s, e.label))))


def _refuse(why: str) -> None:
    hint = f"Evaluate both models with the same recordings and events: {COMMAND}"
    raise InputError(f"These results can't be compared: {why}.", hint)


def _notes(old: StreamResult, new: StreamResult) -> list[str]:
    """What else differs."""
    notes = []
    sides = [(f.name, old.rule.get(f.name), new.rule.get(f.name)) for f in fields(ListenOptions)]
    if changed := ", ".join(f"{name} {before} -> {after}" for name, before, after in sides if before != after):
        notes.append(f"The rules differ: {changed}.")
    if set(old.labels) != set(new.labels):
        heard = [", ".join(result.labels[:MOST_LABELS]) for result in (old, new)]
        notes.append(f"OLD hears {heard[0]}; NEW hears {heard[1]}.")
    return notes


def _fix(gate: Gate, both: HeardTwice, change: StreamChange) -> str:
    """How many hours, or events, would decide a gate that is unproven, or that no number would."""
    name = METRICS[gate.metric].figure
    if name == "missed_share" and not change.new.events:
        return "Label events, and name their table with --events."
    factor = factor_to_decide(gate, both.scaled(change, name, of_change=gate.of_change))
    of_events = name == "missed_share"
    if factor is None:
        what = "number of events" if of_events else "number of hours"
        return f"No {what} would settle it at the same estimate, which is at the limit: choose another limit."
    if of_events:
        needed, there = f"{math.ceil(factor * change.new.events):,} events", f"{change.new.events:,}"
    else:
        hours = factor * change.new.hours
        text = f"{math.ceil(hours):,}" if hours >= 10 else f"{math.ceil(10 * hours) / 10:g}"
        needed, there = f"{text} hours", f"{change.new.hours:.2g}"
    return f"About {needed} (there are {there}) would settle it at the same estimate."


def factor_to_decide(gate: Gate, scaled: Scaled) -> float | None:
    """How many times the recordings decide a gate, if more of them are like these; None if over `MOST`."""
    low, high = 1.0, MOST
    if gate.outcome(scaled(high)) == OPEN:
        return None
    while high / low > 1.0001:
        middle = math.sqrt(low * high)
        low, high = (middle, high) if gate.outcome(scaled(middle)) == OPEN else (low, middle)
    return high
