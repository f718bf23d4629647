"""Run one function in a fresh Python process and stream what it reports.

Why a process: native interpreters abort on some damaged files, and TensorFlow and tflite-runtime can't live in one
process. So whatever opens a converted file runs here, and a crash becomes `ChildDied` instead of our own death.
Why not `multiprocessing`: its spawned child imports the caller's `__main__` again, which breaks scripts without a main
guard and loads whatever they load (TensorFlow).

The function must be importable by name, and its argument and reports picklable. The child's stdout and stderr go to
the parent's stderr, reports go through a pipe of their own.
"""

from __future__ import annotations

import contextlib
import os
import pickle
import signal
import subprocess
import sys
import traceback
from collections.abc import Callable, Iterator
from multiprocessing.connection import Connection
from typing import Any

from edgepress.toolkit.errors import EdgepressError

Emit = Callable[[Any], None]


class ChildDied(Exception):  # noqa: N818 - it names what happened; callers turn it into an error of their own
    """The child ended without finishing; the message says how ("SIGSEGV", "no answer in 60 s")."""


def run_in_child(
    function: Callable[[Any, Emit], None], argument: Any, *, silence_s: float | None = None
) -> Iterator[Any]:
    """Call `function(argument, emit)` in a fresh process and yield each report it emits.

    Args:
        function: A function at the top level of an importable module.
        argument: Its first argument; pickled.
        silence_s: Longest time between two reports, in seconds, before the child is killed; None waits for ever.

    Raises:
        EdgepressError: What the function raised on purpose.
        ChildDied: The process crashed, was killed, or was silent for too long.
        RuntimeError: Any other exception of the function, with its traceback as text.
    """
    reading, writing = os.pipe()
    command = [sys.executable, "-P", "-c", f"from edgepress.toolkit.child import _serve; _serve({writing})"]
    environment = os.environ | {"PYTHONFAULTHANDLER": "1"}
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=2, pass_fds=[writing], env=environment)
    os.close(writing)
    assert process.stdin is not None
    try:
        with Connection(reading, writable=False) as reports:
            with contextlib.suppress(BrokenPipeError), process.stdin:
                pickle.dump((function, argument), process.stdin)
            while True:
                if not reports.poll(silence_s):
                    raise ChildDied(f"no answer in {silence_s:g} s")
                try:
                    what, value = reports.recv()
                except EOFError:
                    raise ChildDied(_ending(process.wait())) from None
                if what == "report":
                    yield value
                elif what == "done":
                    return
                elif what == "error":
                    raise value
                else:
                    raise RuntimeError(f"{function.__name__} failed in a child process:\n{value}")
    finally:
        process.kill()
        process.wait()


def _ending(returncode: int) -> str:
    if returncode >= 0:
        return f"exit code {returncode}"
    name = signal.Signals(-returncode).name
    return f"{name}, perhaps out of memory" if name == "SIGKILL" else name


def _serve(fd: int) -> None:
    """The child's side."""
    with Connection(fd, readable=False) as reports:
        try:
            function, argument = pickle.load(sys.stdin.buffer)
            function(argument, lambda value: reports.send(("report", value)))
            reports.send(("done", None))
        except EdgepressError as e:
            reports.send(("error", e))
        except Exception:
            reports.send(("bug", traceback.format_exc()))
