"""What commands replace and delete: what edgepress wrote, and nothing else."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from configuring import (
    apart,  # noqa: F401 - a fixture
    began,
    edgepress,
    write,
)

from edgepress.toolkit.cli import settings_paths
from edgepress.toolkit.cli.found_files import JUDGED

pytestmark = pytest.mark.usefixtures("apart")
WRITES = sorted({command for (command, _), row in JUDGED.items() if row.kind == "writes"})


@pytest.mark.parametrize("command", WRITES)
def test_nothing_is_replaced_that_edgepress_did_not_write(command: str) -> None:
    write(f"[{command}]\nout = 'mine'\n")
    Path("mine").mkdir()
    assert began(command) == "", "an empty folder"
    for name in ("metrics.json", "model.keras", "sub/benchmark.csv", ".lock"):
        write("my own", f"mine/{name}")
        assert f"line 2: out leads to {Path('mine', name)}, which edgepress did not write" in began(command)
        assert began(command, "--out", "mine") == "", "what the user typed is free"
        shutil.rmtree("mine")
        Path("mine").mkdir()
    shutil.rmtree("mine")
    os.symlink("nowhere", "mine")
    assert "leads to mine, which" in began(command)
    Path("mine").unlink()
    Path("mine").write_text("a file")
    assert "leads to mine, which" in began(command)


def test_the_signature_beside_a_bundle_is_not_removed() -> None:
    write("[bundle]\nout = 'a.zip'\n")
    Path("a.zip.sig").write_text("mine")
    assert "leads to a.zip.sig" in began("bundle")


def test_what_edgepress_wrote_it_may_replace() -> None:
    target = Path("out")
    assert settings_paths.foreign(target) == ""
    write("1", "out/a/metrics.json")
    settings_paths.end(target)
    assert settings_paths.foreign(target) == ""
    write("my notes", "out/notes.txt")
    assert settings_paths.foreign(target) == str(Path("out/notes.txt"))
    Path("out/notes.txt").unlink()
    os.utime("out/a/metrics.json", ns=(1, 1))
    assert settings_paths.foreign(target) == str(Path("out/a/metrics.json")), "somebody has changed it"
    shutil.copytree("out", "copy")
    assert settings_paths.foreign(Path("copy")) != "", "the note is about a place"


KILLED = """
import os, signal, sys
from edgepress.toolkit.cli import screen
from edgepress.toolkit.cli.main import main

screen.step = lambda line: os.kill(os.getpid(), signal.SIGKILL)  # as the command begins
sys.exit(main(sys.argv[1:]))
"""


@pytest.mark.slow
@pytest.mark.parametrize("earlier", [False, True], ids=["the first command", "a later one"])
def test_after_a_kill_only_what_was_noted_is_edgepresss(earlier: bool) -> None:
    """What lies there since may be the user's, and an out-of-memory kill can be brought about."""
    write("[report]\nout = 'out/report.md'\n[bundle]\nout = 'out'\n")
    if earlier:
        write("1", "out/a.zip")
        settings_paths.end(Path("out"))
    killed = subprocess.run([sys.executable, "-c", KILLED, "bundle", "a.tflite"], capture_output=True, text=True)
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    for name in ("notes.txt", ".hidden", "deep/er/thesis.tex"):
        write("mine", f"out/{name}")
        assert f"out leads to {Path('out', name)}, which edgepress did not write" in began("bundle")
        Path("out", name).unlink()
    assert began("bundle") == "", "what was noted before is edgepress's"
    if earlier:
        write("mine", "out/a.zip")
        assert "out leads to out/a.zip" in began("bundle")
    assert began("bundle", "--out", "out") == "", "what the user typed is free"


def test_what_can_not_be_looked_at_is_foreign(monkeypatch: pytest.MonkeyPatch) -> None:
    """A folder that can't be listed, a file that can't be reached."""
    write("1", "out/sub/a")
    settings_paths.end(Path("out"))
    assert settings_paths.foreign(Path("out")) == ""

    def refuse(path: Path, *_: Any) -> Any:
        if path.name == name:
            raise PermissionError(13, "not allowed")
        return real(path)

    for method, name in (("iterdir", "sub"), ("lstat", "a"), ("lstat", "out")):
        real = getattr(Path, method)
        with monkeypatch.context() as patch:
            patch.setattr(Path, method, refuse)
            assert Path(settings_paths.foreign(Path("out"))).name == name


@pytest.mark.parametrize("damage", ["", "{}", "[1]", '{"files": 3}', '{"files": {"a": [1]}}', "\udce9"])
def test_a_damaged_note_counts_as_none(damage: str) -> None:
    write("1", "out/a")
    settings_paths.end(Path("out"))
    (note,) = (Path(os.environ["XDG_STATE_HOME"]) / "edgepress" / "written").iterdir()
    note.write_bytes(damage.encode(errors="surrogateescape"))
    assert settings_paths.foreign(Path("out")) == str(Path("out/a"))


@pytest.mark.slow
def test_a_run_is_not_deleted_and_results_of_the_file_itself_are_replaced(capfd: pytest.CaptureFixture[str]) -> None:
    write("[train]\ndata = 'digits'\nepochs = 1\nout = 'run'\n[sweep]\nstore = 'store'\n")
    assert edgepress("train") == 0
    model = Path("run/model.keras").read_bytes()
    assert edgepress("train") == 1, "a finished run, as with --out on the command line"
    assert edgepress("train", "--resume", "--json") == 0
    write("[train]\ndata = 'digits'\nepochs = 1\nout = 'run'\noverwrite = true\n")
    assert edgepress("train") == 2
    assert "it deletes what an earlier run made" in capfd.readouterr().err
    assert Path("run/model.keras").read_bytes() == model


def test_the_folder_that_train_makes_up_is_checked_too() -> None:
    write("[train]\narch = 'dense'\n")
    write("mine", "runs/digits-dense/history.csv")
    assert "arch leads to runs/digits-dense/history.csv" in began("train", "--data", "digits")
    assert began("train", "--data", "digits", "--overwrite") == "", "what the user typed is free"
    assert began("train", "--data", "digits", "--out", "runs/digits-dense") == ""
    shutil.rmtree("runs")
    os.symlink("/", "runs")
    assert "arch leads out of the folder" in began("train", "--data", "digits")


def test_a_report_replaces_no_file_of_the_user(capfd: pytest.CaptureFixture[str], benchmark_v1: Path) -> None:
    write("[report]\nout = 'notes.md'\nformat = 'md'\n")
    assert edgepress("report", str(benchmark_v1)) == 0
    text = Path("notes.md").read_text()
    assert edgepress("report", str(benchmark_v1)) == 0, "its own report"
    Path("notes.md").write_text("my notes")
    assert edgepress("report", str(benchmark_v1)) == 2
    assert Path("notes.md").read_text() == "my notes"
    assert edgepress("report", str(benchmark_v1), "--out", "notes.md") == 0
    assert Path("notes.md").read_text() == text


@pytest.fixture
def benchmark_v1() -> Path:
    return Path(__file__).parents[1] / "support" / "benchmark_v1.json"
