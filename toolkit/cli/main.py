"""The entry point of the command `edgepress`.

It imports the commands inside `main`, so that where only the runtime is installed, the error names the extra to install
instead of a missing module.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence

from edgepress.toolkit.errors import missing_extra


def main(arguments: Sequence[str] | None = None) -> None:
    """Run one command and exit with its code.

    Args:
        arguments: Arguments after `edgepress`; None takes those of the process.
    """
    given = list(sys.argv[1:] if arguments is None else arguments)
    as_json = "--json" in given
    try:
        from edgepress.toolkit.cli.app import run
    except ModuleNotFoundError as e:
        if (error := missing_extra("The command edgepress", e)) is None:
            raise
        _print(error.kind, error.message, error.hint, as_json=as_json)
        sys.exit(1)
    except KeyboardInterrupt:
        _print("interrupted", "Interrupted.", "No work had begun.", as_json=as_json)
        sys.exit(1)
    try:
        sys.exit(run(given))
    except KeyboardInterrupt:  # before a command began, or after it ended
        sys.exit(1)


def _print(kind: str, message: str, hint: str, *, as_json: bool) -> None:
    """Print an error without the packages that print errors."""
    if as_json:
        sys.stdout.write(json.dumps({"error": {"kind": kind, "message": message, "hint": hint}}) + "\n")
    else:
        sys.stderr.write(f"Error: {message}\n{hint}\n")


if __name__ == "__main__":
    main()
