"""Wrap every command: send library output to a log, print one message for an error, and set the exit code.

Exit codes: 0 success; 1 failure or interruption; 2 wrong usage; 3 a limit given by the user is not met; 4 some of
several items failed, and the others are done.
"""

from __future__ import annotations

import errno
import functools
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import typer

from edgepress.runtime import amx
from edgepress.toolkit.cli import interrupts, logs, screen, settings
from edgepress.toolkit.errors import BugError, EdgepressError, InputError, InterruptError, missing_extra

SOME_FAILED = 4
"""Exit code of a command some of whose items failed."""
LOGGED = ("error", "engine", "model_file", "conversion")
"""Kinds of errors to which the libraries' own messages may add something."""


def command(function: Callable[..., int | None]) -> Callable[..., None]:
    """Wrap a command's function, which returns its exit code or None for 0."""

    @functools.wraps(function)
    def framed(**options: Any) -> None:
        as_json = bool(options.get("json_output"))
        with logs.off_screen() as log, interrupts.not_swallowed():
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
