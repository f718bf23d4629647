"""Facts about this machine: which engines work (`doctor`), its CPU, cores, memory and temperature.

`doctor` tries every installed engine on a model of a few hundred bytes, in a process of its own: a package built for
another CPU dies there of an illegal instruction, and the report says so.
"""

from __future__ import annotations

import base64
import contextlib
import importlib.metadata
import os
import platform
import re
import signal
import struct
import subprocess
import sys
import tempfile
import threading
import time
import zlib
from pathlib import Path
from typing import Any

import numpy as np

from edgepress import __version__
from edgepress.runtime.engines import ENGINES, PACKAGED
from edgepress.runtime.errors import EdgepressError
from edgepress.runtime.installed import HINT, damage_of
from edgepress.runtime.model import load
from edgepress.runtime.native_session import LIBRARY
from edgepress.runtime.system import FLAGS, cpu_info, read_text, temperature_c

EXTENSIONS = (
    ("a", "asimddp", "NEON dot product: without it int8 gains much less over float32"),
    ("a", "i8mm", "int8 matrix products: without it int8 still has the dot product"),
    ("a", "asimdhp", "float16 arithmetic: without it float16 files save space, not time"),
    ("x", "avx2", "without it everything is several times slower"),
    ("x", "avx512_vnni", "int8 dot product: without this or avx_vnni int8 is hardly faster than float32"),
    ("x", "avx_vnni", "the same on CPUs without AVX-512"),
)
"""First letter of the machine's name, extension in /proc/cpuinfo, and the effect of its absence."""
_TRIAL = {  # softmax(x W) of four numbers x: a deflated file in base 85
    "tflite": "c-mc2D-Oa?5S)I}l<?A2Q~*I#;=zL=2qXf5;0zc(iUS}x1OkEJ1{jWnFWcSeCv7utf7980+W~;hay<nSWJuu<OD2>E5&<j0*8>8vzF"
    "?+R;7}ArX>*j%buPyO=6_J<3_Ia^)N^&0P)^G|1W&<>J@$f3H4==-?{lWHiTB3r?P(aPUc|m-E?~{4PNuyY9n(jg(hv1*z6q?Zal!e6x}WXfCfEu"
    "ljPJsW^^V3nQ>)T^cj}i;-RXp=cT@2ydnC_iKgYiX^4r>{mUc)#r~i{VhIWmi)15RLJ?{4pk@zPv",
    "onnx": "c-rG&x2oe3<YKJgVk{S8tWsk0O)T*(&EewbVyqHktW;tT&QB}JO{@@NOxM!pVBugAV02<E_flYBXs~C100#scL^tdQ(NV%cGllrLcsLk"
    "^IJlTN7=f522`E^JCdlN(!o?uK3ji?{6Bh",
}

_NEW_PYTHON = """
import sys
sys.path[:] = sys.argv[3:]
from edgepress.runtime.board import trial_error
print(end="\\0" + trial_error(*sys.argv[1:3]))
"""
"""What a new Python runs to try an engine; it prints the `trial_error` after the engine's text and a zero byte."""
_NATIVE = "on the workstation: edgepress bundle FILE --engine native; this board then compiles the model."
_RELEASE = Path(__file__).parents[2]
"""The folder of the installed bundle, where this is part of one."""
_TRIAL_S = 60
"""Seconds that an engine has to answer."""
_MOST = 2000
"""Characters of its error that are kept: a pipe takes them at once."""


