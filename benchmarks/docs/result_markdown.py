"""Results of notebooks as Markdown: paragraphs, tables, and plots as files, because code hosts strip styles and SVG."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from xml.etree import ElementTree
from xml.etree.ElementTree import Element

COLOR = "#808080"
"""What `currentColor` is in a plot that is a file of its own, on light and dark pages."""
STYLE = "font: 12px system-ui, sans-serif"


class Plots:
    """The plots of a page, as files.

    Attributes:
        files: Contents by name, in the order of the page.
    """

    def __init__(self, stem: str) -> None:
        self.files: dict[str, bytes] = {}
        self._stem = stem

    def added(self, plot: Element) -> str:
        """The Markdown of a plot, which becomes a file."""
        name = f"{self._stem}-plot-{len(self.files) + 1}.svg"
        attributes = {"xmlns": "http://www.w3.org/2000/svg", "color": COLOR, "style": STYLE}
        whole = Element("svg", {**plot.attrib, **attributes})
        whole.extend(plot)
        for part in whole.iter("text"):
            part.set("fill", part.get("fill", COLOR))
        self.files[name] = ElementTree.tostring(whole, encoding="utf-8") + b"\n"
        return f"![{plot.findtext('title') or 'Plot'}]({name})"


def result_markdown(html: str, plots: Plots) -> str:
    """A result's HTML, as `_repr_html_` writes it, as Markdown."""
    return "\n\n".join(_blocks(ElementTree.fromstring(html), plots))


def _blocks(element: Element, plots: Plots) -> Iterator[str]:
    if element.tag == "p":
        text = _inline(element)
        yield f"**{text}**" if element.get("class") == "title" else text
    elif element.tag == "table":
        yield from ([_inline(caption)] if (caption := element.find("caption")) is not None else [])
        yield _table(element)
    elif element.tag == "svg":
        yield plots.added(element)
    elif element.tag == "details":
        yield from (block for child in element for block in _blocks(child, plots))
    elif element.tag != "style":
        if (element.text or "").strip():
            yield _inline(element)
        else:
            yield from (block for child in element for block in _blocks(child, plots))


def _inline(element: Element) -> str:
    """The text of an element in one line; plots in it repeat figures beside them, and are left out."""
    parts = [_escaped(element.text or "")]
    for child in element:
        if child.tag != "svg":
            text = _inline(child)
            parts.append(f"`{child.text or ''}`" if child.tag == "code" else text)
        parts.append(_escaped(child.tail or ""))
    return " ".join("".join(parts).split())


def _escaped(text: str) -> str:
    return text if "`" in text else re.sub(r"([\\*<])", r"\\\1", text)


def _table(table: Element) -> str:
    heads = table.findall("./thead/tr/th")
    columns = ["--:" if head.get("class") == "num" else "---" for head in heads]
    rows = [[_inline(cell) for cell in row] for row in table.findall("./tbody/tr")]
    return "\n".join(_line(cells) for cells in ([_inline(head) for head in heads], columns, *rows))


def _line(cells: Sequence[str]) -> str:
    return "| " + " | ".join(cell.replace("|", r"\|") for cell in cells) + " |"
