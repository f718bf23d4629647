from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgepress.runtime.sound.features import PER_UNIT, SoundFeatures, parse_features
from edgepress.runtime.sound.frames import frames_of, net_input
from edgepress.runtime.sound.front_end import FrontEnd, FrontEndTables, tables_of
from edgepress.runtime.sound.tables import log_table

KINDS = ("silence", "quiet", "noise", "full scale", "constant", "steps", "bursts", "chirp", "impulses")


def drawn_signal(seed: int, kind: str, count: int) -> np.ndarray:
    rng = np.random.default_rng(seed)
    at = np.arange(count)
    values = {
        "silence": lambda: np.zeros(count),
        "quiet": lambda: rng.integers(-2, 3, count),
        "noise": lambda: rng.normal(0, np.exp(rng.uniform(0, 11)), count),
        "full scale": lambda: np.where(rng.random(count) < 0.5, -32768, 32767),
        "constant": lambda: np.full(count, rng.integers(-32768, 32768)),
        "steps": lambda: rng.integers(-32768, 32768, count // 700 + 1)[at // 700],
        "bursts": lambda: np.where((at // 4000) % 2, rng.normal(0, 8000, count), rng.normal(0, 3, count)),
        "chirp": lambda: 30000 * np.sin(np.cumsum(np.linspace(0, math.pi, count))),
        "impulses": lambda: np.where(rng.random(count) < 0.001, 32767, 0),
    }[kind]()
    return np.clip(values, -32768, 32767).astype(np.int16)


def int16(value: int) -> int:
    return (value + 32768) % 65536 - 32768


def slow_transform(pairs: list[tuple[int, int]], tables: FrontEndTables) -> list[tuple[int, int]]:
    """kissfft's recursion, in Python's integers."""
    whole = tables.features.fft_size // 2
    roots = [tuple(root) for root in tables.twiddles.tolist()]

    def times(a: tuple[int, int], root: tuple[int, int]) -> tuple[int, int]:
        c, s = root
        return int16((a[0] * c - a[1] * s + 16384) >> 15), int16((a[0] * s + a[1] * c + 16384) >> 15)

    def work(x: list[tuple[int, int]]) -> list[tuple[int, int]]:
        n = len(x)
        if n == 1:
            return x
        radix = 4 if n % 4 == 0 else 2
        m = n // radix
        parts = [work(x[k::radix]) for k in range(radix)]
        out = [(0, 0)] * n
        for q in range(m):
            terms = []
            for k, part in enumerate(parts):
                halved = tuple(int16((v * (32767 // radix) + 16384) >> 15) for v in part[q])
                terms.append(times(halved, roots[q * k * (whole // n)]) if k else halved)
            for j in range(radix):  # the transform of the radix itself, whose roots are 1, -i, -1 and i
                real = imaginary = 0
                for k, (a, b) in enumerate(terms):
                    turn = (j * k * (4 // radix)) % 4
                    turned = [(a, b), (b, -a), (-a, -b), (-b, a)][turn]
                    real += turned[0]
                    imaginary += turned[1]
                out[q + j * m] = (int16(real), int16(imaginary))
        return out

    return work(pairs)


def slow_frames(samples: np.ndarray, features: SoundFeatures) -> list[list[int]]:
    """The front end one frame and one channel at a time, as its C code goes."""
    tables = tables_of(features)
    half = features.fft_size // 2
    estimates = [0] * features.channels
    frames = []
    for begin in range(0, len(samples) - features.window + 1, features.step):
        part = samples[begin : begin + features.window].tolist()
        weighted = [int16((v * int(w)) >> 12) for v, w in zip(part, tables.window, strict=True)]
        shift = 15 - max([0, *(int16(abs(v)) for v in weighted)]).bit_length()
        shifted = [int16(v << shift) for v in weighted] + [0] * (features.fft_size - features.window)
        spectrum = slow_transform(list(zip(shifted[0::2], shifted[1::2], strict=True)), tables)
        bins = [(0, 0)] * (half + 1)
        halve = lambda v: int16((v * 16383 + 16384) >> 15)  # noqa: E731
        for k in range(1, half // 2 + 1):
            up = (halve(spectrum[k][0]), halve(spectrum[k][1]))
            down = (halve(spectrum[half - k][0]), halve(int16(-spectrum[half - k][1])))
            even = (int16(up[0] + down[0]), int16(up[1] + down[1]))
            odd = (int16(up[0] - down[0]), int16(up[1] - down[1]))
            c, s = tables.super_twiddles[k - 1].tolist()
            real = int16((odd[0] * c - odd[1] * s + 16384) >> 15)
            imaginary = int16((odd[0] * s + odd[1] * c + 16384) >> 15)
            bins[k] = ((even[0] + real) >> 1, (even[1] + imaginary) >> 1)
            bins[half - k] = ((even[0] - real) >> 1, (imaginary - even[1]) >> 1)
        first = tables.first_bin.tolist()
        falling = 0
        frame = []
        for slope in range(features.channels + 1):
            total = falling
            falling = 0
            for b in range(first[slope], first[slope + 1]):
                energy = bins[b][0] ** 2 + bins[b][1] ** 2
                total += energy * int(tables.weights[b - first[0]])
                falling += energy * int(tables.unweights[b - first[0]])
            if slope:
                root = math.isqrt(total)
                rounds = total - root * root > root and (root != 0xFFFF or total >= 1 << 32)
                frame.append(slow_channel((root + rounds) >> shift, slope - 1, estimates, tables))
        frames.append(frame)
    return frames


def slow_channel(signal: int, channel: int, estimates: list[int], tables: FrontEndTables) -> int:
    features = tables.features
    word = 0xFFFFFFFF
    share = tables.smoothing[channel % 2]
    scaled = (signal << features.smoothing_bits) & word
    estimate = ((scaled * share + estimates[channel] * (16384 - share)) >> 14) & word
    estimates[channel] = estimate
    value = max((scaled - min(estimate, scaled)) >> features.smoothing_bits, (signal * tables.min_signal) >> 14)
    if features.pcan:
        lut = tables.gain.tolist()
        if estimate <= 2:
            gain = lut[estimate]
        else:
            bits = estimate.bit_length()
            height, slope, bend = lut[4 * bits - 6 : 4 * bits - 3]
            part = (estimate << 11 >> bits) & 0x3FF
            gain = int16((((((bend * part) >> 5) + (slope << 5)) * part + 16384) >> 15) + height)
        snr = ((value * (gain & word)) >> tables.snr_shift) & word
        value = ((snr * snr) & word) >> 20 if snr < 8192 else (snr >> 6) - 64
    if features.log:
        bits = features.correction_bits
        value = (value << bits) & word if bits >= 0 else value >> -bits
        if value > 1:
            whole = value.bit_length() - 1
            part = ((value << 16) >> whole) - 65536
            segment = part >> 9
            start, end = tables.log[segment : segment + 2].tolist()
            base_two = (whole << 16) + part + start + (((end - start) * (part - 512 * segment)) >> 16)
            value = ((((45426 * base_two + 32768) >> 16) << features.scale_shift) + 32768) >> 16
        else:
            value = 0
    return min(value, 0xFFFF)


@pytest.mark.parametrize("kind", KINDS)
def test_frames_equal_those_of_tflm(kind: str) -> None:
    package = pytest.importorskip("pymicro_features")
    for seed in range(3):
        samples = drawn_signal(seed, kind, 16000)
        front_end = package.MicroFrontend()
        parts = [front_end.process_samples(part.tobytes()).features for part in np.split(samples, 100)]
        expected = [[round(value * PER_UNIT) for value in part] for part in parts if part]
        assert len(expected) == 98
        assert frames_of(samples, SoundFeatures()).tolist() == expected


features = st.builds(
    SoundFeatures,
    rate=st.sampled_from([8000, 16000, 22050]),
    window_ms=st.integers(4, 30),
    step_ms=st.just(4),
    channels=st.sampled_from([1, 7, 40]),
    lower_hz=st.floats(0, 1000),
    upper_hz=st.floats(1500, 3900),
    even_smoothing=st.floats(0, 1),
    odd_smoothing=st.floats(0, 1),
    min_signal=st.floats(0, 1),
    pcan=st.booleans(),
    strength=st.floats(0, 2),
    offset=st.floats(1, 200),
    log=st.booleans(),
    scale_shift=st.integers(0, 11),
)


@settings(max_examples=12, deadline=None)
@given(features=features, kind=st.sampled_from(KINDS), seed=st.integers(0, 1000))
def test_frames_equal_a_front_end_of_one_number_at_a_time(features: SoundFeatures, kind: str, seed: int) -> None:
    samples = drawn_signal(seed, kind, features.samples_of(4))
    found = frames_of(samples, features)
    assert found.shape == (4, features.channels)
    assert found.tolist() == slow_frames(samples, features)


@settings(max_examples=20, deadline=None)
@given(st.lists(st.integers(0, 3000), max_size=12), st.integers(0, 1000))
def test_any_parts_of_a_recording_give_its_frames(sizes: list[int], seed: int) -> None:
    samples = drawn_signal(seed, "noise", sum(sizes))
    front_end = FrontEnd(SoundFeatures())
    parts = [front_end.push(part) for part in np.split(samples, np.cumsum(sizes))]
    whole = frames_of(samples, SoundFeatures())
    assert np.concatenate(parts).tolist() == whole.tolist()
    front_end.reset()
    assert front_end.push(samples).tolist() == whole.tolist()


def test_more_frames_than_are_computed_at_once_have_one_memory() -> None:
    samples = drawn_signal(1, "bursts", SoundFeatures().samples_of(1100))
    front_end = FrontEnd(SoundFeatures())
    parts = [front_end.push(part) for part in np.array_split(samples, 1100)]
    assert np.concatenate(parts).tolist() == frames_of(samples, SoundFeatures()).tolist()


def test_the_log_table_has_the_numbers_of_tflm() -> None:
    table = log_table()
    assert len(table) == 130
    # The first, the largest and the last ones of TFLM's log_lut.cc.
    assert table[:4].tolist() == [0, 224, 442, 654]
    assert table[56:60].tolist() == [5640, 5641, 5638, 5633]
    assert table[-4:].tolist() == [282, 142, 0, 0]


def test_a_net_is_given_no_more_than_its_range() -> None:
    frames = np.array([[0, 256, 669, 65535]], np.uint16)
    assert net_input(frames, SoundFeatures()).tolist() == [[0.0, 10.0, 26.0, 26.0]]
    assert SoundFeatures().value_range == (0.0, 26.0)
    assert net_input(frames, SoundFeatures(log=False))[0, 3] == np.float32(65535 / 25.6)


@pytest.mark.parametrize(
    "wrong",
    [
        {"rate": 7999},
        {"rate": 192000},
        {"window_ms": 0},
        {"window_ms": 300},
        {"window_ms": 10**9},
        {"step_ms": 0},
        {"step_ms": 31},
        {"channels": 0},
        {"channels": 257},
        {"upper_hz": 8000.0},
        {"upper_hz": float("nan")},
        {"lower_hz": -1.0},
        {"lower_hz": 7500.0},
        {"even_smoothing": 1.1},
        {"min_signal": float("inf")},
        {"smoothing_bits": 40},
        {"strength": -1.0},
        {"offset": 0.0},
        {"gain_bits": 11},
        {"scale_shift": 12},
    ],
)
def test_parameters_out_of_range_are_named(wrong: dict[str, float]) -> None:
    (name,) = wrong
    with pytest.raises(ValueError, match=name if name != "window_ms" else "window"):
        SoundFeatures(**wrong)


@pytest.mark.parametrize("wrong", [{"channels": 40.0}, {"rate": True}, {"log": 1}, {"lower_hz": "125"}])
def test_parameters_of_other_types_are_refused(wrong: dict[str, object]) -> None:
    with pytest.raises(TypeError, match=next(iter(wrong))):
        SoundFeatures(**wrong)


def test_samples_of_other_types_are_refused() -> None:
    with pytest.raises(TypeError, match="int16"):
        FrontEnd(SoundFeatures()).push(np.zeros(10, np.float32))


def test_parameters_are_read_from_a_text_and_say_their_changes() -> None:
    found = parse_features("rate=8000, upper_hz=3800,channels=32,pcan=0,log=TRUE")
    assert found == SoundFeatures(rate=8000, upper_hz=3800.0, channels=32, pcan=False)
    assert found.changes == {"rate": 8000, "upper_hz": 3800.0, "channels": 32, "pcan": False}
    assert parse_features(",".join(f"{name}={value}" for name, value in found.changes.items())) == found
    assert parse_features("") == SoundFeatures()


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("hop=3", "'hop' is no parameter"),
        ("rate", "rate is ''"),
        ("rate=1e3", "rate is '1e3'"),
        ("pcan=maybe", "pcan is 'maybe'"),
        ("upper_hz=nan", "upper_hz of the sound is nan"),
        ("upper_hz=9000", "upper_hz of the sound is 9000"),
    ],
)
def test_a_text_of_no_parameters_is_refused(text: str, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        parse_features(text)
