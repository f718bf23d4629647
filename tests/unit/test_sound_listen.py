from __future__ import annotations

import io
from argparse import Namespace
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from sounds import wav_bytes

from edgepress.runtime import Contract, InputSpec
from edgepress.runtime.acceptance import AnswerLimits
from edgepress.runtime.errors import InputError
from edgepress.runtime.sound import listen as listen_module
from edgepress.runtime.sound.features import SoundFeatures
from edgepress.runtime.sound.frames import frames_of, net_input
from edgepress.runtime.sound.listen import Listener, listen_with, raw_samples, samples_from
from edgepress.runtime.sound.listen_options import ListenOptions
from edgepress.runtime.sound.windows import is_recording, items_of

USUAL = SoundFeatures()
LABELS = ("background", "loud")


def model_of(window: int = 40, labels: tuple[str, ...] = LABELS) -> Any:
    """A model whose answer is "loud" as far as the last frame of a window is."""
    shape = (window, 40)
    spec = InputSpec(shape=shape, dtype="float32", value_range=(0.0, 26.0))
    contract = Contract(task="softmax", labels=labels, input=spec, scheme="x", sound=USUAL)

    def scores(batch: np.ndarray) -> np.ndarray:
        loud = (batch[:, -1].mean(axis=1) / 26 > 0.2).astype(np.float32)
        return np.stack([1 - loud, loud], axis=1)

    return SimpleNamespace(
        path=Path("m.tflite"),
        contract=contract,
        labels=labels,
        shape=shape,
        scores=scores,
        limits=AnswerLimits(),
        drift=None,
        require_labels=lambda: None,
    )


def bursts(*begin_s: float, seconds: float = 10.0) -> np.ndarray:
    rng = np.random.default_rng(0)
    samples = np.zeros(int(16000 * seconds))
    for begin in begin_s:
        samples[int(16000 * begin) : int(16000 * (begin + 0.6))] = rng.normal(0, 6000, 9600)
    return samples.astype(np.int16)


def heard(samples: np.ndarray, model: Any = None, part: int = 1600, **options: Any) -> list[dict[str, Any]]:
    listener = Listener(model or model_of(), ListenOptions(**{"average": 2, **options}))
    parts = [samples[start : start + part] for start in range(0, len(samples), part)]
    return [event for each in parts for event in listener.push(each)]


def test_a_sound_is_one_event_shortly_after_it_begins() -> None:
    events = heard(bursts(2.0, 6.0))
    assert [event["label"] for event in events] == ["loud", "loud"]
    for event, begin in zip(events, (2.0, 6.0), strict=True):
        assert begin < event["time_s"] < begin + 0.5
        assert event["probability"] == 1.0


@pytest.mark.parametrize("part", [160, 777, 16000, 160000])
def test_events_do_not_depend_on_how_samples_arrive(part: int) -> None:
    samples = bursts(1.0, 4.0, 7.0)
    assert heard(samples, part=part) == heard(samples)


def test_the_pause_joins_what_follows_soon() -> None:
    samples = bursts(2.0, 3.5, 8.0)
    assert len(heard(samples, pause_s=0.5)) == 3
    assert len(heard(samples, pause_s=3.0)) == 2


def test_a_longer_mean_needs_a_longer_sound() -> None:
    assert len(heard(bursts(2.0), average=3)) == 1
    assert heard(bursts(2.0), average=30) == []


def test_ignored_labels_and_quiet_are_no_events() -> None:
    assert heard(np.zeros(80000, np.int16)) == []
    assert heard(bursts(2.0), ignore=LABELS) == []
    names = [event["label"] for event in heard(np.zeros(80000, np.int16), model_of(labels=("calm", "loud")))]
    assert names == ["calm"]


@pytest.mark.parametrize("wrong", [{"threshold": 0.0}, {"threshold": 1.5}, {"average": 0}, {"average": 10**6}])
def test_options_out_of_range_are_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(InputError, match="accepted"):
        ListenOptions(**wrong)


def test_a_model_of_images_is_refused() -> None:
    model = model_of()
    model.contract = Contract(task="softmax", labels=LABELS, input=InputSpec.image(28, 28, "grey"), scheme="x")
    with pytest.raises(InputError, match="no model of sound"):
        Listener(model)


class Drops(io.RawIOBase):
    """A pipe that gives a few bytes at a time, and halves of samples."""

    def __init__(self, data: bytes) -> None:
        self._data = data

    def read1(self, size: int) -> bytes:
        part, self._data = self._data[:7], self._data[7:]
        return part


def test_samples_of_a_pipe_are_whole() -> None:
    samples = np.random.default_rng(1).integers(-32768, 32768, 1000).astype(np.int16)
    parts = list(raw_samples(Drops(samples.tobytes() + b"x")))  # type: ignore[arg-type]
    assert np.concatenate(parts).tolist() == samples.tolist()


