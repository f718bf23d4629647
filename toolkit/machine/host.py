"""This machine: described in results, its CPUs for timing, what only some systems tell, and what is missing.

Choose the CPUs to time on, and keep this process off them.

A process that moves between CPUs finds cold caches, and CPUs of one machine may differ in speed. So all files of a run
are timed on the same CPUs, as many as they have threads, while the coordinating process waits on other ones.

What only some systems tell of themselves, and how turns of timing start here.

Every function returns None where the system has no answer, and results then say nothing instead of a wrong figure.
Child processes, which import less, have their own: `edgepress.toolkit.workers.system`.
"""

from __future__ import annotations

import contextlib
import os
import platform
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Literal, get_args

from edgepress.runtime import ENGINES
from edgepress.runtime.amx import has_tiles
from edgepress.runtime.board import cpu_name, usable_cores, usable_cpus, version
from edgepress.runtime.board import doctor as board_doctor
from edgepress.toolkit.errors import TOOLKIT_MODULES, InputError
from edgepress.toolkit.machine.environments import engine_version
from edgepress.toolkit.workers.system import FORKS, PINS, pin

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


X86 = ("x86_64", "AMD64", "i686")


def describe_host() -> dict[str, Any]:
    """The board or CPU, its cores and memory, the system, the engines' versions, and the current load."""
    import psutil

    return {
        "name": platform.node(),
        "cpu": processor(),
        "machine": platform.machine(),
        "amx": has_tiles(),
        "cores": usable_cores(),
        "memory_bytes": psutil.virtual_memory().total,
        "os": _system(),
        "python": platform.python_version(),
        "engines": {name: version for name in ENGINES if (version := engine_version(name))},
        "load_1min": None if (load := load_average()) is None else round(load, 2),
    }


def host_title(host: Mapping[str, Any]) -> str:
    """One host in a few words: "AMD EPYC (x86_64, 2 cores)"."""
    return f"{host['cpu']} ({host['machine']}, {host['cores']} core{'s' if host['cores'] != 1 else ''})"


def _system() -> str:
    try:
        return platform.freedesktop_os_release()["PRETTY_NAME"]
    except (OSError, KeyError):
        return f"{platform.system()} {platform.release()}"


def parse_cpus(text: str) -> tuple[int, ...]:
    """CPU numbers from "1" or "0,2".

    Raises:
        InputError: A word is not the number of a CPU that this process may use, or occurs twice.
    """
    usable = usable_cpus()
    words = text.split(",")
    try:
        cpus = tuple(int(word) for word in words)
    except ValueError:
        cpus = ()
    if not cpus or len(set(cpus)) < len(cpus) or not set(cpus) <= set(usable):
        accepted = ", ".join(map(str, usable)) or "none, because this system cannot pin processes"
        raise InputError(f"--cpus is {text!r}.", f"Accepted: distinct numbers of {accepted}, separated by commas.")
    return cpus


def choose_cpus(threads: int) -> tuple[int, ...]:
    """The last usable CPUs, one per thread: systems tend to put their own work on the first ones.

    None where turns are spawned: such systems cannot pin processes.
    """
    return usable_cpus()[-threads:] if turns() == "fork" else ()


@contextlib.contextmanager
def out_of_the_way(cpus: tuple[int, ...]) -> Iterator[None]:
    """Keep this process off some CPUs while the block runs, unless no CPU would be left for it."""
    mine = usable_cpus()
    rest = set(mine) - set(cpus)
    if not rest or not cpus:
        yield
        return
    pin(tuple(rest))
    try:
        yield
    finally:
        pin(mine)


def doctor() -> dict[str, Any]:
    """The document of `edgepress.runtime.board.doctor`, with two more fields and a stricter "ok".

    Returns:
        The fields of the board's document; "toolkit", a list of {"package", "version", "install"} for every package of
        the extra "toolkit" (version None and a command if it is missing); and "temporary_bytes", the free space where
        conversions keep their files. "ok": an engine works and no package is missing.
    """
    import psutil

    facts = board_doctor()
    memory = psutil.virtual_memory()
    facts["memory_bytes"] = facts["memory_bytes"] or memory.total  # the board's are 0 where there is no /proc
    facts["available_bytes"] = facts["available_bytes"] or memory.available
    install = f"{sys.executable} -m pip install 'edgepress[toolkit]'"
    versions = {package: version(package) for package in sorted(set(TOOLKIT_MODULES.values()))}
    packages = [{"package": p, "version": v, "install": "" if v else install} for p, v in versions.items()]
    free = shutil.disk_usage(tempfile.gettempdir()).free
    ok = facts["ok"] and all(versions.values())
    return facts | {"ok": ok, "toolkit": packages, "temporary_bytes": free}