def doctor() -> dict[str, Any]:
    """This machine, the engines that work on it, and what to install; docs/runtime.md lists the fields."""
    machine = platform.machine()
    bits = 8 * struct.calcsize("P")
    libc = platform.libc_ver()
    libc = libc if sys.platform == "linux" else (sys.platform, "")
    command, why = working_set(machine, bits, sys.version_info[:2], libc)
    memory = dict(re.findall(r"^(\w+):\s+(\d+)", read_text("/proc/meminfo"), re.MULTILINE))
    flags = cpu_info(FLAGS).split()
    engines: list[dict[str, Any]] = []
    if (_RELEASE / LIBRARY).is_file() and (_RELEASE / "interpreter").is_file():  # `run` names this engine here, too
        status, detail = _trial("native")
        engines.append({"name": "native", "version": __version__, "status": status, "detail": detail, "install": ""})
        command = ""
        why = "The model of this bundle was compiled here, and needs no other engine."
        if status == "fails":
            why = "The model of this bundle was compiled here, but does not run: install the bundle again."
    for name, row in PACKAGED.items():
        installed = version(row.package)
        status, detail = ("missing", "") if installed is None else _trial(name)
        if status == "fails" and "numpy<2" in row.requirements and np.__version__ >= "2":
            why = f"{name} needs numpy < 2, found {np.__version__}: {_pip()} 'numpy<2'. {why}"
        offered = installed is None and row.package in re.findall(r"[\w-]+", why + command)
        install = f"{_pip()} {row.package}" if offered else ""
        engines.append({"name": name, "version": installed, "status": status, "detail": detail, "install": install})
    damage = damage_of(_RELEASE) if (_RELEASE / "interpreter").is_file() else ""
    if damage:
        why = f"This release is damaged: {damage}. {HINT}"
    return {
        "ok": any(engine["status"] == "works" for engine in engines) and not damage,
        "python": platform.python_version(),
        "machine": machine,
        "bits": bits,
        "system": f"{platform.system()} {platform.release()}, {' '.join(libc)}",
        "cpu": cpu_name(),
        "cores": usable_cores(),
        "memory_bytes": int(memory.get("MemTotal", 0)) * 1024,
        "available_bytes": int(memory.get("MemAvailable", 0)) * 1024,
        "temperature_c": temperature_c(),
        "packages": {"edgepress": __version__} | {name: version(name) for name in ("numpy", "pillow")},
        "damage": damage or None,
        "engines": engines,
        "extensions": [
            {"name": name, "present": name in flags, "meaning": meaning}
            for letter, name, meaning in EXTENSIONS
            if flags and bits == 64 and machine[0].lower() == letter
        ],
        "install": command,
        "advice": why,
    }


def working_set(
    machine: str, bits: int, python: tuple[int, ...], libc: tuple[str, str], *, pip: str = ""
) -> tuple[str, str]:
    """The command that installs a working engine on a board (empty if none works), and why this one.

    Arguments are those of `platform`, but `libc` is `sys.platform` and "" outside Linux; `bits` is Python's word size,
    because a 64-bit kernel may run a 32-bit Python. `pip` is the beginning of the command, by default this Python's.
    The command names packages, because the sources in a bundle have no extras.
    """
    pip = pip or _pip()
    instead = f"; instead, {_NATIVE}"
    if libc[0] not in ("glibc", "darwin", "win32"):
        return "", f"No engine has packages for systems with {libc[0] or 'musl'}{instead}"
    linux = libc[0] == "glibc"
    if machine.startswith("armv6"):
        why = "No engine has packages for ARMv6 (Raspberry Pi 1 and Zero); those of a Zero 2 W work."
        return "", f"{why} Or, {_NATIVE}"
    if linux and machine not in (("x86_64", "aarch64") if bits == 64 else ("armv7l", "armv8l", "aarch64")):
        return "", f"No engine has packages for {machine} with {bits} bits{instead}"
    if bits == 64:
        new = libc[0] == "glibc" and tuple(map(int, re.findall(r"\d+", libc[1]))) >= (2, 34)
        if new or (libc[0], machine) in (("darwin", "arm64"), ("win32", "AMD64")):
            return f"{pip} ai-edge-litert pillow", "This machine can run LiteRT and ONNX Runtime (onnxruntime)."
        if not linux:
            return f"{pip} onnxruntime pillow", f"LiteRT has no package for {machine} on this system."
        why = f"LiteRT needs glibc 2.34, found {' '.join(libc)}"
        if python < (3, 12):
            return f"{pip} tflite-runtime 'numpy<2' pillow", f"{why}; tflite-runtime does not, with numpy < 2."
        return f"{pip} onnxruntime pillow", f"{why}, and tflite-runtime has no package for Python > 3.11."
    if python >= (3, 12):
        why = f"On 32 bits only tflite-runtime has packages, up to Python 3.11; this is {python[0]}.{python[1]}."
        return "", f"{why} Install a 64-bit system, or Raspberry Pi OS bookworm (Python 3.11). Or, {_NATIVE}"
    return f"sudo apt install python3-numpy python3-pil && {pip} --no-deps tflite-runtime", (
        "On 32 bits only tflite-runtime has packages, with numpy < 2 such as Debian 12's, which a virtual environment "
        "sees if made with --system-site-packages."
    )


def usable_cpus() -> tuple[int, ...]:
    """The CPUs that this process may run on; empty where the system does not report them."""
    return tuple(sorted(os.sched_getaffinity(0))) if hasattr(os, "sched_getaffinity") else ()


