r"""Text of others as every screen shows it: labels, names of files, metadata, messages of libraries.

`one_line` is the one way of such text to a terminal or a log, and the first step of all others: Markdown, annotations,
CSV, plots and pages escape what it returns. Python's `str.isprintable` decides what a screen shows: control characters,
marks that turn the direction of text, tags, halves of surrogate pairs and line separators are written as escapes.

    >>> print(one_line("cat\x1b[2J\n::error::x"))
    cat\x1b[2J\n::error::x
"""

from __future__ import annotations

import json
import re
import traceback
from typing import Any

MOST = 1000
"""Characters of a line; of a longer one the middle is left out."""
_SPACES = "\u00a0\u1680\u2000\u2001\u2002\u2003\u2004\u2005\u2006\u2007\u2008\u2009\u200a\u202f\u205f\u3000"
"""Spaces other than that of ASCII, which `isprintable` refuses."""
_INVISIBLE = re.compile("[\u034f\u115f\u1160\u17b4\u17b5\u180b-\u180f\u3164\uffa0\U000e0100-\U000e01ef]")
"""What `isprintable` takes although no font draws it."""
_JOINERS = "\u200c\u200d"
"""Persian, the scripts of India and emoji need them; between Latin letters they only hide."""
_OTHER = re.compile("[^ -~]")
_AT_START = re.compile(r"^((?:\x1b\[[\d;]*m|\s)*):(?=:)", re.MULTILINE)
_ANYWHERE = re.compile(r"#(?=#\w*\[)")
"""How commands begin in the logs of CI services (`::` at the start of a line, `##[` and `##vso[` anywhere)."""
_LOGIN = re.compile(r"(?<=://)[^\s'\"]{0,300}@|(?<![^\s'\"=(,])(?![A-Za-z]:\\)[^\s'\"/:=(,]{1,300}:[^\s'\"]{0,300}@")
"""A login in front of a host, behind a scheme or at the beginning of a word; also one that is written wrongly."""


def one_line(text: object, most: int = MOST) -> str:
    """A text that holds words of others as one line in which no screen, log or CI service interprets anything.

    Args:
        text: The text, or what `str` makes one of.
        most: Characters of the line at most; of a longer one "..." replaces the middle.
    """
    line = _OTHER.sub(lambda c: c[0] if _is_seen(c) else c[0].encode("unicode_escape").decode(), _cut(str(text), most))
    return _cut(without_commands(line), most)


def without_commands(text: str) -> str:
    """Lines of which no CI service takes one for a command: `one_line` again, for lines that were wrapped since."""
    return _ANYWHERE.sub(r"\\x23", _AT_START.sub(r"\1\\x3a", text))


def json_text(value: Any, indent: int | None = None) -> str:
    """A JSON document for a file or a screen: the same values, with escapes for what `one_line` escapes.

    Raises:
        ValueError: It holds NaN or infinity, which JSON lacks.
    """
    text = json.dumps(value, indent=indent, ensure_ascii=False, allow_nan=False)
    text = _OTHER.sub(lambda c: c[0] if c[0] == "\n" or _is_seen(c) else json.dumps(c[0])[1:-1], text)
    return _ANYWHERE.sub(r"\\u0023", text)


def traceback_of(error: BaseException) -> str:
    """What Python prints for an exception that is a bug, each line as `one_line` writes it."""
    lines = "".join(traceback.format_exception(error)).rstrip("\n").split("\n")
    return "".join(f"{one_line(line)}\n" for line in lines)


def _is_seen(match: re.Match[str]) -> bool:
    """Whether a screen shows a character as itself."""
    c = match[0]
    text = match.string
    at = match.start()
    if c in _JOINERS:
        beside = text[max(0, at - 1) : at], text[at + 1 : at + 2]
        return all(letter > "\u02ff" and letter.isprintable() for letter in beside)
    return c in _SPACES or (c.isprintable() and not _INVISIBLE.match(c))


def _cut(text: str, most: int) -> str:
    tail = most // 4
    return text if len(text) <= most else f"{text[: most - tail - 3]}...{text[len(text) - tail :]}"


def without_login(text: str) -> str:
    """A message without the names and passwords of the addresses in it, such as https://name:password@host."""
    return _LOGIN.sub("...@", text)


def holds_login(address: str) -> bool:
    """Whether an address of the web has more than a host and a port in front of its path."""
    place = re.split(r"[/?#]", address.partition("://")[2], maxsplit=1)[0]
    return re.fullmatch(r"[^@:]*(:\d*)?|\[[^@\]]*\](:\d*)?", place) is None
