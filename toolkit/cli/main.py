"""The entry point of the command `edgepress`.

It imports the commands inside `main`, so that where only the runtime is installed, the error names the extra to install
instead of a missing module.
"""

from __future__ import annotations

import io
import os
import sys
from collections.abc import Sequence

from edgepress.runtime.text import json_text, one_line, traceback_of
from edgepress.toolkit.errors import missing_extra


def main(arguments: Sequence[str] | None = None) -> None:
    """Run one command and exit with its code.

    Args:
        arguments: Arguments after `edgepress`; None takes those of the process.
    """
    given = list(sys.argv[1:] if arguments is None else arguments)
    as_json = "--json" in given
    _write_any_character()
    sys.excepthook = lambda kind, error, at: print(traceback_of(error), end="", file=sys.stderr)  # noqa: T201
    try:
        from edgepress.toolkit.cli.app import run
    except ModuleNotFoundError as e:
        if (error := missing_extra("The command edgepress", e)) is None:
            raise
        _print(error.kind, error.message, error.hint, as_json=as_json)
        sys.exit(1)
    except KeyboardInterrupt:
        _print("interrupted", "Interrupted.", "Nothing was started.", as_json=as_json)
        sys.exit(1)
    try:
        sys.exit(run(given))
    except KeyboardInterrupt:  # before a command began, or after it ended
        sys.exit(1)


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
    if as_json:
        sys.stdout.write(json_text({"error": {"kind": kind, "message": message, "hint": hint}}) + "\n")
    else:
        sys.stderr.write(f"{one_line(f'Error: {message}')}\n{one_line(hint)}\n")


if __name__ == "__main__":
    main()
