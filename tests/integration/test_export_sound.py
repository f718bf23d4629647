"""C of models of sound: frames and answers equal to the runtime's, for drawn parameters and samples."""

from __future__ import annotations

import ctypes
import json
import random
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from building_c import compiled, missing
from c99_graphs import Maker
from micro_package import Install

from edgepress.converters.contract.write import tflite_with_contract
from edgepress.converters.to_c.lowering import lower
from edgepress.runtime.adapted import quantized
from edgepress.runtime.contract import Contract
from edgepress.runtime.input_spec import InputSpec
from edgepress.runtime.sound.features import SoundFeatures
from edgepress.runtime.sound.frames import frames_of, net_input
from edgepress.runtime.sound.listen import Listener
from edgepress.runtime.sound.listen_options import ListenOptions
from edgepress.toolkit.errors import InputError
from edgepress.toolkit.shipping.exporting.export import export

pytestmark = pytest.mark.skipif(missing("gcc") != "", reason="gcc is not installed")
SANITIZED = ("-fsanitize=undefined", "-fno-sanitize-recover=all", "-static-libubsan")
WINDOW = 20
"""Frames of a window."""
LABELS = ("no", "yes", "background")
Samples = npt.NDArray[np.int16]


def model_file(
    folder: Path, features: SoundFeatures, seed: int, dtype: Any = np.int8, listen: ListenOptions | None = None
) -> Path:
    """A net over windows of frames, with a contract that names the front end; its ends are of a type."""
    high = features.value_range[1]
    m = Maker(f"sound{seed}", (WINDOW, features.channels), dtype)
    source = m.net.graph.tensors[m.net.input].quantization
    source.scale, source.zeroPoint, m.scale = [high / 255], [np.iinfo(dtype).min], high / 255
    if dtype == np.uint8:
        m._add("QUANTIZE", [m.at], m.shape, m.scale, -128)
    shape = (WINDOW, features.channels, 1)
    m._add("RESHAPE", [m.at, m.net.constant(np.array([1, *shape], np.int32))], shape, m.scale, -128)
    m.conv(6, (3, features.channels), same=False, activation=1).depthwise(1, (5, 1), same=False)
    m.mean([1, 2]).dense(3).quantize(0.1).end("SOFTMAX", beta=1.0)
    if dtype == np.uint8:
        m._add("QUANTIZE", [m.at], m.shape, 1 / 256, 0, dtype=np.uint8)
    model = m.model()
    spec = InputSpec(shape=(WINDOW, features.channels), dtype="float32", value_range=features.value_range)
    contract = Contract(task="softmax", labels=LABELS, input=spec, scheme="tflite-int8", sound=features, listen=listen)
    path = folder / "ear.tflite"
    path.write_bytes(tflite_with_contract(model, contract))
    return path


def drawn_samples(features: SoundFeatures, seconds: float, seed: int) -> Samples:
    """Noise of drawn levels, tones, steps and silence, one after the other."""
    chance = np.random.default_rng(seed)
    count = int(features.rate * seconds / 6)
    time = np.arange(count)
    parts = [
        chance.normal(0, 10 ** chance.uniform(0, 5), count),
        chance.uniform(100, 32000) * np.sin(2 * np.pi * chance.uniform(100, 3500) / features.rate * time),
        np.zeros(count),
        np.where(chance.random(count) < 0.5, -32768, 32767),
        np.full(count, chance.choice([-32768, 32767, 3])),
        chance.integers(-2, 3, count),
    ]
    chance.shuffle(parts)
    return np.clip(np.concatenate(parts), -32768, 32767).astype(np.int16)


def library(folder: Path, more: str = "") -> Any:
    """The C of an exported folder as one library, perhaps with more code."""
    both = folder / "both.c"
    both.write_text(f'#include "model.c"\n#include "model_sound.c"\n{more}')
    return ctypes.CDLL(str(compiled(both, folder / "both.so", *SANITIZED)))


def pointer(array: npt.NDArray[Any]) -> ctypes.c_void_p:
    return array.ctypes.data_as(ctypes.c_void_p)


