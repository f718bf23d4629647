"""The front end log-mel: energies on a mel scale, as logarithms."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgepress.runtime.sound.features import LogMelFeatures, SoundFeatures, parse_features
from edgepress.runtime.sound.frames import frames_of, frames_of_each, front_end_of, net_input

USUAL = LogMelFeatures()
FEATURES = st.builds(
    LogMelFeatures,
    rate=st.sampled_from([8000, 16000, 22050, 44100]),
    window_ms=st.integers(10, 50),
    step_ms=st.integers(1, 10),
    channels=st.integers(1, 80),
    lower_hz=st.floats(0.0, 300.0),
    upper_hz=st.floats(2000.0, 3900.0),
)


def direct_frame(window: np.ndarray, features: LogMelFeatures) -> list[float]:
    """A frame by the definition, a channel and a frequency at a time, without a fast transform."""
    size = features.fft_size
    at = np.arange(len(window))
    weights = [0.5 - 0.5 * math.cos(2 * math.pi * (i + 0.5) / len(window)) for i in at]
    edges = np.linspace(mel(features.lower_hz), mel(features.upper_hz), features.channels + 2)
    totals = [0.0] * features.channels
    for k in range(size // 2 + 1):
        part = abs(np.sum(window * weights * np.exp(-2j * math.pi * k * at / size))) / (sum(weights) / 2)
        place = mel(k * features.rate / size)
        for channel in range(features.channels):
            low, middle, high = edges[channel : channel + 3]
            share = (place - low) / (middle - low) if place <= middle else (high - place) / (high - middle)
            totals[channel] += max(share, 0.0) * part**2
    return [math.log(1 + total) for total in totals]


def mel(hz: float) -> float:
    return 1127 * math.log(1 + hz / 700)


@given(FEATURES, st.integers(0, 2**32 - 1))
@settings(max_examples=15, deadline=None)
def test_frames_are_those_of_the_definition(features: LogMelFeatures, seed: int) -> None:
    rng = np.random.default_rng(seed)
    samples = rng.normal(0, 10 ** rng.uniform(0, 3.5), features.samples_of(2)).astype(np.int16)
    frames = frames_of(samples, features)
    assert frames.shape == (2, features.channels)
    wanted = [direct_frame(samples[i * features.step :][: features.window], features) for i in range(2)]
    assert np.abs(frames / 2048 - wanted).max() <= 0.5 / 2048 + 1e-6


def test_a_tone_is_loudest_in_its_channel_at_the_logarithm_of_its_energy() -> None:
    hz = 16 * USUAL.rate / USUAL.fft_size  # in the middle of a bin
    tone = np.rint(1000 * np.sin(2 * np.pi * hz / USUAL.rate * np.arange(4000))).astype(np.int16)
    frames = frames_of(tone, USUAL) / 2048
    edges = 700 * np.expm1(np.linspace(mel(125.0), mel(7500.0), 42) / 1127)
    loudest = int(frames.mean(axis=0).argmax())
    assert edges[loudest] < hz < edges[loudest + 2]
    assert frames[:, loudest].max() == pytest.approx(math.log(1000**2), abs=0.7)
    twice = frames_of((2 * tone.astype(np.int32)).astype(np.int16), USUAL) / 2048
    assert twice[:, loudest] - frames[:, loudest] == pytest.approx(math.log(4), abs=0.01)


def test_silence_is_0_and_no_signal_exceeds_the_value_range() -> None:
    assert not frames_of(np.zeros(16000, np.int16), USUAL).any()
    rng = np.random.default_rng(0)
    for rate, window_ms in [(16000, 30), (16000, 33), (8000, 5), (48000, 22)]:
        for channels in (1, 40):
            features = LogMelFeatures(rate=rate, window_ms=window_ms, step_ms=5, channels=channels, upper_hz=3900.0)
            at = np.arange(rate)
            for signal in (
                np.full(rate, -32768),
                np.where(rng.random(rate) < 0.5, -32768, 32767),
                np.where(np.sin(2 * np.pi * 1000 / rate * at) < 0, -32768, 32767),
            ):
                assert frames_of(signal.astype(np.int16), features).max() < 2048 * USUAL.value_range[1]


@given(FEATURES, st.integers(0, 2**32 - 1), st.lists(st.integers(0, 3000), max_size=8))
@settings(max_examples=30, deadline=None)
def test_frames_do_not_depend_on_how_samples_arrive(features: LogMelFeatures, seed: int, cuts: list[int]) -> None:
    samples = np.random.default_rng(seed).integers(-3000, 3000, 3000).astype(np.int16)
    whole = frames_of(samples, features)
    front_end = front_end_of(features)
    parts = [front_end.push(part) for part in np.split(samples, sorted(cuts))]
    assert np.concatenate(parts).tolist() == whole.tolist()
    if len(whole):
        assert frames_of_each(np.stack([samples, samples[::-1]]), features)[0].tolist() == whole.tolist()


def test_many_frames_are_made_in_blocks_without_a_seam() -> None:
    samples = np.random.default_rng(0).integers(-3000, 3000, USUAL.samples_of(1100)).astype(np.int16)
    frames = frames_of(samples, USUAL)
    for row in (0, 511, 512, 1023, 1024, 1099):
        alone = frames_of(samples[row * USUAL.step :][: USUAL.window], USUAL)
        assert frames[row].tolist() == alone[0].tolist()


def test_a_net_takes_logarithms() -> None:
    frames = np.array([[0, 2048, 3 * 2048 + 1024, 65535]], np.uint16)
    assert net_input(frames, USUAL).tolist() == [[0.0, 1.0, 3.5, 24.0]]


def test_the_kind_is_read_from_a_text_and_said_among_changes() -> None:
    made = parse_features("kind=log-mel, channels=64")
    assert made == LogMelFeatures(channels=64)
    assert made.changes == {"kind": "log-mel", "channels": 64}
    assert parse_features(",".join(f"{name}={value}" for name, value in made.changes.items())) == made
    assert parse_features("kind=integer") == SoundFeatures()


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("kind=mfcc", "kind is 'mfcc', accepted: integer, log-mel"),
        ("kind=log-mel,pcan=0", "'pcan' is no parameter of the front end log-mel"),
        ("kind=log-mel,channels=0", "channels of the sound is 0"),
        ("kind=log-mel,rate=x", "rate is 'x'"),
    ],
)
def test_wrong_texts_are_refused(text: str, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        parse_features(text)


@pytest.mark.parametrize("wrong", [{"kind": "integer"}, {"kind": ""}])
def test_a_kind_is_that_of_its_parameters(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="front end"):
        LogMelFeatures(**wrong)
