"""What the tests of edgepress.toml share: a folder of their own, commands, contexts, files and their errors."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import typer

from edgepress.toolkit.cli import settings
from edgepress.toolkit.cli.app import app
from edgepress.toolkit.cli.commands import NAME
from edgepress.toolkit.cli.main import main
from edgepress.toolkit.cli.settings_file import load
from edgepress.toolkit.cli.template import example
from edgepress.toolkit.errors import UsageError

GROUP: Any = typer.main.get_command(app)


@pytest.fixture
def apart(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each test has its own folder, logs and environment."""
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    monkeypatch.setenv("COLUMNS", "200")
    monkeypatch.delenv("EDGEPRESS_CONFIG", raising=False)


def edgepress(*arguments: str) -> int:
    """Run the command in this process; its exit code."""
    with pytest.raises(SystemExit) as caught:
        main(arguments)
    return int(caught.value.code or 0)


def context(command: str, *arguments: str, before: tuple[str, ...] = ()) -> Any:
    """click's context of a command, its arguments parsed but not run; what it needs is filled in."""
    needed = [p.name for p in GROUP.commands[command].params if p.param_type_name == "argument" and p.required]
    group = GROUP.make_context("edgepress", [*before, command])
    name, found, rest = GROUP.resolve_command(group, [command, *arguments, *needed])
    return found.make_context(name, rest, parent=group)


def write(text: str, path: str | Path = NAME) -> Path:
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    Path(path).write_text(text, encoding="utf-8")
    return Path(path)


def refused(text: str, *, found: bool = True) -> UsageError:
    """The error about a file's content."""
    with pytest.raises(UsageError) as caught:
        load(write(text), GROUP.commands, typer.Context, found=found)
    return caught.value


def other_value(command: str, option: Any) -> Any:
    """A value that is not the default."""
    value = example(GROUP.commands, command, option)
    if isinstance(value, bool):
        return not option.default
    if value == option.default and isinstance(value, (int, float)):
        return value - 1 if option.name == "bits" else value + 1
    return value


def began(command: str, *arguments: str) -> str:
    """What happens when a command begins and ends: "" or the error."""
    about = context(command, *arguments)
    try:
        settings.begin(about)
        settings.end(about)
    except UsageError as e:
        return f"{e.message} {e.hint}"
    return ""
