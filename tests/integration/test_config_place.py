"""edgepress.toml: where it is found, what its paths mean, what it must not set, and the plan of a sweep in it."""

from __future__ import annotations

import os
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from configuring import (
    apart,  # noqa: F401 - a fixture
    context,
    edgepress,
    refused,
    write,
)

from edgepress.toolkit.cli import settings
from edgepress.toolkit.cli.commands import NAME
from edgepress.toolkit.cli.main import main

pytestmark = pytest.mark.usefixtures("apart")


def test_it_is_found_above_within_a_repository_only(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write("[train]\nseed = 4\n", tmp_path / "here" / NAME)
    deep = tmp_path / "here" / "a" / "b"
    deep.mkdir(parents=True)
    monkeypatch.chdir(deep)
    assert context("train").params["seed"] == 0, "no repository: only the folder itself"
    (tmp_path / "here" / ".git").mkdir()
    assert context("train").params["seed"] == 4
    write("[train]\nseed = 5\n", tmp_path / "here" / "a" / NAME)
    assert context("train").params["seed"] == 5, "the nearest"
    (tmp_path / "here" / "a" / NAME).unlink()
    (tmp_path / "here" / "a" / ".git").write_text("gitdir: elsewhere")
    assert context("train").params["seed"] == 0, "the root of another repository, a worktree"
    monkeypatch.chdir(tmp_path)
    (tmp_path / "gone").mkdir()
    monkeypatch.chdir(tmp_path / "gone")
    (tmp_path / "gone").rmdir()
    assert settings.find() == (None, [])


def test_paths_are_relative_to_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    text = """
        data = "photos/"
        [train]
        out = "runs/a"
        weights = "start.keras"
        teacher = "/models/large.keras"
        [convert]
        labels = "labels.txt"
        [benchmark]
        baseline = "old/model.tflite"
        [sweep]
        store = "~/store"
        [sweep.training]
        weights = "start.keras"
        [sweep.data]
        source = "photos"
    """
    write(text)
    assert context("train", before=("--config", NAME)).params["data"] == "photos/", "as written, beside the file"
    (tmp_path / "here" / ".git").mkdir()
    (tmp_path / "here" / "deep").mkdir()
    monkeypatch.chdir("deep")
    monkeypatch.setenv("HOME", "/home/me")
    monkeypatch.setenv("USERPROFILE", "/home/me")
    up = "../"
    named = partial(context, before=("--config", f"../{NAME}"))
    train = named("train").params
    assert (train["data"], train["out"]) == (f"{up}photos/", Path("../runs/a"))
    assert (train["weights"], train["teacher"]) == (f"{up}start.keras", "/models/large.keras")
    assert named("convert").params["labels"] == Path("../labels.txt")
    assert named("benchmark").params["baseline"] == f"{up}old/model.tflite"
    sweep = named("sweep")
    assert sweep.params["store"] == Path("/home/me/store")
    assert settings.begin(sweep).endswith("[sweep.training] [sweep.data]")
    assert settings.plan_tables() == {"training": {"weights": f"{up}start.keras"}, "data": {"source": f"{up}photos"}}
    write(
        'data = "a/{0..1}.tar::b.tar"\n[train]\nweights = "imagenet"\n[benchmark]\nbaseline = "tflite-int8"\n',
        f"../{NAME}",
    )
    assert named("train").params["data"] == "../a/{0..1}.tar::../b.tar"
    assert named("train").params["weights"] == "imagenet"
    assert named("benchmark").params["baseline"] == "tflite-int8"
    write("[benchmark]\nbaseline = 'old\\model.tflite'\n", f"../{NAME}")
    assert named("benchmark").params["baseline"] == os.path.join("..", "old\\model.tflite"), "a path of Windows"
    write('data = "mnist"\n', f"../{NAME}")
    assert named("train").params["data"] == "mnist", "the name of a data set"


class _StoppedError(Exception):
    pass


def swept(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> dict[str, Any]:
    """The tables that `edgepress sweep` would work on."""
    seen: list[dict[str, Any]] = []

    def work(tables: dict[str, Any], *_: Any, **__: Any) -> None:
        seen.append(tables)
        raise _StoppedError

    monkeypatch.setattr("edgepress.toolkit.search.sweeping.sweep.sweep", work)
    with pytest.raises(_StoppedError):
        main(("sweep", *arguments))
    return {name: table for name, table in seen[0].items() if table}


def test_sweep_takes_options_and_the_tables_of_a_plan(monkeypatch: pytest.MonkeyPatch) -> None:
    from edgepress.toolkit.search.sweeping.plan import plan_of

    write("""
        data = "digits"
        max-size = "200kB"
        [sweep]
        arch = ["dense", "lenet"]
        seeds = 3
        rounds = 0
        [sweep.dimensions]
        dropout = [0.0, 0.1]
        [sweep.training]
        patience = 2
    """)
    tables = swept(monkeypatch)
    expected: dict[str, Any] = {
        "data": {"source": "digits"},
        "dimensions": {"arch": ["dense", "lenet"], "seeds": 3, "dropout": [0.0, 0.1]},
        "training": {"patience": 2},
        "timing": {"rounds": 0},
    }
    assert tables == expected, "max-size above all tables is no limit of a search"
    assert plan_of(tables).dimensions["seed"] == (0, 1, 2)
    assert swept(monkeypatch, "--seeds", "1", "--arch", "vgg")["dimensions"] == {
        "arch": ["vgg"],
        "seeds": 1,
        "dropout": [0.0, 0.1],
    }
    write('[data]\nsource = "mnist"\n[dimensions]\nseed = [7]\nsize = [32]\n', "plan.toml")
    assert swept(monkeypatch, "plan.toml", "--size", "28") == {
        "data": {"source": "mnist"},
        "dimensions": {"arch": ["dense", "lenet"], "seed": [7], "size": ["28"]},
        "timing": {"rounds": 0},
    }, "the command line wins over a plan, a plan over edgepress.toml"
    assert swept(monkeypatch, "plan.toml", "--seeds", "2")["dimensions"]["seeds"] == 2


def test_a_wrong_table_of_a_plan_is_an_error_when_the_sweep_runs(capfd: pytest.CaptureFixture[str]) -> None:
    write('data = "digits"\n[sweep.dimensions]\ndropuot = [0.1]\n')
    assert edgepress("sweep") == 1
    assert "Did you mean 'dropout'?" in capfd.readouterr().err
    assert "has no option 'dimension'" in refused("[sweep.dimension]\ndropout = 1\n").message
