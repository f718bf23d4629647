"""Print a board's description and state as JSON: sent over ssh to the board's Python.

    ssh pi@kitchen python3 - litert=ai-edge-litert < toolkit/shipping/boards/remote_probe.py   everything
    ssh pi@kitchen python3 - state < toolkit/shipping/boards/remote_probe.py                   only the state, such as
    throttling

It reports versions of the packages named. It needs only Python 3.7's standard library. Unknown values are null or "".
"""

from __future__ import annotations

import contextlib
import glob
import json
import os
import platform
import shutil
import subprocess
import sys
from collections.abc import Iterator
from typing import Any


def info(root: str = "/", **packages: str) -> dict[str, Any]:
    """The board's description, which does not change while it runs; `packages` holds the package of each engine."""
    cpu = _cpuinfo(_read(root, "proc/cpuinfo"))
    memory = [line.split()[1] for line in _read(root, "proc/meminfo").splitlines() if line.startswith("MemTotal:")]
    return {
        "node": platform.node(),
        "home": os.getcwd(),
        "model": _read(root, "proc/device-tree/model") or cpu.get("Model", ""),
        "cpu": cpu.get("model name", ""),
        "cpu_implementer": cpu.get("CPU implementer", ""),
        "cpu_part": cpu.get("CPU part", ""),
        "flags": (cpu.get("Features") or cpu.get("flags") or "").split(),
        "machine": platform.machine(),
        "bits": 64 if sys.maxsize > 2**32 else 32,
        "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
        "memory_bytes": 1024 * int(memory[0]) if memory else None,
        "os": _os_name(_read(root, "etc/os-release")),
        "kernel": platform.release(),
        "libc": platform.libc_ver(),
        "python": platform.python_version(),
        "engines": _engines(packages),
        "governor": _read(root, "sys/devices/system/cpu/cpu0/cpufreq/scaling_governor"),
        "frequency_limit_mhz": _mhz(_read(root, "sys/devices/system/cpu/cpu0/cpufreq/cpuinfo_max_freq")),
    }


def state(root: str = "/") -> dict[str, Any]:
    """The board's current state: {name: value}."""
    temperatures = [_number(_read(root, path)) for path in _find(root, "sys/class/thermal/thermal_zone*/temp")]
    frequencies = [_mhz(_read(root, p)) for p in _find(root, "sys/devices/system/cpu/cpu*/cpufreq/scaling_cur_freq")]
    return {
        "temperature_c": max((t / 1000 for t in temperatures if t is not None), default=None),
        "frequency_mhz": min((f for f in frequencies if f is not None), default=None),
        "throttled": _read_throttling(root),
        "cooling": sorted(_cooling(root)),
        "load_1min": _load(),
    }


def _load() -> float | None:
    if sys.platform != "win32" and hasattr(os, "getloadavg"):
        return os.getloadavg()[0]
    return None


def _read_throttling(root: str) -> int | None:
    """The throttling bits of a Raspberry Pi, from vcgencmd, or from the kernel if that is missing or not permitted."""
    tool = shutil.which("vcgencmd")
    text = ""
    if tool:
        try:
            process = subprocess.run(
                [tool, "get_throttled"], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, timeout=5
            )
            text = process.stdout.decode("ascii", "replace").strip()
        except (OSError, subprocess.TimeoutExpired):
            pass
    if not text.startswith("throttled=0x"):
        text = "throttled=0x" + _read(root, "sys/devices/platform/soc/soc:firmware/get_throttled")
    try:
        return int(text[len("throttled=") :], 16)
    except ValueError:
        return None


def _cooling(root: str) -> Iterator[str]:
    """Cooling devices that the kernel reports as slowing a CPU down now."""
    for path in _find(root, "sys/class/thermal/cooling_device*/type"):
        kind = _read(root, path)
        slowed = _number(_read(root, os.path.join(os.path.dirname(path), "cur_state")))
        if slowed and kind.lower().startswith(("thermal-cpu", "cpufreq", "thermal-cpufreq", "processor")):
            yield kind


def _cpuinfo(text: str) -> dict[str, str]:
    """The fields of /proc/cpuinfo; the last core's, because big cores follow little ones."""
    lines = [line.partition(":") for line in text.splitlines()]
    return {key.strip(): value.strip() for key, colon, value in lines if colon}


def _os_name(text: str) -> str:
    names = [line for line in text.splitlines() if line.startswith("PRETTY_NAME=")]
    return names[0].partition("=")[2].strip('"') if names else platform.system() + " " + platform.release()


def _engines(packages: dict[str, str]) -> dict[str, str]:
    """Versions of the engines installed for this Python."""
    try:
        from importlib.metadata import PackageNotFoundError, version
    except ImportError:  # before Python 3.8
        return {}
    versions = {}
    for name, package in packages.items():
        with contextlib.suppress(PackageNotFoundError):
            versions[name] = version(package)
    return versions


def _find(root: str, pattern: str) -> list[str]:
    return sorted(os.path.relpath(path, root) for path in glob.glob(os.path.join(root, pattern)))


def _read(root: str, path: str) -> str:
    try:
        with open(os.path.join(root, path), encoding="utf-8", errors="replace") as f:
            return f.read().strip("\0\n ")
    except OSError:
        return ""


def _number(text: str) -> int | None:
    try:
        return int(text)
    except ValueError:
        return None


def _mhz(text: str) -> float | None:
    khz = _number(text)
    return None if khz is None else khz / 1000


if __name__ == "__main__":
    named = dict(word.split("=") for word in sys.argv[1:] if "=" in word)
    document = state() if sys.argv[1:] == ["state"] else dict(info(**named), state=state())
    sys.stdout.write(json.dumps(document) + "\n")
