"""Virtual environments for engines that can't be installed beside TensorFlow.

tflite-runtime, for example, needs numpy < 2 and Python 3.11, and can't share a process with TensorFlow. A child process
(`edgepress.converters.process.worker.Worker`) then opens the file with the environment's interpreter; edgepress itself
is linked into it. An environment is a folder in the user's data folder that exists only after the engine worked in it.

    >>> add_engine("tflite-runtime")                        # doctest: +SKIP
    >>> python_for("tflite-runtime")                        # doctest: +SKIP
    PosixPath('.../edgepress/engines/tflite-runtime/bin/python')
"""

from __future__ import annotations

import contextlib
import importlib.metadata
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from edgepress.converters.process.worker import ChildDied, Worker
from edgepress.runtime import available_engines
from edgepress.runtime.engines import PACKAGED
from edgepress.runtime.errors import EngineError, InputError
from edgepress.toolkit.errors import unknown
from edgepress.toolkit.workers.try_engine import try_engine

Version = tuple[int, int]
OLDEST = (3, 11)
"""The oldest Python that edgepress supports."""
PYTHON = Path("Scripts", "python.exe") if sys.platform == "win32" else Path("bin", "python")
"""The interpreter in an environment's folder."""
PACKAGES = "Lib/site-packages" if sys.platform == "win32" else "lib/python*/site-packages"
"""Where its packages are."""
LOG_LINES = 3
"""Lines of a failed installation that a message shows."""
PIP = ("install", "--disable-pip-version-check", "--quiet", "--retries", "1")
"""Without a network, it gives up after one more try, not after five."""


class Environment(NamedTuple):
    """What is installed into an environment.

    Attributes:
        formats: The file formats that it opens.
        package: Its package, whose version is shown.
        requirements: Arguments of `pip install`.
        newest: The latest Python with wheels of it; None: no known limit.
    """

    formats: tuple[str, ...]
    package: str
    requirements: tuple[str, ...]
    newest: Version | None


ENVIRONMENTS = {
    name: Environment(
        row.formats,
        row.package,
        row.requirements or (row.package,),
        newest=row.newest_python,
    )
    for name, row in PACKAGED.items()
}


class EngineState(NamedTuple):
    """Where an engine is installed.

    Attributes:
        name: The engine.
        formats: The file formats that it opens.
        version: Version of its package, "" if it is not installed.
        python: The interpreter of its environment; None if it is installed in this environment or not at all.
    """

    name: str
    formats: tuple[str, ...]
    version: str
    python: Path | None


def python_for(engine: str) -> Path | None:
    """The interpreter of an engine's environment, or None for the interpreter of this process.

    None if the engine is installed here, and also if it is not installed at all: opening a file then says what to
    install.
    """
    if engine in available_engines():
        return None
    python = _folder(engine) / PYTHON
    return python if python.exists() else None


def engine_for(file: Path, format: str, engine: str | None = None) -> str:
    """The engine that is named, or else the best installed one that opens a file of this format.

    Raises:
        InputError: None does.
    """
    name = engine or next(iter(usable_engines(format)), None)
    if name is None:
        raise InputError(f"No installed engine opens {file}.", "edgepress doctor shows how to install one.")
    return name


def usable_engines(format: str | None = None) -> list[str]:
    """Names of the engines that are installed here or in their own environment, best first.

    Args:
        format: Only those that open this format, "tflite" or "onnx".
    """
    here = available_engines(format)
    return [
        name
        for name, row in PACKAGED.items()
        if name in here or (format in (None, *row.formats) and python_for(name) is not None)
    ]


def engine_states() -> list[EngineState]:
    """Every engine, and where each is installed."""
    return [EngineState(n, row.formats, engine_version(n), python_for(n)) for n, row in ENVIRONMENTS.items()]


def engine_version(engine: str) -> str:
    """Version of an engine's package, here or in its environment; "" if it is not installed, or is not a package."""
    if engine not in ENVIRONMENTS:
        return ""
    python = python_for(engine)
    path = sys.path if python is None else [str(p) for p in python.parent.parent.glob(PACKAGES)]
    distributions = importlib.metadata.distributions(name=ENVIRONMENTS[engine].package, path=path)
    return next((d.version for d in distributions), "")


def add_engine(name: str, *, python: Path | None = None) -> EngineState:
    """Create an environment for an engine and install the engine there with pip; an existing one is replaced.

    Args:
        name: An engine.
        python: The interpreter to create it with; None searches PATH and pyenv for a suitable one.

    Raises:
        EngineError: No Python is suitable, pip could not install the engine, or it did not answer correctly.
        InputError: The name is not in the table, or the folder can't be written.
    """
    if name not in ENVIRONMENTS:
        raise unknown("engine", name, ENVIRONMENTS)
    base = _python(name, python)
    with _one_at_a_time():
        _install(name, base)
    return next(s for s in engine_states() if s.name == name)


