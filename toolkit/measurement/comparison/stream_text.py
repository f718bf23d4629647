"""Two results about recordings for readers: rows of a table, and lines below it."""

from __future__ import annotations

from collections.abc import Sequence

from edgepress.runtime.text import one_line
from edgepress.toolkit.measurement.comparison.figures import Figure
from edgepress.toolkit.measurement.comparison.stream_figures import HeardSide, Place, StreamChange
from edgepress.toolkit.stats.intervals import Interval
from edgepress.toolkit.text import number, with_sign

HEADS = ["", "OLD", "NEW", "Change (NEW - OLD)"]
NAMES = {"missed_share": "Missed events", "alarms_per_hour": "False alarms", "delay_s": "Delay (median)"}
LISTED = 5
"""Number of events, or false alarms, that a line names."""


def stream_rows(change: StreamChange, figures: Sequence[Figure]) -> list[list[str]]:
    """One figure a row: what it is in OLD and NEW, with intervals, and how it changed."""
    sides = change.old, change.new
    cells = {"missed_share": _missed, "alarms_per_hour": _alarms, "delay_s": _delay}
    rows = [["Threshold", *(f"{side.threshold:g}" for side in sides), ""]]
    for figure in figures:
        if any(texts := [cells[figure.name](side) for side in sides]):
            rows.append([NAMES[figure.name], *texts, figure.show(of_change=True)])
    return rows


def stream_lines(change: StreamChange, figures: Sequence[Figure]) -> list[str]:
    """Which events and false alarms are of one model alone, and how changes were computed."""
    lists = {
        "Missed by OLD alone": change.missed_by_old,
        "Missed by NEW alone": change.missed_by_new,
        "False alarms of OLD alone": change.alarms_of_old,
        "False alarms of NEW alone": change.alarms_of_new,
    }
    lines = [f"{name} ({len(places)}): {_places(places)}." for name, places in lists.items() if places]
    if change.missed_by_old or change.missed_by_new:
        lines.append(f"Exact McNemar test of the events that one missed alone: p = {number(change.mcnemar_p, '.3g')}.")
    return lines + [f"{NAMES[figure.name]}: {figure.how}." for figure in figures if figure.how]


def _missed(side: HeardSide) -> str:
    if side.missed_share is None:
        return ""
    return f"{side.missed} of {side.events}: {_with_ends(*(100 * end for end in _ends(side.missed_share)))} %"


def _alarms(side: HeardSide) -> str:
    return f"{side.alarms} in {side.hours:.2f} h: {_with_ends(*_ends(side.alarms_per_hour))}/h"


def _delay(side: HeardSide) -> str:
    return "" if side.delay_s is None else f"{with_sign(side.delay_s)} s"


def _ends(interval: Interval) -> tuple[float, float, float]:
    """Estimate and ends of an interval that has both."""
    assert interval.low is not None
    assert interval.high is not None
    return interval.estimate, interval.low, interval.high


def _with_ends(estimate: float, low: float, high: float) -> str:
    return f"{estimate:.2f} [{low:.2f}, {high:.2f}]"


def _places(places: Sequence[Place]) -> str:
    texts = [f"{one_line(each.file)} at {each.time_s:.2f} s ({one_line(each.label)})" for each in places[:LISTED]]
    return ", ".join(texts) + (f" and {len(places) - LISTED} more" if len(places) > LISTED else "")
