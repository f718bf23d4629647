"""`edgepress play` with models of sound: the answers of `classify`, the events of `listen`, and hostile recordings."""

from __future__ import annotations

import base64
import io
import json
import struct
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from PIL import Image
from playing_page import Client, fuzz
from sounds import KINDS, tone, wav_bytes, write_words

from edgepress.converters.contract.write import tflite_with_contract
from edgepress.runtime import Contract, load
from edgepress.runtime.__main__ import main as runtime
from edgepress.runtime.sound.frames import frames_of, net_input
from edgepress.toolkit import convert, train
from edgepress.toolkit.data.for_model import contract_of
from edgepress.toolkit.data.sound_files import at_rate
from edgepress.toolkit.improvement.playing.drawing import HEIGHT, WIDTH
from edgepress.toolkit.improvement.playing.hearing import MOST_SECONDS

RATE = 16000


def words(seed: int, seconds: float = 1.5, count: int = 4) -> Any:
    """Samples of made-up words one after another, int16."""
    rng = np.random.default_rng(seed)
    return np.concatenate([tone(rng, number % 2, int(seconds * RATE)) for number in range(count)])


def wav(samples: Any, rate: int = RATE, **how: Any) -> bytes:
    return wav_bytes(samples if np.ndim(samples) == 2 else samples[:, None], rate, **how)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """A net that tells two words apart, its files, and the page's server."""
    folder = tmp_path_factory.mktemp("sound")
    write_words(folder / "words", classes=2, speakers=8, each=5)
    trained = train(folder / "words", arch="stream-cnn", epochs=20, learning_rate=0.003, out=folder / "run")
    convert(trained.model, to="tflite-float32,tflite-int8,onnx-int8", out=folder / "files")
    return SimpleNamespace(files=sorted((folder / "files").glob("model*.*")), words=folder / "words")


@pytest.fixture(scope="module")
def client(made: Any) -> Iterator[Client]:
    with fuzz().playing(made.files, "--data", str(made.words)) as running:
        assert fuzz().compared(running.url)["state"] == "done"
        yield Client(running.url)


def picture(url: str) -> Any:
    head, data = url.split(",")
    assert head == "data:image/png;base64"
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(data))))


