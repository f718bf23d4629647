"""The data that a model remembers are found from any working directory, and named where they are not."""

from __future__ import annotations

import os
import re
import shlex
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from configuring import apart, edgepress

from edgepress.runtime.contract import read_contract
from edgepress.toolkit.data.remembered import find_remembered, to_remember
from edgepress.toolkit.errors import DataError

__all__ = ["apart"]


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder that trainings run in, with data; it is the working directory."""
    home = tmp_path / "my project"
    (home / "runs" / "a").mkdir(parents=True)
    for name in ("photos", "shards", "more"):
        (home / name).mkdir()
        (home / name / "0.tar").touch()
    monkeypatch.chdir(home)
    return home


@pytest.mark.parametrize("source", ["photos", "./photos", "shards/{0..1}.tar", "shards/0.tar::more/0.tar"])
def test_a_relative_path_is_found_from_the_model_upwards(
    project: Path, source: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert to_remember(source, Path("runs/a")) == source
    assert find_remembered(source, Path("runs/a/model.keras")) == source
    monkeypatch.chdir(tmp_path)
    found = find_remembered(source, Path("my project/runs/a/model.keras"))
    assert found == "::".join(os.path.normpath(project / part) for part in source.split("::"))
    monkeypatch.chdir(project / "runs" / "a")
    assert find_remembered(source, Path("model.keras")) == found


def test_a_run_elsewhere_remembers_the_whole_path(
    project: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept = to_remember("photos", tmp_path / "elsewhere")
    assert kept == str(project / "photos")
    monkeypatch.chdir(tmp_path)
    assert find_remembered(kept, tmp_path / "elsewhere" / "model.keras") == kept


def test_names_stay_names(project: Path) -> None:
    (project / "digits").mkdir()
    assert to_remember("digits", Path("/nowhere")) == find_remembered("digits", Path("/nowhere/m.keras")) == "digits"


@pytest.mark.parametrize("source", ["gone", "/gone/photos"])
def test_the_error_says_where_the_path_is_from(project: Path, source: str) -> None:
    with pytest.raises(DataError, match=f"'{source}', a path remembered from its training") as caught:
        find_remembered(source, Path("runs/a/model.keras"))
    assert caught.value.hint == "Give the data with --data."


@pytest.mark.slow
def test_commands_work_from_another_folder_with_spaces_in_paths(
    project: Path, apart: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(project)
    rng = np.random.default_rng(0)
    y = np.repeat(np.arange(3), 30)
    np.savez(
        "my data.npz",
        x=rng.integers(0, 90, (90, 8, 8, 1), np.uint8) + 60 * y[:, None, None, None].astype(np.uint8),
        y=y,
    )
    assert edgepress("train", "--data", "my data.npz", "--arch", "dense", "--epochs", "1", "--out", "runs/b 1") == 0
    printed = capfd.readouterr().out
    contract: Any = read_contract(Path("runs/b 1/model.keras"))
    assert contract.data.source == "my data.npz"
    commands = re.findall(r"(?:Next|Fix): (.*)", printed)
    assert commands
    assert all({*shlex.split(line)} & {"my data.npz", "runs/b 1/model.keras"} for line in commands)
    monkeypatch.chdir(tmp_path)
    assert edgepress("evaluate", "my project/runs/b 1/model.keras") == 0
    capfd.readouterr()
    (project / "my data.npz").rename(project / "renamed.npz")
    assert edgepress("evaluate", "my project/runs/b 1/model.keras") == 1
    assert "a path remembered from its training" in " ".join(capfd.readouterr().err.split())
