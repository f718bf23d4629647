"""Print docs/commands.md: the real `--help` of every command, so that the documentation can't differ from it.

python -m edgepress.toolkit.cli.reference > docs/commands.md
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from typing import Any

HEAD = """\
# Commands

The `--help` of each command, or its `--help-all`, printed by
`python -m edgepress.toolkit.cli.reference > docs/commands.md` (tested).

Results go to stdout; progress, notes and errors go to stderr. With `--json`, stdout holds exactly one JSON document; an
error is then `{"error": {"kind", "message", "hint"}}`. Messages of libraries go to a log file, which errors name.

Exit codes: 0 success; 1 failure or Ctrl-C; 2 wrong usage; 3 a limit that you gave is not met; 4 some of several items
(files, images, engines, boards) failed, and the others are done; 5 a limit of `compare` is unproven. Shell completion:
`edgepress --install-completion`.
"""
WIDTH = "88"
"""Columns that a code host shows of a block of code without scrolling it, in a window of 1280 pixels."""
PLAIN = {
    "TERMINAL_WIDTH": WIDTH,
    "COLUMNS": WIDTH,
    "NO_COLOR": "1",
    "TERM": "dumb",
    "_TYPER_FORCE_DISABLE_TERMINAL": "1",
}
"""Environment in which Typer, which reads it when imported, prints help that does not depend on the terminal."""


def commands_markdown() -> str:
    """The help of all commands as Markdown."""
    import typer
    from typer.testing import CliRunner

    from edgepress.toolkit.cli.app import app
    from edgepress.toolkit.cli.help import UNFOLD, folded

    parts = [HEAD]
    group = typer.main.get_command(app)
    for words in every_command(group):
        ask = UNFOLD if len(words) == 1 and folded(group.commands[words[0]]) else "--help"  # type: ignore[attr-defined]
        printed = CliRunner().invoke(app, [*words, ask], prog_name="edgepress", env=PLAIN).stdout
        lines = "\n".join(line.rstrip() for line in printed.strip().splitlines())
        parts.append(f"## {' '.join(['edgepress', *words])}\n\n```text\n{lines}\n```\n")
    return "\n".join(parts)


def every_command(group: Any, *words: str) -> Iterator[tuple[str, ...]]:
    """A group and all commands in it, each by the words after `edgepress`."""
    yield words
    for name in group.list_commands(None) if hasattr(group, "commands") else ():
        yield from every_command(group.commands[name], *words, name)


if __name__ == "__main__":
    os.environ.update(PLAIN)
    sys.stdout.write(commands_markdown())
