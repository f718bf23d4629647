"""Run functions in a fresh Python process that streams back reports, with limits on its time and memory.

Why a process: native converters and interpreters abort on some damaged files, and TensorFlow and tflite-runtime can't
be loaded into one process. So code that opens foreign files runs here, and its crash becomes `ChildDied`. Why not
`multiprocessing`: its spawned child imports the caller's `__main__` again, which breaks scripts without a main guard
and loads whatever they load (TensorFlow).

The child may be another Python with other packages (`python`), because some engines can't be installed together with
TensorFlow. It needs numpy; edgepress is put on its path, and arrays can be exchanged between numpy 1.26 and 2.

A function must be importable by name, and its argument and reports picklable. What the child prints goes to a log,
which is copied to stderr when it ends; `ChildDied` holds the last lines.

    >>> with Worker() as worker:
    ...     for report in worker.call(job, argument):     # doctest: +SKIP
    ...         ...
"""

from __future__ import annotations

import contextlib
import itertools
import os
import platform
import re
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from multiprocessing.connection import Pipe
from pathlib import Path
from queue import SimpleQueue
from types import TracebackType
from typing import Any, TypeVar

import edgepress
from edgepress import runtime
from edgepress.converters.process.scratch import ScratchFolder
from edgepress.converters.process.system import inherited

Emit = Callable[[Any], None]
_A = TypeVar("_A")

MEMORY_SHARE = 0.8
"""Share of the machine's memory that a child may take if nothing else is said."""
EXIT_S = 3.0
"""Seconds that an idle child has to exit."""
POLL_S = 0.25
"""Seconds between checks of the child's memory."""
_ENVIRONMENT = {"TF_CPP_MIN_LOG_LEVEL": "2", "CUDA_VISIBLE_DEVICES": "-1"}
"""Defaults that the user's environment overrides: TensorFlow logs errors only, and no GPU is set up."""
if platform.machine() in ("x86_64", "AMD64"):
    # Without VNNI, TensorFlow uses oneDNN only if it is told to; without oneDNN, it has no convolutions of images with
    # channels first, and no depthwise ones with a dilation.
    _ENVIRONMENT["TF_ENABLE_ONEDNN_OPTS"] = "1"
CHAT = (b"INFO: ", b"WARNING: [npu_registry", b"WARNING: [gpu_registry", b"WARNING: All log messages before absl")
"""What lines begin with in which LiteRT, XNNPACK and TensorFlow say what they do on every call."""
LOG_LINES = 4
"""Last lines of a log that an error shows."""
LOG_BYTES = 1 << 16
"""Bytes of a log that are read from its end."""
LINE = 300
"""Characters of a line that are shown."""


class ChildDied(Exception):  # noqa: N818 - callers turn it into an error for users
    """The child ended without finishing.

    The message is the cause ("SIGSEGV", "no answer in 60 s"); `log` holds the last lines that it printed, as one, and
    `late` says whether it was killed because it took too long.
    """

    def __init__(self, message: str, log: str = "", *, late: bool = False) -> None:
        super().__init__(message)
        self.log = log
        self.late = late


