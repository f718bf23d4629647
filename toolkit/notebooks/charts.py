"""Small plots as SVG: how a training went, and intervals on one scale."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from xml.etree.ElementTree import Element

from edgepress.toolkit.notebooks.html import BAD, MARK, Cell, element

SIDES = 320.0, 150.0
"""Width and height of a chart, in units of its view box."""
EDGES = 44.0, 10.0, 26.0, 8.0
"""Left, right, bottom, top."""
MAX_POINTS = 200
"""Most points of a line."""


def curves(title: str, lines: Mapping[str, Sequence[float]], *, across: str) -> Element | None:
    """Shares over epochs, one line each: the first dashed, the second whole.

    Args:
        title: What it shows, also for screen readers.
        lines: By name, a share 0-1 for each epoch; at most two names.
        across: Name of the horizontal axis.
    """
    count = min((len(values) for values in lines.values()), default=0)
    if count < 2:
        return None
    (width, height), (left, right, bottom, top) = SIDES, EDGES
    every = [v for values in lines.values() for v in values]
    low = min(every)
    high = max(max(every), min(every) + 0.01)
    step = max(1, -(-count // MAX_POINTS))

    def x(i: float) -> float:
        return left + (width - left - right) * i / (count - 1)

    def y(value: float) -> float:
        return height - bottom - (height - bottom - top) * (value - low) / (high - low)

    parts: list[Cell] = [element("title", title)]
    for value in (low, (low + high) / 2, high):
        line = {"x1": f"{left}", "x2": f"{width - right}", "y1": f"{y(value):.1f}", "y2": f"{y(value):.1f}"}
        parts.append(element("line", stroke="currentColor", stroke_opacity="0.2", **line))
        label = f"{100 * value:.1f} %" if high - low < 0.1 else f"{100 * value:.0f} %"
        parts.append(element("text", label, x=f"{left - 4}", y=f"{y(value) + 4:.1f}", text_anchor="end"))
    for number, values in enumerate(lines.values()):
        points = " ".join(f"{x(i):.1f},{y(values[i]):.1f}" for i in sorted({*range(0, count, step), count - 1}))
        dash = {} if number else {"stroke_dasharray": "4 3"}
        color = MARK if number else "currentColor"
        parts.append(element("polyline", points=points, fill="none", stroke=color, stroke_width="1.8", **dash))
    parts.append(element("text", "1", x=f"{left}", y=f"{height - 10}", text_anchor="middle"))
    parts.append(element("text", str(count), x=f"{width - right}", y=f"{height - 10}", text_anchor="middle"))
    middle = f"{(left + width - right) / 2}"
    parts.append(element("text", across, x=middle, y=f"{height - 10}", text_anchor="middle"))
    picture = element(
        "svg", *parts, viewBox=f"0 0 {width:.0f} {height:.0f}", width=f"{width:.0f}", height=f"{height:.0f}", role="img"
    )
    key = ", ".join(f"{name} ({'whole line' if n else 'dashed'})" for n, name in enumerate(lines))
    return element("div", element("div", f"{title}: {key}"), picture)


def span(value: float | None, low: float | None, high: float | None, *, reach: float, limit: float) -> Cell:
    """An estimate with its interval between -reach and reach; zero is a line, the limit a dashed one.

    Returns:
        A picture that repeats a figure beside it, so screen readers skip it; None if the value is not known.
    """
    if value is None:
        return None
    width = 120.0
    height = 14.0

    def x(v: float) -> str:
        return f"{width * (min(max(v, -reach), reach) + reach) / (2 * reach):.1f}"

    ends = (value if low is None else low), (value if high is None else high)
    line = {"y1": "1", "y2": f"{height - 1}"}
    bar = {"y1": "7", "y2": "7", "stroke": MARK, "stroke_width": "3"}
    return element(
        "svg",
        element("line", x1=x(0), x2=x(0), stroke="currentColor", stroke_opacity="0.5", **line),
        element("line", x1=x(limit), x2=x(limit), stroke=BAD, stroke_dasharray="3 2", **line),
        element("line", x1=x(ends[0]), x2=x(ends[1]), **bar),
        element("circle", cx=x(value), cy="7", r="3.5", fill=MARK),
        width=f"{width:.0f}",
        height=f"{height:.0f}",
        aria_hidden="true",
    )