def test_a_wav_file_and_a_raw_file_are_heard_alike(tmp_path: Path) -> None:
    samples = bursts(1.0)
    (tmp_path / "a.wav").write_bytes(wav_bytes(samples[:, None], 16000))
    (tmp_path / "a.raw").write_bytes(samples.tobytes())
    for name in ("a.wav", "a.raw"):
        assert np.concatenate(list(samples_from(str(tmp_path / name), USUAL))).tolist() == samples.tolist()
    with pytest.raises(InputError, match="can't be read"):
        list(samples_from(str(tmp_path / "none.raw"), USUAL))


def test_a_recording_gives_windows_a_quarter_apart(tmp_path: Path) -> None:
    path = tmp_path / "a.wav"
    samples = bursts(0.0, 1.0, 2.0, seconds=3.0)
    path.write_bytes(wav_bytes(samples[:, None], 16000))
    items = np.concatenate(list(items_of(path, USUAL, (40, 40))))
    frames = net_input(frames_of(samples, USUAL), USUAL)
    starts = np.arange(0, len(frames) - 39, 10)
    length = USUAL.samples_of(40)
    energy = np.array([(samples[160 * n : 160 * n + length].astype(float) ** 2).sum() for n in range(len(frames) - 39)])
    starts = starts[energy[starts] >= energy.max() / 4]
    expected = [frames[start : start + 40] for start in starts]
    assert 3 <= len(expected) < len(range(0, len(frames) - 39, 10))
    assert items.tolist() == np.stack(expected).tolist()
    assert np.concatenate(list(items_of(path.read_bytes(), USUAL, (40, 40, 1)))).shape == (len(expected), 40, 40, 1)


def test_what_a_recording_is() -> None:
    assert is_recording("a.WAV")
    assert is_recording(Path("a.wav"))
    assert is_recording(wav_bytes(np.zeros((4, 1)), 16000))
    assert not any(map(is_recording, ("a.npy", b"\x93NUMPY", np.zeros(3))))


def test_sound_before_a_gap_is_no_part_of_a_window_after_it() -> None:
    loud = bursts(0.0, seconds=1.0)[:7200]
    listener = Listener(model_of())
    assert listener.push(loud) == []
    listener.reset()
    assert listener.push(np.zeros(len(loud), np.int16)) == []  # together they would be a window and more
    assert listener.push(bursts(0.2, seconds=2.0))[0]["time_s"] > 0.9


def test_events_go_to_the_broker_with_a_name_each(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    sent: list[dict[str, Any]] = []

    @contextmanager
    def connected(broker: Any) -> Any:
        yield sent.append

    monkeypatch.setattr(listen_module, "connected", connected)
    (tmp_path / "a.raw").write_bytes(bursts(1.0, 4.0).tobytes())
    options = dict.fromkeys(("threshold", "average", "step", "pause", "ignore", "keep", "quota", "mqtt"))
    printed = list(listen_with(model_of(), Namespace(source=str(tmp_path / "a.raw"), **options), print))
    assert printed.pop() == {"heard_s": 10.0, "events": 2}
    assert len(sent) == 2
    assert len({event["id"] for event in sent}) == 2
    for event, shown in zip(sent, printed, strict=True):
        assert event | shown == event
        assert (event["what"], event["score"]) == ("heard", shown["probability"])


def test_after_a_gap_sound_is_heard_as_by_a_new_listener() -> None:
    sound = bursts(0.5, 2.0, seconds=4.0)
    listener = Listener(model_of(), ListenOptions(average=3))
    listener.push(bursts(0.1, seconds=2.0))  # loud: the noise estimate remembers it
    listener.reset()
    fresh = Listener(model_of(), ListenOptions(average=3))
    answers = [row.tolist() for _, row in listener.answers(sound)]
    assert answers == [row.tolist() for _, row in fresh.answers(sound)]
    frames = listener._front_end.push(np.zeros(1600, np.int16))
    assert frames.tolist() == fresh._front_end.push(np.zeros(1600, np.int16)).tolist()


def test_after_a_gap_a_mean_takes_new_answers_alone() -> None:
    listener = Listener(model_of(), ListenOptions(average=3, threshold=0.6, step=40))
    always = model_of()
    always.scores = lambda batch: np.tile(np.float32([0, 1]), (len(batch), 1))
    listener._model = always
    window = np.zeros(USUAL.samples_of(40), np.int16)
    assert listener.push(window) == []
    listener.reset()
    assert listener.push(window) == []
    assert listener.push(np.zeros(40 * 160, np.int16)) == []
    assert [event["label"] for event in listener.push(np.zeros(40 * 160, np.int16))] == ["loud"]
