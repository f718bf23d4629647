"""The entry point of the command `edgepress`.

It is apart from the commands themselves so that, where only the runtime is installed, a user reads which extra to
install and not that some module is missing.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence

from edgepress.toolkit.errors import MissingExtraError

CLI_PACKAGES = ("typer", "rich", "platformdirs")


def main(arguments: Sequence[str] | None = None) -> None:
    """Run one command and exit with its code.

    Args:
        arguments: What follows `edgepress`; None takes them from the process.
    """
    given = list(sys.argv[1:] if arguments is None else arguments)
    try:
        from edgepress.toolkit.commands import run
    except ModuleNotFoundError as e:
        if e.name not in CLI_PACKAGES:
            raise
        sys.exit(_missing(MissingExtraError("The command edgepress", e.name, "toolkit"), as_json="--json" in given))
    try:
        sys.exit(run(given))
    except KeyboardInterrupt:  # before a command began or after it ended
        sys.exit(130)


def _missing(error: MissingExtraError, *, as_json: bool) -> int:
    """Print an error without the packages that print errors."""
    if as_json:
        document = {"error": {"kind": error.kind, "message": error.message, "hint": error.hint}}
        sys.stdout.write(json.dumps(document) + "\n")
    else:
        sys.stderr.write(f"Error: {error.message}\n{error.hint}\n")
    return 1


if __name__ == "__main__":
    main()
