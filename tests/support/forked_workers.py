"""Child processes that need not import TensorFlow, which takes two seconds of a CPU: forks of one that has.

A `Worker` starts a Python that imports what it needs. Tests start hundreds of them, so they get forks of a template: a
process that has imported the same packages, and of edgepress what conversions import, of which no module reads the
environment while it is imported. A fork gets the environment, current folder, pipe and log of the process that it
stands for, runs the same `serve`, and ends, crashes and is killed in the same way.
Tests of the processes themselves ask for the fixture `plain_workers`; all commands that tests start as processes have
plain ones, too. `EDGEPRESS_PLAIN_WORKERS=1` makes all of them plain: CI sets it on Python 3.11.
"""

from __future__ import annotations

import atexit
import contextlib
import os
import pickle
import select
import signal
import socket
import subprocess
import sys
import threading
import traceback
from typing import Any, NoReturn

from edgepress.converters.process import worker
from edgepress.converters.process.worker import Worker

PLAIN = os.environ.get("EDGEPRESS_PLAIN_WORKERS") == "1" or not hasattr(os, "fork") or not hasattr(os, "pidfd_open")
"""Whether no process is forked."""
PACKAGES = (
    "numpy tensorflow keras ai_edge_litert.interpreter onnx tf2onnx litert_quantizer.quantizer psutil PIL.Image "
    "edgepress.converters.conversion.processes edgepress.converters.process.worker_child "
    "edgepress.toolkit.conversion.convert"
)
"""What the template imports; ONNX Runtime would start a thread, which forks do not have."""
LARGEST = 1 << 20
"""Bytes of a request."""
_LOCK = threading.Lock()
_template: socket.socket | None = None


class Forked:
    """What `Worker` uses of `subprocess.Popen`."""

    def __init__(self, command: list[str], *, stdout: Any, env: dict[str, str], pass_fds: Any, **_: Any) -> None:
        self.returncode: int | None = None
        self._waiting = threading.Lock()
        self._ended, theirs = socket.socketpair()
        request = pickle.dumps((command[-1], os.getcwd(), dict(env), pass_fds[0]))
        with _LOCK:
            template = _open_template()
            socket.send_fds(template, [request], [pass_fds[0], stdout.fileno(), theirs.fileno()])
            self.pid = int(template.recv(32))
        theirs.close()

    def wait(self, timeout: float | None = None) -> int:
        """The exit code, as of `subprocess.Popen.wait`."""
        if self.returncode is None:
            if not select.select([self._ended], [], [], timeout)[0]:
                raise subprocess.TimeoutExpired("fork", timeout or 0)
            with self._waiting:
                if self.returncode is None:
                    self.returncode = int(self._ended.recv(32) or b"-9")
        return self.returncode

    def kill(self) -> None:
        """Kill the process, unless it has ended."""
        with contextlib.suppress(subprocess.TimeoutExpired):
            self.wait(0)
        if self.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.pid, signal.SIGKILL)


def start(self: Worker, command: list[str], **options: Any) -> Any:
    """Fork the process of a worker, unless it runs another Python: to be put in place of `Worker._start`."""
    forked = command[0] == sys.executable and not PLAIN
    return Forked(command, **options) if forked else _start_plain(self, command, **options)


_start_plain = Worker._start


def _open_template() -> socket.socket:
    """The socket of the template, which is started when it is needed first."""
    global _template
    if _template is None:
        _template, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        environment = worker._ENVIRONMENT | os.environ | {"PYTHONHASHSEED": "0", "PYTHONFAULTHANDLER": "1"}
        command = [sys.executable, "-P", "-u", "-W", "ignore::DeprecationWarning", __file__, str(theirs.fileno())]
        subprocess.Popen(command, pass_fds=[theirs.fileno()], env=environment, stdin=subprocess.DEVNULL)
        theirs.close()
    return _template


# What the template runs.


def _serve_forks(requests: socket.socket) -> None:
    """Fork for each request, and send each fork's exit code, until nobody can ask any more."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    awake, wake = os.pipe()
    os.set_blocking(wake, False)
    signal.set_wakeup_fd(wake, warn_on_full_buffer=False)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    running: dict[int, int] = {}
    while True:
        ready = select.select([requests, awake], [], [])[0]
        if awake in ready:
            os.read(awake, 4096)
            _report(running)
        if requests in ready:
            request, descriptors, *_ = socket.recv_fds(requests, LARGEST, 3)
            if not request:
                return
            pipe, log, ended = descriptors
            if not (child := os.fork()):
                signal.set_wakeup_fd(-1)
                signal.signal(signal.SIGCHLD, signal.SIG_DFL)
                signal.signal(signal.SIGINT, signal.default_int_handler)
                for each in (awake, wake, ended, *running.values()):
                    os.close(each)
                requests.close()
                _run(request, pipe, log)
            running[child] = ended
            os.close(pipe)
            os.close(log)
            requests.send(str(child).encode())


def _report(running: dict[int, int]) -> None:
    """Send the exit codes of forks that have ended."""
    for child in list(running):
        pid, status = os.waitpid(child, os.WNOHANG)
        if pid:
            ended = running.pop(child)
            with contextlib.suppress(OSError):
                os.write(ended, str(os.waitstatus_to_exitcode(status)).encode())
            os.close(ended)


def _run(request: bytes, pipe: int, log: int) -> NoReturn:
    """What the process that a fork stands for would do."""
    import tempfile

    code, folder, environment, number = pickle.loads(request)
    os.dup2(log, 1)
    os.dup2(log, 2)
    os.close(log)
    os.chdir(folder)
    os.environ.clear()
    os.environ.update(environment)
    path = [each for each in environment.get("PYTHONPATH", "").split(os.pathsep) if each]
    sys.path[:0] = [each for each in path if each not in sys.path]
    tempfile.tempdir = None
    sys.argv = ["-c"]
    status = 1
    try:
        exec(code.replace(f"serve({number},", f"serve({pipe},"), {"__name__": "__main__"})
        status = 0
    except Exception:
        traceback.print_exc()
    finally:
        atexit._run_exitfuncs()
        os._exit(status)  # to take TensorFlow's modules apart would copy their memory


def main() -> None:
    """Import the packages, and fork until the tests end."""
    import gc
    import importlib

    with contextlib.suppress(ImportError):
        for name in PACKAGES.split():
            importlib.import_module(name)
    gc.collect()
    gc.freeze()
    _serve_forks(socket.socket(fileno=int(sys.argv[1])))


if __name__ == "__main__":
    main()
