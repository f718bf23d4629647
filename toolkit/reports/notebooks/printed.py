"""What `print` shows of a result: the texts and tables of its notebook view, as plain text.

There is one view of each result, so a terminal and a notebook say the same. Plots are left out.
"""

from __future__ import annotations

import io
import shutil
from html.parser import HTMLParser

from edgepress.toolkit.reports.notebooks.html import GRAPHIC

LEAST_WIDTH = 130
"""Columns of a table at least, if it needs them; a narrower terminal breaks its lines."""
HIDDEN = ("style", "svg")
"""Elements without text for a reader."""
CELLS = ("th", "td")


class Printed:
    """A result that notebooks show as HTML and `print` as text; `repr` stays that of the class."""

    def _repr_html_(self) -> str:
        raise NotImplementedError

    def __str__(self) -> str:
        return plain_text(self._repr_html_())


def plain_text(html: str) -> str:
    """The paragraphs and tables of a view (`edgepress.toolkit.reports.notebooks.html`), without a trailing newline."""
    parser = _Parser()
    parser.feed(html)
    parser.close()
    blocks = [_table_text(block) if isinstance(block, list) else block for block in parser.blocks]
    return "\n".join(block for block in blocks if block)


class _Parser(HTMLParser):
    """Collects paragraphs as texts, and tables as rows of (text, whether it is a figure)."""

    def __init__(self) -> None:
        super().__init__()
        self.blocks: list[str | list[list[tuple[str, bool]]]] = []
        self._hidden = 0
        self._texts: list[str] = []
        self._figure = False

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        table = self.blocks[-1] if self.blocks else None
        if tag in HIDDEN or self._hidden or dict(attrs).get("class") == GRAPHIC:
            self._hidden += 1
        elif tag == "code":
            self._texts.append("\n    ")
        elif tag == "table":
            self.blocks.append([])
        elif tag == "tr" and isinstance(table, list):
            table.append([])
        elif tag in CELLS or tag in ("p", "caption"):
            self._texts = []
            self._figure = "num" in (dict(attrs).get("class") or "").split()

    def handle_endtag(self, tag: str) -> None:
        table = self.blocks[-1] if self.blocks else None
        text = "".join(self._texts).replace(" \n", "\n").strip()
        if self._hidden:
            self._hidden -= 1
        elif tag in CELLS and isinstance(table, list):
            table[-1].append((text, self._figure))
        elif tag == "caption":
            self.blocks.insert(-1, text)
        elif tag == "p":
            self.blocks.append(text)

    def handle_data(self, data: str) -> None:
        if not self._hidden:
            self._texts.append(data)


def _table_text(rows: list[list[tuple[str, bool]]]) -> str:
    from edgepress.toolkit.terminal import SIMPLE_HEAD, Console, Table, Text

    table = Table(box=SIMPLE_HEAD, pad_edge=False)
    for title, figure in rows[0]:
        table.add_column(Text(title), justify="right" if figure else "left", overflow="fold")
    for row in rows[1:]:
        table.add_row(*(Text(text) for text, _ in row))
    buffer = io.StringIO()
    width = max(LEAST_WIDTH, shutil.get_terminal_size().columns)
    Console(file=buffer, width=width, color_system=None, force_terminal=False, force_jupyter=False).print(table)
    return "\n".join(line.rstrip() for line in buffer.getvalue().strip("\n").split("\n"))
