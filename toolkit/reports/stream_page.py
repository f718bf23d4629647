"""What a model of sound hears in recordings, as a page: `report` of a result of `evaluate --stream --json`.

    edgepress report result.json                         result.html, one file that needs neither network nor JavaScript
    edgepress report new.json --old old.json             both curves in one picture, and what changed
    edgepress report result.json --format md             the table of thresholds as Markdown

`stream.html` (Jinja) holds the texts and tables; the style sheet is that of the other reports. Intervals are computed
from the counts of the document, which anybody may have written.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from edgepress import __version__
from edgepress.toolkit.errors import InputError
from edgepress.toolkit.escaping import markdown, markdown_table
from edgepress.toolkit.measurement.comparison import stream_text
from edgepress.toolkit.measurement.comparison.judging import Comparison
from edgepress.toolkit.measurement.comparison.stream_figures import HeardSide, side_of
from edgepress.toolkit.measurement.comparison.streams import compare_streams
from edgepress.toolkit.reports.page import style_sheet, template
from edgepress.toolkit.reports.stream_picture import curve_of, pictures_of
from edgepress.toolkit.reports.view import file_name
from edgepress.toolkit.results.streams import COMMAND, HeardCount, HeardFile, StreamResult
from edgepress.toolkit.stats.rates import exact_share, rate_interval
from edgepress.toolkit.text import percent, plural, with_sign

HEADS = ("Missed", "Missed, %", "False alarms", "An hour", "Delay, s")
"""Heads of the figures of a row; those of events are the first two and the last."""
MOST_LISTED = 200
"""Missed events, false alarms or recordings that a list names at most."""
NAMES = ("OLD", "NEW")
"""Names of the two results of a comparison."""


@dataclass(frozen=True)
class Side:
    """A result as the page shows it.

    Attributes:
        name: "OLD" or "NEW"; "" of a page about one result.
        file: The name of the model's file; its path if both results are of files of one name.
        result: The result.
        heard: Its figures at its own threshold.
        color: The number of its colour, and of the shape of its mark.
    """

    name: str
    file: str
    result: StreamResult
    heard: HeardSide
    color: int

    @property
    def title(self) -> str:
        """The model and its engine, behind the name."""
        file = f"{self.file} on {self.result.engine}"
        return f"{self.name}: {file}" if self.name else file

    def rows(self, counts: Sequence[HeardCount]) -> list[list[str]]:
        """The figures of counts as texts, in the order of `heads`."""
        cells = [_cells(count, self.result.hours) for count in counts]
        return cells if self.heard.events else [row[2:4] for row in cells]

    @property
    def heads(self) -> tuple[str, ...]:
        """The heads of the figures of a row: without labelled events, nothing is missed or heard late."""
        return HEADS if self.heard.events else HEADS[2:4]

    @property
    def changes(self) -> list[HeardCount]:
        """The thresholds where something changes: of those that miss and alarm alike, the first."""
        return list(_changes(self.result.curve))

    @property
    def tiles(self) -> list[tuple[str, str, str]]:
        """The figures at its own threshold: name, figure and what stands beside it."""
        heard = self.heard
        missed = [] if heard.missed_share is None else [
            ("Missed events", f"{heard.missed} of {heard.events}", f"{_percents(heard.missed, heard.events)} %")
        ]  # fmt: skip
        return [
            *missed,
            ("False alarms", str(heard.alarms), f"{_rates(heard.alarms, heard.hours)} an hour"),
            ("Recordings", _length(3600 * heard.hours), f"threshold {heard.threshold:g}"),
            *([] if heard.delay_s is None else [("Delay, median", f"{with_sign(heard.delay_s)} s", "from the end")]),
        ]

    @property
    def missed(self) -> list[tuple[str, str, str]]:
        """Recording, time and label of each missed event."""
        return [
            (file.file, f"{event.start_s:.2f} to {event.end_s:.2f}", event.label)
            for file in self.result.heard
            for event in file.events
            if event.heard_s is None
        ]

    @property
    def alarms(self) -> list[tuple[str, str, str]]:
        """Recording, time and label of each false alarm."""
        return [(file.file, f"{a.time_s:.2f}", a.label) for file in self.result.heard for a in file.alarms]


def stream_page(result: StreamResult, old: StreamResult | None = None) -> str:
    """The page of a result, or of two about the same recordings.

    Raises:
        InputError: A result has no curve, or the two are about other recordings or events.
    """
    from markupsafe import Markup

    comparison = None if old is None else compare_streams(old, result, names=NAMES)
    pair = [result] if old is None else [old, result]
    for each in pair:
        if not each.curve:
            raise InputError(f"The result of {each.file} has no thresholds to draw.", f"Run {COMMAND}")
    sides = _sides_of(pair)
    style = style_sheet()
    digest = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
    return template("stream.html").render(
        sides=sides,
        pictures=pictures_of([curve_of(side.result.curve, side.heard) for side in sides]),
        change=None if comparison is None else _change_of(comparison),
        heads=sides[0].heads,
        files=_files_of(result.heard),
        rule=[(name.removesuffix("_s"), _rule_text(value)) for name, value in result.rule.items()],
        most=MOST_LISTED,
        plural=plural,
        version=__version__,
        policy=f"default-src 'none'; style-src 'sha256-{digest}'; img-src data:; base-uri 'none'; form-action 'none'",
        style=Markup(style),  # ours, not the result's
    )


def stream_markdown(result: StreamResult, old: StreamResult | None = None) -> str:
    """The headline and the thresholds as Markdown, of two results one below the other."""
    parts = []
    for side in _sides_of([result] if old is None else [old, result]):
        figures = ", ".join(f"{title.lower()} {figure} ({beside})" for title, figure, beside in side.tiles)
        parts.append(f"**{markdown(side.title)}**: {figures}")
        counts = side.changes
        rows = [[f"{c.threshold:g}", *cells] for c, cells in zip(counts, side.rows(counts), strict=True)]
        parts.append(markdown_table([">From threshold", *(f">{head}" for head in side.heads)], rows))
    if old is not None:
        change = _change_of(compare_streams(old, result, names=NAMES))
        parts.append("\n".join(f"- {markdown(line)}" for line in change["lines"]))
    return "\n\n".join(parts) + "\n"


def _sides_of(pair: Sequence[StreamResult]) -> list[Side]:
    """One result, or the old and the new one, as a page shows them."""
    names = ("",) if len(pair) == 1 else NAMES
    files = [file_name(each.file) for each in pair]
    if len({*files}) < len(pair):
        files = [each.file for each in pair]
    return [
        Side(name, file, each, side_of(each), color)
        for color, (name, file, each) in enumerate(zip(names, files, pair, strict=True))
    ]


def _changes(curve: Sequence[HeardCount]) -> Iterator[HeardCount]:
    before = None
    for count in curve:
        if (count.missed, count.alarms) != before:
            yield count
        before = (count.missed, count.alarms)


def _cells(count: HeardCount, hours: float) -> list[str]:
    share = _percents(count.missed, count.events) if count.events else ""
    missed = [f"{count.missed} of {count.events}", share, with_sign(count.delay_s)]
    return [*missed[:2], str(count.alarms), _rates(count.alarms, hours), missed[2]]


def _percents(count: int, total: int) -> str:
    share = exact_share(count, total)
    low, high = (percent(end, ".1f").removesuffix(" %") for end in (share.low, share.high))
    return f"{100 * share.estimate:.1f} [{low}, {high}]"


def _rates(count: int, hours: float) -> str:
    rate = rate_interval(count, hours)
    return f"{rate.estimate:.2f} [{rate.low:.2f}, {rate.high:.2f}]"


def _length(seconds: float) -> str:
    """A length of sound in the unit that fits."""
    return f"{seconds / 3600:.2f} h" if seconds >= 3600 else f"{seconds / 60:.1f} min"


def _change_of(comparison: Comparison) -> dict[str, Any]:
    """What `compare` says of two results: the rows of its table, and the lines below it."""
    assert comparison.stream is not None
    figures = comparison.pairs[0].figures
    return {
        "heads": stream_text.HEADS,
        "rows": stream_text.stream_rows(comparison.stream, figures),
        "lines": [*stream_text.stream_lines(comparison.stream, figures), *comparison.notes],
    }


def _files_of(heard: Sequence[HeardFile]) -> list[tuple[str, ...]]:
    """Recording, length, missed events and false alarms of each recording."""
    return [
        (
            file.file,
            _length(file.seconds),
            f"{sum(event.heard_s is None for event in file.events)} of {len(file.events)}" if file.events else "",
            str(len(file.alarms)),
        )
        for file in heard
    ]


def _rule_text(value: Any) -> str:
    return ", ".join(map(str, value)) if isinstance(value, list) else "as usual" if value is None else str(value)
