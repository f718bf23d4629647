"""The data that a model remembers are found from any working directory, and named where they are not."""

from __future__ import annotations

import dataclasses
import os
import re
import shlex
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from configuring import apart, edgepress
from PIL import Image

from edgepress.runtime.contract import Contract, read_contract
from edgepress.toolkit import Hints, open_data
from edgepress.toolkit.conversion.plan import _remembering
from edgepress.toolkit.data.for_model import data_for
from edgepress.toolkit.data.remembered import find_remembered, to_remember
from edgepress.toolkit.errors import DataError

__all__ = ["apart"]

OF_DATA = ("train", "convert", "tune", "prune", "compress", "evaluate", "benchmark", "calibrate", "bundle", "export")
"""Commands with --data."""


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


@pytest.mark.parametrize("name", ["digits", "mnist"])
def test_a_path_is_remembered_as_one_although_it_has_the_name_of_built_in_data(project: Path, name: str) -> None:
    rng = np.random.default_rng(0)
    for kind in "ab":
        (project / name / kind).mkdir(parents=True)
        for number in range(8):
            Image.fromarray(rng.integers(0, 256, (9, 9), np.uint8)).save(project / name / kind / f"{number}.png")
    opened = open_data(Path(name))
    assert (opened.labels, opened.source) == (("a", "b"), f"./{name}")
    assert open_data(opened.source).sha256 == opened.sha256


@pytest.mark.parametrize(
    "command",
    [
        "train",
        "convert",
        "tune",
        "prune",
        "compress",
        "evaluate",
        "benchmark",
        "calibrate",
        "bundle",
        "export",
        "diagnose",
    ],
)
@pytest.mark.parametrize("kind", ["folder", "file"])
def test_a_name_that_a_folder_has_too_is_one_error_that_says_how_to_write_each(
    project: Path, command: str, kind: str, capsys: pytest.CaptureFixture[str]
) -> None:
    (project / "digits").mkdir() if kind == "folder" else (project / "digits").touch()
    model = [] if command == "train" else ["none.tflite"]
    assert edgepress(command, *model, "--data", "digits") == 2
    said = " ".join(capsys.readouterr().err.split())
    assert f"--data digits is the name of built-in data, and of a {kind}." in said
    assert "Write ./digits for what is here, or builtin:digits for the built-in data." in said
    more = ["--out", "taken"] if command == "train" else []  # the name of a file, so that nothing is trained
    (project / "taken").touch()
    assert edgepress(command, *model, "--data", "builtin:digits", *more) == 1
    assert "built-in" not in capsys.readouterr().err


@pytest.mark.parametrize("source", ["gone", "/gone/photos"])
def test_the_error_says_where_the_path_is_from(project: Path, source: str) -> None:
    with pytest.raises(DataError, match=f"'{source}', the data that it was trained on or made with") as caught:
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
    assert "the data that it was trained on or made with" in " ".join(capfd.readouterr().err.split())


def test_files_of_a_model_of_others_remember_the_data_that_they_were_made_with(
    project: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Only data with its labels, and only as long as they are the same."""
    import keras

    from edgepress.toolkit import benchmark, bundle, convert, evaluate
    from edgepress.toolkit.errors import InputError
    from edgepress.toolkit.measurement.benchmarking.options import BenchmarkOptions

    rng = np.random.default_rng(1)
    items: dict[str, Any] = {"x": rng.integers(0, 256, (60, 8, 8, 1), np.uint8), "y": np.arange(60) % 3}
    np.savez("items.npz", **items)
    np.savez("other.npz", **items, labels=["a", "b", "c"])
    layers = [keras.Input((8, 8, 1)), keras.layers.Flatten(), keras.layers.Dense(3, activation="softmax")]
    keras.Sequential(layers).save("runs/net.keras")
    (file,) = convert("runs/net.keras", "tflite-float32", data="items.npz")
    assert file.path is not None
    contract: Any = read_contract(file.path)
    assert contract.data is None
    assert contract.made_with.source == "items.npz"
    monkeypatch.chdir(tmp_path)
    path = project / file.path
    named = evaluate(path, data=str(project / "items.npz"))
    assert evaluate(path)["accuracy"] == named["accuracy"]
    (row,) = benchmark(path, options=BenchmarkOptions(engine="litert", timing_s=0.05)).results
    assert row.accuracy == named["accuracy"]
    assert bundle(path, "b.zip", samples=3).path.exists()
    (int8,) = convert(path, "tflite-int8", out="int8")  # calibrated on the same data
    assert int8.path is not None
    np.savez(project / "items.npz", **items | {"y": (np.arange(60) + 1) % 3})
    with pytest.raises(DataError, match=r"items\.npz has changed since .* was made with it") as caught:
        evaluate(path)
    assert "--data" in caught.value.hint
    changed = evaluate(path, data=str(project / "items.npz"))
    assert changed["data"]["sha256"] != named["data"]["sha256"]
    monkeypatch.chdir(project)
    Path("labels.txt").write_text("x\ny\nz\n")
    (without,) = convert(
        "runs/net.keras", "tflite-float32", data="other.npz", out="o", hints=Hints(labels=Path("labels.txt"))
    )
    assert without.path is not None
    with pytest.raises(InputError, match="does not say what data"):
        evaluate(without.path)


def test_a_sample_of_data_has_no_hash_that_whole_data_could_fit(project: Path) -> None:
    """Of large folders, `convert` reads some items only; the whole folder is then taken as it is."""
    rng = np.random.default_rng()
    np.savez("items.npz", x=rng.integers(0, 256, (60, 8, 8, 1), np.uint8), y=np.arange(60) % 3)
    whole = open_data("items.npz")
    contract = Contract(task="softmax", labels=whole.labels, input=whole.input, scheme="tflite-int8")
    empty = dataclasses.replace(whole.test, indices=whole.test.indices[:0], y=whole.test.y[:0])
    for data, digest in ((whole, whole.sha256), (dataclasses.replace(whole, test=empty, sha256="of some"), "")):
        kept = _remembering(data, contract, Path())
        assert kept.made_with is not None
        assert kept.made_with.sha256 == digest
        assert data_for(kept, None, where=Path("a.tflite"))[0].sha256 == whole.sha256
    others = dataclasses.replace(whole, labels=("x", "y", "z"))
    assert _remembering(others, contract, Path()).made_with is None
