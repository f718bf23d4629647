"""Standard streams that are closed or full, and Ctrl-C before a command begins: one message, no traceback."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from configuring import edgepress

from edgepress.toolkit.cli import main as entry

FULL = Path("/dev/full")


@pytest.mark.skipif(not FULL.exists(), reason="there is no device that is always full")
@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--version"], "No space left on device"),
        (["--help"], "No space left on device"),
        (["engine", "list", "--json"], "No space left on device"),
        (["inspect", "nothing", "--json"], "nothing can't be read"),
    ],
)
def test_a_full_disk_behind_stdout_is_one_message(
    arguments: list[str], said: str, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """With --json, the message was to be the document, which could not be written, either."""
    monkeypatch.setattr(sys, "stdout", FULL.open("w", buffering=1))
    assert edgepress(*arguments) == 1
    error = capfd.readouterr().err
    assert error.startswith("Error: ")
    assert said in error


@pytest.mark.parametrize(("stream", "arguments", "code"), [("stdout", "--version", 0), ("stderr", "inspect x", 1)])
def test_streams_may_be_closed(stream: str, arguments: str, code: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, stream, None)
    assert edgepress(*arguments.split()) == code


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="a shell's way to close streams")
@pytest.mark.parametrize(("closed", "code"), [("--version >&-", 0), ("inspect x >&-", 1), ("inspect x 2>&-", 1)])
def test_a_shell_may_close_streams(closed: str, code: int) -> None:
    shell = ["sh", "-c", f'"$0" -m edgepress.toolkit.cli.main {closed}', sys.executable]
    done = subprocess.run(shell, capture_output=True, text=True, check=False)
    assert done.returncode == code
    assert "Traceback" not in done.stdout + done.stderr


def interrupted(*_: Any, **__: Any) -> None:
    raise KeyboardInterrupt


@pytest.mark.parametrize("place", ["typer.core.TyperGroup.parse_args", "edgepress.toolkit.cli.settings.apply"])
def test_ctrl_c_while_the_command_line_is_read_is_exit_code_1_and_one_document(
    place: str, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """Typer made 130 of it, without a word."""
    monkeypatch.setattr(place, interrupted)
    assert edgepress("doctor", "--json") == 1
    assert json.loads(capfd.readouterr().out)["error"]["kind"] == "interrupted"
    assert edgepress("doctor") == 1
    assert capfd.readouterr().err.startswith("Error: Interrupted.\n")


def test_ctrl_c_during_the_imports_is_one_document(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(entry, "_run", interrupted)
    assert edgepress("doctor", "--json") == 1
    assert json.loads(capfd.readouterr().out)["error"]["kind"] == "interrupted"


def test_the_entry_point_imports_nothing_of_edgepress() -> None:
    """So an interrupt of what it imports is caught."""
    code = "import sys, edgepress.toolkit.cli.main; print('edgepress.runtime' in sys.modules)"
    assert subprocess.check_output([sys.executable, "-c", code], text=True) == "False\n"


def test_a_terminal_of_unknown_width_shows_something(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """COLUMNS=0: Rich printed nothing, with exit code 0."""
    for arguments in (["--version"], ["--help"]):
        monkeypatch.setenv("COLUMNS", "0")
        assert edgepress(*arguments) == 0
        assert "edgepress" in capfd.readouterr().out


def test_an_error_of_an_import_is_not_said_to_be_one_of_the_output(monkeypatch: pytest.MonkeyPatch) -> None:
    """Such as a library of the system that a package needs: its traceback names it."""

    def fail(*_: Any, **__: Any) -> None:
        raise OSError("libmissing.so.3: cannot open shared object file")

    monkeypatch.setattr(entry, "_run", fail)
    with pytest.raises(OSError, match="libmissing"):
        entry.main(["doctor"])
