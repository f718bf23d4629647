"""The scripts that attack and compare: they leave nothing out without saying so."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest
from scripts import ROOT

BENCHMARKS = ROOT / "benchmarks"


def run(script: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(BENCHMARKS / script), *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)


@pytest.mark.parametrize("there", [False, True])
def test_corrupted_files_needs_real_files_or_a_word_that_there_are_none(there: bool, tmp_path: Path) -> None:
    folder = tmp_path / "real"
    if there:
        (folder / "empty").mkdir(parents=True)
    done = run("faults/corrupted_files.py", "--copies", "1", "--real", str(folder), "--out", str(tmp_path / "out"))
    assert done.returncode == 2
    assert f"--real {folder} holds no model files; give another folder, or --made-only" in done.stderr
    assert not (tmp_path / "out").exists()


def test_aa_says_which_commit_was_measured() -> None:
    place = str(BENCHMARKS / "speed")
    code = f"import sys; sys.path.insert(0, {place!r}); import aa; aa.report([], ['idle'])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120, check=False)
    document = json.loads(done.stdout)
    assert re.fullmatch(r"([0-9a-f]{40}(-dirty)?)?", document["commit"])
    head = subprocess.run(["git", "rev-parse", "HEAD"], cwd=BENCHMARKS, capture_output=True, text=True, check=False)
    assert document["commit"].startswith(head.stdout.strip())
