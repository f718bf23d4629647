"""What the system's files say of this machine."""

from __future__ import annotations

import contextlib
import re
from pathlib import Path


def read_text(path: str | Path) -> str:
    """Text of a file; "" if it can't be read."""
    with contextlib.suppress(OSError):
        return Path(path).read_text(errors="replace")
    return ""


def cpu_flags() -> frozenset[str]:
    """The CPU's extensions in /proc/cpuinfo, such as "avx512_vnni" or "asimddp"; empty where that is not known."""
    found = re.search(r"^(?:flags|Features)\s*:(.*)$", read_text("/proc/cpuinfo"), re.MULTILINE)
    return frozenset(found[1].split() if found else ())
