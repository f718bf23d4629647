"""Sound from recordings to the board: trained, converted, evaluated, bundled, classified and heard alike everywhere."""

from __future__ import annotations

import csv
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
from fake_broker import FakeBroker
from sounds import tone, wav_bytes, write_words
from typer.testing import CliRunner

from edgepress.converters.contract.write import tflite_with_contract
from edgepress.runtime import Contract, load
from edgepress.runtime.__main__ import main as runtime
from edgepress.runtime.sound.features import LogMelFeatures, SoundFeatures
from edgepress.runtime.sound.frames import frames_of, net_input
from edgepress.runtime.sound.listen_options import ListenOptions
from edgepress.runtime.sound.wav import read_wav
from edgepress.toolkit.cli.app import app
from edgepress.toolkit.data.for_model import contract_of

SOUND = SoundFeatures(channels=32, upper_hz=7000.0)


def edgepress(*words: object, code: int = 0) -> Any:
    done = CliRunner().invoke(app, [*map(str, words), "--json"])
    assert done.exit_code == code, done.output
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
    how = ("--arch", "stream-cnn", "--epochs", 20, "--learning-rate", 0.003, "--sound", "channels=32,upper_hz=7000")
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


def test_inspect_names_the_front_end(made: Any) -> None:
    file = made.files["model-int8.tflite"]
    assert edgepress("inspect", file)["contract"]["sound"]["channels"] == 32
    done = CliRunner().invoke(app, ["inspect", str(file)])
    expected = "integer: 16,000 Hz, 30 ms every 10 ms, 32 channels of 125 to 7000 Hz; noise reduction, PCAN, logarithm"
    assert expected in " ".join(done.output.split())


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
    model.watch_drift(100)
    assert model.judge(path).drift == {"counted": 1, "learns_from": 100, "alarm": False}


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


def test_a_run_is_improved_with_kept_sounds(made: Any, tmp_path: Path) -> None:
    """New speakers, as `label` lays them out: in class folders, beside sounds that are not labelled yet."""
    for kind in range(2):
        (tmp_path / "new" / f"word{kind}").mkdir(parents=True)
        for number in range(12):
            rng = np.random.default_rng([7, kind, number])
            samples = tone(rng, kind, 32000, pitch=rng.uniform(0.7, 1.3))
            name = f"20261203T1200{number:02d}000Z-{kind:03d}-0600-{number:08x}.wav"
            (tmp_path / "new" / f"word{kind}" / name).write_bytes(wav_bytes(samples[:, None], 16000))
    (tmp_path / "new" / "20261203T130000000Z-000-0600-0000000a.wav").write_bytes(b"RIFF")
    how = ("--epochs", 2, "--learning-rate", 1e-6, "--max-drop", 99, "--to", "tflite-int8", "--out", tmp_path / "out")
    found = edgepress("improve", made.run, "--new", tmp_path / "new", *how, code=3)
    assert (found["verdict"], found["old"]["items"]) == ("open", made.trained["count"])
    assert found["new"]["items"] == 5
    assert contract_of(Path(found["files"][0])).sound == SOUND
    error = edgepress("improve", made.run, "--new", "digits", "--out", tmp_path / "other", code=1)["error"]
    assert "The data are images" in error["message"]


SECOND = 16000


