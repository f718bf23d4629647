"""Sound from recordings to the board: trained, converted, evaluated, bundled, classified and heard alike everywhere."""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
import zipfile
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from sounds import tone, wav_bytes, write_words
from typer.testing import CliRunner

from edgepress.runtime import Contract, load
from edgepress.runtime.__main__ import main as runtime
from edgepress.runtime.sound.features import SoundFeatures
from edgepress.runtime.sound.front_end import frames_of, net_input
from edgepress.runtime.sound.wav import read_wav
from edgepress.toolkit.cli.app import app
from edgepress.toolkit.data.for_model import contract_of

SOUND = SoundFeatures(channels=32, upper_hz=7000.0)


def edgepress(*words: object) -> Any:
    done = CliRunner().invoke(app, [*map(str, words), "--json"])
    assert done.exit_code == 0, done.output
    return json.loads(done.stdout)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """A net that tells two words and the background apart, and its files."""
    folder = tmp_path_factory.mktemp("sound")
    words = write_words(folder / "words", classes=2, speakers=8, each=5)
    (words / "background").mkdir()
    for number in range(8):
        rng = np.random.default_rng(number)
        noise = rng.normal(0, np.exp(rng.uniform(1, 6)), (80_000, 1))
        (words / "background" / f"street{number}.wav").write_bytes(wav_bytes(np.clip(noise, -32768, 32767), 16000))
    run = folder / "run"
    how = ("--arch", "conv1d", "--epochs", 30, "--learning-rate", 0.003, "--sound", "channels=32,upper_hz=7000")
    trained = edgepress("train", "--data", words, *how, "--out", run)
    edgepress("convert", run / "model.keras", "--to", "tflite-float32,tflite-int8,onnx-int8", "--out", run / "files")
    files = sorted((run / "files").glob("model*.*"))
    return SimpleNamespace(words=words, run=run, trained=trained, files={file.name: file for file in files})


def test_files_lose_nothing_and_carry_the_front_end(made: Any) -> None:
    assert made.trained["accuracy"] >= 0.9
    assert made.trained["arguments"]["augmentation"] == "mix"
    assert len(made.files) == 3
    for file in made.files.values():
        contract = contract_of(file)
        assert contract.sound == SOUND
        assert (contract.schema_version, contract.input.value_range) == (6, (0.0, 26.0))
        assert contract.data is not None
        assert contract.data.table is not None
        assert (contract.data.table.window, contract.data.table.step) == (98, 49)
        found = edgepress("evaluate", file)
        assert found["count"] == made.trained["count"]
        assert abs(found["accuracy"] - made.trained["accuracy"]) <= 1.5 / found["count"]


def test_an_integer_only_file_takes_its_input_in_steps_of_the_value_range(made: Any, tmp_path: Path) -> None:
    from ai_edge_litert.interpreter import Interpreter

    edgepress(
        "convert", made.run / "model.keras", *["--to", "tflite-int8", "--target", "integer-only", "--out"], tmp_path
    )
    (file,) = tmp_path.glob("*.tflite")
    details = Interpreter(model_path=str(file)).get_input_details()[0]
    scale, zero_point = details["quantization"]
    assert scale == pytest.approx(26 / 255, rel=1e-6)
    assert zero_point == {np.int8: -128, np.uint8: 0}[details["dtype"]]
    assert abs(edgepress("evaluate", file)["accuracy"] - made.trained["accuracy"]) <= 1.5 / made.trained["count"]


@pytest.mark.parametrize("name", ["model-int8.tflite", "model-int8.onnx", "model-float32.tflite"])
def test_the_runtime_classifies_recordings(made: Any, name: str) -> None:
    model = load(made.files[name])
    path = made.words / "word1" / "speaker3_0.wav"
    samples, _ = read_wav(path)
    frames = net_input(frames_of(samples, SOUND), SOUND)
    expected = model.scores(frames[np.newaxis])[0]
    for source in (str(path), path, path.read_bytes()):
        (first, *_) = model.classify(source)
        assert first.label == model.labels[int(np.argmax(expected))]
        assert first.score == pytest.approx(float(expected.max()), abs=1e-6)
    assert model.decide(path)[0].label == first.label
    long = made.words / "background" / "street1.wav"
    assert model.classify(long)[0].label == "background"


