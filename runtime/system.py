"""What the system's files say of this machine."""

from __future__ import annotations

import contextlib
import re
import sys
import time
from pathlib import Path


def read_text(path: str | Path) -> str:
    """Text of a file; "" if it can't be read."""
    with contextlib.suppress(OSError):
        return Path(path).read_text(encoding="utf-8", errors="replace")
    return ""


def boot_s() -> float:
    """Seconds since the board has started, also those in which it slept; a clock that jumps does not change them."""
    if sys.platform == "linux":
        return time.clock_gettime(time.CLOCK_BOOTTIME)
    return time.monotonic()


FLAGS = "flags|Features"
"""The field of /proc/cpuinfo that names the CPU's extensions, on x86 and on ARM."""


def cpu_info(field: str) -> str:
    """First value of a field of /proc/cpuinfo, a regular expression; "" where that is not known."""
    values: list[str] = re.findall(rf"^(?:{field})\s*:(.*)$", read_text("/proc/cpuinfo"), re.MULTILINE)
    return values[0].strip() if values else ""


def temperature_c() -> float | None:
    """Temperature of the hottest thermal zone, degrees Celsius; None where the system does not report it."""
    zones = [read_text(zone) for zone in Path("/sys/class/thermal").glob("thermal_zone*/temp")]
    return max((int(text) / 1000 for text in zones if text.strip().lstrip("-").isdigit()), default=None)
