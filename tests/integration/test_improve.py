"""`edgepress improve`, from the command line: a shifted stream is learned, old items are kept, files are made."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from edgepress.runtime import read_contract
from edgepress.toolkit import calibrate
from edgepress.toolkit.cli.main import main
from edgepress.toolkit.training.run_folder import load_result


@pytest.fixture(scope="module")
def promised(run: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run whose int8 file has a promise; it has no other files."""
    folder = tmp_path_factory.mktemp("promised") / "run"
    shutil.copytree(run.model.parent, folder, ignore=shutil.ignore_patterns("variants"))
    (folder / "variants").mkdir()
    file = shutil.copy(run.variants["tflite-int8"], folder / "variants")
    (found,) = calibrate(file, max_rejected="10%", data="digits")
    assert found.path is not None
    return folder


@pytest.fixture(scope="module")
def inverted(digits: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Labelled pictures of another kind: dark digits on a light ground."""
    folder = tmp_path_factory.mktemp("inverted")
    items = 255 - digits.train.read(slice(0, 200))[..., 0]
    for number, (item, y) in enumerate(zip(items, digits.train.y, strict=False)):
        path = folder / digits.labels[y] / f"{number}.png"
        path.parent.mkdir(exist_ok=True)
        Image.fromarray(item).save(path)
    return folder


def call(*words: Any) -> int:
    with pytest.raises(SystemExit) as ended:
        main([str(word) for word in words])
    return int(ended.value.code or 0)


def test_a_new_kind_is_learned_and_the_promise_made_anew(
    promised: Path, inverted: Path, tmp_path: Path, capsys: Any
) -> None:
    out = tmp_path / "out"
    command = ["improve", promised, "--new", inverted, "--out", out, "--epochs", 4, "--max-drop", 5, "--json"]
    assert call(*command, "--data", "digits") == 0
    found = json.loads(capsys.readouterr().out)
    assert found["verdict"] == "proven"
    assert found["new"]["gain"]["low"] > 20
    assert found["new"]["items"] == 40
    assert found["old"]["items"] == 360
    assert found["files"] == [str(out / "variants" / "model-int8.tflite")]
    assert found["ship"] == str(out / "variants" / "calibrated" / "model-int8.tflite")
    contract = read_contract(Path(found["ship"]))
    assert contract is not None
    assert contract.accept is not None
    assert (contract.accept.promise, contract.accept.limit) == ("rejected", 0.1)
    metrics = load_result(out).metrics
    assert metrics["arguments"]["continued"] is True
    assert metrics["arguments"]["weights"] == str(promised / "model.keras")


def test_what_is_worse_is_not_converted(promised: Path, digits: Any, tmp_path: Path, capsys: Any) -> None:
    """Labels that are all wrong teach the net to be wrong: on new items it seems better, on old ones it is worse."""
    items = digits.train.read(slice(0, 200))[..., 0]
    for number, (item, y) in enumerate(zip(items, digits.train.y, strict=False)):
        path = tmp_path / "new" / digits.labels[(y + 1) % 10] / f"{number}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(item).save(path)
    out = tmp_path / "out"
    options = ["--out", out, "--epochs", 4, "--learning-rate", 0.003, "--data", "digits"]
    assert call("improve", promised, "--new", tmp_path / "new", *options) == 3
    said = " ".join(capsys.readouterr().out.split())
    assert "Proven: more than 1 percentage points worse on old items." in said
    assert "Nothing was converted." in said
    assert not (out / "variants").exists()


def test_wrong_input_is_one_message(promised: Path, inverted: Path, tmp_path: Path, capsys: Any) -> None:
    cases: list[tuple[list[Any], str]] = [
        ([tmp_path, "--new", inverted], "is not the folder of a run"),
        ([promised, "--new", tmp_path / "none"], "none"),
        ([promised, "--new", inverted, "--out", promised], "is the run that is to be improved"),
    ]
    for words, text in cases:
        assert call("improve", *words, "--data", "digits", "--json") == 1
        assert text in json.loads(capsys.readouterr().out)["error"]["message"]
    others = tmp_path / "others"
    for label in ("cat", "dog"):
        (others / label).mkdir(parents=True)
        for number in range(6):
            grey = np.full((8, 8), 20 * number + (100 if label == "cat" else 0), np.uint8)
            Image.fromarray(grey).save(others / label / f"{number}.png")
    assert call("improve", promised, "--new", others, "--data", "digits", "--json") == 1
    assert "cat" in json.loads(capsys.readouterr().out)["error"]["message"]
