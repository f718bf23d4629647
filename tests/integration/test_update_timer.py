"""The timer that starts `run update`: what install.sh writes for it, and where it refuses one."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import scripts

sys.path.insert(0, str(scripts.ROOT / "benchmarks" / "updates"))
simulated = scripts.script("benchmarks/updates/simulated.py")


@pytest.fixture
def systemctl(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A stub of systemctl that writes down what it was called with."""
    folder = tmp_path / "bin"
    folder.mkdir()
    log = tmp_path / "systemctl.log"
    (folder / "systemctl").write_text(f'#!/bin/sh\necho "$@" >>{log}\n')
    (folder / "systemctl").chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder}:/usr/bin:/bin")
    return log


def test_the_timer_is_installed_and_removed(tmp_path: Path, systemctl: Path) -> None:
    publisher = simulated.Publisher(tmp_path / "publisher", url="https://updates.example.com/")
    board = simulated.Board(tmp_path / "board")
    assert board.install(publisher.bundle(1)).returncode == 0
    units = tmp_path / "units"
    units.mkdir()
    words = ["--unit-dir", str(units), "--prefix", str(board.prefix), "--python", sys.executable, "--system"]
    script = str(board.unpacked / "demo" / "install.sh")
    done = subprocess.run(["sh", script, "install", "--timer", *words], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert {path.name for path in units.iterdir()} == {"edgepress-demo-update.service", "edgepress-demo-update.timer"}
    service = (units / "edgepress-demo-update.service").read_text()
    assert f"ExecStart={board.prefix}/current/run update" in service
    assert "@" not in service
    assert "enable --quiet --now edgepress-demo-update.timer" in systemctl.read_text()
    removal = ["sh", str(board.prefix / "current" / "install.sh"), "uninstall", "--unit-dir", str(units)]
    subprocess.run(removal, check=True, capture_output=True)
    assert list(units.iterdir()) == []
    assert not board.prefix.exists()


def test_a_timer_that_could_not_update_is_refused_before_anything_is_installed(
    publisher: Any, board: Any, tmp_path: Path, systemctl: Path
) -> None:
    units = tmp_path / "units"
    units.mkdir()
    other = tmp_path / "other"
    words = ["--unit-dir", str(units), "--python", sys.executable, "--system", "--timer", "--prefix"]
    script = str(board.unpacked / "demo" / "install.sh")
    done = subprocess.run(["sh", script, "install", *words, str(other)], capture_output=True, text=True)
    assert done.returncode == 1
    assert "does not say where its updates are" in done.stderr
    assert not (other / "current").exists()
    with_url = simulated.Publisher(tmp_path / "with url", url="https://updates.example.com/")
    board.install(with_url.bundle(2), "status")  # unpacks it
    shared = tmp_path / "shared"
    shared.mkdir()
    shared.chmod(0o777)
    for prefix in (shared, shared / "below"):
        done = subprocess.run(["sh", script, "install", *words, str(prefix)], capture_output=True, text=True)
        assert done.returncode == 1
        assert f"{shared} can be written by others" in done.stderr
        assert not (prefix / "current").exists()
    assert list(units.iterdir()) == []
    assert not systemctl.exists()
