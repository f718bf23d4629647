from __future__ import annotations

import io
import struct
import wave
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sounds import wav_bytes

from edgepress.runtime.errors import InputError
from edgepress.runtime.sound.wav import decimate, read_wav, with_rate

RNG = np.random.default_rng(0)
SAMPLES = RNG.integers(-32768, 32768, 500).astype(np.int16)


def test_samples_of_16_bits_are_read_as_they_are(tmp_path: Path) -> None:
    path = tmp_path / "a.wav"
    with wave.open(str(path), "wb") as file:  # the standard library's writer
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(16000)
        file.writeframes(SAMPLES.tobytes())
    samples, rate = read_wav(path)
    assert rate == 16000
    assert samples.tolist() == SAMPLES.tolist()


@pytest.mark.parametrize("kind", ["u8", "i16", "i24", "i32", "f32", "f64"])
@pytest.mark.parametrize("channels", [1, 2, 5])
@pytest.mark.parametrize("extensible", [False, True])
def test_every_kind_of_samples_is_read(kind: str, channels: int, extensible: bool) -> None:
    values = RNG.integers(-128, 128, (300, channels)) * 256
    samples, rate = read_wav(wav_bytes(values, 44100, kind=kind, extensible=extensible))
    assert rate == 44100
    expected = np.rint(values.mean(axis=1))
    assert samples.dtype == np.int16
    assert samples.tolist() == expected.tolist()


def test_the_lower_bits_of_24_and_32_are_rounded() -> None:
    assert read_wav(wav_bytes(np.array([[1.5], [-1.25], [32767.9]]), 16000, kind="i24"))[0].tolist() == [2, -1, 32767]
    assert read_wav(wav_bytes(np.array([[0.75], [-32768.0]]), 16000, kind="i32"))[0].tolist() == [1, -32768]


def test_floats_beyond_full_scale_are_limited() -> None:
    assert read_wav(wav_bytes(np.array([[65536.0], [-1e30], [16384]]), 16000, kind="f32"))[0].tolist() == [
        32767,
        -32768,
        16384,
    ]


@pytest.mark.parametrize("size", [0x7FFFF000, 0xFFFFFFFF])
def test_a_stream_that_did_not_know_its_size_is_read_to_its_end(size: int) -> None:
    raw = bytearray(wav_bytes(SAMPLES[:, None], 16000))
    raw[40:44] = struct.pack("<I", size)
    assert read_wav(bytes(raw))[0].tolist() == SAMPLES.tolist()


def test_other_parts_of_a_file_are_passed_over() -> None:
    raw = wav_bytes(SAMPLES[:, None], 16000)
    extra = b"LIST" + struct.pack("<I", 3) + b"abc\0"
    assert read_wav(raw[:12] + extra + raw[12:] + extra)[0].tolist() == SAMPLES.tolist()


def header(**changes: int) -> bytes:
    """A WAV file of 10 samples with some fields of its header changed."""
    fields = {"kind": 1, "channels": 1, "rate": 16000, "bytes": 32000, "align": 2, "bits": 16, "data": 20} | changes
    first = ("kind", "channels", "rate", "bytes", "align", "bits")
    format_ = struct.pack("<HHIIHH", *(fields[name] for name in first))
    body = b"WAVEfmt " + struct.pack("<I", 16) + format_ + b"data" + struct.pack("<I", fields["data"]) + bytes(20)
    return b"RIFF" + struct.pack("<I", len(body)) + body


@pytest.mark.parametrize(
    ("raw", "words"),
    [
        (b"", "no WAV file"),
        (b"ID3" + bytes(100), "no WAV file"),
        (b"RF64" + bytes(4) + b"WAVE", "kind RF64"),
        (header()[:20], "header that is cut off"),
        (header()[:36], "its data is missing"),
        (header()[:12], "its format is missing"),
        (header()[:50], "cut off: its header names 20 bytes of samples, and 6 are there"),
        (header(data=2_000_000_000), "cut off"),
        (header(data=0), "holds no samples"),
        (header(channels=0, align=0), "0 channels"),
        (header(channels=65535, align=65534), "65535 channels"),
        (header(rate=0), "0 samples a second"),
        (header(rate=4_000_000_000), "4000000000 samples a second"),
        (header(kind=6, bits=8, align=1), "format 6 and 8 bits"),
        (header(bits=12), "format 1 and 12 bits"),
        (header(align=4), "does not fit"),
        (b"RIFF" + bytes(4) + b"WAVE" + (b"JUNK" + bytes(4)) * 2000, "its format is missing"),
    ],
)
def test_a_file_that_is_no_recording_is_one_error(raw: bytes, words: str) -> None:
    with pytest.raises(InputError, match=words):
        read_wav(raw)


def test_a_sample_that_is_no_number_is_an_error() -> None:
    with pytest.raises(InputError, match="no finite numbers"):
        read_wav(wav_bytes(np.array([[np.nan], [0.0]]), 16000, kind="f32"))


@settings(max_examples=150, deadline=None)
@given(st.data())
def test_a_damaged_file_is_read_or_is_one_error(data: st.DataObject) -> None:
    raw = bytearray(wav_bytes(SAMPLES[:40, None], 16000, kind=data.draw(st.sampled_from(["u8", "i16", "i24", "f32"]))))
    for _ in range(data.draw(st.integers(1, 6))):
        raw[data.draw(st.integers(0, min(len(raw), 48) - 1))] = data.draw(st.integers(0, 255))
    raw = raw[: data.draw(st.integers(0, len(raw)))]
    try:
        samples, rate = read_wav(bytes(raw))
    except InputError:
        return
    assert samples.dtype == np.int16
    assert 0 < len(samples) <= len(raw)
    assert 1000 <= rate <= 384_000


def test_a_folder_a_pipe_and_a_missing_file_are_errors(tmp_path: Path) -> None:
    for path in (tmp_path, tmp_path / "none.wav", Path("/dev/zero")):
        with pytest.raises(InputError, match=r"can't be read"):
            read_wav(path)


@pytest.mark.parametrize("factor", [2, 3, 6])
def test_a_multiple_of_the_rate_keeps_what_the_lower_rate_can_hold(factor: int) -> None:
    rate = 16000 * factor
    at = np.arange(rate) / rate
    kept = 8000 * np.sin(2 * np.pi * 1000 * at)
    folded = 8000 * np.sin(2 * np.pi * 9500 * at)
    found = decimate((kept + folded).astype(np.int16), factor)
    assert len(found) == 16000
    difference = (found - kept[::factor])[100:-100]
    assert np.abs(difference).max() < 80  # 40 dB below


def test_a_long_recording_is_resampled_in_parts_without_a_seam() -> None:
    samples = RNG.normal(0, 5000, 2 * 600_000).astype(np.int16)
    whole = decimate(samples, 2)
    around = slice(260_000, 265_000)  # the first seam
    part = decimate(samples[2 * around.start : 2 * around.stop], 2)
    assert whole[around][50:-50].tolist() == part[50:-50].tolist()


def test_another_rate_is_refused_where_only_numpy_is() -> None:
    assert with_rate(SAMPLES, 16000, 16000, "a") is SAMPLES
    assert len(with_rate(SAMPLES, 48000, 16000, "a")) == 167
    with pytest.raises(InputError, match="44100 samples a second; accepted here: 16000") as caught:
        with_rate(SAMPLES, 44100, 16000, "a.wav")
    assert "ffmpeg" in caught.value.hint


def test_bytes_in_memory_need_no_file() -> None:
    assert read_wav(io.BytesIO(wav_bytes(SAMPLES[:, None], 8000)).getvalue())[1] == 8000