@pytest.mark.parametrize(
    "features",
    [
        SoundFeatures(),
        SoundFeatures(window_ms=25, channels=32),
        SoundFeatures(pcan=False),
        SoundFeatures(log=False),
        SoundFeatures(rate=44100, upper_hz=16000, channels=64, scale_shift=8),
        SoundFeatures(rate=8000, upper_hz=3800, channels=20, window_ms=20, step_ms=20, pcan=False, log=False),
        SoundFeatures(rate=22050, window_ms=2, step_ms=1, channels=2, lower_hz=0, upper_hz=200),  # between two bins
    ],
    ids=str,
)
def test_frames_in_c_are_those_of_the_runtime(features: SoundFeatures, tmp_path: Path) -> None:
    seed = random.randrange(1 << 30)
    export(model_file(tmp_path, features, seed), out=tmp_path / "c", samples=1)
    c = library(tmp_path / "c")
    samples = drawn_samples(features, 6, seed)
    expected = frames_of(samples, features)
    memory = ctypes.create_string_buffer(1 << 18)
    c.model_sound_reset(memory)
    frame = np.zeros(features.channels, np.uint16)
    row = np.zeros(features.channels, np.int8)
    frames, rows = [], []
    for start in range(0, len(samples) - features.step + 1, features.step):
        part = samples[start : start + features.step].copy()
        if c.model_sound_frame(memory, pointer(part), pointer(frame)):
            frames.append(frame.copy())
            c.model_sound_store(pointer(frame), pointer(row))
            rows.append(row.copy())
    assert len(frames) >= len(expected) - 1 > 100
    assert (np.array(frames) == expected[: len(frames)]).all(), seed
    stored = quantized(net_input(np.array(frames), features), (features.value_range[1] / 255, -128), np.dtype(np.int8))
    assert (np.array(rows) == stored).all(), seed


@pytest.mark.parametrize("rows", [1, 3])
def test_samples_of_a_stream_get_the_answers_of_the_windows_that_end_there(rows: int, tmp_path: Path) -> None:
    seed = random.randrange(1 << 30)
    features = SoundFeatures()
    dtype = random.choice([np.int8, np.uint8])
    path = model_file(tmp_path, features, seed, dtype)
    exported = export(path, out=tmp_path / "c", samples=2, stream=rows, name="model")
    assert "model_hear" in (tmp_path / "c" / "README.md").read_text()
    c = library(tmp_path / "c")
    c.model_output.restype = ctypes.c_void_p
    samples = drawn_samples(features, 3, seed)
    memory = ctypes.create_string_buffer(1 << 16)
    answers = []
    for _ in range(2):  # the second time after a reset
        answers.clear()
        c.model_sound_reset(memory)
        c.model_reset()
        for start in range(0, len(samples) - features.step + 1, features.step):
            part = samples[start : start + features.step].copy()
            if c.model_hear(memory, pointer(part)):
                answers.append(np.frombuffer(ctypes.string_at(c.model_output(), 3), dtype))
    frames = frames_of(samples, features)
    stored = quantized(net_input(frames, features), (26 / 255, np.iinfo(dtype).min), np.dtype(dtype))
    first = exported.report["stream"]["calls_before_answers"]
    program = lower(path)
    ends = [WINDOW + rows * call for call in range(len(answers) - first)]
    windows = [stored[end - WINDOW : end] for end in ends]
    assert len(windows) > 60
    assert (np.array(answers[first:]) == program.answers(np.stack(windows).reshape(len(windows), -1))).all(), seed


class Scripted:
    """A model of sound whose answers are given."""

    drift = None

    def __init__(self, answers: npt.NDArray[np.int8], features: SoundFeatures) -> None:
        self.labels = LABELS
        self.shape = (WINDOW, 40)
        self.contract = SimpleNamespace(sound=features)
        self.limits = SimpleNamespace(probabilities=lambda scores: scores, accepted=lambda scores: None)
        self._rows = iter(answers)

    def require_labels(self) -> None:
        """It has some."""

    def scores(self, item: object) -> npt.NDArray[np.float32]:
        """The next answer."""
        return (next(self._rows)[np.newaxis].astype(np.float32) + 128) / 256


