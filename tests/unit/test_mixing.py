"""Recordings with other speed, level, place and noise."""

from __future__ import annotations

import pickle
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import psutil
import pytest
from sounds import tone, wav_bytes, write_words

from edgepress.runtime.sound.features import SoundFeatures
from edgepress.runtime.sound.frames import frames_of, frames_of_each
from edgepress.toolkit.data import mixing, open_data, sound_files
from edgepress.toolkit.data.sound_files import Recordings
from edgepress.toolkit.errors import DataError
from edgepress.toolkit.training.batches import training_batches

SOUND = SoundFeatures()
WINDOW = 98
NONE = np.zeros(0, np.int64)


@pytest.mark.parametrize("features", [SOUND, SoundFeatures(rate=8000, upper_hz=3800.0, channels=13, pcan=False)])
def test_frames_of_several_recordings_are_those_of_each(features: SoundFeatures) -> None:
    rng = np.random.default_rng(0)
    samples = rng.normal(0, [[30.0], [3000.0], [0.0], [30000.0]], (4, 20_011)).clip(-32768, 32767).astype(np.int16)
    each = frames_of_each(samples, features)
    assert each.dtype == np.uint16
    assert [frames.tolist() for frames in each] == [frames_of(row, features).tolist() for row in samples]


@pytest.fixture
def recordings(tmp_path: Path) -> Recordings:
    """A word, a long recording, a short one, and noise."""
    rng = np.random.default_rng(1)
    parts = [
        tone(rng, 0, 16000),
        tone(rng, 1, 64000),
        tone(rng, 2, 6000),
        rng.normal(0, 500, 30000).astype(np.int16),
    ]
    paths = []
    for number, samples in enumerate(parts):
        paths.append(tmp_path / f"{number}.wav")
        paths[-1].write_bytes(wav_bytes(samples[:, None], 16000))
    return Recordings(tuple(paths), 16000, (3,))


def mixed(
    recordings: Recordings, of: list[int], begins: list[int], draws: list[float], noises: Any = NONE
) -> np.ndarray:
    return mixing.mix_frames(
        recordings,
        np.array(of),
        np.array(begins),
        draws=np.array(draws, np.float32),
        noises=np.array(noises, np.int64),
        sound=SOUND,
        window=WINDOW,
    )


