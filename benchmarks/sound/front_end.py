"""Compares the front end with TFLM's, frame by frame and to the bit: no frame may differ.

With the default parameters, `pymicro-features` computes TFLM's frames. It offers no others; `--source FOLDER` compiles
its unpacked source distribution with gcc and compares drawn parameters, too:

    pip download --no-deps --no-binary :all: pymicro-features && tar -xf pymicro_features-*.tar.gz
    python benchmarks/sound/front_end.py --source pymicro_features-2.0.2
"""

from __future__ import annotations

import argparse
import ctypes
import dataclasses
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import numpy.typing as npt

from edgepress.runtime.sound.features import PER_UNIT, SoundFeatures
from edgepress.runtime.sound.frames import frames_of

SHIM = """
extern "C" {
#include "tensorflow/lite/experimental/microfrontend/lib/frontend.h"
#include "tensorflow/lite/experimental/microfrontend/lib/frontend_util.h"
int frames(const int *n, const float *f, const int16_t *samples, size_t count, uint16_t *out) {
  struct FrontendConfig config;
  FrontendFillConfigWithDefaults(&config);
  config.window.size_ms = n[1];
  config.window.step_size_ms = n[2];
  config.filterbank.num_channels = n[3];
  config.filterbank.lower_band_limit = f[0];
  config.filterbank.upper_band_limit = f[1];
  config.noise_reduction.smoothing_bits = n[4];
  config.noise_reduction.even_smoothing = f[2];
  config.noise_reduction.odd_smoothing = f[3];
  config.noise_reduction.min_signal_remaining = f[4];
  config.pcan_gain_control.enable_pcan = n[5];
  config.pcan_gain_control.strength = f[5];
  config.pcan_gain_control.offset = f[6];
  config.pcan_gain_control.gain_bits = n[6];
  config.log_scale.enable_log = n[7];
  config.log_scale.scale_shift = n[8];
  struct FrontendState state;
  if (!FrontendPopulateState(&config, &state, n[0])) return -1;
  int made = 0;
  while (count > 0) {
    size_t read;
    struct FrontendOutput output = FrontendProcessSamples(&state, samples, count, &read);
    samples += read;
    count -= read;
    for (size_t i = 0; i < output.size; i++) *out++ = output.values[i];
    made += output.size > 0;
  }
  FrontendFreeStateContents(&state);
  return made;
}
}
"""
INTEGERS = ("rate", "window_ms", "step_ms", "channels", "smoothing_bits", "pcan", "gain_bits", "log", "scale_shift")
FLOATS = ("lower_hz", "upper_hz", "even_smoothing", "odd_smoothing", "min_signal", "strength", "offset")
Samples = npt.NDArray[np.int16]
Reference = Callable[[Samples, SoundFeatures], npt.NDArray[np.uint16]]


