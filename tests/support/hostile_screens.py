"""The screens on which commands show a stranger's texts."""

from __future__ import annotations

import io
import itertools
import os
import sys
from collections.abc import Callable, Container
from pathlib import Path
from typing import Any

import pytest
from hostile_text import assert_plain

from edgepress.toolkit.cli.main import main


class Terminal(io.StringIO):
    """A terminal that shows colors."""

    def isatty(self) -> bool:
        return True


@pytest.fixture
def screens(request: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Callable[..., tuple[int, str, str]]:
    """Runs a command in this process, on a terminal or without one; its exit code and what it printed."""
    screen = getattr(request, "param", Terminal)
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    monkeypatch.setenv("TERM", "xterm-256color")
    monkeypatch.setenv("COLUMNS", "90")
    monkeypatch.setattr("sys.stdin", None)

    def edgepress(*words: object, start: Callable[..., Any] = main) -> tuple[int, str, str]:
        out, err = screen(), screen()
        with monkeypatch.context() as patch:
            patch.setattr("sys.stdout", out)
            patch.setattr("sys.stderr", err)
            with pytest.raises(SystemExit) as caught:
                sys.exit(start([str(word) for word in words]))
        styled = screen is Terminal or caught.value.code == 2  # Typer styles its errors in CI, too
        assert_plain(out.getvalue(), styled=styled, whole="--json" in words)
        assert_plain(err.getvalue(), styled=styled, annotated=os.environ.get("GITHUB_ACTIONS") == "true")
        return int(caught.value.code or 0), out.getvalue(), err.getvalue()

    return edgepress


def in_turn(*names: str, slow: Container[str] = ()) -> pytest.MarkDecorator:
    """Each name on one of the two screens, in turn: what differs between them does not depend on the command."""
    kinds = itertools.cycle((io.StringIO, Terminal))
    cases = [pytest.param(n, next(kinds), marks=[pytest.mark.slow] * (n in slow), id=n or "none") for n in names]
    return pytest.mark.parametrize(("name", "screens"), cases, indirect=["screens"])
