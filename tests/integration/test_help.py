"""What `--help` shows and folds, and that hints name options."""

from __future__ import annotations

import ast
import re
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from configuring import GROUP, apart, edgepress

from edgepress.toolkit.cli.help import DAILY, FOREIGN, UNFOLD, folded
from edgepress.toolkit.cli.reference import every_command

__all__ = ["apart"]
ROOT = Path(__file__).parents[2]
FOLDED = ("evaluate", "convert", "benchmark", "predict", "prune")


@pytest.mark.parametrize("words", list(every_command(GROUP)), ids=" ".join)
def test_flags_have_no_type(words: tuple[str, ...], apart: None, capfd: pytest.CaptureFixture[str]) -> None:
    assert edgepress(*words, "--help") == 0
    shown = capfd.readouterr().out
    assert "--help" in shown
    assert not re.search(r"<bool>|BOOLEAN", shown)


@pytest.mark.parametrize("command", FOLDED)
def test_options_for_models_made_elsewhere_are_one_line(
    command: str, apart: None, capfd: pytest.CaptureFixture[str]
) -> None:
    assert edgepress(command, "--help") == 0
    short = capfd.readouterr().out
    assert edgepress(command, UNFOLD) == 0
    whole = capfd.readouterr().out
    (line,) = (line for line in short.splitlines() if UNFOLD in line)
    assert f"Show {len(folded(GROUP.commands[command]))} more options" in line
    assert (FOREIGN in short, FOREIGN in whole) == (False, True)
    assert ("--channels-first" in short, "--channels-first" in whole) == (False, True)
    assert len(short.splitlines()) < len(whole.splitlines())
    assert edgepress(command, "--help") == 0
    assert capfd.readouterr().out == short, "folded again"


@pytest.mark.parametrize("command", DAILY)
def test_the_first_screen_has_the_options_of_a_day(
    command: str, apart: None, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.setattr("typer.rich_utils.MAX_WIDTH", None)
    assert edgepress(command, "--help") == 0
    shown = capfd.readouterr().out
    assert len(set(re.findall(r"│ (?:\* )?(--[a-z-]+)", shown))) <= 11
    assert len(shown.splitlines()) < 60


@pytest.mark.parametrize("words", list(every_command(GROUP)), ids=" ".join)
def test_nothing_is_cut_on_a_narrow_screen(
    words: tuple[str, ...], apart: None, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "60")
    monkeypatch.setattr("typer.rich_utils.MAX_WIDTH", None)
    command = GROUP
    for word in words:
        command = command.commands[word]
    ask = UNFOLD if len(words) == 1 and folded(command) else "--help"
    assert edgepress(*words, ask) == 0
    shown = capfd.readouterr().out
    assert "…" not in shown
    assert "<str>" not in shown
    assert max(map(len, shown.splitlines())) <= 60
    names = {word for p in command.params if not p.hidden for word in p.opts if word.startswith("--")}
    assert names <= {*re.findall(r"--[a-z0-9][a-z0-9-]*", shown)}


def test_annotate_shows_what_it_is_for(apart: None, capfd: pytest.CaptureFixture[str]) -> None:
    assert edgepress("annotate", "--help") == 0
    shown = capfd.readouterr().out
    assert "--labels" in shown
    assert UNFOLD not in shown


@pytest.mark.slow
def test_the_package_is_a_command() -> None:
    found = subprocess.run([sys.executable, "-m", "edgepress", "--version"], capture_output=True, text=True, check=True)
    assert found.stdout.startswith("edgepress ")


def test_commands_without_such_options_have_nothing_to_unfold(apart: None) -> None:
    assert edgepress("report", UNFOLD) == 2
    assert edgepress("doctor", UNFOLD) == 2


def test_folded_options_still_work(apart: None, capfd: pytest.CaptureFixture[str]) -> None:
    assert edgepress("evaluate", "nope.tflite", "--color", "rgb") == 1
    assert "nope.tflite" in capfd.readouterr().err


def _text(node: ast.AST) -> str:
    """The words of a literal, with {} for what is filled in."""
    if isinstance(node, ast.Constant):
        return str(node.value)
    if isinstance(node, ast.JoinedStr):
        return "".join(_text(value) if isinstance(value, ast.Constant) else "{}" for value in node.values)
    return " ".join(_text(child) for child in ast.iter_child_nodes(node)) if isinstance(node, ast.IfExp) else ""


def _hints() -> list[tuple[str, str]]:
    found: list[tuple[str, str]] = []
    for path in sorted((ROOT / "toolkit").rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            call: Any = node if isinstance(node, ast.Call) else None
            name = getattr(call and call.func, "id", "")
            if call is not None and name.endswith("Error") and len(call.args) > 1:
                found.append((f"{path.name}:{call.lineno}", _text(call.args[1])))
    return found


def test_hints_name_the_options_that_they_speak_of() -> None:
    hints = _hints()
    assert len(hints) > 150
    bare = re.compile(r"(?<![-\w])(overwrite|resume|macs|patience|augmentation)\b|\b(another folder)(?! with --|: --)")
    wrong = [(where, hint) for where, hint in hints if bare.search(hint.replace("edgepress prune", ""))]
    assert wrong == []


@pytest.mark.parametrize("columns", ["60", "80"])
@pytest.mark.parametrize("words", [words for words in every_command(GROUP) if words], ids=" ".join)
def test_the_first_lines_have_an_example_that_the_command_takes(
    words: tuple[str, ...],
    columns: str,
    apart: None,
    capfd: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """It stood behind a hundred lines of options."""
    monkeypatch.setenv("COLUMNS", columns)
    monkeypatch.setattr("typer.rich_utils.MAX_WIDTH", None)
    command = GROUP
    for word in words:
        command = command.commands[word]
    assert edgepress(*words, "--help") == 0
    first = capfd.readouterr().out.partition("╭")[0]
    assert len(first.splitlines()) <= 22
    example = " ".join(first.partition("Example: ")[2].split())
    assert example.startswith(" ".join(["edgepress", *words]))
    if not hasattr(command, "commands"):
        given = shlex.split(example)[1 + len(words) :]
        command.make_context(" ".join(words), given, resilient_parsing=False)
