"""Tables of what a model of sound hears in recordings, of `evaluate --stream` and `calibrate --max-alarms`."""

from __future__ import annotations

from edgepress.toolkit.cli.screen import table
from edgepress.toolkit.measurement.streams import Count, StreamEvaluation
from edgepress.toolkit.stats.rates import exact_share, rate_interval
from edgepress.toolkit.terminal import Table
from edgepress.toolkit.text import plural, with_sign

FIGURES = ("Missed", "Missed %", "False alarms", "Alarms/h", "95 % interval", "Delay s")
"""Heads of the columns that each row has."""


def curve_table(result: StreamEvaluation) -> Table:
    """What is heard at each threshold; of those that miss and alarm alike, the first."""
    curve = result.curve()
    changes = [
        count
        for before, count in zip([None, *curve], curve, strict=False)
        if before is None or (before.missed, before.alarms) != (count.missed, count.alarms)
    ]
    return _table("From threshold", [(f"{count.threshold:g}", count) for count in changes], result.hours)


def label_table(result: StreamEvaluation) -> Table:
    """What is heard of each label, at the threshold of the file."""
    return _table("Label", [(count.label, count) for count in result.count()[1:]], result.hours)


def sentence(result: StreamEvaluation) -> str:
    """The headline: what is heard at the threshold of the file."""
    count = result.count()[0]
    rate = rate_interval(count.alarms, result.hours)
    heard = "no labelled event to miss"
    if count.events:
        share = exact_share(count.missed, count.events)
        heard = f"{count.missed} of {plural(count.events, 'event')} missed ({_percent(share.low, share.high)})"
    time = f"{result.hours:.2f} hours" if result.hours >= 1 else f"{60 * result.hours:.1f} minutes"
    left = f" {plural(result.unanswered, 'recording')} shorter than a window not counted." if result.unanswered else ""
    return (
        f"{result.file} on {result.engine}, threshold {count.threshold:g}: {heard}, "
        f"{plural(count.alarms, 'false alarm')} in {time} ({rate.low:.2f} to {rate.high:.2f} an hour).{left}"
    )


def _table(head: str, rows: list[tuple[str, Count]], hours: float) -> Table:
    cells = [[name, *_cells(count, hours)] for name, count in rows]
    return table([(head, "left"), *((figure, "right") for figure in FIGURES)], cells)


def _cells(count: Count, hours: float) -> list[str]:
    rate = rate_interval(count.alarms, hours)
    missed = f"{100 * count.missed / count.events:.1f}" if count.events else ""
    return [
        f"{count.missed} of {count.events}" if count.events else "",
        missed,
        str(count.alarms),
        f"{rate.estimate:.2f}",
        f"{rate.low:.2f} to {rate.high:.2f}",
        with_sign(count.delay_s),
    ]


def _percent(low: float | None, high: float | None) -> str:
    return f"{100 * (low or 0):.1f} to {100 * (high or 0):.1f} %"
