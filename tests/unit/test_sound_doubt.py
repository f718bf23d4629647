"""What `listen` does with doubtful sounds, answers that are not accepted, and drift."""

from __future__ import annotations

import dataclasses
import json
import re
from argparse import Namespace
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from accepting import ACCEPT

from edgepress.runtime import Contract, InputSpec
from edgepress.runtime.acceptance import AnswerLimits
from edgepress.runtime.drift import DriftReference, DriftWatch
from edgepress.runtime.errors import InputError
from edgepress.runtime.keeping import ABOUT, NAME, RECORDING_NAME, Keeper
from edgepress.runtime.sound import listen as listen_module
from edgepress.runtime.sound.features import SoundFeatures
from edgepress.runtime.sound.listen import Listener, listen_with
from edgepress.runtime.sound.listen_options import ListenOptions
from edgepress.runtime.sound.wav import read_wav

RATE = 16000
LABELS = ("background", "glass", "dog")
WINDOW = 98


def model_of(course: Iterator[list[float]], limits: AnswerLimits | None = None) -> Any:
    """A model whose next answer is that of the course, whatever it hears."""
    spec = InputSpec(shape=(WINDOW, 40), dtype="float32", value_range=(0.0, 26.0))
    contract = Contract(task="softmax", labels=LABELS, input=spec, scheme="x", sound=SoundFeatures())
    return SimpleNamespace(
        path=Path("m.tflite"),
        contract=contract,
        labels=LABELS,
        shape=(WINDOW, 40),
        scores=lambda batch: np.float32([next(course)]),
        limits=limits or AnswerLimits(),
        drift=None,
        require_labels=lambda: None,
    )


def course_of(*heights: float, label: int = 1) -> Iterator[list[float]]:
    """Answers with these probabilities of a label, then background."""
    for height in heights:
        row = [1 - height, 0.0, 0.0]
        row[label] = height
        yield row
    while True:
        yield [1.0, 0.0, 0.0]


def keeper(folder: Path, quota: int = 10, **more: Any) -> Keeper:
    return Keeper(folder, quota, labels=LABELS, model="m.tflite", prepare=None, seed=0, **more)


def signal(seconds: float) -> np.ndarray:
    """Samples that say where they are: no two seconds are alike."""
    return np.random.default_rng(0).integers(-30000, 30000, int(RATE * seconds)).astype(np.int16)


def hear(
    folder: Path,
    *heights: float,
    part: int = 1600,
    seconds: float = 6.0,
    limits: AnswerLimits | None = None,
    **how: Any,
) -> list[dict[str, Any]]:
    """Events of six seconds, with answers every tenth of a second from one second on."""
    options = ListenOptions(**{"average": 1, "step": 10, "threshold": 0.8} | how)
    listener = Listener(model_of(course_of(*heights), limits), options)
    listener.keep(keeper(folder))
    samples = signal(seconds)
    events = [e for at in range(0, len(samples), part) for e in listener.push(samples[at : at + part])]
    listener.reset()
    return events


def kept(folder: Path) -> list[Path]:
    return sorted(path for path in folder.iterdir() if RECORDING_NAME.fullmatch(path.name))


@pytest.mark.parametrize("part", [160, 1600, 7777, 96000])
def test_two_seconds_around_a_doubtful_event_are_a_wav_file(tmp_path: Path, part: int) -> None:
    assert hear(tmp_path, *[0.0] * 20, 0.6, part=part) == []
    (path,) = kept(tmp_path)
    assert RECORDING_NAME.fullmatch(path.name)[1] == "001"  # type: ignore[index]
    assert "-0600-" in path.name
    samples, rate = read_wav(path)
    now = SoundFeatures().samples_of(WINDOW) + 20 * 10 * 160  # the end of the window of the 21st answer
    assert rate == RATE
    assert samples.tolist() == signal(6.0)[now - 24000 : now + 8000].tolist()
    assert json.loads((tmp_path / ABOUT).read_text()) == {"labels": [*LABELS], "model": "m.tflite"}