def unchanged(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in (("SPEED", 0.0), ("SHIFT", 0.0), ("GAIN_DB", (0.0, 0.0)), ("NOISY", 0.0)):
        monkeypatch.setattr(mixing, name, value)


def test_without_changes_a_window_is_that_of_the_recording(recordings: Recordings, monkeypatch: Any) -> None:
    unchanged(monkeypatch)
    samples = recordings.samples(1)
    lead = round(1000 * mixing.LEAD_S / SOUND.step_ms)
    (frames,) = mixed(recordings, [1], [150], [0.3])
    before = samples[(150 - lead) * SOUND.step : 150 * SOUND.step + SOUND.samples_of(WINDOW)]
    assert frames.tolist() == frames_of(before, SOUND)[lead:].tolist()
    samples = recordings.samples(2)  # silence is in front of what is short
    silence = np.zeros(lead * SOUND.step + SOUND.samples_of(WINDOW) - len(samples), np.int16)
    (frames,) = mixed(recordings, [2], [0], [0.3])
    assert frames.tolist() == frames_of(np.concatenate([silence, samples]), SOUND)[lead:].tolist()


def test_changes_depend_on_the_draw_alone(recordings: Recordings) -> None:
    first = mixed(recordings, [0, 1, 2, 1], [0, 20, 0, 20], [0.1, 0.5, 0.9, 0.2], [3])
    again = mixed(recordings, [1, 0], [20, 0], [0.2, 0.1], [3])
    assert first.shape == (4, WINDOW, SOUND.channels)
    assert again[0].tolist() == first[3].tolist()
    assert again[1].tolist() == first[0].tolist()
    assert first[1].tolist() != first[3].tolist()


def test_noise_has_the_drawn_level(recordings: Recordings, monkeypatch: Any) -> None:
    unchanged(monkeypatch)
    monkeypatch.setattr(mixing, "NOISY", 1.0)
    taken: list[tuple[np.ndarray, np.ndarray, float]] = []
    gain_of = mixing._noise_gain

    def spy(signal: np.ndarray, noise: np.ndarray, rng: np.random.Generator) -> float:
        gain = gain_of(signal, noise, rng)
        taken.append((signal, noise, gain))
        return gain

    monkeypatch.setattr(mixing, "_noise_gain", spy)
    for noises in ([3], NONE):
        mixed(recordings, [0, 1] * 40, [0, 30] * 40, list(np.linspace(0, 0.99, 80)), noises)
    assert len(taken) == 160
    ratios = [10 * np.log10((signal**2).mean() / ((gain * noise) ** 2).mean()) for signal, noise, gain in taken]
    low, high = mixing.SNR_DB
    assert low - 0.01 <= min(ratios) < low + 3
    assert high - 3 < max(ratios) <= high + 0.01


def test_silence_takes_noise_as_it_is() -> None:
    rng = np.random.default_rng(0)
    assert mixing._noise_gain(np.zeros(9), np.ones(9), rng) == 1.0
    assert mixing._noise_gain(np.ones(9), np.zeros(9), rng) == 1.0


def test_speeds_and_places_are_as_far_as_they_say(recordings: Recordings, monkeypatch: Any) -> None:
    monkeypatch.setattr(mixing, "NOISY", 0.0)
    taken: list[tuple[float, float]] = []
    inner = mixing._stretch

    def spy(samples: np.ndarray, begin: float, speed: float, around: np.ndarray) -> np.ndarray:
        taken.append((speed, begin + speed * len(around)))
        return inner(samples, begin, speed, around)

    monkeypatch.setattr(mixing, "_stretch", spy)
    mixed(recordings, [1] * 200, [150] * 200, list(np.linspace(0, 0.99, 200)))
    logs, ends = np.log([speed for speed, _ in taken]), np.array([end for _, end in taken])
    window = SOUND.samples_of(WINDOW)
    shifts = (ends - (150 * SOUND.step + window)) / window
    for values, most in ((logs, mixing.SPEED), (shifts, mixing.SHIFT)):
        assert np.abs(values).max() <= most + 1e-9
        assert values.min() < -0.8 * most
        assert values.max() > 0.8 * most


def test_levels_are_as_far_as_they_say(recordings: Recordings, monkeypatch: Any) -> None:
    gains = mixing.GAIN_DB
    unchanged(monkeypatch)
    monkeypatch.setattr(mixing, "GAIN_DB", gains)
    heard: list[np.ndarray] = []

    def spy(samples: np.ndarray, features: SoundFeatures) -> np.ndarray:
        heard.append(samples.astype(np.float64))
        return frames_of_each(samples, features)

    monkeypatch.setattr(mixing, "frames_of_each", spy)
    mixed(recordings, [3] * 200, [50] * 200, list(np.linspace(0, 0.99, 200)))
    end = 50 * SOUND.step + SOUND.samples_of(WINDOW)
    before = recordings.samples(3)[:end].astype(np.float64)[-heard[0].shape[1] :]
    levels = 10 * np.log10((heard[0] ** 2).mean(axis=1) / (before**2).mean())
    low, high = gains
    assert low - 0.1 <= levels.min() < low + 3
    assert high - 3 < levels.max() <= high + 0.1


@pytest.mark.parametrize(
    ("begin", "speed", "expected"),
    [
        (10.5, 1.0, [10.5, 11.5, 12.5, 13.5]),
        (10.0, 2.0, [10, 12, 14, 16]),
        (-2.0, 1.0, [-1, -2, 0, 1]),
        (98.0, 1.0, [98, 99, -3, -4]),
        (500.0, 1.0, [-1, -2, -3, -4]),
        (-50.0, 1.0, [-1, -2, -3, -4]),
    ],
)
def test_stretching_reads_at_fractions_and_takes_other_sound_beyond(
    begin: float, speed: float, expected: list[float]
) -> None:
    ramp = np.arange(100, dtype=np.int16)
    assert mixing._stretch(ramp, begin, speed, np.array([-1.0, -2.0, -3.0, -4.0])).tolist() == expected


def test_a_clip_is_heard_between_noise_of_some_level(recordings: Recordings, monkeypatch: Any) -> None:
    unchanged(monkeypatch)
    monkeypatch.setattr(mixing, "NOISY", 0.3)
    monkeypatch.setattr(mixing, "_noise_gain", lambda signal, noise, rng: 0.0)
    heard: list[np.ndarray] = []

    def spy(samples: np.ndarray, features: SoundFeatures) -> np.ndarray:
        heard.append(samples.astype(np.float64))
        return frames_of_each(samples, features)

    monkeypatch.setattr(mixing, "frames_of_each", spy)
    mixed(recordings, [2] * 400, [0] * 400, list(np.linspace(0, 0.99, 400)), [3])
    clip = recordings.samples(2)
    (rows,) = heard
    assert (rows[:, -len(clip) :] == clip).all()
    before = rows[:, : -len(clip)]
    noisy = before.any(axis=1)
    assert 0.2 < noisy.mean() < 0.4
    noise = recordings.samples(3).astype(np.float64)
    levels = 10 * np.log10((before[noisy] ** 2).mean(axis=1) / (noise**2).mean())
    low, high = mixing.AROUND_DB
    assert low - 1 < levels.min() < low + 3
    assert high - 3 < levels.max() < high + 1


def test_recordings_are_pickled_without_samples_and_read_once_by_all_threads(
    recordings: Recordings, monkeypatch: pytest.MonkeyPatch
) -> None:
    read = []

    def load(path: Path, rate: int) -> np.ndarray:
        read.append(path)
        time.sleep(0.01)
        return np.zeros(1_000_000, np.int16)

    monkeypatch.setattr(sound_files, "load_samples", load)
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(recordings.hold, [[0, 3, 3], [3, 1], [3, 0], [0, 1]]))
    assert sorted(read) == sorted(recordings.paths[number] for number in (0, 1, 3))
    again = pickle.dumps(recordings)
    assert len(again) < 5000
    assert pickle.loads(again) == recordings


