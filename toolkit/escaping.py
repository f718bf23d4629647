"""Text of others in the places that would interpret it: Markdown, annotations of GitHub Actions, a shell.

Each function takes what `edgepress.runtime.text.one_line` returns one step further. Pages need none of them: Jinja,
ElementTree and `textContent` escape HTML. CSV is written by `edgepress.converters.files.write_csv`, terminals by
`edgepress.toolkit.terminal`, and plots by what `edgepress.toolkit.documents.plain_texts` decorates.
"""

from __future__ import annotations

import os
import re
import shlex
from collections.abc import Iterable, Sequence
from pathlib import Path

from edgepress.runtime.text import one_line

_MARKDOWN = {ord(c): f"\\{c}" for c in "\\`*_[]|~#$"}
_MARKDOWN |= {ord("&"): "&amp;", ord("<"): "&lt;", ord(">"): "&gt;", ord("@"): "@&#8203;"}
_AUTOMATIC = re.compile(r":(?=//|[\w+-]+:)|(?<=\bwww)\.", re.IGNORECASE)
"""What GitHub makes links and emoji of without brackets: "https://", "www.", ":name:"."""
_BLOCK = re.compile(r"^(?:[-+=]|\d+(?=[.)]))")
"""What begins a list or underlines a heading."""


def markdown(text: object) -> str:
    """A text on one line in which Markdown, HTML, mentions, links, emoji codes and formulas are shown, not made."""
    line = " ".join(one_line(text).split(" ")).strip().translate(_MARKDOWN)
    return _BLOCK.sub(_escape_start, _AUTOMATIC.sub(r"\g<0>&#8203;", line))


def _escape_start(match: re.Match[str]) -> str:
    return f"{match[0]}\\" if match[0].isdigit() else f"\\{match[0]}"


def annotation(kind: str, title: object, message: object) -> str:
    """A workflow command of GitHub Actions that shows a message beside a run.

    Format: docs.github.com, "Workflow commands for GitHub Actions"; the escapes are those of actions/runner.

    Args:
        kind: "error", "warning" or "notice".
        title: What it is about.
        message: What it says.
    """
    text = one_line(message).replace("%", "%25")
    name = one_line(title).replace("%", "%25").replace(":", "%3A").replace(",", "%2C")
    return f"::{kind} title={name}::{text}"


def shell_line(*words: str | Path) -> str:
    """A command to copy into a shell: one line, in which a name of a file is one word and no option."""
    return " ".join(_word(word) for word in words)


def _word(word: str | Path) -> str:
    text = os.path.join(os.curdir, word) if isinstance(word, Path) and str(word).startswith("-") else str(word)
    if one_line(text, len(text)) == text:
        return shlex.quote(text)
    shown = "".join(chr(b) if 32 <= b < 127 and b not in b"\\'#" else f"\\x{b:02x}" for b in os.fsencode(text))
    return f"$'{shown}'"


def markdown_table(heads: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A Markdown table of escaped texts; a heading that begins with ">" has figures below it, aligned at the right."""
    aligned = "".join("--:|" if head.startswith(">") else "---|" for head in heads)
    lines = [f"| {' | '.join(cells)} |" for cells in ([head.removeprefix(">") for head in heads], *rows)]
    return "\n".join([lines[0], f"|{aligned}", *lines[1:]])