@pytest.mark.parametrize("seconds", [0.4, 1.5, 2.5])
def test_answers_and_events_are_those_of_the_runtime(
    seconds: float, client: Client, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    recording = tmp_path / "words.wav"
    recording.write_bytes(wav(words(int(10 * seconds), seconds)))
    result = client.ask("POST", "/classify?top=2", recording.read_bytes()).json
    files = [row["file"] for row in client.ask("GET", "/state").json["files"]]
    assert len(files) == 3
    assert result["seconds"] == pytest.approx(4 * seconds)
    for file, answer in zip(files, result["answers"], strict=True):
        expected = load(file).classify(recording, top=2)
        assert answer["classes"] == [{"label": each.label, "score": each.score} for each in expected]
        assert runtime(["listen", file, str(recording), "--json"]) == 0
        *events, end = map(json.loads, capsys.readouterr().out.splitlines())
        assert end["events"] == len(events)
        assert answer["events"] == [{name: event[name] for name in answer["events"][0]} for event in events]
    assert seconds < 1 or all(answer["events"] for answer in result["answers"]), "there was something to hear"


def test_a_live_answer_is_that_to_the_last_window(client: Client) -> None:
    samples = words(3)
    for part in (samples, samples[: RATE // 3]):
        result = client.ask("POST", "/classify?quick=1&top=2", wav(part)).json
        for row, answer in zip(client.ask("GET", "/state").json["files"], result["answers"], strict=True):
            model = load(row["file"])
            assert model.contract is not None and model.contract.sound is not None  # noqa: PT018
            sound = model.contract.sound
            padded = np.concatenate([np.zeros(max(sound.samples_of(98) - len(part), 0), np.int16), part])
            item = net_input(frames_of(padded, sound)[-98:], sound)
            best = model.classify(item, top=2)
            assert answer["classes"] == [{"label": each.label, "score": each.score} for each in best]
            assert answer["runs"] <= 5


@pytest.mark.parametrize("kind", sorted(KINDS))
@pytest.mark.parametrize("rate", [8000, 22_050, 48_000])
def test_any_rate_and_kind_of_sample_is_heard(rate: int, kind: str, client: Client) -> None:
    samples = at_rate(words(4), RATE, rate)
    both = np.stack([samples, samples], axis=1)
    result = client.ask("POST", "/classify", wav(both, rate, kind=kind))
    assert result.status == 200
    assert result.json["seconds"] == pytest.approx(6.0, abs=0.01)
    assert result.json["answers"][0]["events"]


def test_the_spectrogram_shows_when_and_how_high_it_sounds(client: Client) -> None:
    at = np.arange(2 * RATE) / RATE
    high_at_the_end = np.where(at < 1, 0, 9000 * np.sin(2 * np.pi * 5000 * at)).astype(np.int16)
    shades = picture(client.ask("POST", "/classify", wav(high_at_the_end)).json["seen"])
    assert shades.shape == (HEIGHT, WIDTH)
    darkest = shades[:, int(0.55 * WIDTH) :].mean(axis=1).argmin()
    assert darkest < HEIGHT // 3, "high is up"
    row = shades[darkest]
    assert row[int(0.6 * WIDTH)] < row[: int(0.45 * WIDTH)].min(), "late is right, loud is dark"


def test_test_items_are_drawn_the_same_way(client: Client, made: Any) -> None:
    found = client.ask("GET", "/differences").json
    item = found["items"][0]
    assert "test items" in found["text"]
    image = Image.open(io.BytesIO(client.ask("GET", f"/test/{item['row']}.png").body))
    assert image.size == (WIDTH, HEIGHT)
    answers = client.ask("POST", f"/test/{item['row']}", b"").json["answers"]
    assert answers[0]["answer"] == [item["reference"]]
    assert "events" not in answers[0]


def test_frames_are_taken_as_an_array(client: Client, made: Any) -> None:
    content = io.BytesIO()
    np.save(content, np.zeros((98, 40), np.float32))
    result = client.ask("POST", "/classify", content.getvalue()).json
    assert len(result["answers"]) == 3
    assert "seconds" not in result


def test_files_that_hear_other_events_are_named(made: Any, tmp_path: Path) -> None:
    deaf = tmp_path / "deaf.tflite"
    first = next(file for file in made.files if file.name == "model-int8.tflite")
    contract = contract_of(first)
    never = {"threshold": 1.0, "average": 1000}
    document = json.loads(contract.to_json()) | {"listen": never}
    deaf.write_bytes(tflite_with_contract(first.read_bytes(), Contract.from_json(json.dumps(document), where="drawn")))
    with fuzz().playing([first, deaf], "--baseline", str(first)) as running:
        summary = Client(running.url).ask("POST", "/classify", wav(words(5))).json["summary"]
    assert summary.startswith("Both files answer ")
    assert summary.endswith(f" deaf.tflite hears other events than {first.name}.")


def header(**fields: int) -> bytes:
    """A WAV file of silence whose header says what is not so."""
    values = {"kind": 1, "channels": 1, "rate": RATE, "bits": 16, "size": 3200} | fields
    align = values["channels"] * values["bits"] // 8
    form = struct.pack("<HHIIHH", values["kind"], values["channels"], values["rate"],
                       values["rate"] * align & 0xFFFFFFFF, align & 0xFFFF, values["bits"])  # fmt: skip
    return (
        b"RIFF\0\0\0\0WAVEfmt "
        + struct.pack("<I", 16)
        + form
        + b"data"
        + struct.pack("<I", values["size"])
        + bytes(3200)
    )


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"RIFF\0\0\0\0WAVE", "its format is missing"),
        (header(channels=0), "0 channels"),
        (header(channels=65_535), "channels"),
        (header(rate=0), "0 samples a second"),
        (header(rate=4_000_000_000), "4000000000 samples a second"),
        (header(kind=17, bits=4), "samples of format 17"),
        (header(size=2_000_000_000), "is cut off"),
        (wav(np.zeros(0, np.int16)), "no samples"),
        (wav(np.full(800, np.nan), kind="f32"), "no finite numbers"),
        (wav(np.zeros((MOST_SECONDS + 1) * 8000, np.int16), 8000), f"61 s; accepted: up to {MOST_SECONDS}"),
        (b"fLaC" + bytes(400), "take sound, not images. Accepted: a WAV file"),
        (b"ID3" + bytes(400), "take sound, not images. Accepted: a WAV file"),
    ],
)
def test_a_bad_recording_is_one_message(content: bytes, message: str, client: Client) -> None:
    reply = client.ask("POST", "/classify", content)
    assert reply.status == 400
    assert message in reply.json["error"]["message"]


def test_a_header_of_100_gb_is_what_is_there(client: Client) -> None:
    reply = client.ask("POST", "/classify", header(size=0xFFFFFFFF))
    assert reply.status == 200
    assert reply.json["seconds"] == pytest.approx(0.1)


def test_a_recording_of_silence_and_one_of_a_minute_are_answered(client: Client) -> None:
    for seconds, most in ((0.001, 0), (MOST_SECONDS, 2)):  # a net without a background may hear a word in silence
        reply = client.ask("POST", "/classify", wav(np.zeros(int(seconds * RATE), np.int16)))
        assert reply.status == 200
        assert all(len(answer["events"]) <= most for answer in reply.json["answers"])


def test_damaged_recordings_never_fail_inside(client: Client) -> None:
    rng = np.random.default_rng(0)
    good = wav(words(6, 0.3))
    for _ in range(150):
        content = bytearray(good[: int(rng.integers(1, len(good)))] if rng.random() < 0.3 else good)
        for place in rng.integers(0, min(len(content), 60), int(rng.integers(1, 6))):
            content[place] = int(rng.integers(256))
        reply = client.ask("POST", "/classify?quick=1", bytes(content))
        assert reply.status in (200, 400), reply.body
        assert reply.json["summary"] if reply.status == 200 else reply.json["error"]["message"].endswith(".")


def test_the_page_may_use_the_microphone_and_its_own_recordings(client: Client) -> None:
    headers = client.ask("GET", "/").headers
    assert "microphone=(self)" in headers["Permissions-Policy"]
    assert "media-src 'self' blob:;" in headers["Content-Security-Policy"]
    assert client.ask("GET", "/recorder.js").headers["Content-Type"] == "text/javascript; charset=utf-8"
    assert client.ask("GET", "/state").json["input"]["sound"] is True