def test_recordings_of_other_rates_and_damaged_ones(made: Any, tmp_path: Path, capsys: Any) -> None:
    samples, _ = read_wav(made.words / "word0" / "speaker2_0.wav")
    (tmp_path / "high.wav").write_bytes(wav_bytes(np.repeat(samples, 3)[:, None], 48000))
    (tmp_path / "odd.wav").write_bytes(wav_bytes(samples[:, None], 44100))
    (tmp_path / "bad.wav").write_bytes(b"RIFF\0\0\0\0WAVE")
    assert runtime(["classify", str(made.files["model-int8.tflite"]), str(tmp_path), "--json"]) == 1
    lines = {Path(each["image"]).name: each for each in map(json.loads, capsys.readouterr().out.splitlines())}
    assert lines["high.wav"]["classes"][0]["label"] == "word0"
    assert "44100 samples a second" in lines["odd.wav"]["error"]["message"]
    assert "its format is missing" in lines["bad.wav"]["error"]["message"]


def test_listen_hears_words_in_a_stream(made: Any, tmp_path: Path, capsys: Any, monkeypatch: Any) -> None:
    rng = np.random.default_rng(5)
    scene = rng.normal(0, 40, 16000 * 14)
    spoken = {3: 0, 6: 1, 10: 1}
    for second, kind in spoken.items():
        scene[16000 * second : 16000 * (second + 1)] += tone(np.random.default_rng([kind, second]), kind, 16000)
    samples = np.clip(scene, -32768, 32767).astype(np.int16)
    (tmp_path / "scene.wav").write_bytes(wav_bytes(samples[:, None], 16000))
    file = str(made.files["model-int8.tflite"])
    how = ["--json", "--threshold", "0.6"]
    assert runtime(["listen", file, str(tmp_path / "scene.wav"), *how]) == 0
    events = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert events.pop() == {"heard_s": 14.0, "events": len(events)}
    for second, kind in spoken.items():
        heard = [event for event in events if second < event["time_s"] < second + 2]
        assert f"word{kind}" in [event["label"] for event in heard], events
    monkeypatch.setattr(sys, "stdin", SimpleNamespace(buffer=io.BytesIO(samples.tobytes())))
    assert runtime(["listen", file, "-", *how]) == 0
    piped = [json.loads(line) for line in capsys.readouterr().out.splitlines()][:-1]
    assert [(each["time_s"], each["label"]) for each in piped] == [(each["time_s"], each["label"]) for each in events]


def test_the_runtime_of_a_bundle_takes_sound(made: Any, tmp_path: Path) -> None:
    built = tmp_path / "sound.zip"
    edgepress("bundle", made.files["model-int8.tflite"], "--board", "pi64-py313", "--out", built)
    with zipfile.ZipFile(built) as archive:
        archive.extractall(tmp_path)
    (folder,) = tmp_path.glob("*/edgepress/runtime")
    command = ("-m", "edgepress.runtime", "classify", made.files["model-int8.tflite"], "--json")
    recording = made.words / "word1" / "speaker3_0.wav"
    env = os.environ | {"PYTHONPATH": str(folder.parents[1])}
    done = subprocess.run(
        [sys.executable, *map(str, command), str(recording)], env=env, cwd=tmp_path, capture_output=True, text=True
    )
    assert json.loads(done.stdout)["classes"][0]["label"] == "word1", done.stderr


def test_a_model_of_sound_refuses_pictures_and_one_of_tensors_recordings(made: Any, tmp_path: Path) -> None:
    model = load(made.files["model-int8.tflite"])
    contract = model.contract
    assert isinstance(contract, Contract)
    from edgepress.runtime.errors import InputError

    with pytest.raises(InputError, match="takes sound, not images"):
        model.classify(tmp_path / "a.png")
    other = load(made.files["model-int8.tflite"], contract=contract.replace(sound=None))
    with pytest.raises(InputError, match="takes tensors"):
        other.classify(made.words / "word0" / "speaker2_0.wav")
