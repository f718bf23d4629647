"""A model whose pictures are not prepared as in its training, from `convert` to `benchmark`, as a user sees it."""

from __future__ import annotations

import json
import shlex
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from configuring import edgepress

CLASSES = ("ant", "bee", "cow", "dog", "elk")


@pytest.fixture(scope="module")
def matcher(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a model that knows the mean picture of each class, of values 0-1, and pictures of 0-255."""
    import keras

    folder = tmp_path_factory.mktemp("matcher")
    rng = np.random.default_rng(0)
    means = rng.uniform(0.15, 0.85, (5, 8, 8, 3)) * np.array([0.4, 0.7, 1, 0.9, 0.5]).reshape(5, 1, 1, 1)
    labels = rng.integers(0, 5, 600)
    pixels = 255 * (means[labels] + rng.normal(0, 0.15, (600, 8, 8, 3)))
    images = np.clip(np.rint(pixels), 0, 255).astype(np.uint8)
    np.savez(folder / "pictures.npz", x=images, y=labels, labels=np.array(CLASSES))
    flat = means.reshape(5, -1)
    layers = [keras.Input((8, 8, 3)), keras.layers.Flatten(), keras.layers.Dense(5, activation="softmax")]
    model = keras.Sequential(layers)
    model.layers[-1].set_weights([10 * flat.T, -5 * np.square(flat).sum(axis=1)])
    model.save(folder / "matcher.keras")
    return folder


def test_the_wrong_preparation_is_said_before_the_files_with_the_command_that_is_right(
    matcher: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    given = ["--to", "tflite-float32,tflite-int8", "--data", str(matcher / "pictures.npz"), "--out", "wrong"]
    assert edgepress("convert", str(matcher / "matcher.keras"), *given) == 0
    printed = capfd.readouterr()
    said = " ".join(printed.err.split())
    assert "labelled items correctly, and" in said
    assert said.index("with --input-range 0,1: convert it so") < said.index("Converting to")
    (line,) = [line for line in printed.out.splitlines() if line.startswith("Next: ")]
    words = shlex.split(line.removeprefix("Next: "))
    assert words[:3] == ["edgepress", "convert", str(matcher / "matcher.keras")]
    assert words[-2:] == ["--input-range", "0,1"]

    assert edgepress("benchmark", "wrong", "--rounds", "1", "--no-limits", "--data", given[3]) == 0
    shown = " ".join(capfd.readouterr().out.split())
    assert "Ship: none" in shown
    assert "what a file keeps of that is worth nothing" in shown

    assert edgepress(*words[1:], "--json") == 0
    document = json.loads(capfd.readouterr().out)
    assert document["source"]["accuracy"] > 0.9
    assert (document["source"]["options"], document["source"]["text"]) == ([], "")
    assert edgepress("benchmark", "wrong", "--rounds", "1", "--no-limits", "--data", given[3]) == 0
    assert "Ship: wrong/matcher-" in capfd.readouterr().out


def test_data_without_labels_measure_nothing(matcher: Path, tmp_path: Path, capfd: Any) -> None:
    images = np.load(matcher / "pictures.npz")["x"]
    np.savez(tmp_path / "bare.npz", x=images)
    given = ["--to", "tflite-float32", "--data", str(tmp_path / "bare.npz"), "--out", str(tmp_path / "out")]
    assert edgepress("convert", str(matcher / "matcher.keras"), *given, "--json") == 0
    assert json.loads(capfd.readouterr().out)["source"] is None


def test_one_next_command_that_leads_on(
    matcher: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """`benchmark` recommends nothing without a float file: after one int8 file, its accuracy is what follows."""
    monkeypatch.chdir(tmp_path)
    given = ["--data", str(matcher / "pictures.npz"), "--out", "alone", "--input-range", "0,1"]
    assert edgepress("convert", str(matcher / "matcher.keras"), "--to", "tflite-int8", *given) == 0
    (line,) = [line for line in capfd.readouterr().out.splitlines() if line.startswith("Next: ")]
    assert line.split()[1:4] == ["edgepress", "evaluate", "alone/matcher-int8.tflite"]
    assert edgepress(*shlex.split(line)[2:]) == 0
    assert "accuracy" in capfd.readouterr().out

    assert edgepress("benchmark", "alone", "--rounds", "1", "--no-limits", "--data", given[1]) == 0
    shown = capfd.readouterr().out
    (line,) = [line for line in shown.splitlines() if line.startswith("Next: ")]
    assert line == "Next: edgepress convert MODEL --to tflite-float32 --out alone"
