"""What every command runs in: output of libraries goes to a log, errors become one message, signals end it cleanly.

Exit codes: 0 success; 1 failure or interruption; 2 wrong usage; 3 a limit given by the user is not met; 4 some of
several items failed, and the others are done.

Redirect the libraries' messages from the screen to a log file while a command runs.

TensorFlow, XNNPACK and the interpreters write to file descriptors 1 and 2 from native code, which Python can't prevent.
So the descriptors point to a log file, while `sys.stdout` and `sys.stderr` keep writing to the screen; child processes
inherit this. Python's `logging` and `warnings` go to the file, too. Only the command line does this, not the library.

Opens the page of a command in the user's browser, and tells its address to no other user.

All users of a machine can read the arguments of its processes, and the address of a page holds its token. So the
browser gets the name of a file that only this user can read, which leads to the page.
"""

from __future__ import annotations

import _thread
import atexit
import contextlib
import datetime
import errno
import functools
import logging
import os
import signal
import sys
import threading
import warnings
import webbrowser
from collections.abc import Callable, Iterable, Iterator
from html import escape
from pathlib import Path
from typing import Any, TextIO

import typer

from edgepress.converters.process.scratch import ScratchFolder
from edgepress.runtime import amx
from edgepress.toolkit.cli import screen, settings
from edgepress.toolkit.errors import BugError, EdgepressError, InputError, InterruptError, missing_extra

KEPT_LOGS = 20
"""How many of the newest logs are kept."""
QUIET = {"TF_CPP_MIN_LOG_LEVEL": "1", "GRPC_VERBOSITY": "ERROR"}


@contextlib.contextmanager
def off_screen() -> Iterator[Path]:
    """Redirect native output, logging and warnings to a log file and yield its path; an empty file is removed.

    Standard streams that do not use their usual descriptors (in a test or a notebook) are left unchanged.
    """
    path = _new_log()
    for name, value in QUIET.items():
        os.environ.setdefault(name, value)
    with contextlib.ExitStack() as undo, path.open("a", buffering=1, encoding="utf-8", errors="replace") as log:
        for fd, name in ((1, "stdout"), (2, "stderr")):
            _divert(fd, name, log, undo)
        _log_to(log, undo)
        yield path
    if path.is_file() and not path.stat().st_size:
        path.unlink()


def _divert(fd: int, name: str, log: TextIO, undo: contextlib.ExitStack) -> None:
    stream: TextIO = getattr(sys, name)
    try:
        if stream.fileno() != fd:
            return
    except (OSError, ValueError, AttributeError):  # no descriptor at all, or the stream is closed or None
        return
    stream.flush()
    copy = os.dup(fd)
    screen = open(copy, "w", encoding=stream.encoding, errors=stream.errors, buffering=1)  # noqa: SIM115

    def restore() -> None:
        with contextlib.suppress(OSError):  # a closed pipe
            screen.flush()
        setattr(sys, name, stream)
        os.dup2(copy, fd)
        with contextlib.suppress(OSError):
            screen.close()

    undo.callback(restore)
    os.dup2(log.fileno(), fd)
    setattr(sys, name, screen)


def _log_to(log: TextIO, undo: contextlib.ExitStack) -> None:
    root = logging.getLogger()
    handler = logging.StreamHandler(log)
    root.addHandler(handler)  # with a handler, TensorFlow and absl add none that write to the screen
    undo.callback(root.removeHandler, handler)
    if not sys.warnoptions:  # otherwise the user wants warnings
        undo.enter_context(warnings.catch_warnings())
        logging.captureWarnings(True)
        undo.callback(logging.captureWarnings, False)


def _new_log() -> Path:
    """Create a log file in the user's log folder and remove the oldest; the null device if that is impossible."""
    try:
        import platformdirs

        folder = platformdirs.user_log_path("edgepress")
        path = folder / f"{datetime.datetime.now():%Y%m%d-%H%M%S}-{os.getpid()}.log"
        folder.mkdir(parents=True, exist_ok=True)
        path.touch()
    except (OSError, ModuleNotFoundError):  # whatever the command needs platformdirs for says so itself
        return Path(os.devnull)
    for old in sorted(folder.glob("*.log"))[:-KEPT_LOGS]:
        with contextlib.suppress(OSError):  # another process removed it
            old.unlink()
    return path


