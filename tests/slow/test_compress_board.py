"""`compress --board`: latency counts on a board, here a real OpenSSH server on the loopback device."""

from __future__ import annotations

import importlib
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from edgepress.toolkit.cli.app import app
from edgepress.toolkit.search.compression import measure
from edgepress.toolkit.search.compression.compress import compress
from edgepress.toolkit.search.compression.search import StrategySearch


@pytest.fixture
def server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """A board, measured shortly."""
    monkeypatch.syspath_prepend(str(Path(__file__).parents[1] / "support"))
    monkeypatch.setenv("EDGEPRESS_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(measure, "BOARD_ROUNDS", 2)
    monkeypatch.setattr(measure, "BOARD_SECONDS", 0.1)
    with importlib.import_module("sshd").serve(tmp_path / "board") as running:
        yield running


def test_latency_is_measured_on_the_board_and_kept(
    server: Any, run: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(measure.Measurer, "_time_here", None)  # no latency is measured on this machine
    monkeypatch.setattr(StrategySearch, "is_worth_it", lambda self, best: True)  # with AMX, int8 may be slower
    steps: list[str] = []
    about = {"board": "kitchen", "ssh_config": server.config, "python": sys.executable, "out": tmp_path / "out"}
    result = compress(run.model, max_latency=1000, max_drop=20, on_step=steps.append, **about)
    assert result.model is not None
    trials = result.document["trials"]
    assert [t["strategy"] for t in trials] == ["float", "int8"]
    assert all(t["latency_us"] > 0 for t in trials)
    assert any("kitchen" in step for step in steps)
    assert result.document["latency_on"] == "kitchen"
    again: list[str] = []
    second = compress(run.model, max_latency=1000, max_drop=20, on_step=again.append, **about)
    assert second.document["trials"] == trials
    assert not any("latency of" in step for step in again), "kept latencies were measured again"


def test_a_board_that_fails_in_the_middle_ends_the_search_and_the_same_command_goes_on(
    server: Any, run: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    words = ["compress", str(run.model), "--max-latency", "1s", "--max-drop", "20", "--board", "kitchen"]
    words += ["--python", sys.executable, "--ssh-config", str(server.config), "--out", str(tmp_path / "out"), "--json"]
    config = server.config.read_text()
    real = measure.Measurer._with_accuracy

    def cut(self: Any, trial: Any, reference: Any) -> Any:
        if trial.strategy == "int8":
            server.config.write_text("Host *\n  HostName 127.0.0.1\n  Port 1\n  ConnectTimeout 1\n")
        return real(self, trial, reference)

    monkeypatch.setattr(measure.Measurer, "_with_accuracy", cut)
    lost = CliRunner().invoke(app, words)
    assert lost.exit_code == 1, lost.output
    assert "can't be reached" in lost.output
    monkeypatch.undo()
    server.config.write_text(config)
    found = CliRunner().invoke(app, words, env={"EDGEPRESS_CACHE": str(tmp_path / "cache")})
    assert found.exit_code == 0, found.output
    assert json.loads(found.stdout)["latency_on"] == "kitchen"