def signals(rng: np.random.Generator, count: int) -> Iterator[tuple[str, Samples]]:
    """Signals of `count` samples, extremes included."""
    at = np.arange(count)
    drawn = {
        "silence": np.zeros(count),
        "noise": rng.normal(0, 3000, count),
        "clipped noise": rng.normal(0, 40000, count),
        "full scale": np.where(rng.random(count) < 0.5, -32768, 32767),
        "least value": np.full(count, -32768),
        "largest value": np.full(count, 32767),
        "quiet": rng.integers(-2, 3, count),
        "one bit": rng.integers(0, 2, count),
        "chirp": 20000 * np.sin(2 * np.pi * (100 + at / count * 3500) * at / 16000),
        "bursts": np.where((at // 8000) % 2, rng.normal(0, 8000, count), rng.normal(0, 3, count)),
        "square": np.where((at // 40) % 2, 32767, -32768),
        "steps": rng.integers(-32768, 32768, count // 1000 + 1)[at // 1000],
        "levels": rng.normal(0, 1, count) * np.exp(rng.uniform(0, 10.4, count // 4000 + 1))[at // 4000],
        "impulses": np.where(rng.random(count) < 0.001, 32767, 0),
    }
    for name, values in drawn.items():
        yield name, np.clip(values, -32768, 32767).astype(np.int16)


def from_package(samples: Samples, _: SoundFeatures) -> npt.NDArray[np.uint16]:
    """The frames of pymicro-features."""
    from pymicro_features import MicroFrontend

    front_end = MicroFrontend()
    parts = [front_end.process_samples(part.tobytes()).features for part in np.split(samples, len(samples) // 160)]
    return np.array([[round(value * PER_UNIT) for value in part] for part in parts if part], np.uint16)


def from_source(folder: Path, into: Path) -> Reference:
    """The frames of TFLM's source, compiled."""
    shim = into / "shim.cc"
    shim.write_text(SHIM)
    library = folder / "tensorflow" / "lite" / "experimental" / "microfrontend" / "lib"
    left_out = ("_test", "_io", "_main", "memmap")
    sources = [path for path in library.glob("*.cc") if not any(word in path.stem for word in left_out)]
    options = ["-O2", "-shared", "-fPIC", "-DFIXED_POINT=16", "-w", f"-I{folder}", f"-I{folder / 'kissfft'}"]
    target = into / "shim.so"
    subprocess.run(["g++", *options, str(shim), *map(str, sources), "-o", str(target)], check=True)
    compiled = ctypes.CDLL(str(target))

    def frames(samples: Samples, features: SoundFeatures) -> npt.NDArray[np.uint16]:
        integers = (ctypes.c_int * len(INTEGERS))(*(int(getattr(features, name)) for name in INTEGERS))
        floats = (ctypes.c_float * len(FLOATS))(*(getattr(features, name) for name in FLOATS))
        out = np.empty((features.frames_of(len(samples)), features.channels), np.uint16)
        at = samples.ctypes.data_as(ctypes.c_void_p)
        made = compiled.frames(integers, floats, at, ctypes.c_size_t(len(samples)), out.ctypes.data_as(ctypes.c_void_p))
        assert made == len(out), f"{made} frames of {features}"
        return out

    return frames


def drawn_features(rng: np.random.Generator) -> SoundFeatures:
    """Parameters that TFLM accepts."""
    rate = int(rng.choice([8000, 11025, 16000, 22050, 32000, 44100, 48000]))
    window_ms = int(rng.integers(16, 65))
    upper_hz = float(rng.uniform(0.2, 0.48)) * rate
    made = SoundFeatures(
        rate=rate,
        window_ms=window_ms,
        step_ms=int(rng.integers(5, window_ms + 1)),
        channels=int(rng.choice([1, 8, 20, 32, 40, 64])),
        lower_hz=float(rng.uniform(0, 0.5)) * upper_hz,
        upper_hz=upper_hz,
        even_smoothing=float(rng.uniform(0, 0.3)),
        odd_smoothing=float(rng.uniform(0, 0.3)),
        min_signal=float(rng.uniform(0, 0.3)),
        pcan=bool(rng.integers(2)),
        strength=float(rng.uniform(0.2, 1.2)),
        offset=float(rng.uniform(1, 200)),
        log=bool(rng.integers(4)),
        scale_shift=int(rng.integers(4, 9)),
    )
    return made if made.gain_bits - made.correction_bits >= 12 else dataclasses.replace(made, pcan=False)


def compare(reference: Reference, features: SoundFeatures, seed: int, count: int) -> tuple[int, int]:
    """Frames, and how many differ."""
    frames = 0
    different = 0
    for name, samples in signals(np.random.default_rng(seed), count):
        expected = reference(samples, features)
        found = frames_of(samples, features)
        wrong = int((expected != found).any(axis=1).sum()) if expected.shape == found.shape else len(expected)
        if wrong:
            print(f"{name}: {wrong} of {len(expected)} frames differ: {features}")
        frames += len(expected)
        different += wrong
    return frames, different


def main() -> int:
    """The comparison; the exit code is 1 if a frame differs."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--source", type=Path, help="pymicro-features' source, unpacked: other parameters, too")
    parser.add_argument("--seeds", type=int, default=4)
    parser.add_argument("--parameters", type=int, default=200)
    args = parser.parse_args()
    sums = [compare(from_package, SoundFeatures(), seed, 64000) for seed in range(args.seeds)]
    frames, different = (sum(column) for column in zip(*sums, strict=True))
    print(f"default parameters, pymicro-features: {frames} frames, {different} different")
    failed = different
    if args.source:
        with tempfile.TemporaryDirectory() as folder:
            reference = from_source(args.source, Path(folder))
            named = [SoundFeatures(window_ms=25), SoundFeatures(channels=32), SoundFeatures(pcan=False)]
            rng = np.random.default_rng(0)
            drawn = [SoundFeatures(), *named, *(drawn_features(rng) for _ in range(args.parameters))]
            sums = [compare(reference, features, seed, 24000) for seed, features in enumerate(drawn)]
        frames, different = (sum(column) for column in zip(*sums, strict=True))
        print(f"{len(drawn)} sets of parameters, TFLM's source: {frames} frames, {different} different")
        failed += different
    return int(failed > 0)


if __name__ == "__main__":
    sys.exit(main())
