"""WAV files of any kind, and a small data set of sounds."""

from __future__ import annotations

import struct
from pathlib import Path

import numpy as np
import numpy.typing as npt

KINDS = {"u8": (1, 8), "i16": (1, 16), "i24": (1, 24), "i32": (1, 32), "f32": (3, 32), "f64": (3, 64)}
GUID = bytes.fromhex("000000001000800000aa00389b71")
"""What follows the format in the identifier of an extensible header."""


def wav_bytes(values: npt.NDArray[np.generic], rate: int, *, kind: str = "i16", extensible: bool = False) -> bytes:
    """A WAV file of values in units of 16 bits, shape (n, channels)."""
    number, bits = KINDS[kind]
    if kind == "u8":
        data = (np.asarray(values) / 256 + 128).astype("u1").tobytes()
    elif kind == "i24":
        whole = np.floor(np.asarray(values, np.float64) * 256).astype("<i4")
        data = whole.reshape(-1, 1).view("u1")[:, :3].tobytes()
    elif kind == "i32":
        data = (np.asarray(values, np.float64) * 65536).astype("<i4").tobytes()
    elif kind == "i16":
        data = np.asarray(values).astype("<i2").tobytes()
    else:
        data = (np.asarray(values, np.float64) / 32768).astype(f"<f{bits // 8}").tobytes()
    channels = np.shape(values)[1]
    align = channels * bits // 8
    fields = struct.pack("<HIIHH", channels, rate, rate * align, align, bits)
    if extensible:
        fields = (
            struct.pack("<H", 0xFFFE) + fields + struct.pack("<HHI", 22, bits, 0) + struct.pack("<H", number) + GUID
        )
    else:
        fields = struct.pack("<H", number) + fields
    body = b"WAVEfmt " + struct.pack("<I", len(fields)) + fields + b"data" + struct.pack("<I", len(data)) + data
    return b"RIFF" + struct.pack("<I", len(body)) + body


def tone(
    rng: np.random.Generator, kind: int, count: int, *, rate: int = 16000, pitch: float = 1.0
) -> npt.NDArray[np.int16]:
    """A made-up word: one of four courses of a tone, somewhere in noise."""
    length = min(int(0.5 * rate), count)
    at = np.arange(length) / rate
    courses = (
        700 + 0 * at,
        600 + 2400 * at,
        2000 - 2400 * at,
        np.where((at * 8).astype(int) % 2, 900.0, 1800.0),
    )
    phase = 2 * np.pi * np.cumsum(pitch * courses[kind % 4]) / rate
    voice = (np.sin(phase) + 0.4 * np.sin(2 * phase)) * np.hanning(length)
    level = np.exp(rng.uniform(np.log(1000), np.log(12000)))
    samples = rng.normal(0, np.exp(rng.uniform(1, 6)), count)
    start = int(rng.integers(0, count - length + 1))
    samples[start : start + length] += level * voice
    return np.clip(samples, -32768, 32767).astype(np.int16)


def write_words(folder: Path, *, classes: int = 2, speakers: int = 6, each: int = 4, seconds: float = 1.0) -> Path:
    """A folder of class folders with WAV files `SPEAKER_NUMBER.wav`."""
    for kind in range(classes):
        (folder / f"word{kind}").mkdir(parents=True)
        for speaker in range(speakers):
            pitch = 0.8 + 0.4 * speaker / max(speakers - 1, 1)
            for number in range(each):
                rng = np.random.default_rng([kind, speaker, number])
                samples = tone(rng, kind, int(16000 * seconds), pitch=pitch * rng.uniform(0.97, 1.03))
                path = folder / f"word{kind}" / f"speaker{speaker}_{number}.wav"
                path.write_bytes(wav_bytes(samples[:, None], 16000))
    return folder
