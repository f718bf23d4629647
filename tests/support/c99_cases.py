"""Which small graphs of the export to C are compiled in the fast suite, and which in the slow one."""

from __future__ import annotations

from typing import Any

import pytest
from c99_graphs import GRAPHS

FAST = 6
"""Number of graphs of each kind whose C is compiled in the fast suite; that of all is compiled in CI."""


def is_fast(name: str) -> bool:
    """Whether the C of a graph is compiled in the fast suite."""
    number = name.rpartition("-")[2]
    return not number.isdecimal() or int(number) < FAST


def compiled_graphs(*kinds: str) -> list[Any]:
    """Names of the graphs of some kinds, or of all, of which those behind the first few are slow."""
    names = [name for name in GRAPHS if name.startswith(kinds or "")]
    return [pytest.param(name, marks=[] if is_fast(name) else pytest.mark.slow) for name in names]
