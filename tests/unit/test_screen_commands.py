"""Commands that a user is to copy: whatever the width of the terminal, each is on one line."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest
import scripts

from edgepress.toolkit.cli import screen

CLI = scripts.ROOT / "toolkit" / "cli"


def test_a_command_is_not_broken_in_a_narrow_terminal(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("COLUMNS", "40")
    line = "edgepress train --data 'a b' --out " + "/".join(["folder"] * 20)
    screen.next_command(line)
    screen.shell_command(f"  {line}")
    screen.remarks([{"text": "It is so.", "command": line}])
    printed = capsys.readouterr().out.splitlines()
    assert [each.strip().removeprefix("Next: ") for each in printed if "edgepress" in each] == [line] * 3


@pytest.mark.parametrize("path", sorted(CLI.glob("*.py")), ids=lambda path: path.stem)
def test_no_command_of_the_program_is_printed_as_prose(path: Path) -> None:
    """`screen.say` breaks lines; what `shell_line` makes goes through `shell_command` or `next_command`."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Call) and ast.unparse(node.func) == "screen.say":
            assert "shell_line(" not in ast.unparse(node), f"{path.name}:{node.lineno}"
