"""docs/commands.md, made from the commands' own help so that the two can't differ.

python -m edgepress.toolkit.cli.reference > docs/commands.md
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from typing import Any

import typer

from edgepress.toolkit.cli.commands import app

HEAD = """\
# Commands

Made from the commands' help by `python -m edgepress.toolkit.cli.reference > docs/commands.md`; a test compares the two.

Results go to stdout, progress, notes and errors to stderr. With `--json`, stdout holds exactly one JSON document; an
error is then `{"error": {"kind", "message", "hint"}}`. What libraries say goes into a log file that an error names.

Exit codes: 0 done; 1 failed (with several items: if any failed; the others are still done); 2 wrong usage; 3 a limit
that you gave is not met. Ctrl-C is a failure, too: 1. Shell completion: `edgepress --install-completion`.
"""


def commands_markdown() -> str:
    """All commands with their arguments and options as Markdown."""
    group: Any = typer.main.get_command(app)
    parts = [HEAD, _options(group)]
    for name, command in every_command(group):
        arguments = [p for p in command.params if p.param_type_name == "argument"]
        usage = " ".join(["edgepress", name, *(_metavar(p) for p in arguments), "[OPTIONS]"])
        parts += [f"## {name}\n\n{command.help}\n\n    {usage}\n", _options(command)]
    return "\n".join(parts)


def every_command(group: Any, within: str = "") -> Iterator[tuple[str, Any]]:
    """Every command by its name, those of a group as "GROUP COMMAND"."""
    for name in group.list_commands(None):
        command = group.commands[name]
        if hasattr(command, "commands"):
            yield from every_command(command, f"{name} ")
        else:
            yield within + name, command


def _metavar(argument: Any) -> str:
    if argument.metavar:
        return str(argument.metavar)
    return f"{argument.name.upper()}{'...' if argument.nargs == -1 else ''}"


def _options(command: Any) -> str:
    lines = ["| option | meaning | default |", "|---|---|---|"]
    for param in command.params:
        if param.param_type_name == "argument":
            lines.append(f"| `{_metavar(param)}` | {param.help} | |")
            continue
        if param.name in ("install_completion", "show_completion"):
            continue
        shown = param.show_default if isinstance(param.show_default, str) else param.default
        default = "" if shown is None or shown is False else shown
        lines.append(f"| `{', '.join(param.opts)}` | {param.help} | {default} |")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    sys.stdout.write(commands_markdown())