class Worker:
    """A process that calls one function after another; state in its modules is kept between calls.

    Args:
        silence_s: Longest time between two reports, in seconds, before the process is killed; None for no limit.
        memory_bytes: Resident memory above which it is killed; None for `MEMORY_SHARE` of the machine's.
        python: Interpreter to run; None for the current one. In another, only modules that need nothing but the
            standard library, numpy, `edgepress.runtime` and this module are sure to be importable.
    """

    def __init__(
        self, *, silence_s: float | None = None, memory_bytes: int | None = None, python: Path | None = None
    ) -> None:
        self._silence_s = silence_s
        self._memory_bytes = memory_bytes or _most_memory()
        self._idle = False
        self._closing = threading.Lock()  # by Ctrl-C, and perhaps at the same time by the thread that calls it
        self._log = tempfile.TemporaryFile()  # noqa: SIM115 - closed by `close`
        # A separate one, so that the temporary files of a killed process are deleted with it.
        self._folder = ScratchFolder()
        self._reports, theirs = Pipe()
        number, options = inherited(theirs)
        command = [
            str(python or sys.executable),
            "-P",
            "-c",
            f"from edgepress.converters.process.worker_child import serve; serve({number}, {self._folder.name!r})",
        ]
        environment = _ENVIRONMENT | os.environ | {"PYTHONFAULTHANDLER": "1", "PYTHONUNBUFFERED": "1"}
        environment["PYTHONHASHSEED"] = "0"  # tf2onnx walks sets of strings: their order goes into its files
        environment["TMPDIR"] = self._folder.name
        if sys.platform == "win32":  # elsewhere the locale says so
            environment["PYTHONUTF8"] = "1"
        if python is not None:
            environment["PYTHONPATH"] = str(_link_edgepress(Path(self._folder.name)))
            environment.pop("PYTHONHOME", None)
        self._process = self._start(command, stdout=self._log, env=environment, **options)
        self._pid = self._process.pid
        theirs.close()

    def _start(self, command: list[str], **options: Any) -> subprocess.Popen[bytes]:
        """Start the process; its errors go where its output goes."""
        return subprocess.Popen(command, stdin=subprocess.DEVNULL, stderr=subprocess.STDOUT, **options)

    def __enter__(self) -> Worker:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        self.close()

    @property
    def pid(self) -> int:
        """The process ID, which is part of the names of its temporary files (`files.whole_file`).

        In virtual environments of Windows, the process that is started is not the one that runs Python: it reports its
        own when it begins.
        """
        return self._pid

    def close(self) -> None:
        """End the process, whatever it is doing, and copy its log to stderr, but for what the interpreters chat."""
        with self._closing:
            if self._log.closed:
                return
            if self._idle:  # it exits when the pipe is closed, and runs its exit handlers
                self._reports.close()
                with contextlib.suppress(subprocess.TimeoutExpired):
                    self._process.wait(EXIT_S)
            self._process.kill()
            self._process.wait()
            self._reports.close()
            with contextlib.suppress(OSError):
                lines = self._last_words().splitlines(keepends=True)
                os.write(2, b"".join(line for line in lines if not line.startswith(CHAT)))
            self._log.close()
            self._folder.cleanup()

    def call(
        self, function: Callable[[_A, Emit], None], argument: _A, *, silence_s: float | None = None
    ) -> Iterator[Any]:
        """Call `function(argument, emit)` in the process and yield each report it emits.

        Args:
            function: Importable by name.
            argument: Picklable.
            silence_s: Longest time between two reports of this call, in seconds; None: that of the worker.

        Raises:
            EdgepressError: Raised by the function.
            ChildDied: The process crashed, was killed, sent no report for too long or took too much memory.
            RuntimeError: Any other exception of the function, with its traceback as text.
        """
        self._idle = False
        with contextlib.suppress(BrokenPipeError):  # it is dead: `_receive` raises the cause
            self._reports.send((function, argument))
        while True:
            what, value = self._receive(self._silence_s if silence_s is None else silence_s)
            if what == "report":
                yield value
            elif what == "done":
                self._idle = True
                return
            elif what == "pid":
                self._pid = value
            elif what == "error":
                self._idle = True
                raise value
            else:
                raise RuntimeError(f"{function.__name__} failed in a child process:\n{value}")

    def _receive(self, silence_s: float | None) -> tuple[str, Any]:
        until = None if silence_s is None else time.monotonic() + silence_s
        try:
            while not self._reports.poll(POLL_S):
                if until is not None and time.monotonic() > until:
                    raise self._child_died(f"no answer in {silence_s:g} s", late=True)
                if self._resident() > self._memory_bytes:
                    raise self._child_died(f"it took more than {self._memory_bytes / 1e9:.1f} GB of memory")
            received: tuple[str, Any] = self._reports.recv()
        except (EOFError, ConnectionResetError, BrokenPipeError):
            code = self._process.wait()
            name = signal.Signals(-code).name if code < 0 else f"exit code {code:{'#x' if code >> 31 else 'd'}}"
            raise self._child_died(f"{name}, perhaps out of memory" if name == "SIGKILL" else name) from None
        return received

    def _resident(self) -> int:
        import psutil

        try:
            return int(psutil.Process(self._pid).memory_info().rss)
        except psutil.Error:
            return 0

    def _child_died(self, how: str, *, late: bool = False) -> ChildDied:
        self._process.kill()
        self._process.wait()
        lines = self._last_words().decode(errors="replace").splitlines()
        last = list(dict.fromkeys(_telling(lines)))[-LOG_LINES:]
        return ChildDied(how, " | ".join(line.strip()[:LINE] for line in last), late=late)

    def _last_words(self) -> bytes:
        size = self._log.seek(0, os.SEEK_END)
        self._log.seek(max(0, size - LOG_BYTES))
        return self._log.read()


def _most_memory() -> int:
    import psutil

    return int(psutil.virtual_memory().total * MEMORY_SHARE)


def run_in_child(
    function: Callable[[_A, Emit], None],
    argument: _A,
    *,
    silence_s: float | None = None,
    memory_bytes: int | None = None,
) -> Iterator[Any]:
    """Call one function in a new process; see `Worker` and `Worker.call`."""
    with Worker(silence_s=silence_s, memory_bytes=memory_bytes) as worker:
        yield from worker.call(function, argument)


def merge(parts: Sequence[Iterator[_A]]) -> Iterator[_A]:
    """The items of several iterators as they arrive, each read by a thread; the first error is raised."""
    queue: SimpleQueue[tuple[str, Any]] = SimpleQueue()

    def drain(part: Iterator[_A]) -> None:
        try:
            for item in part:
                queue.put(("item", item))
            queue.put(("end", None))
        except BaseException as e:
            queue.put(("error", e))

    for part in parts:
        threading.Thread(target=drain, args=(part,), daemon=True).start()
    running = len(parts)
    while running:
        what, value = queue.get()
        if what == "error":
            raise value
        if what == "item":
            yield value
        else:
            running -= 1


def _link_edgepress(folder: Path) -> Path:
    """A folder for another interpreter's path that contains edgepress, however it is installed here."""
    packages = Path(runtime.__path__[0]).parent  # the three are siblings in a clone and in a wheel
    package = folder / "path" / "edgepress"
    package.mkdir(parents=True)
    source = Path(str(edgepress.__file__)).read_text(encoding="utf-8")  # no link: Windows allows them to few users
    (package / "__init__.py").write_text(f"{source}\n__path__.append({str(packages)!r})\n", encoding="utf-8")
    return package.parent


def _telling(lines: list[str]) -> list[str]:
    """The lines of a log that may contain the cause: without Python's stack dump, notices and blank lines."""
    before = itertools.takewhile(lambda line: not line.startswith("Fatal Python error"), lines)
    noise = re.compile(r"\s*$|INFO:|WARNING:absl:|I0000 |W0000 |E0000 .*cuInit|WARNING: All log messages")
    return [line for line in before if not noise.match(line)]