def test_recordings_that_do_not_fit_in_memory_are_one_error(
    recordings: Recordings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(psutil, "virtual_memory", lambda: SimpleNamespace(available=20_000))
    with pytest.raises(DataError, match="of memory when it is read") as error:
        recordings.hold([1])
    assert "--augmentation masks" in error.value.hint


def test_batches_are_the_same_after_the_split_went_to_another_process(tmp_path: Path) -> None:
    """What a resumed training sees depends on the seed, the epoch and the item alone, not on what was read before."""
    words = write_words(tmp_path / "words", classes=2, speakers=6, each=2)
    (words / "background").mkdir()
    for number in range(6):
        noise = np.random.default_rng(number).normal(0, 300, (40_000, 1))
        (words / "background" / f"street{number}.wav").write_bytes(wav_bytes(noise, 16000))
    split = open_data(str(words)).train

    def batches_of(split: Any) -> list[np.ndarray]:
        batches = training_batches(split, batch_size=5, augmentation="mix", seed=4, epoch=3)
        return [part for batch in batches for part in batch]

    expected = batches_of(split)
    again = pickle.loads(pickle.dumps(split))
    assert [part.tobytes() for part in batches_of(again)] == [part.tobytes() for part in expected]
    assert [part.tobytes() for part in batches_of(split)] == [part.tobytes() for part in expected]


def test_noise_is_of_the_training_recordings_of_background_alone(tmp_path: Path) -> None:
    words = write_words(tmp_path / "words", classes=2, speakers=6, each=2)
    for label in ("background", "silence"):
        (words / label).mkdir()
        for number in range(20):
            noise = np.random.default_rng([number, len(label)]).normal(0, 300, (16_000, 1))
            (words / label / f"{label}{number}.wav").write_bytes(wav_bytes(noise, 16000))
    split = open_data(str(words)).train
    source: Any = split.source
    numbers = source.noises(split.indices)
    names = {source.recordings.paths[number].parent.name for number in numbers}
    assert names == {"background", "silence"}
    assert {*numbers.tolist()} <= {*source.of[split.indices].tolist()}
    assert len(numbers) < 40, "recordings of the test items are not learned"


def test_the_page_says_how_far_recordings_are_changed() -> None:
    page = (Path(__file__).parents[2] / "docs" / "training.md").read_text(encoding="utf-8")
    (row,) = (line for line in page.splitlines() if line.startswith("| `mix` |"))
    assert f"speed by up to {100 * mixing.SPEED:.0f} %" in row
    assert f"place by up to {100 * mixing.SHIFT:.0f} % of the window" in row
    assert "level {:.0f} to {:.0f} dB".format(*mixing.GAIN_DB) in row
    assert "noise {:.0f} to {:.0f} dB below".format(*mixing.SNR_DB) in row
    assert mixing.NOISY == 0.75
    assert "three of four cases" in row
