"""Elements of HTML and SVG that all views of notebooks share: tables, bars, small plots, the style.

Elements are those of `xml.etree`, which escapes every text and attribute when it writes them, so a class that is called
`<script>` is shown as such; `one_line` escapes what turns or hides text. The colors are seen on light and on dark
ground, because a notebook's theme is not known: texts take its own color, marks have at least 3:1 on white and on #111
(WCAG 2.2, 1.4.11).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from xml.etree import ElementTree
from xml.etree.ElementTree import Element

from edgepress.runtime.text import one_line

Cell = str | Element | None
CLASS = "edgepress-result"
GRAPHIC = "graphic"
"""Class of a text that explains a plot, for which plain text has no place."""
MARK = "#6a7be0"
"""Color of marks."""
BAD = "#e0564f"
"""Color of limits and faults."""
MAX_ROWS = 40
"""Rows of a table; a line says how many more there are."""
MAX_NAME = 80
"""Characters of a cell in a column without sentences."""
STYLE = """
.X{font:13px/1.45 system-ui,sans-serif;max-width:62rem;color:inherit}
.X p{margin:.3em 0;max-width:48rem}
.X .title{font-weight:600;font-size:14px}
.X .scroll{overflow-x:auto}
.X table{border-collapse:collapse;table-layout:auto;margin:.5em 0;border:0;color:inherit}
.X table{font-variant-numeric:tabular-nums}
.X caption{text-align:left;font-weight:600;padding:.2em 0}
.X th,.X td{padding:.22em .7em;text-align:left;border:0;border-bottom:1px solid rgba(128,128,128,.35)}
.X th,.X td{font-weight:400;background:none;white-space:nowrap;vertical-align:top;color:inherit}
.X .wide{white-space:normal;min-width:6rem}
.X thead th{font-weight:600}
.X .num{text-align:right}
.X tr.chosen>*{background:rgba(106,123,224,.18);font-weight:600}
.X .bar{display:block;height:4px;margin-top:2px;background:#6a7be0;border-radius:2px}
.X .matrix th,.X .matrix td{text-align:center;padding:.22em .5em}
.X .plots{display:flex;flex-wrap:wrap;gap:1.5rem;align-items:flex-start}
.X svg{overflow:visible;max-width:100%}
.X svg text{fill:currentColor;font:11px system-ui,sans-serif}
""".replace(".X", f".{CLASS}")  # fmt: skip


def element(tag: str, *children: Cell, **attributes: str) -> Element:
    """An element with texts and elements in it; `cls` is its class, and `_` in names of attributes stands for `-`."""
    tree = Element(tag, {{"cls": "class"}.get(name, name).replace("_", "-"): v for name, v in attributes.items()})
    for child in children:
        if isinstance(child, Element):
            tree.append(child)
        elif child and len(tree):
            tree[-1].tail = (tree[-1].tail or "") + one_line(child)
        elif child:
            tree.text = (tree.text or "") + one_line(child)
    return tree


def table(
    heads: Sequence[str],
    rows: Sequence[Sequence[Cell]],
    *,
    caption: str = "",
    chosen: Iterable[int] = (),
    wide: Iterable[str] = (),
) -> Element | None:
    """A table whose first column names the rows; columns without any text are left out.

    Args:
        heads: Headings; one that begins with ">" has figures below it, which are aligned at the right.
        rows: Cells; a text, an element, or None for what is not known.
        caption: A line above it.
        chosen: Numbers of rows to stress.
        wide: Headings of columns that hold sentences.

    Returns:
        The table in a box that scrolls; None without rows.
    """
    kept = [i for i in range(len(heads)) if any(row[i] not in (None, "") for row in rows)]
    if not rows:
        return None
    chosen = set(chosen)
    wide = set(wide)
    kinds = ["num" if head.startswith(">") else "wide" if head in wide else "" for head in heads]
    names = [head.removeprefix(">") for head in heads]
    body = []

    def cell(i: int, content: Cell) -> Element:
        content = one_line(content, MAX_NAME) if isinstance(content, str) and kinds[i] != "wide" else content
        return element("td", content, cls=kinds[i]) if i else element("th", content, scope="row", cls=kinds[i])

    for number, row in enumerate(rows[:MAX_ROWS]):
        cells = [cell(i, row[i]) for i in kept]
        body.append(element("tr", *cells, cls="chosen" if number in chosen else ""))
    top = element("tr", *(element("th", names[i], scope="col", cls=kinds[i]) for i in kept))
    parts = [element("caption", caption)] if caption else []
    whole = element("table", *parts, element("thead", top), element("tbody", *body), cls="figures")
    left = more(len(rows) - MAX_ROWS, "row")
    return element("div", whole, element("p", left) if left else None, cls="scroll")


def more(count: int, noun: str) -> str:
    """What is not shown, in words; empty if all is."""
    return "" if count <= 0 else f"… and {count} more {noun}{'' if count == 1 else 's'}"


def bar_cell(text: str, value: float | None, largest: float | None) -> Cell:
    """A figure with a bar below it, as long as its share of the largest one."""
    if value is None or not largest or not 0 <= value <= largest:
        return text
    bar = element("span", cls="bar", style=f"width:{100 * value / largest:.1f}%", aria_hidden="true")
    return element("div", text, bar)


def box(title: str, *parts: Cell, notes: Iterable[str] = ()) -> str:
    """A whole view, on one line so that Markdown takes it as it is: the style, a title, the parts, and notes."""
    lines = [element("p", title, cls="title")] if title else []
    lines += [
        element("p", part) if isinstance(part, str) else part for part in parts if part is not None and part != ""
    ]
    shown = list(dict.fromkeys(notes))
    lines += [element("p", f"Note: {note}") for note in shown[:5]]
    lines += [element("p", text) for text in [more(len(shown) - 5, "note")] if text]
    style = Element("style")
    style.text = " ".join(STYLE.split())
    whole = element("div", style, *lines, cls=CLASS)
    return ElementTree.tostring(whole, encoding="unicode", method="html")


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
