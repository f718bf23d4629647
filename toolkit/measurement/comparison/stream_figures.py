"""Figures of two models that heard the same recordings, and how they differ.

Events are paired one by one: each was missed by both, by one, or by none. False alarms are paired by time, so that only
those which one model gives alone widen the interval of the difference: the others cancel.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from edgepress.toolkit.measurement.comparison.figures import Figure
from edgepress.toolkit.results.streams import HeardEvent, HeardFile, StreamResult
from edgepress.toolkit.stats.intervals import Interval, mcnemar, score_interval
from edgepress.toolkit.stats.rates import exact_share, median_interval, rate_difference, rate_interval

SAME_S = 1.0
"""Seconds between two false alarms, one of each model, up to which they are of the same sound."""
Scaled = Callable[[float], Interval]
"""An interval as it would be at the same estimate in so many times the recordings."""


@dataclass(frozen=True, kw_only=True)
class Place:
    """An event, or a false alarm, in a recording.

    Attributes:
        file: The recording, as NEW names it.
        time_s: When the event begins, or the false alarm was given.
        label: Its label.
    """

    file: str
    time_s: float
    label: str


@dataclass(frozen=True, kw_only=True)
class HeardSide:
    """What one model heard.

    Attributes:
        threshold: Probability from which on it hears a label.
        hours: Length of the recordings that it answered.
        events, missed: Number of labelled events, and of those that it missed.
        missed_share: Their share, with its exact interval; null without events.
        alarms: Number of false alarms.
        alarms_per_hour: The same an hour, with its exact interval.
        delay_s: Median delay in seconds; null if nothing was heard.
    """

    threshold: float
    hours: float
    events: int
    missed: int
    missed_share: Interval | None
    alarms: int
    alarms_per_hour: Interval
    delay_s: float | None


@dataclass(frozen=True, kw_only=True)
class StreamChange:
    """What changed between two models that heard the same recordings.

    Attributes:
        old, new: What each heard.
        missed_by_old, missed_by_new: The events that this one alone missed.
        mcnemar_p: Two-sided p-value of the exact McNemar test on these events; null without events.
        alarms_of_old, alarms_of_new: The false alarms that this one alone gave.
    """

    old: HeardSide
    new: HeardSide
    missed_by_old: tuple[Place, ...]
    missed_by_new: tuple[Place, ...]
    mcnemar_p: float | None
    alarms_of_old: tuple[Place, ...]
    alarms_of_new: tuple[Place, ...]


@dataclass(frozen=True)
class HeardTwice:
    """Two results about the same recordings, and events, in one order.

    Attributes:
        old, new: The results.
        alike: Whether nothing differs: the same file with the same rule on the same engine heard the same.
    """

    old: StreamResult
    new: StreamResult
    alike: bool

    @property
    def change(self) -> StreamChange:
        """What differs."""
        one, other = self._missed()
        alone = [alarms_alone(*files) for files in self._files()]
        places = [
            Place(file=file.file, time_s=event.start_s, label=event.label)
            for file in self.new.heard
            for event in file.events
        ]
        return StreamChange(
            old=side_of(self.old),
            new=side_of(self.new),
            missed_by_old=tuple(p for p, a, b in zip(places, one, other, strict=True) if a and not b),
            missed_by_new=tuple(p for p, a, b in zip(places, one, other, strict=True) if b and not a),
            mcnemar_p=mcnemar(one, other) if places else None,
            alarms_of_old=tuple(place for each in alone for place in each[0]),
            alarms_of_new=tuple(place for each in alone for place in each[1]),
        )

    def figures(self, change: StreamChange) -> tuple[Figure, ...]:
        """Missed events, false alarms an hour and delays, with the change of each."""
        return self._missed_figure(change), self._alarms_figure(change), self._delay_figure()

    def scaled(self, change: StreamChange, name: str, *, of_change: bool) -> Scaled:
        """The interval of a figure, or of its change, by the factor on the length of the recordings."""
        old, new = change.old, change.new
        if of_change and self.alike:
            return lambda factor: Interval(0.0, 0.0, 0.0)
        if name == "missed_share":
            if not of_change:
                return lambda factor: exact_share(factor * new.missed, factor * new.events)
            lost, gained = len(change.missed_by_new), len(change.missed_by_old)
            return lambda factor: _points(factor * lost, factor * gained, factor * new.events)
        if not of_change:
            return lambda factor: rate_interval(factor * new.alarms, factor * new.hours)
        counts = (new.alarms, old.alarms)
        if old.hours == new.hours:
            counts = (len(change.alarms_of_new), len(change.alarms_of_old))
        return lambda factor: rate_difference(
            (factor * counts[0], factor * new.hours), (factor * counts[1], factor * old.hours)
        )

    def _missed_figure(self, change: StreamChange) -> Figure:
        old, new = change.old, change.new
        figure = Figure(name="missed_share", old=None, new=None, how="no event is labelled", counted="events")
        if not new.events:
            return figure
        return replace(
            figure,
            old=old.missed / old.events,
            new=new.missed / new.events,
            own=new.missed_share,
            change=self.scaled(change, "missed_share", of_change=True)(1.0),
            how="the same file with the same rule" if self.alike else f"paired over the same {new.events} events",
            count=new.events,
        )

    def _alarms_figure(self, change: StreamChange) -> Figure:
        old, new = change.old, change.new
        how = f"those that one gives alone, within {SAME_S:g} s, in the same {new.hours:.2f} hours"
        if old.hours != new.hours:
            how = f"not paired: OLD answered {old.hours:.2f} hours, NEW {new.hours:.2f}"
        return Figure(
            name="alarms_per_hour",
            old=old.alarms_per_hour.estimate,
            new=new.alarms_per_hour.estimate,
            own=new.alarms_per_hour,
            change=self.scaled(change, "alarms_per_hour", of_change=True)(1.0),
            how="the same file with the same rule" if self.alike else how,
        )

    def _delay_figure(self) -> Figure:
        both = [(a.delay_s, b.delay_s) for a, b in zip(_events(self.old), _events(self.new), strict=True)]
        changes = [b - a for a, b in both if a is not None and b is not None]
        own = [b for _, b in both if b is not None]
        return Figure(
            name="delay_s",
            old=_median([a for a, _ in both if a is not None]),
            new=_median(own),
            own=median_interval(own) if own else None,
            change=median_interval(changes) if changes else None,
            how=f"the median of {len(changes)} events that both heard" if changes else "no event was heard by both",
            count=len(changes),
            counted="events",
        )

    def _files(self) -> list[tuple[HeardFile, HeardFile]]:
        return list(zip(self.old.heard, self.new.heard, strict=True))

    def _missed(self) -> tuple[npt.NDArray[np.bool_], npt.NDArray[np.bool_]]:
        old, new = ([event.heard_s is None for event in _events(each)] for each in (self.old, self.new))
        return np.array(old, np.bool_), np.array(new, np.bool_)


def alarms_alone(old: HeardFile, new: HeardFile) -> tuple[list[Place], list[Place]]:
    """The false alarms in a recording that only the first model gave, and only the second.

    Two are of the same sound if they are at most `SAME_S` apart, whatever their labels; each has one partner at most.
    """
    places = [
        sorted((Place(file=new.file, time_s=a.time_s, label=a.label) for a in file.alarms), key=lambda p: p.time_s)
        for file in (old, new)
    ]
    alone: tuple[list[Place], list[Place]] = ([], [])
    at = [0, 0]
    while at[0] < len(places[0]) and at[1] < len(places[1]):
        first, second = (side[place] for side, place in zip(places, at, strict=True))
        if abs(first.time_s - second.time_s) <= SAME_S:
            at = [at[0] + 1, at[1] + 1]
        else:
            earlier = int(second.time_s < first.time_s)
            alone[earlier].append((first, second)[earlier])
            at[earlier] += 1
    return alone[0] + places[0][at[0] :], alone[1] + places[1][at[1] :]


def _points(lost: float, gained: float, total: float) -> Interval:
    low, high = score_interval(lost, gained, total)
    return Interval(100 * (lost - gained) / total, 100 * float(low), 100 * float(high))


def side_of(result: StreamResult) -> HeardSide:
    """What one result says, with exact intervals."""
    events = _events(result)
    delays = [event.delay_s for event in events if event.delay_s is not None]
    missed = len(events) - len(delays)
    return HeardSide(
        threshold=float(result.rule["threshold"]),
        hours=result.hours,
        events=len(events),
        missed=missed,
        missed_share=exact_share(missed, len(events)) if events else None,
        alarms=result.alarms,
        alarms_per_hour=rate_interval(result.alarms, result.hours),
        delay_s=_median(delays),
    )


def _events(result: StreamResult) -> list[HeardEvent]:
    return [event for file in result.heard for event in file.events]


def _median(values: Sequence[float]) -> float | None:
    return float(np.median(values)) if values else None
