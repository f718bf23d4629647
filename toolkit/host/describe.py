"""Describe the host of a measurement: a latency is valid only for the host that it was measured on."""

from __future__ import annotations

import platform
from collections.abc import Mapping
from typing import Any

from edgepress.runtime import ENGINES
from edgepress.runtime.amx import has_tiles
from edgepress.runtime.board import usable_cores
from edgepress.toolkit.engines.environments import engine_version
from edgepress.toolkit.host.system import load_average, processor

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
