"""Text that a terminal, a log, a page or a spreadsheet would interpret, and what may be left of it."""

from __future__ import annotations

import re
import unicodedata

LABELS = (
    "[bold]x[/bold]",
    "[/x]",
    "[dog]",
    "\x1b[2J\x1b]0;owned\x07red",
    "\n::error::injected",
    "::error file=a.py::injected",
    "##[error]injected",
    "</script><script>window.hacked = 1</script>",
    '=HYPERLINK("http://x.test","y")',
    "\u202egpj.exe\u2066\u200b\x9b2J\U000e0041\u2028::warning::z",
)
"""Ten, for the classes of the digits."""
LONG = "long" * 250_000
NAMES = tuple(label.replace("/", "|") for label in LABELS)
"""The same as names of files: no slashes."""
BYTES_NAME = b"\xff\xfe\x1b[2Jname".decode("utf-8", "surrogateescape")
MARKS = ("[bold]x[", "[dog]", r"\x1b[2J", r"\n::error::injected", r"\u202e", r"\x3a:error", r"\x9b")
"""Parts of what they look like as one line."""
_STYLE = re.compile(r"\x1b\[[\d;]*m")
_PROGRESS = re.compile(r"\x1b\[(?:\?25[lh]|\d*[AK]|0G)|\r")
"""What Rich writes for styles, and while a bar is on the screen."""


def assert_plain(printed: str, *, styled: bool = False, annotated: bool = False, whole: bool = False) -> None:
    """Nothing in what was printed is more than text.

    Args:
        printed: The text.
        styled: Whether styles and bars of progress may be in it.
        annotated: Whether it may have commands of GitHub Actions, which then are errors or warnings of a gate.
        whole: Whether texts in it are not cut, as in JSON.
    """
    text = _PROGRESS.sub("", _STYLE.sub("", printed)) if styled else printed
    assert_no_controls(text)
    commands = [line for line in text.splitlines() if line.lstrip().startswith("::")]
    allowed = [line for line in commands if re.match(r"::(error|warning) title=edgepress [^:]*::", line)]
    assert commands == (allowed if annotated else []), commands
    assert "##[" not in text
    assert "Traceback" not in text
    assert whole or max(map(len, text.splitlines()), default=0) < 20_000, "a line is not cut"


def assert_no_controls(text: str) -> None:
    """No character of a text but the ends of its lines has an effect of its own."""
    wrong = {c for c in text if c != "\n" and unicodedata.category(c) in ("Cc", "Cf", "Cs", "Zl", "Zp")}
    assert not wrong, f"control characters {wrong} in {text[:2000]!r}"


def unfolded(printed: str) -> str:
    """What was printed without styles, spaces and line ends, which tables put into long words."""
    return re.sub(r"\s", "", _STYLE.sub("", printed))
