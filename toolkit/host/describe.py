"""What a measurement was made on: a latency counts only for the host that it names."""

from __future__ import annotations

import os
import platform
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from edgepress.runtime import ENGINES
from edgepress.toolkit.engines.environments import engine_version

X86 = ("x86_64", "AMD64", "i686")


def describe_host() -> dict[str, Any]:
    """The board or CPU, its cores and memory, the system, the engines' versions, and the load at this moment."""
    import psutil

    return {
        "name": platform.node(),
        "cpu": _cpu(),
        "machine": platform.machine(),
        "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
        "memory_bytes": psutil.virtual_memory().total,
        "os": _system(),
        "python": platform.python_version(),
        "engines": {name: version for name in ENGINES if (version := engine_version(name))},
        "load_1min": round(os.getloadavg()[0], 2),
    }


def host_title(host: Mapping[str, Any]) -> str:
    """One host in a few words: "AMD EPYC (x86_64, 2 cores)"."""
    return f"{host['cpu']} ({host['machine']}, {host['cores']} core{'s' if host['cores'] != 1 else ''})"


def _cpu() -> str:
    board = Path("/proc/device-tree/model")  # "Raspberry Pi 4 Model B Rev 1.4"
    if board.exists():
        return board.read_text(errors="replace").strip("\0\n ")
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        lines = []
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()


def _system() -> str:
    try:
        return platform.freedesktop_os_release()["PRETTY_NAME"]
    except (OSError, KeyError):
        return f"{platform.system()} {platform.release()}"