def usable_cores() -> int:
    """Number of CPUs that this process may run on."""
    return len(usable_cpus()) or os.cpu_count() or 1


def cpu_name() -> str:
    """The board ("Raspberry Pi 4 Model B Rev 1.4") or the CPU."""
    return read_text("/proc/device-tree/model").strip("\0\n ") or cpu_info("model name") or platform.machine()


def version(package: str) -> str | None:
    """A package's version, None if it is not installed, or "" was given."""
    with contextlib.suppress(importlib.metadata.PackageNotFoundError, ValueError):
        return importlib.metadata.version(package)
    return None


def _trial(name: str) -> tuple[str, str]:
    """Let an engine answer in a process of its own: ("works", "") or ("fails", why)."""
    with tempfile.TemporaryDirectory() as folder:  # made here, because an engine that dies would leave it
        code, error = (_run_in_fork if _can_fork() else _run_in_new_python)(name, folder)
    if code is None:
        return "fails", f"no answer in {_TRIAL_S} s"
    if code < 0:
        return "fails", f"died by {signal.Signals(-code).name}: built for another CPU?"
    if error is None:
        error = f"ended with exit code {code}"
    return ("fails" if error else "works"), error


def _can_fork() -> bool:
    """Whether the trial may be a fork: there are no threads, an engine's or others, which would be missing in it.

    An emulated Python can't start another, so a fork is the first choice.
    """
    loaded = any(engine.module.split(".")[0] in sys.modules for engine in PACKAGED.values())
    return sys.platform == "linux" and threading.active_count() == 1 and not loaded


def trial_error(name: str, folder: str) -> str:
    """Why an engine does not answer the trial model as it should, "" if it does. It may end the process.

    Args:
        name: The engine; "native": the library of the installed bundle, whose answer has to consist of numbers.
        folder: An empty folder for the trial model.
    """
    format = ENGINES[name].formats[0]
    path = Path(folder) / f"trial.{format}"
    try:
        if ENGINES[name].built:
            model = load(_RELEASE / f"model.{format}", name)
            shape, dtype = model.ready
            scores = model.answer(np.zeros(shape, dtype))[0]
            right = bool(np.isfinite(scores).all())
        else:
            path.write_bytes(zlib.decompress(base64.b85decode(_TRIAL[format])))
            scores = load(path, name).scores(np.ones((1, 4), np.float32))[0]
            right = np.allclose(scores, (0.26894143, 0.7310586), atol=1e-5)
    except EdgepressError as e:
        return e.message[:_MOST]
    except Exception as e:  # engines raise exceptions of any type
        return f"{type(e).__name__}: {e}"[:_MOST]
    return "" if right else f"wrong answer: {scores.tolist()}"[:_MOST]


def _run_in_fork(name: str, folder: str) -> tuple[int | None, str | None]:
    """The exit code of a fork that tries an engine (None: time is up) and its `trial_error` (None: no answer)."""
    import multiprocessing

    context: Any = multiprocessing.get_context("fork")
    ours, theirs = context.Pipe(duplex=False)
    child = context.Process(target=_answer, args=(name, folder, theirs))
    end = time.monotonic() + _TRIAL_S
    child.start()
    theirs.close()
    error = None
    with contextlib.suppress(EOFError):  # it died without an answer
        if ours.poll(_TRIAL_S):
            error = ours.recv()
    child.join(max(0.0, end - time.monotonic()))
    code = child.exitcode
    if code is None:
        child.kill()
        child.join()
    return code, error if code == 0 else None


def _answer(name: str, folder: str, pipe: Any) -> None:
    null = os.open(os.devnull, os.O_WRONLY)
    for stream in (1, 2):  # what engines print
        os.dup2(null, stream)
    sys.stdout = sys.stderr = os.fdopen(null, "w")
    pipe.send(trial_error(name, folder))


def _run_in_new_python(name: str, folder: str) -> tuple[int | None, str | None]:
    """As `_run_in_fork`, in a Python that runs no script of the user; `multiprocessing` would run it again."""
    command = [sys.executable, "-c", _NEW_PYTHON, name, folder, *sys.path]
    try:
        child = subprocess.run(command, capture_output=True, check=False, timeout=_TRIAL_S)
    except subprocess.TimeoutExpired:
        return None, None
    _, answered, error = child.stdout.decode(errors="replace").rpartition("\0")
    return child.returncode, error if answered else None


def _pip() -> str:
    return f"{sys.executable} -m pip install"
