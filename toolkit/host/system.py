"""What only some systems tell of themselves, and how turns of timing start here.

Every function returns None where the system has no answer, and results then say nothing instead of a wrong figure.
Child processes, which import less, have their own: `edgepress.toolkit.workers.system`.
"""

from __future__ import annotations

import contextlib
import os
import platform
import subprocess
import sys
from collections.abc import Iterable
from typing import Literal, get_args

from edgepress.runtime.board import cpu_name
from edgepress.toolkit.errors import InputError
from edgepress.toolkit.workers.system import FORKS, PINS

Turns = Literal["fork", "spawn"]
"""`fork`: turns of timing are forks of a process that has imported the engine, pinned to CPUs. `spawn`: each is a new
Python, not pinned, as on systems without forks and without a way to pin."""
VARIABLE = "EDGEPRESS_TURNS"


def turns() -> Turns:
    """How turns start: as `EDGEPRESS_TURNS` says, else by forks where the system has them and can pin processes.

    Raises:
        InputError: The variable is neither, or asks for forks where there are none.
    """
    setting = os.environ.get(VARIABLE, "")
    able = FORKS and PINS
    for way in get_args(Turns):
        if setting == way and (able or way == "spawn"):
            return way  # type: ignore[no-any-return]
    if setting:
        accepted = " or ".join(get_args(Turns)) if able else "spawn, because this system cannot fork and pin processes"
        raise InputError(f"{VARIABLE} is {setting!r}.", f"Accepted: {accepted}; without it, the better one is used.")
    return "fork" if able else "spawn"


if sys.platform != "win32" and hasattr(os, "getloadavg"):

    def load_average() -> float | None:
        """Load average of the last minute."""
        return os.getloadavg()[0]

else:

    def load_average() -> float | None:
        """Windows counts none; psutil's emulation needs a thread that runs all the time."""
        return None


def frequency_mhz() -> float | None:
    """Current frequency of the CPUs."""
    import psutil

    with contextlib.suppress(OSError, NotImplementedError):  # virtual machines, Macs
        if hasattr(psutil, "cpu_freq") and (frequency := psutil.cpu_freq()):
            return float(frequency.current)
    return None


def own_seconds() -> float | None:
    """CPU seconds of this process and of its terminated child processes; Windows does not know those of children."""
    return None if sys.platform == "win32" else sum(os.times()[:4])


def disk_bytes(files: Iterable[os.stat_result]) -> int:
    """Space that files take on disk, or where the system does not tell, their sizes."""
    if sys.platform == "win32":
        return sum(file.st_size for file in files)
    else:  # so that mypy takes it as of other systems
        return sum(file.st_blocks * 512 for file in files)


def processor() -> str:
    """The board or the CPU by its name."""
    if sys.platform == "darwin":
        with contextlib.suppress(OSError, subprocess.SubprocessError):
            command = ["/usr/sbin/sysctl", "-n", "machdep.cpu.brand_string"]
            output = subprocess.run(command, capture_output=True, text=True, timeout=10, check=True).stdout.strip()
            return output or cpu_name()
    if sys.platform == "win32":
        return platform.processor() or cpu_name()
    return cpu_name()