@contextlib.contextmanager
def _one_at_a_time() -> Iterator[None]:
    """Let runs that create environments wait for each other."""
    import filelock

    folder = _folder("").parent
    lock = filelock.FileLock(folder / "engines.lock")
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock.acquire()
    except OSError as e:
        hint = "Set XDG_DATA_HOME to a folder that can be written."
        raise InputError(f"{folder} can't be written: {e.strerror or e}.", hint) from e
    try:
        yield
    finally:
        lock.release()


def _install(name: str, base: Path) -> None:
    """Create an environment with the interpreter `base`, install its packages, and try it."""
    folder = _folder(name)
    row = ENVIRONMENTS[name]
    for left in folder.parent.glob(f".{name}.*"):  # by killed processes: who works here has the lock
        shutil.rmtree(left, ignore_errors=True)
    new = folder.with_name(f".{name}.{os.getpid()}")
    try:
        # Without pip: ours installs into it, because Debian packages ensurepip separately.
        _run([str(base), "-I", "-m", "venv", "--without-pip", str(new)], f"{base} cannot create an environment")
        there = new / PYTHON
        pip = [sys.executable, "-P", "-m", "pip", "--python", str(there), *PIP, *row.requirements]
        _run(pip, f"{row.package} can't be installed for {base}")
        _try(name, there)
        shutil.rmtree(folder, ignore_errors=True)
        new.rename(folder)
    finally:
        shutil.rmtree(new, ignore_errors=True)


def remove_engine(name: str) -> Path:
    """Remove an engine's environment and return its folder.

    Raises:
        EngineError: The engine has no environment.
        InputError: The name is not in the table.
    """
    if name not in ENVIRONMENTS:
        raise unknown("engine", name, ENVIRONMENTS)
    folder = _folder(name)
    if not folder.is_dir():
        raise EngineError(f"{name} has no environment.", "See: edgepress engine list")
    shutil.rmtree(folder)
    return folder


def _folder(engine: str) -> Path:
    import platformdirs

    return platformdirs.user_data_path("edgepress") / "engines" / engine


def _python(engine: str, given: Path | None) -> Path:
    """The first interpreter that runs and has a version that the engine supports."""
    newest = ENVIRONMENTS[engine].newest
    low = ".".join(map(str, OLDEST))
    versions = low if newest == OLDEST else f"{low} or newer" if newest is None else f"{low} to {newest[0]}.{newest[1]}"
    tried = []
    for path in [given] if given else _pythons(newest):
        version = _version(path)
        if version is not None and version >= OLDEST and (newest is None or version <= newest):
            return path
        tried.append(f"{path} ({'.'.join(map(str, version)) if version else 'does not run'})")
    hint = f"Install it (for example with pyenv install {versions.partition(' ')[0]}) and name it with --python."
    raise EngineError(f"{engine} needs Python {versions}; found: {', '.join(tried) or 'none'}.", hint)


def _pythons(newest: Version | None) -> Iterator[Path]:
    yield Path(sys.executable)
    for minor in range((newest or (3, 14))[1], OLDEST[1] - 1, -1):
        if python := shutil.which(f"python3.{minor}"):
            yield Path(python)
        root = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv"))
        yield from sorted(root.glob(f"versions/3.{minor}.*/bin/python"), reverse=True)


def _version(python: Path) -> Version | None:
    command = [str(python), "-I", "-c", "import sys, venv; print(*sys.version_info[:2])"]
    try:
        process = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True)
        major, minor = map(int, process.stdout.split())
    except (OSError, subprocess.SubprocessError, ValueError):
        return None
    return major, minor


def _run(command: Sequence[str], what: str) -> None:
    process = subprocess.run(
        command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )
    if process.returncode:
        last = " | ".join(process.stdout.strip().splitlines()[-LOG_LINES:])
        raise EngineError(f"{what}: {last}", "Check the network and that this Python has pip (python -m ensurepip).")


def _try(engine: str, python: Path) -> None:
    """Let the engine answer a trial model in its environment; an error if it does not, or wrongly."""
    try:
        with Worker(silence_s=60, python=python) as worker:
            (wrong,) = worker.call(try_engine, engine)
    except (ChildDied, RuntimeError) as e:
        wrong = getattr(e, "log", "") or str(e).strip().splitlines()[-1]
    if wrong:
        raise EngineError(f"{engine} was installed but does not work: {wrong}", "Try another --python.")
