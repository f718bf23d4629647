"""Damaged recordings: each is read right, or is one error with words.

Draws WAV and FLAC files of all kinds, then flips bits, overwrites fields of the header, cuts and doubles parts of them.
A file that is read must give samples of the right type and no more of them than its bytes can hold; memory must stay
below a bound, whatever sizes are claimed.

    python benchmarks/sound/damaged.py [--files 1000]
"""

from __future__ import annotations

import argparse
import collections
import resource
import struct
import sys
import tempfile
from pathlib import Path

import numpy as np

sys.path.append(str(Path(__file__).resolve().parents[2] / "tests" / "support"))

from sounds import KINDS, wav_bytes

from edgepress.runtime.errors import InputError
from edgepress.toolkit.data.readers.sound import load_samples

EXTREME = (0, 1, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF, 192_000, 65_535, 100_000_000)
MOST_MIB = 700
"""Memory of the process at most; NumPy, SciPy and libsndfile are a part of it."""


def drawn(rng: np.random.Generator, suffix: str, folder: Path) -> bytes:
    """The bytes of a recording of up to two seconds."""
    rate = int(rng.choice([8000, 16000, 22050, 44100, 48000, 192_000]))
    values = rng.integers(-32768, 32768, (int(rng.integers(1, 2 * 16000)), int(rng.integers(1, 4))))
    if suffix == ".wav":
        return wav_bytes(values, rate, kind=str(rng.choice([*KINDS])), extensible=bool(rng.integers(2)))
    import soundfile

    path = folder / "whole.flac"
    soundfile.write(path, values.astype(np.int16), rate)
    return path.read_bytes()


def damaged(rng: np.random.Generator, content: bytes) -> bytes:
    """The same with one to three kinds of damage, most of them in the header."""
    raw = bytearray(content)
    for _ in range(int(rng.integers(1, 4))):
        place = int(rng.integers(0, len(raw) if rng.random() < 0.3 else min(len(raw), 80)))
        match int(rng.integers(5)):
            case 0:
                raw[place] ^= 1 << int(rng.integers(8))
            case 1:
                raw[place : place + 4] = struct.pack("<I", int(rng.choice(EXTREME)))
            case 2:
                raw = raw[: max(place, 1)]
            case 3:
                raw[place:place] = raw[: int(rng.integers(1, 64))]
            case _:
                raw[place : place + 8] = rng.bytes(8)
    return bytes(raw)


def main() -> int:
    """Read all files; the exit code is 1 if one was neither read nor refused in words."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--files", type=int, default=1000)
    args = parser.parse_args()
    counts: collections.Counter[str] = collections.Counter()
    with tempfile.TemporaryDirectory() as name:
        for number in range(args.files):
            rng = np.random.default_rng(number)
            suffix = (".wav", ".flac")[number % 2]
            path = Path(name) / f"damaged{suffix}"
            content = damaged(rng, drawn(rng, suffix, Path(name)))
            path.write_bytes(content)
            try:
                samples = load_samples(path, 16000)
                fits = samples.dtype == np.int16 and samples.ndim == 1 and len(samples) <= 4 * 3600 * 16000
                counts[f"{suffix} read" if fits else "wrong"] += 1
            except InputError as e:
                counts[f"{suffix} refused" if str(e).startswith("The recording ") else "wrong"] += 1
            except Exception as e:
                counts["wrong"] += 1
                print(f"file {number}: {type(e).__name__}: {e}")
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
    print(", ".join(f"{what}: {count}" for what, count in sorted(counts.items())), f"; {counts['wrong']} wrong")
    print(f"memory at most {memory} MiB, accepted {MOST_MIB}")
    return int(counts["wrong"] > 0 or memory > MOST_MIB)


if __name__ == "__main__":
    sys.exit(main())