def test_a_net_on_log_mel_goes_from_recordings_to_listening(made: Any, tmp_path: Path, capsys: Any) -> None:
    how = ("--arch", "stream-cnn", "--epochs", 12, "--learning-rate", 0.003, "--sound", "kind=log-mel,channels=32")
    trained = edgepress("train", "--data", made.words, *how, "--augmentation", "masks", "--out", tmp_path)
    files = tmp_path / "files"
    edgepress("convert", tmp_path / "model.keras", "--to", "tflite-int8,onnx-float32", "--out", files)
    for name in ("model-int8.tflite", "model-float32.onnx"):
        contract = contract_of(files / name)
        assert contract.sound == LogMelFeatures(channels=32)
        assert (contract.schema_version, contract.input.value_range) == (7, (0.0, 24.0))
        found = edgepress("evaluate", files / name)
        assert found["count"] == trained["count"]
        assert abs(found["accuracy"] - trained["accuracy"]) <= 1.5 / found["count"]
    file = files / "model-int8.tflite"
    path = made.words / "word1" / "speaker3_0.wav"
    model = load(file)
    features = LogMelFeatures(channels=32)
    expected = model.scores(net_input(frames_of(read_wav(path)[0], features), features)[np.newaxis])[0]
    assert model.classify(path)[0].score == pytest.approx(float(expected.max()), abs=1e-6)
    write_scene(tmp_path, 3, seconds=20)
    found = edgepress("evaluate", file, "--stream", tmp_path / "scene3.wav")
    times = heard_by(file, tmp_path / "scene3.wav", capsys, "--keep", str(tmp_path / "kept"), "--quota", "5")
    assert len(times) == found["alarms"]
    assert len([*(tmp_path / "kept").glob("*.wav")]) <= 5
    assert (tmp_path / "kept" / "kept.json").exists()
    built = edgepress("bundle", file, "--board", "pi64-py313", "--out", tmp_path / "sound.zip")
    assert built
    for to in ("c99", "esphome", "tflm"):
        error = edgepress("export", file, "--to", to, "--out", tmp_path / to, code=1)["error"]
        assert "front end log-mel, which firmware does not have" in error["message"]
        assert "Train with the integer one" in error["hint"]


def write_scene(folder: Path, seed: int, *, seconds: int = 60) -> list[tuple[str, int, int, str]]:
    """A recording of words in noise, `scene{seed}.wav`, and the rows of its events."""
    rng = np.random.default_rng(seed)
    samples = rng.normal(0, 40, SECOND * seconds)
    rows = []
    for start in range(3, seconds - 3, 6):
        kind = int(rng.integers(2))
        samples[SECOND * start : SECOND * (start + 1)] += tone(np.random.default_rng([seed, start]), kind, SECOND)
        rows.append((f"scene{seed}.wav", start, start + 1, f"word{kind}"))
    path = folder / f"scene{seed}.wav"
    path.write_bytes(wav_bytes(np.clip(samples, -32768, 32767)[:, None], SECOND))
    return rows


