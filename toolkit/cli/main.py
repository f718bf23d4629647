"""The entry point of the command `edgepress`.

It imports everything of edgepress inside `main`, so that where only the runtime is installed, the error names the extra
to install instead of a missing module, and Ctrl-C during the imports is no traceback.
"""

from __future__ import annotations

import errno
import io
import os
import sys
from collections.abc import Sequence

UNWRITABLE = (errno.ENOSPC, errno.EIO, errno.EBADF, errno.EPIPE)
"""Errors of standard streams."""


def main(arguments: Sequence[str] | None = None) -> None:
    """Run one command and exit with its code.

    Args:
        arguments: Arguments after `edgepress`; None takes those of the process.
    """
    words = list(sys.argv[1:] if arguments is None else arguments)
    as_json = "--json" in words
    code = 1
    try:
        _open_missing_streams()
        _write_any_character()
        if os.environ.get("COLUMNS") == "0":  # of a terminal of unknown size; Rich would print nothing
            del os.environ["COLUMNS"]
        code = _run(words, as_json=as_json)
    except KeyboardInterrupt:  # before a command began
        _print("interrupted", "Interrupted.", "Nothing was started.", as_json=as_json)
    except OSError as e:  # commands have caught their own: the help or the version can't be printed
        if e.errno not in UNWRITABLE:
            raise
        hint = "Free some disk space." if e.errno == errno.ENOSPC else "Check where the output goes."
        _print("input", f"The output can't be written: {e.strerror}.", hint, as_json=False)
        sys.stdout = open(os.devnull, "w", encoding="utf-8")  # noqa: SIM115 - what is left would fail again at the end
    sys.exit(code)


def _run(given: list[str], *, as_json: bool) -> int:
    from edgepress.converters.process.imports import ignore_found_settings, import_less
    from edgepress.runtime.text import traceback_of
    from edgepress.toolkit.errors import missing_extra

    ignore_found_settings()
    sys.excepthook = lambda kind, error, at: print(traceback_of(error), end="", file=sys.stderr)  # noqa: T201
    import_less()
    try:
        from edgepress.toolkit.cli.app import run
    except ModuleNotFoundError as e:
        if (error := missing_extra("The command edgepress", e)) is None:
            raise
        _print(error.kind, error.message, error.hint, as_json=as_json)
        return 1
    return run(given)


def _open_missing_streams() -> None:
    """Let what goes to a stream that was closed before the start (`>&-`) go nowhere, and no file take its number."""
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        if getattr(sys, name) is None:
            setattr(sys, name, open(os.devnull, mode, encoding="utf-8"))  # noqa: SIM115


def _write_any_character() -> None:
    """Let output contain characters such as µ and ≤: encodings without them would end the command with an exception.

    On Windows, pipes and files have such an encoding unless one asks for another: UTF-8 instead, as elsewhere.
    """
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper) and not stream.encoding.lower().startswith("utf"):
            utf8 = sys.platform == "win32" and "PYTHONIOENCODING" not in os.environ
            stream.reconfigure(encoding="utf-8" if utf8 else None, errors="replace")


def _print(kind: str, message: str, hint: str, *, as_json: bool) -> None:
    """Print an error without the packages that print errors."""
    from edgepress.runtime.text import json_text, one_line

    if as_json:
        sys.stdout.write(json_text({"error": {"kind": kind, "message": message, "hint": hint}}) + "\n")
    else:
        sys.stderr.write(f"{one_line(f'Error: {message}')}\n{one_line(hint)}\n")


if __name__ == "__main__":
    main()
