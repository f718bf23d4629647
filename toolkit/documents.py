"""Files of edgepress's own kinds: read within limits; plots; and folders of results that can be made again.

What a file claims is limited before it is parsed or walked, so that a hostile one is a `ValueError` and not the end of
the memory, a number that no arithmetic takes, or a `RecursionError` in whatever reads the values.
"""

from __future__ import annotations

import json
import math
import os
import re
import tomllib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from edgepress.runtime.filetypes import open_regular
from edgepress.toolkit.errors import InputError

MAX_BYTES = 64 << 20
"""Largest document; that of 30 candidates with 1,000 classes each has about a tenth."""
MOST_PARTS = 1_000_000
"""Lists and objects in a document at most: an empty one takes two bytes of it, and about 60 of memory."""
DEEPEST = 64
"""Most levels of a document."""
_PART = r"""(?:[\w-]++|"(?:[^"\\\n]|\\.)*+"|'[^'\n]*+')"""
_DEEP_KEY = re.compile(rf"(?<![\w\\-])(?:{_PART}[ \t]*+\.[ \t]*+){{{DEEPEST}}}")
"""No key begins behind a backslash: tried at each quote in a text of escaped ones, it would take as long as tomllib."""

_ESCAPE = re.compile(rb"\\(?:u[dD][89abAB]\w\w\\u[dD][c-fC-F]\w\w|(?P<half>u)(?=[dD][89a-fA-F])|.)", re.DOTALL)
"""An escape in JSON, or a pair of them for one character."""


def read_limited(path: str | Path, most: int = MAX_BYTES) -> bytes:
    """The content of a regular file.

    Args:
        path: The file.
        most: Its bytes at most.

    Raises:
        OSError: It can't be read, or is a pipe or a device.
        ValueError: It is larger.
    """
    with open_regular(path) as file:
        content = file.read(most + 1)
    if len(content) > most:
        raise ValueError(f"it has more than {most} bytes")
    return content


def read_json(path: str | Path) -> dict[str, Any]:
    """The JSON object in a file; see `read_limited` and `parse_json`."""
    return parse_json(read_limited(path))


def parse_json(text: bytes, *, finite: bool = True) -> dict[str, Any]:
    """A JSON object whose numbers are finite and fit into 64 bits, and which is neither deep nor of many parts.

    Args:
        text: The document.
        finite: Whether NaN and infinity, which are no JSON, are refused; edgepress itself keeps those of a run.

    Raises:
        ValueError: It is something else.
    """
    if text.count(b"[") + text.count(b"{") > MOST_PARTS:
        raise ValueError(f"it has more than {MOST_PARTS} lists and objects")
    try:
        number = _finite if finite else float
        value = json.loads(text, parse_int=_integer, parse_float=number, parse_constant=number)
    except UnicodeDecodeError:
        raise ValueError("it is not a text") from None
    except RecursionError:
        raise ValueError("it is nested too deeply") from None
    if not isinstance(value, dict):
        raise ValueError("no JSON object")
    _require_limits(value)
    return value


def with_halves_as_words(text: bytes) -> bytes:
    r"""A JSON document in which half a surrogate pair is the word that screens show for it, such as `\udcff`.

    Names of files that are not UTF-8 hold such halves; pydantic refuses texts with them.
    """
    return _ESCAPE.sub(lambda escape: b"\\" * bool(escape["half"]) + escape[0], text)


def parse_toml(text: str) -> dict[str, Any]:
    """The tables of a TOML document.

    The time that tomllib takes for a dotted key grows with the square of its length.

    Raises:
        ValueError: It is not valid TOML, is nested too deeply, or has a key of more than `DEEPEST` parts or an integer
            of more than 64 bits.
    """
    if _DEEP_KEY.search(text):
        raise ValueError(f"a key has more than {DEEPEST} parts")
    try:
        tables = tomllib.loads(text)
    except RecursionError:
        raise ValueError("it is nested too deeply") from None
    _require_limits(tables)
    return tables


def _require_limits(value: Any) -> None:
    """Raise `ValueError` if a document has too many levels, or an integer that does not fit into 64 bits."""
    level = [value]
    for _ in range(DEEPEST):
        level = [inner for outer in level for inner in (outer.values() if isinstance(outer, dict) else outer)]
        if any(isinstance(inner, int) and not -(1 << 63) <= inner < 1 << 63 for inner in level):
            raise ValueError("it holds an integer of more than 64 bits")
        level = [inner for inner in level if isinstance(inner, (dict, list))]
    if level:
        raise ValueError("it is nested too deeply")


def _integer(text: str) -> int:
    """An integer that fits into 64 bits, so that arithmetic on it cannot fail."""
    if len(text) > 19 or abs(int(text)) >= 1 << 63:
        raise ValueError(f"it holds the number {text[:24]}{'...' if len(text) > 24 else ''}")
    return int(text)


def _finite(text: str) -> float:
    value = float(text)
    if not math.isfinite(value):
        raise ValueError(f"it holds the number {text[:24]}")
    return value


def default_cache(name: str = "answers") -> Path:
    """A folder by its name, for answers by default: below `EDGEPRESS_CACHE`, or below the user's cache folder."""
    import platformdirs

    return Path(os.environ.get("EDGEPRESS_CACHE") or platformdirs.user_cache_path("edgepress")) / name


SUFFIXES = (".png", ".svg")


def checked_suffix(path: Path) -> None:
    """Check the file name of a plot, before anything is measured.

    Raises:
        InputError: It does not end in `.png` or `.svg`.
    """
    if path.suffix not in SUFFIXES:
        raise InputError(f"{path} cannot hold a plot.", f"Accepted suffixes: {', '.join(SUFFIXES)}.")


@contextmanager
def plain_texts() -> Iterator[None]:
    r"""While it lasts, or in a function that it decorates, matplotlib takes no text for a formula.

    Otherwise a class named "$5" would be drawn in italics, and one named "$\frac$" would end in an exception.
    """
    import matplotlib

    with matplotlib.rc_context({"text.parse_math": False, "text.usetex": False}):
        yield