@pytest.fixture(scope="module")
def scenes(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """Two recordings with words, one too short for a window, and the table of their events."""
    folder = tmp_path_factory.mktemp("scenes")
    (folder / "radio").mkdir()
    rows = [row for seed in (1, 2) for row in write_scene(folder / "radio", seed)]
    (folder / "radio" / "click.wav").write_bytes(wav_bytes(np.zeros((800, 1)), SECOND))
    with (folder / "events.csv").open("w", newline="") as file:
        csv.writer(file).writerows([("file", "start_s", "end_s", "label"), *rows])
    return SimpleNamespace(folder=folder / "radio", events=folder / "events.csv", rows=rows)


def heard_by(file: Path, recording: Path, capsys: Any, *options: str) -> list[tuple[float, str]]:
    """The events that the runtime's `listen` prints."""
    capsys.readouterr()
    assert runtime(["listen", str(file), str(recording), "--json", *options]) == 0
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    return [(each["time_s"], each["label"]) for each in lines[:-1]]


def test_evaluate_hears_what_listen_hears(made: Any, scenes: Any, capsys: Any) -> None:
    file = made.files["model-int8.tflite"]
    found = edgepress("evaluate", file, "--stream", scenes.folder, "--events", scenes.events)
    assert found["hours"] == pytest.approx(2 / 60)
    assert found["unanswered"] == 1
    assert found["events"] == len(scenes.rows) == sum(row["events"] for row in found["per_label"])
    assert {row["label"] for row in found["per_label"]} == {"word0", "word1"}
    assert found["missed"] <= len(scenes.rows) // 2
    (now,) = (row for row in found["curve"] if row["threshold"] == found["rule"]["threshold"])
    assert (now["missed"], now["alarms"]) == (found["missed"], found["alarms"])
    alarms = missed = 0
    for seed in (1, 2):
        name = f"scene{seed}.wav"
        times = heard_by(file, scenes.folder / name, capsys)
        rows = [row for row in scenes.rows if row[0] == name]
        near = [{t for t, label in times if label == word and s <= t <= e + 1} for _, s, e, word in rows]
        missed += sum(not each for each in near)
        alarms += sum(not any(s <= t <= e + 1 and label == word for _, s, e, word in rows) for t, label in times)
    assert (missed, alarms) == (found["missed"], found["alarms"])
    how = ("--stream", scenes.folder, "--events", scenes.events)
    strict = edgepress("evaluate", file, *how, "--threshold", 0.99)
    (row,) = (row for row in found["curve"] if row["threshold"] == 0.99)
    assert (strict["rule"]["threshold"], strict["missed"]) == (0.99, row["missed"])
    silent = edgepress("evaluate", file, "--stream", scenes.folder)
    assert (silent["events"], silent["missed_share"]) == (0, None)
    assert silent["alarms"] >= len(scenes.rows) - found["missed"], "nothing was to be heard"
    done = CliRunner().invoke(
        app, ["evaluate", str(file), "--stream", str(scenes.folder), "--events", str(scenes.events)]
    )
    text = " ".join(done.output.split())
    assert f"{found['missed']} of {len(scenes.rows)} events missed" in text
    assert "in 2.0 minutes" in text
    assert "1 recording shorter than a window not counted." in text


def test_two_results_about_recordings_are_compared(made: Any, scenes: Any, tmp_path: Path) -> None:
    file = made.files["model-int8.tflite"]
    how = ("--stream", scenes.folder, "--events", scenes.events)
    usual = edgepress("evaluate", file, *how)
    deaf = tflite_with_contract(file.read_bytes(), contract_of(file).replace(listen=ListenOptions(threshold=1.0)))
    (tmp_path / "deaf.tflite").write_bytes(deaf)
    documents = usual, edgepress("evaluate", tmp_path / "deaf.tflite", *how)
    for name, document in zip("ab", documents, strict=True):
        (tmp_path / name).write_text(json.dumps(document))
    assert sum(e["heard_s"] is None for each in usual["heard"] for e in each["events"]) == usual["missed"]
    assert sum(len(each["alarms"]) for each in usual["heard"]) == usual["alarms"]
    assert [Path(each["file"]).name for each in usual["heard"]] == sorted(p.name for p in scenes.folder.iterdir())
    found = edgepress("compare", tmp_path / "a", tmp_path / "b", "--fail-if", "missed_rise>2", code=3)
    change = found["stream"]
    assert (change["old"]["missed"], change["new"]["missed"]) == (usual["missed"], documents[1]["missed"])
    assert len(change["missed_by_new"]) - len(change["missed_by_old"]) == documents[1]["missed"] - usual["missed"] > 0
    assert edgepress("compare", tmp_path / "a", tmp_path / "a", "--fail-if", "missed_rise>2")["unproven"] is False
    edgepress("compare", tmp_path / "a", tmp_path / "b", "--fail-if", "alarms>1/h", code=5)
    done = CliRunner().invoke(app, ["compare", str(tmp_path / "a"), str(tmp_path / "b"), "--fail-if", "missed_rise>2"])
    assert done.exit_code == 3, done.output
    assert f"{usual['missed']} of {usual['events']}:" in done.output
    assert "Missed by NEW alone" in done.output
    silent = tmp_path / "c"
    silent.write_text(json.dumps(edgepress("evaluate", file, "--stream", scenes.folder)))
    error = edgepress("compare", tmp_path / "a", silent, code=1)["error"]
    assert "has the event" in error["message"]


def test_the_copy_of_calibrate_carries_the_rule(made: Any, scenes: Any, tmp_path: Path, capsys: Any) -> None:
    edgepress("convert", made.run / "model.keras", "--to", "tflite-int8", "--target", "integer-only", "--out", tmp_path)
    (file,) = tmp_path.glob("*.tflite")
    how = ("--stream", scenes.folder, "--events", scenes.events, "--step", 7)
    (result,) = edgepress("calibrate", file, "--max-alarms", "60/h", *how)["files"]
    copy = Path(result["calibrated"])
    assert copy == tmp_path / "calibrated" / file.name
    assert result["alarms"] <= 2
    rule = contract_of(copy).listen
    assert rule is not None
    assert (rule.threshold, rule.average, rule.step) == tuple(
        result["rule"][name] for name in ("threshold", "average", "step")
    )
    assert (rule.threshold > 0.5, rule.step) == (True, 7)
    again = edgepress("evaluate", copy, "--stream", scenes.folder, "--events", scenes.events)
    assert (again["missed"], again["alarms"], again["rule"]) == (result["missed"], result["alarms"], result["rule"])
    recording = scenes.folder / "scene1.wav"
    options = ("--threshold", str(rule.threshold), "--average", str(rule.average), "--step", "7")
    assert heard_by(copy, recording, capsys) == heard_by(file, recording, capsys, *options) != []
    assert heard_by(copy, recording, capsys, "--threshold", "1") == []
    assert result["needed_hours"] == pytest.approx(-np.log(0.025) / 60)
    said = CliRunner().invoke(app, ["calibrate", str(file), "--max-alarms", "1/h", *map(str, how)])
    assert "too short to show 1/h: that takes 3.69 hours without a false alarm" in " ".join(said.output.split())
    assert "--stream OTHER --events OTHER.csv" in " ".join(said.output.split())
    exported = CliRunner().invoke(
        app, ["export", str(copy), "--stream", "3", "--name", "ear", "--out", str(tmp_path / "c")]
    )
    assert exported.exit_code == 0, exported.output
    assert "chosen for an answer every 7 frames" in " ".join(exported.output.split())
    header = (tmp_path / "c" / "ear_sound.h").read_text()
    assert f"#define EAR_LISTEN_THRESHOLD_PERMILLE {round(1000 * rule.threshold)}\n" in header
    assert f"#define EAR_LISTEN_AVERAGE {rule.average}\n" in header


def test_a_wish_that_no_rule_keeps_writes_no_copy(made: Any, tmp_path: Path) -> None:
    """A model that is sure to hear a word all the time, and recordings without one."""
    from edgepress.converters.to_tflite import flatbuffer as flat

    file = tmp_path / "model.tflite"
    contract = contract_of(made.files["model-float32.tflite"])
    root, graph = flat.read(made.files["model-float32.tflite"].read_bytes())
    (dense,) = (each for each in graph.operators if flat.kind(root, each) == "FULLY_CONNECTED")
    bias = root.buffers[graph.tensors[dense.inputs[2]].buffer]
    numbers = np.frombuffer(bytes(bias.data), np.float32).copy()
    numbers[contract.labels.index("word1")] += 1000
    bias.data = np.frombuffer(numbers.tobytes(), np.uint8)
    file.write_bytes(tflite_with_contract(flat.write(root), contract))
    samples = np.random.default_rng(9).normal(0, 40, (SECOND * 10, 1))
    (tmp_path / "words.wav").write_bytes(wav_bytes(samples, SECOND))
    (result,) = edgepress("calibrate", file, "--max-alarms", "0", "--stream", tmp_path / "words.wav", code=4)["files"]
    assert (result["calibrated"], result["earlier"]) == (None, None)
    assert result["alarms"] > 0
    assert not (tmp_path / "calibrated").exists()
    edgepress("calibrate", file, "--max-alarms", "9999/h", "--stream", tmp_path / "words.wav")
    done = CliRunner().invoke(
        app, ["calibrate", str(file), "--max-alarms", "0", "--stream", str(tmp_path / "words.wav")]
    )
    assert done.exit_code == 4
    assert "No threshold gives 0 or fewer false alarms, so no copy was written." in " ".join(done.output.split())
    assert "of an earlier calibration" in " ".join(done.output.split())


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (("evaluate", "--stream", "click.wav"), "No recording is as long as a window"),
        (("evaluate", "--stream", "empty"), "There is no recording"),
        (("evaluate", "--stream", "none.wav"), "can't be read"),
        (("evaluate", "--stream", "scene1.wav", "--step", "999"), "every 999 frames leaves sound out"),
        (("evaluate", "--stream", "scene1.wav", "--events", "late.csv"), "begins at 9000 s, and it has 60.0 s"),
        (("evaluate", "--events", "late.csv"), "need recordings"),
        (("evaluate", "--stream", "scene1.wav", "--data", "digits"), "--stream doesn't take --data"),
        (
            ("evaluate", "--stream", "scene1.wav", "--jobs", "2", "--no-cache", "--skip-unreadable"),
            "doesn't take --jobs, --no-cache, --skip-unreadable",
        ),
        (
            ("evaluate", "--stream", "scene1.wav", "--labels", "labels.txt", "--channels-last", "--size", "9"),
            "doesn't take --labels, --channels-last, --size:",
        ),
        (("calibrate", "--max-alarms", "1/h"), "needs recordings"),
        (
            ("calibrate", "--max-alarms", "1/h", "--stream", "scene1.wav", "--data", "x", "--skip-unreadable"),
            "doesn't take --data, --skip-unreadable:",
        ),
        (
            ("calibrate", "--max-alarms", "1/h", "--stream", "scene1.wav", "--confidence", "90%"),
            "doesn't take --confidence:",
        ),
        (("calibrate", "--stream", "scene1.wav"), "needs the number of false alarms"),
        (("calibrate", "--max-alarms", "soon", "--stream", "scene1.wav"), "--max-alarms is 'soon'"),
        (("calibrate", "--max-error", "2%", "--step", "3"), "need recordings"),
        (("calibrate", "--max-alarms", "1/h", "--max-error", "2%", "--stream", "scene1.wav"), "can't stand beside"),
    ],
)
def test_what_can_not_be_heard_is_one_error(
    made: Any, scenes: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, words: tuple[str, ...], says: str
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "empty").mkdir()
    (tmp_path / "late.csv").write_text("start_s,end_s,label\n9000,9001,word0\n")
    for name in ("click.wav", "scene1.wav"):
        (tmp_path / name).write_bytes((scenes.folder / name).read_bytes())
    command, *options = words
    error = edgepress(command, made.files["model-int8.tflite"], *options, code=1)["error"]
    assert says in error["message"]


def test_a_broker_gets_the_events_that_are_printed(made: Any, scenes: Any, capsys: Any) -> None:
    broker = FakeBroker()
    where = ("--mqtt", f"127.0.0.1:{broker.port}", "--mqtt-topic", "kitchen")
    times = heard_by(made.files["model-int8.tflite"], scenes.folder / "scene1.wav", capsys, *where)
    sent = [json.loads(payload) for topic, payload in broker.published() if topic == "kitchen/event"]
    assert [(each["time_s"], each["label"]) for each in sent] == times != []
    assert len({each["id"] for each in sent}) == len(sent)
    assert broker.published()[-1] == ("kitchen/status", b"offline")


def test_two_files_of_one_name_do_not_become_one_copy(made: Any, scenes: Any, tmp_path: Path) -> None:
    files = [tmp_path / name / "model.tflite" for name in ("a", "b")]
    for file in files:
        file.parent.mkdir()
        file.write_bytes(made.files["model-int8.tflite"].read_bytes())
    how = ("--max-alarms", "9999/h", "--stream", scenes.folder, "--out", tmp_path / "out")
    assert "Several copies would be" in edgepress("calibrate", *files, *how, code=1)["error"]["message"]
    assert not (tmp_path / "out").exists()