ENDING = [getattr(signal, name) for name in ("SIGTERM", "SIGHUP") if hasattr(signal, name)]
"""Signals that end a command: those of schedulers, and of a terminal or a connection that is closed."""


@contextlib.contextmanager
def not_swallowed() -> Iterator[None]:
    """Raise KeyboardInterrupt for `ENDING`, too, and raise it again if Python had to ignore it.

    They would end Python at once and leave child processes and their files behind. One that is ignored, as after
    nohup, stays so. An interrupt during a destructor (TensorFlow has many) is printed as "Exception ignored" and lost,
    and the command would continue.
    """
    before = sys.unraisablehook

    def again(unraisable: Any) -> None:
        if unraisable.exc_type is not KeyboardInterrupt:
            before(unraisable)
            return
        threading.Timer(0.05, _thread.interrupt_main).start()  # after the destructor has ended

    sys.unraisablehook = again
    in_main = threading.current_thread() is threading.main_thread()  # only this thread may set handlers
    handled = {number: signal.getsignal(number) for number in ENDING if in_main}
    handled = {number: handler for number, handler in handled.items() if handler != signal.SIG_IGN}
    for number in handled:
        signal.signal(number, signal.default_int_handler)
    try:
        yield
    finally:
        sys.unraisablehook = before
        for number, handler in handled.items():
            signal.signal(number, handler or signal.SIG_DFL)


SOME_FAILED = 4
"""Exit code of a command some of whose items failed."""
LOGGED = ("error", "engine", "model_file", "conversion")
"""Kinds of errors to which the libraries' own messages may add something."""


def command(function: Callable[..., int | None]) -> Callable[..., None]:
    """Wrap a command's function, which returns its exit code or None for 0."""

    @functools.wraps(function)
    def framed(**options: Any) -> None:
        as_json = bool(options.get("json_output"))
        with off_screen() as log, not_swallowed():
            try:
                amx.apply()  # before any library computes
                code = function(**options) or 0
            except EdgepressError as e:
                code = _fail(e, as_json, log if e.kind in LOGGED else None)
            except KeyboardInterrupt as e:
                hint = str(e) or "Finished files are kept; no file is half-written."
                code = _fail(InterruptError("Interrupted.", hint), as_json)
            except BrokenPipeError:  # the reader of our output has closed it: `edgepress ... | head`
                code = 1
            except OSError as e:
                what = f"{e.filename}: {e.strerror}." if e.filename else f"{e.strerror or e}."
                hint = "Free some disk space." if e.errno == errno.ENOSPC else "Check the path and its permissions."
                code = _fail(InputError(what, hint), as_json, log)
            except Exception as e:
                if isinstance(e, ModuleNotFoundError) and (error := missing_extra("This command", e)):
                    raise typer.Exit(_fail(error, as_json)) from e
                _fail(BugError(f"{type(e).__name__}: {e}", "This is a bug in edgepress."), as_json, log)
                raise
        raise typer.Exit(code)

    return framed


def code_of(done: Iterable[bool]) -> int:
    """The exit code of a command with several items, from whether each is done."""
    every = list(done)
    return 0 if all(every) else SOME_FAILED if any(every) else 1


def _fail(error: EdgepressError, as_json: bool, log: Path | None = None) -> int:
    error.hint = f"{error.hint} {settings.mentioned_options(error.message)}".strip()
    screen.error(error, as_json=as_json, log=log)
    return 1


LEAD = """\
<!doctype html><meta charset="utf-8"><title>edgepress</title>
<meta http-equiv="refresh" content="0; url={url}"><a href="{url}">Open the page</a>
"""


def open_in_browser(url: str) -> None:
    """Open a page if a browser can open a window here; the file that leads to it is removed when the command ends."""
    if not has_screen():
        return
    folder = ScratchFolder("page-")  # readable by this user alone
    atexit.register(folder.cleanup)
    lead = Path(folder.name) / "page.html"
    lead.write_text(LEAD.format(url=escape(url)), encoding="utf-8")
    threading.Thread(target=webbrowser.open, args=(lead.as_uri(),), daemon=True).start()


def has_screen() -> bool:
    """Whether a browser can open a window: without one, Python would start a text browser in the terminal."""
    if sys.platform in ("win32", "darwin"):
        return True
    return any(os.environ.get(name) for name in ("DISPLAY", "WAYLAND_DISPLAY", "BROWSER"))
