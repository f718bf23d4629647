"""Sensors: from CSV files to C for a microcontroller, and what scales that differ cost.

Draws recordings of six classes for persons with gains of their own: three accelerations and three rates of turn at
50 Hz, the latter multiplied by 1, 500 and 10,000. Nets are trained on windows of 128 rows, converted for both targets,
and evaluated on persons that were not in the training; the integer-only file is exported, built with CMake and run by
ctest.

    python benchmarks/accuracy/sensors.py [ARCH ...]
"""

from __future__ import annotations

import csv
import json
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import numpy.typing as npt

CLASSES = ("lie", "sit", "stand", "walk", "run", "stairs")
PERSONS = 20
SECONDS = 20
RATE = 50
WINDOW = 128
SCALES = (1.0, 500.0, 10_000.0)
EPOCHS = 8
FILES = ("cpu/model-float32.tflite", "cpu/model-int8.tflite", "cpu/model-int8.onnx")
FILES += ("micro/model-int8-integer-only.tflite",)
"""The files whose accuracy is shown; the last one is exported."""


def draw_recording(person: int, kind: int, rng: np.random.Generator) -> npt.NDArray[np.float64]:
    """Six channels of a recording, shape (rows, 6): gravity of a posture, and a movement of a frequency and phase."""
    gains = np.random.default_rng([person, 9]).normal(1, 0.15, 6)
    pace = np.random.default_rng([person, 10]).normal(1, 0.05)
    time = np.arange(SECONDS * RATE) / RATE
    posture = np.array([[0.9, 0.1, 0.3], [0.2, 0.9, 0.4], [0.05, 0.97, 0.1], [0.05, 0.97, 0.1]])[min(kind, 3)]
    frequency = (0.3, 0.3, 0.3, 1.8, 2.7, 1.5)[kind] * pace
    strength = (0.02, 0.03, 0.04, 0.3, 0.8, 0.35)[kind]
    shifts = np.array([0, 0.6, 1.3, 0.2, 1.0, 2.0]) + (1.2 if kind == 5 else 0.0)
    waves = np.sin(2 * np.pi * frequency * time[:, None] + shifts + rng.uniform(0, 2 * np.pi))
    waves += 0.4 * np.sin(4 * np.pi * frequency * time[:, None] + 2 * shifts)
    signal = strength * waves
    signal[:, :3] += posture
    return signal * gains + rng.normal(0, 0.06, signal.shape)


def write_csv(path: Path, scale: float) -> None:
    """Write all recordings, with the last three channels multiplied by `scale`."""
    rng = np.random.default_rng(46)
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        channels = [f"{sensor}_{axis}" for sensor in ("acc", "gyro") for axis in "xyz"]
        writer.writerow(["time", *channels, "subject", "activity"])
        for person in range(PERSONS):
            for kind, name in enumerate(CLASSES):
                signal = draw_recording(person, kind, rng) * ([1.0] * 3 + [scale] * 3)
                for row, values in enumerate(signal.tolist()):
                    writer.writerow([row / RATE, *(f"{value:.6g}" for value in values), f"person{person}", name])


def edgepress(*words: str | Path) -> str:
    """Run a command; its standard output."""
    line = [sys.executable, "-m", "edgepress.toolkit.cli.main", *map(str, words)]
    done = subprocess.run(line, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"edgepress {' '.join(map(str, words))}\n{done.stderr}")
    return done.stdout


def accuracy(file: Path) -> float:
    """Accuracy on the test windows of the data that the contract names, in per cent."""
    return 100 * float(json.loads(edgepress("evaluate", file, "--json"))["accuracy"])


def run_c(file: Path, data: Path, folder: Path) -> str:
    """Export, build and run the self-test; the line of ctest that counts tests."""
    edgepress("export", file, "--data", data, "--out", folder)
    for line in (["cmake", "-S", folder, "-B", folder / "build"], ["cmake", "--build", folder / "build"]):
        subprocess.run(line, check=True, capture_output=True)
    done = subprocess.run(["ctest", "--test-dir", folder / "build"], capture_output=True, text=True, check=False)
    return next((line for line in done.stdout.splitlines() if "tests passed" in line), done.stdout[-200:])


def main() -> None:
    """Print one row a net and scale."""
    archs = sys.argv[1:] or ["conv1d", "tcn", "resnet8", "ds-cnn", "dense"]
    print("| net | scale | " + " | ".join(FILES) + " | ctest |")
    print("|---|--:|" + "--:|" * len(FILES) + "---|")
    with tempfile.TemporaryDirectory() as temporary:
        for scale in SCALES:
            data = Path(temporary) / f"recordings-{scale:g}.csv"
            write_csv(data, scale)
            for arch in archs:
                run = Path(temporary) / f"{arch}-{scale:g}"
                edgepress(
                    *("train", "--data", data, "--window", str(WINDOW), "--arch", arch),
                    *("--epochs", str(EPOCHS), "--out", run),
                )
                model = run / "model.keras"
                edgepress("convert", model, "--to", "tflite-float32,tflite-int8,onnx-int8", "--out", run / "cpu")
                edgepress("convert", model, "--to", "tflite-int8", "--target", "integer-only", "--out", run / "micro")
                cells = [f"{accuracy(run / file):.2f}" for file in FILES]
                tested = run_c(run / FILES[-1], data, run / "c99")
                print(f"| {arch} | {scale:g} | {' | '.join(cells)} | {tested} |", flush=True)


if __name__ == "__main__":
    main()
