"""Describe the host of a measurement: a latency is valid only for the host that it was measured on."""

from __future__ import annotations

import os
import platform
from collections.abc import Mapping
from typing import Any

from edgepress.runtime import ENGINES
from edgepress.runtime.board import cpu_name, usable_cores
from edgepress.toolkit.engines.environments import engine_version

X86 = ("x86_64", "AMD64", "i686")


def describe_host() -> dict[str, Any]:
    """The board or CPU, its cores and memory, the system, the engines' versions, and the current load."""
    import psutil

    return {
        "name": platform.node(),
        "cpu": cpu_name(),
        "machine": platform.machine(),
        "cores": usable_cores(),
        "memory_bytes": psutil.virtual_memory().total,
        "os": _system(),
        "python": platform.python_version(),
        "engines": {name: version for name in ENGINES if (version := engine_version(name))},
        "load_1min": round(os.getloadavg()[0], 2),
    }


def host_title(host: Mapping[str, Any]) -> str:
    """One host in a few words: "AMD EPYC (x86_64, 2 cores)"."""
    return f"{host['cpu']} ({host['machine']}, {host['cores']} core{'s' if host['cores'] != 1 else ''})"


def _system() -> str:
    try:
        return platform.freedesktop_os_release()["PRETTY_NAME"]
    except (OSError, KeyError):
        return f"{platform.system()} {platform.release()}"