@pytest.mark.parametrize(
    ("heights", "events", "files"),
    [
        ((0.3,), 0, 0),  # below half of the threshold
        ((0.41,), 0, 1),
        ((0.79,), 0, 1),
        ((0.85,), 1, 1),  # heard, and not surely
        ((0.91,), 1, 0),  # surely
        ((0.5, 0.7, 0.95), 1, 0),  # it became sure soon
        ((0.5, *[0.0] * 6, 0.95), 1, 1),  # the first half a second is over; the second one is sure
        ((0.5, 0.1, 0.6), 0, 1),  # again in half a second is one file
        ((0.5, *[0.0] * 15, 0.6), 0, 2),
    ],
)
def test_what_is_doubtful(tmp_path: Path, heights: tuple[float, ...], events: int, files: int) -> None:
    assert len(hear(tmp_path, *[0.0] * 9, *heights, pause_s=0.0)) == events
    assert len(kept(tmp_path)) == files


def test_labels_that_are_no_events_are_not_kept(tmp_path: Path) -> None:
    assert hear(tmp_path, *[0.6] * 5, ignore=LABELS) == []
    assert kept(tmp_path) == []


def test_what_began_or_ended_in_silence_is_shorter(tmp_path: Path) -> None:
    hear(tmp_path, 0.6)
    (path,) = kept(tmp_path)
    now = SoundFeatures().samples_of(WINDOW)
    assert read_wav(path)[0].tolist() == signal(6.0)[: now + 8000].tolist()
    hear(tmp_path / "end", *[0.0] * 10, 0.6, seconds=2.1)
    (path,) = kept(tmp_path / "end")
    assert read_wav(path)[0].tolist() == signal(2.1)[now + 16000 - 24000 :].tolist()


def test_after_a_gap_a_file_has_the_sound_after_it_alone(tmp_path: Path) -> None:
    course = course_of(0.0, 0.0, 0.0, 0.6)
    listener = Listener(model_of(course), ListenOptions(average=1, step=10, threshold=0.8))
    listener.keep(keeper(tmp_path))
    samples = signal(5.0)
    listener.push(samples[:17777])  # the first two answers
    listener.reset()
    listener.push(samples[17777:])
    (path,) = kept(tmp_path)
    now = 17777 + SoundFeatures().samples_of(WINDOW) + 1600
    assert now - 24000 < 17777
    assert read_wav(path)[0].tolist() == samples[17777 : now + 8000].tolist()


def test_answers_that_are_not_accepted_are_no_events_but_doubtful(tmp_path: Path) -> None:
    flat = (0.0,) * 9 + (0.9, 0.9)
    assert len(hear(tmp_path / "all", *flat)) == 1
    strict = AnswerLimits(accept=dataclasses.replace(ACCEPT, at_least=0.99))
    assert hear(tmp_path / "strict", *flat, limits=strict) == []
    assert [path.name.split("-")[2] for path in kept(tmp_path / "strict")] == ["0900"]
    assert len(hear(tmp_path / "mild", *flat, limits=AnswerLimits(accept=ACCEPT))) == 1


def test_there_are_never_more_files_than_the_quota_and_pictures_stay(tmp_path: Path) -> None:
    picture = tmp_path / "20260101T000000000Z-001-0500-00000000.jpg"
    assert NAME.fullmatch(picture.name)
    it = keeper(tmp_path, 4)
    picture.write_bytes(b"x")
    for number in range(40):
        it.keep(lambda: (".wav", b"RIFF"), 1 + number % 2, 0.5)
        assert len(kept(tmp_path)) <= 4
    assert len(kept(tmp_path)) == 4
    assert {path.name.split("-")[1] for path in kept(tmp_path)} == {"001", "002"}
    it._lock.close()
    again = keeper(tmp_path, 2)
    assert len(kept(tmp_path)) == 2
    assert picture.exists()
    with pytest.raises(InputError, match="Another process keeps recordings"):
        keeper(tmp_path)
    again._lock.close()
    with pytest.raises(InputError, match="0 recordings; accepted: 1 to"):
        keeper(tmp_path / "other", 0)