@pytest.mark.parametrize(
    ("rows", "rule"),
    [
        (1, {}),
        (4, {}),
        (7, {}),
        (3, {"threshold": 0.55, "average": 4, "pause_s": 0.0, "ignore": ("background", "no")}),
        (1, {"threshold": 0.6, "average": 1, "pause_s": 86_400.0}),  # at this rate, more samples than 31 bits hold
    ],
)
def test_the_same_labels_are_heard_in_c_and_by_the_runtime(rows: int, rule: dict[str, Any], tmp_path: Path) -> None:
    seed = random.randrange(1 << 30)
    chance = np.random.default_rng(seed)
    features = SoundFeatures(rate=32000) if rule.get("pause_s") else SoundFeatures()
    options = ListenOptions(step=rows, **rule)
    path = model_file(tmp_path, features, seed, listen=options)
    report = export(path, out=tmp_path / "c", samples=1, stream=rows).report
    # Each label in turn, for longer and shorter than its pause, with levels about the threshold.
    levels = np.repeat(chance.integers(-128, 128, 60), chance.integers(1, 160 // rows + 2, 60))
    which = np.repeat(chance.integers(0, 3, 60), chance.integers(1, 160 // rows + 2, 60))
    count = min(len(levels), len(which))
    answers = np.full((count, 3), -128, np.int8)
    answers[np.arange(count), which[:count]] = levels[:count]
    answers = np.clip(answers + chance.integers(-9, 10, answers.shape), -128, 127).astype(np.int8)
    stub = f"static int at; void model_run(void) {{ memcpy(out, script[at++], {len(LABELS)}); }}\n"
    script = ",".join(f"{{{','.join(map(str, row))}}}" for row in answers.tolist())
    source = '#include "model.h"\n#include <string.h>\n'
    source += f"static const int8_t script[][3] = {{{script}}};\nstatic int8_t in[MODEL_INPUT_BYTES], out[3];\n{stub}"
    source += "int8_t *model_input(void) { return in; }\nconst int8_t *model_output(void) { return out; }\n"
    (tmp_path / "c" / "model.c").write_text(source)
    waits = "int waits_of(const model_sound *sound, int label);\n"
    waits += "int waits_of(const model_sound *sound, int label) { return sound->waits[label]; }\n"
    c = library(tmp_path / "c", waits)
    memory = ctypes.create_string_buffer(1 << 16)
    c.model_sound_reset(memory)
    ignored = report["stream"]["calls_before_answers"]
    frames = WINDOW + rows * (count - ignored - 1)
    part = np.zeros(features.step, np.int16)
    before = -(-features.window // features.step) - 1  # steps before the first frame
    heard = [(at - before, c.model_listen(memory, pointer(part))) for at in range(frames + before)]
    model: Any = Scripted(answers[ignored:], features)
    events = Listener(model, options).push(np.zeros(features.samples_of(frames), np.int16))
    times = [round((event["time_s"] * features.rate - features.window) / features.step) for event in events]
    labels = [LABELS.index(event["label"]) for event in events]
    assert [each for each in heard if each[1] >= 0] == list(zip(times, labels, strict=True)), seed
    if rule.get("pause_s"):
        longest = options.pause_s * features.rate / (features.step * rows)
        assert longest - 2 * count < max(c.waits_of(memory, label) for label in range(3)) <= longest
    assert len(events) > 5 or rule.get("pause_s")
    assert {*labels} == {0, 1, 2} - {LABELS.index(label) for label in options.ignore if label in LABELS}, "of events"


@pytest.mark.parametrize("dtype", [np.int8, np.uint8])
def test_esphome_gets_a_stream_and_its_manifest(dtype: Any, install: Install, tmp_path: Path) -> None:
    install("pass")
    path = model_file(tmp_path, SoundFeatures(step_ms=20), 3, dtype)
    with pytest.raises(InputError, match="labels no, yes") as e:
        export(path, "esphome")
    assert "--label" in e.value.hint
    report = export(path, "esphome", label="yes", name="hey", stream=2).report
    folder = tmp_path / "ear-esphome"
    manifest = json.loads((folder / "hey.json").read_text())
    assert manifest["wake_word"] == "yes"
    assert (folder / manifest["model"]).is_file()
    micro = manifest["micro"]
    assert micro["feature_step_size"] == 20
    assert micro["tensor_arena_size"] == report["ram"]["arena"] > report["ram"]["used"]
    program = lower(folder / "hey.tflite")
    assert (program.input.shape, program.input.dtype) == ((1, 2, 40), "int8")
    assert (program.output.shape, program.output.dtype, program.output.scale) == ((1, 1), "uint8", 1 / 256)
    frames = np.random.default_rng(0).integers(-128, 128, (WINDOW, 40)).astype(np.int8)
    least = np.iinfo(dtype).min
    given = (frames.astype(int) + 128 + least).astype(dtype)
    whole = lower(path).answers(given.reshape(1, -1))[0]
    assert program.answers(frames.reshape(WINDOW // 2, -1))[-1, 0] == int(whole[1]) - least
    assert report["flash"]["file"] == (folder / "hey.tflite").stat().st_size


@pytest.mark.parametrize(
    ("features", "message"),
    [(None, "no model of sound"), (SoundFeatures(window_ms=25), "other values of window_ms"),
     (SoundFeatures(channels=32, pcan=False), "other values of channels, pcan")],
)  # fmt: skip
def test_what_esphome_can_not_hear_is_named(
    features: SoundFeatures | None, message: str, install: Install, tmp_path: Path
) -> None:
    install("pass")
    path = model_file(tmp_path, features or SoundFeatures(), 3)
    if features is None:
        path.write_bytes(path.read_bytes()[: path.read_bytes().index(b"PK")])
    with pytest.raises(InputError, match=message):
        export(path, "esphome", label="yes")


def test_the_sources_compile_without_a_warning_and_as_a_library_with_a_name(tmp_path: Path) -> None:
    path = model_file(tmp_path, SoundFeatures(), 1)
    export(path, out=tmp_path / "c", samples=1, stream=1, name="ear")
    assert "ear_sound.h" in (tmp_path / "c" / "ear_sound.c").read_text()
    compiled(tmp_path / "c" / "ear_sound.c", tmp_path / "ear.o", "-c", "-O2")
