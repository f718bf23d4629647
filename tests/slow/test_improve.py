"""`edgepress improve`, from the command line: a shifted stream is learned, old items are kept, files are made."""

from __future__ import annotations

import importlib
import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from edgepress.converters.contract.hints import Hints
from edgepress.runtime import read_contract
from edgepress.toolkit import calibrate, convert, improve
from edgepress.toolkit.cli.frame import SOME_FAILED
from edgepress.toolkit.cli.main import main
from edgepress.toolkit.errors import InputError
from edgepress.toolkit.improvement.improving.proof import learned_by
from edgepress.toolkit.training.options import RunOptions
from edgepress.toolkit.training.run_folder import begin, load_result


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


def left_out(notes: list[str]) -> int:
    """How many new test items show scenes of training."""
    (count,) = [int(note.split()[0]) for note in notes if "new test item" in note] or [0]
    return count


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
    assert found["new"]["items"] == 40 - left_out(found["notes"])
    assert found["old"]["items"] == 360
    assert found["files"] == [str(out / "variants" / "model-int8.tflite")]
    assert found["ship"] == str(out / "variants" / "calibrated" / "model-int8.tflite")
    contract = read_contract(Path(found["ship"]))
    assert contract is not None
    assert contract.accept is not None
    assert (contract.accept.promise, contract.accept.limit) == ("rejected", 0.1)
    assert contract.accept.data == f"digits and {inverted}"
    (answers,) = found["promised"]
    assert answers["items"] == found["new"]["items"]
    assert 0 <= answers["wrong"] / answers["accepted"] < answers["at_most"] <= 1
    metrics = load_result(out).metrics
    assert metrics["arguments"]["continued"] is True
    assert metrics["arguments"]["weights"] == str(promised / "model.keras")
    old = load_result(promised).metrics["data"]
    assert (metrics["data"]["sha256"], metrics["data"]["counts"]) == (old["sha256"], old["counts"])
    assert len(learned_by(metrics)) > 140
    assert metrics["arguments"]["learning_rate"] == pytest.approx(0.3 * 0.003)
    again = improve(out, inverted, data="digits", epochs=1, out=tmp_path / "again", progress=False)
    assert load_result(tmp_path / "again").metrics["arguments"]["learning_rate"] == pytest.approx(0.3 * 0.003)
    assert not [note for note in again.notes if "another version" in note]


def test_target_and_ends_of_old_files_stay(promised: Path, inverted: Path, tmp_path: Path, capsys: Any) -> None:
    run = shutil.copytree(promised, tmp_path / "run")
    (old,) = convert(
        run / "model.keras", "tflite-int8", data="digits", target="integer-only", hints=Hints(output="logits")
    )
    assert old.path is not None
    shutil.rmtree(run / "variants" / "calibrated")
    (run / "variants" / "model-int8.tflite").unlink()
    found = improve(run, inverted, data="digits", epochs=1, max_drop=50, progress=False)
    (made,) = found.files
    contract = read_contract(made)
    assert contract is not None
    assert (made.name, contract.target, contract.task) == (old.path.name, "integer-only", "logits")
    assert (found.ship, found.asked, found.had_promise) == (made, (True,), False)


def test_a_promise_that_is_not_kept_is_no_success(
    promised: Path, inverted: Path, tmp_path: Path, monkeypatch: Any, capsys: Any
) -> None:
    module = importlib.import_module("edgepress.toolkit.improvement.improving.proof")

    def failing(*args: Any, **more: Any) -> None:
        raise InputError("No installed engine opens it.")

    monkeypatch.setattr(module, "calibrate", failing)
    command = ["improve", promised, "--new", inverted, "--out", tmp_path / "out", "--epochs", 4, "--max-drop", 5]
    assert call(*command, "--data", "digits") == SOME_FAILED
    said = " ".join(capsys.readouterr().out.split())
    assert "No file keeps the promise that an old file had" in said
    assert "Next:" not in said


def test_files_of_the_model_before_leave_when_it_is_replaced(tmp_path: Path) -> None:
    folder = tmp_path / "run"
    (folder / "variants" / "calibrated").mkdir(parents=True)
    old = [folder / "variants" / "a.tflite", folder / "variants" / "calibrated" / "a.onnx"]
    for path in (*old, folder / "model.keras", folder / "variants" / "report.html"):
        path.touch()
    begin(folder, {}, RunOptions(overwrite=True))
    assert not [path for path in old if path.exists()]
    assert (folder / "variants" / "report.html").exists()


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
    assert "Proven: more than 1 pp worse on old items." in said
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