def arguments(tmp_path: Path, seconds: float, **more: Any) -> Namespace:
    (tmp_path / "a.raw").write_bytes(signal(seconds).tobytes())
    usual = dict.fromkeys(("threshold", "average", "step", "pause", "ignore", "keep", "quota", "mqtt"))
    return Namespace(source=str(tmp_path / "a.raw"), **usual | more)


def test_listen_keeps_what_its_options_say(tmp_path: Path) -> None:
    args = arguments(tmp_path, 6.0, keep=tmp_path / "kept", quota=3, average=1, step=10)
    printed = list(listen_with(model_of(course_of(*[0.0] * 9, 0.5)), args, print))
    assert printed == [{"heard_s": 6.0, "events": 0}]
    assert len(kept(tmp_path / "kept")) == 1
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(InputError, match="Recordings can't be kept"):
        list(listen_with(model_of(course_of()), arguments(tmp_path, 1.0, keep=tmp_path / "file"), print))


@pytest.mark.parametrize(
    ("wrong", "says"),
    [
        ({"source": "none.wav"}, "none.wav can't be read"),
        ({"source": "none.raw"}, "none.raw can't be read"),
        ({"source": "."}, "can't be read"),
        ({"step": 999}, "every 999 frames leaves sound out"),
        ({"mqtt": "127.0.0.1", "mqtt_topic": "#"}, "can't begin a topic"),
    ],
)
def test_a_refused_command_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, wrong: dict[str, Any], says: str
) -> None:
    monkeypatch.setattr(listen_module, "connected", lambda broker: pytest.fail("it would connect"))
    monkeypatch.chdir(tmp_path)
    broker = {"mqtt_topic": None, "mqtt_login": None, "mqtt_tls": None, "discovery": True}
    args = arguments(tmp_path, 1.0, keep=tmp_path / "new" / "kept", **broker)
    before = sorted(tmp_path.iterdir())
    with pytest.raises(InputError, match=says):
        list(listen_with(model_of(course_of()), Namespace(**vars(args) | wrong), print))
    assert sorted(tmp_path.iterdir()) == before


def test_windows_that_do_not_overlap_count_for_drift(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sent: list[dict[str, Any]] = []

    @contextmanager
    def connected(broker: Any) -> Any:
        yield sent.append

    monkeypatch.setattr(listen_module, "connected", connected)
    sure = DriftReference(edges=(0.5, 0.9), counts=(1, 5, 2000), engine="x")
    told: list[str] = []
    unsure = (row for _ in iter(int, 1) for row in ([0.3, 0.4, 0.3],))
    model = model_of(unsure)
    model.drift = DriftWatch(sure, counted="windows", on_alarm=told.append)
    args = arguments(tmp_path, 60.0, threshold=0.35, average=1, step=10)
    *events, end = listen_with(model, args, print)
    assert end["drift"]["counted"] <= 61  # windows of .99 s, though an answer is given each tenth of a second
    assert end["drift"]["alarm"]
    assert len(told) == 1
    assert re.search(r"after \d+ windows, sounds or the mix", told[0])
    assert events[0]["drift"]["counted"] <= 2
    assert events[0]["drift"]["alarm"] is False
    assert [event["what"] for event in sent] == ["heard", "drift"]
    assert sent[0]["drift"] is False
    assert sent[1]["drift"] is True
    assert sent[1]["promise"] == told[0]


def test_a_stream_like_its_reference_counts_each_window_once(tmp_path: Path) -> None:
    model = model_of(course_of())
    model.drift = DriftWatch(DriftReference(edges=(0.5,), counts=(0, 1000), engine="x"), counted="windows")
    (end,) = listen_with(model, arguments(tmp_path, 20.0, step=49), print)
    assert end["drift"]["counted"] == 20  # of 1,998 frames, windows of 98 from every 98th on
    assert not end["drift"]["alarm"]
    assert "scenes" not in end["drift"]
