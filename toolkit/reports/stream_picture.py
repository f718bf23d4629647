"""Pictures of what a model of sound hears over the thresholds, as SVG: coordinates for the template.

The first shows missed events against false alarms an hour, the second false alarms over the threshold. A band holds the
exact 95 % intervals: of the first, every box of both intervals, and what lies between the boxes of two neighbours.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from edgepress.toolkit.measurement.comparison.stream_figures import HeardSide
from edgepress.toolkit.results.streams import HeardCount
from edgepress.toolkit.stats.intervals import Interval
from edgepress.toolkit.stats.rates import exact_share, rate_interval

WIDTH = 480
"""Width of a picture, in units of its view box."""
HEIGHT = 320
"""Height of a picture."""
LEFT = 56
"""Margin of a picture on the left."""
RIGHT = 16
"""Margin on the right."""
TOP = 14
"""Margin above."""
BOTTOM = 48
"""Margin below."""
NAME_HEIGHT = 20
"""Height that the name of a threshold takes above or below its mark."""
ZERO_SHARE = 0.12
"""Share of an axis of rates between no false alarm and one in all recordings; above one, it is logarithmic."""
MOST_TICKS = 6
"""Ticks of an axis at most."""
STEPS = (0.01, 0.02, 0.05, 0.1, 0.2, 0.25)
"""Distances between two ticks of an axis of shares."""

Point = tuple[float, float]
Box = tuple[Point, Point]
"""The corner of the least values and that of the largest."""
Scale = Callable[[float], float]
"""From a value to a coordinate."""


@dataclass(frozen=True)
class Mark:
    """A threshold in a picture: its coordinates, and what it means."""

    x: float
    y: float
    text: str


@dataclass(frozen=True)
class Line:
    """What a picture shows of one result.

    Attributes:
        band: Path of the band of intervals.
        points: Points of the line between thresholds, as SVG has them.
        marks: A mark for each threshold.
        own: The threshold of the file.
        name: That threshold as a text.
    """

    band: str
    points: str
    marks: tuple[Mark, ...]
    own: Mark
    name: str

    def is_name_below(self, wish: bool) -> bool:
        """Whether the name of its own threshold stands below the mark: as wished, unless that leaves the axes."""
        return self.own.y < TOP + NAME_HEIGHT or (wish and self.own.y < HEIGHT - BOTTOM - NAME_HEIGHT)


@dataclass(frozen=True)
class Picture:
    """A picture: its title, the names of its axes, ticks as coordinates with texts, and a line for each result."""

    title: str
    x_name: str
    y_name: str
    x_ticks: tuple[tuple[float, str], ...]
    y_ticks: tuple[tuple[float, str], ...]
    lines: tuple[Line, ...]


@dataclass(frozen=True)
class Threshold:
    """What is heard from one threshold on; `missed` is None where no event is labelled."""

    threshold: float
    missed: Interval | None
    alarms: Interval
    text: str


@dataclass(frozen=True)
class Curve:
    """The thresholds of a result in their order, its own one, and the length of its recordings in hours."""

    thresholds: tuple[Threshold, ...]
    own: Threshold
    hours: float


def curve_of(counts: Sequence[HeardCount], side: HeardSide) -> Curve:
    """The curve of a result: what it heard at each threshold, its own one included."""
    own = _threshold(side.threshold, side.events, side.missed, side.alarms, side.hours)
    others = [
        _threshold(c.threshold, c.events, c.missed, c.alarms, side.hours)
        for c in counts
        if c.threshold != side.threshold
    ]
    return Curve(tuple(sorted([own, *others], key=lambda each: each.threshold)), own, side.hours)


def _threshold(threshold: float, events: int, missed: int, alarms: int, hours: float) -> Threshold:
    share = exact_share(missed, events) if events else None
    rate = rate_interval(alarms, hours)
    heard = f"{missed} of {events} missed, " if events else ""
    return Threshold(threshold, share, rate, f"From {threshold:g}: {heard}{rate.estimate:.2f} false alarms an hour")


def pictures_of(curves: Sequence[Curve]) -> list[Picture]:
    """The pictures of one result or of two about the same recordings; the first only where events are labelled."""
    of_both = [each for curve in curves for each in curve.thresholds]
    rate, rate_ticks = _rate_scale(curves, LEFT, WIDTH - RIGHT)
    pictures = []
    if all(each.missed is not None for each in of_both):
        share, share_ticks = _share_scale([_bounds(each.missed)[2] for each in of_both])
        lines = [_line(curve, lambda t: (t.alarms, t.missed), rate, share) for curve in curves]
        title = "Missed events against false alarms"
        pictures.append(
            Picture(title, "false alarms an hour", "missed", tuple(rate_ticks), tuple(share_ticks), tuple(lines))
        )
    upward, up_ticks = _rate_scale(curves, HEIGHT - BOTTOM, TOP)
    lines = [_line(curve, lambda t: (_exactly(t.threshold), t.alarms), _along, upward) for curve in curves]
    ticks = tuple((_along(value), f"{value:g}") for value in (0.0, 0.2, 0.4, 0.6, 0.8, 1.0))
    title = "False alarms over the threshold"
    return [*pictures, Picture(title, "threshold", "an hour", ticks, tuple(up_ticks), tuple(lines))]


def _line(
    curve: Curve, figures: Callable[[Threshold], tuple[Interval | None, Interval | None]], x: Scale, y: Scale
) -> Line:
    """What a picture shows of a curve; `figures` are those of its axes."""

    def mark(each: Threshold) -> Mark:
        across, up = (_bounds(figure)[1] for figure in figures(each))
        return Mark(x(across), y(up), each.text)

    boxes: list[Box] = []
    for each in curve.thresholds:
        across, up = (_bounds(figure) for figure in figures(each))
        boxes.append(((x(across[0]), y(up[0])), (x(across[2]), y(up[2]))))
    neighbours: list[Sequence[Box]] = [*itertools.pairwise(boxes)] or [boxes]
    marks = tuple(map(mark, curve.thresholds))
    own = mark(curve.own)
    return Line(
        band="".join(f"M{'L'.join(f'{a:.1f},{b:.1f}' for a, b in hull_of(pair))}Z" for pair in neighbours),
        points=" ".join(f"{each.x:.1f},{each.y:.1f}" for each in marks),
        marks=marks,
        own=own,
        name=f"{curve.own.threshold:g}",
    )


def hull_of(boxes: Sequence[Box]) -> list[Point]:
    """The convex hull of boxes, its corners in one direction, so that overlapping hulls add up to one area.

    Source: A. M. Andrew, "Another efficient algorithm for convex hulls in two dimensions", Information Processing
    Letters 9 (1979), 216-219.
    """
    corners = sorted({(box[a][0], box[b][1]) for box in boxes for a in (0, 1) for b in (0, 1)})

    def half(points: Sequence[Point]) -> list[Point]:
        chain: list[Point] = []
        for point in points:
            while len(chain) > 1 and _turn(chain[-2], chain[-1], point) <= 0:
                chain.pop()
            chain.append(point)
        return chain[:-1]

    return half(corners) + half(corners[::-1]) if len(corners) > 1 else corners


def _turn(a: Point, b: Point, c: Point) -> float:
    return (b[0] - a[0]) * (c[1] - a[1]) - (b[1] - a[1]) * (c[0] - a[0])


def _bounds(interval: Interval | None) -> tuple[float, float, float]:
    """Low end, estimate and high end of an interval that has both."""
    assert interval is not None and interval.low is not None and interval.high is not None  # noqa: PT018
    return interval.low, interval.estimate, interval.high


def _exactly(value: float) -> Interval:
    return Interval(value, value, value)


def _along(threshold: float) -> float:
    return LEFT + threshold * (WIDTH - LEFT - RIGHT)


def _rate_scale(curves: Sequence[Curve], begin: float, end: float) -> tuple[Scale, list[tuple[float, str]]]:
    """A scale of false alarms an hour between two coordinates, with ticks: logarithmic above one in all recordings."""
    least = min(1 / curve.hours for curve in curves)
    highs = [_bounds(each.alarms)[2] for curve in curves for each in curve.thresholds]
    decades = math.log10(max(*highs, 4 * least) / least)

    def scale(rate: float) -> float:
        above = math.log10(rate / least) / decades if rate > least else 0.0
        share = ZERO_SHARE * min(rate / least, 1.0) + (1 - ZERO_SHARE) * above
        return begin + share * (end - begin)

    powers = range(math.floor(math.log10(least)), math.floor(math.log10(least) + decades) + 1)
    factors = (1, 2, 5) if len(powers) <= 2 else (1, 3) if len(powers) <= 3 else (1,)
    values = [factor * 10.0**power for power in powers for factor in factors]
    fit = [v for v in values if least < v <= least * 10**decades]
    shown = fit[:: max(math.ceil(len(fit) / MOST_TICKS), 1)]
    return scale, [(begin, "0"), *((scale(v), f"{v:g}") for v in shown)]


def _share_scale(highs: Sequence[float]) -> tuple[Scale, list[tuple[float, str]]]:
    """A scale of the share of missed events, upward from 0, with ticks."""
    most = max(*highs, STEPS[0])

    def scale(share: float) -> float:
        return HEIGHT - BOTTOM - share / most * (HEIGHT - TOP - BOTTOM)

    step = next((step for step in STEPS if most / step <= MOST_TICKS), STEPS[-1])
    return scale, [(scale(n * step), f"{100 * n * step:.0f} %") for n in range(int(most / step + 1e-9) + 1)]
