"""An own wake word: from clips to a streaming file, its missed words and false alarms an hour on other recordings.

    python benchmarks/sound/own_word.py --word alexa/ --train jarvis/ computer/ --choose snowboy/ --listen speech/
        [--seeds 0,1,2] [--clips 235] [--arch stream-cnn] [--epochs 60] [--step 3] [--alarms 1/h] [--out FOLDER]

Each argument names folders of WAV or FLAC files: clips of the word, and recordings without it. `--clips` of the word
and the recordings of `--train` make the data; the other clips are divided. One half, between sounds of `--choose`,
chooses the threshold (`calibrate --max-alarms`); the other half, between sounds of `--listen`, and all of `--listen`
are heard once by the chosen rule, as they are and 20 dB quieter. Clips are divided anew by each seed. Public
recordings: Picovoice's wake-word-benchmark, Mycroft's Precise-Community-Data and the Free Spoken Digit Dataset.
"""

from __future__ import annotations

import argparse
import csv
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

sys.path.append(str(Path(__file__).resolve().parents[2] / "tests" / "support"))

from sounds import wav_bytes

from edgepress.toolkit import calibrate_stream, convert, evaluate_stream, train
from edgepress.toolkit.data.event_tables import find_recordings
from edgepress.toolkit.data.sound_files import load_samples
from edgepress.toolkit.errors import InputError
from edgepress.toolkit.measurement.streams import StreamEvaluation
from edgepress.toolkit.stats.rates import rate_interval

RATE = 16000
BETWEEN_S = 3.0
"""Seconds of other sound before each clip of the word."""
QUIETER = 0.1
"""20 dB."""
Samples = npt.NDArray[np.int16]


def read_all(folders: Sequence[Path]) -> list[Samples]:
    """The recordings that can be read: some of the published clips are damaged."""
    recordings = []
    for path in find_recordings(folders):
        try:
            recordings.append(load_samples(path, RATE))
        except InputError as e:
            print(f"left out: {e.message}", file=sys.stderr)
    return recordings


def write(path: Path, samples: Samples) -> Path:
    """Write a WAV file, in a folder that may be new."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(wav_bytes(samples[:, np.newaxis], RATE))
    return path


def write_data(folder: Path, clips: Sequence[Samples], others: Sequence[Samples]) -> Path:
    """The class folders of a training: each clip of the word, and the others in pieces of half a minute."""
    for number, clip in enumerate(clips):
        write(folder / "word" / f"clip{number}.wav", clip)
    for number, each in enumerate(pieces(np.concatenate(others), 30 * RATE)):
        write(folder / "background" / f"piece{number}.wav", each)
    return folder


def pieces(samples: Samples, length: int) -> list[Samples]:
    """The samples in pieces of a length."""
    return [samples[start : start + length] for start in range(0, len(samples) - length // 2, length)]


def write_scene(folder: Path, clips: Sequence[Samples], others: Samples) -> tuple[list[Path], Path]:
    """A recording of clips between other sounds, all other sounds, and the table of what there is to hear."""
    parts: list[Samples] = []
    rows = []
    length = int(BETWEEN_S * RATE)
    at = 0
    for number, clip in enumerate(clips):
        between = np.roll(others, -number * length)[:length]
        parts += [between, clip]
        start = at + len(between)
        at = start + len(clip)
        rows.append(("words.wav", start / RATE, at / RATE, "word"))
    parts.append(np.roll(others, -len(clips) * length)[:length])
    files = [write(folder / "words.wav", np.concatenate(parts)), write(folder / "others.wav", others)]
    table = folder / "events.csv"
    with table.open("w", newline="") as file:
        csv.writer(file).writerows([("file", "start_s", "end_s", "label"), *rows])
    return files, table


def one_line(result: StreamEvaluation) -> str:
    """Missed words and false alarms."""
    count = result.count()[0]
    rate = rate_interval(count.alarms, result.hours)
    delay = f", median delay {np.median(count.delays_s):.2f} s" if count.delays_s else ""
    return (
        f"missed {count.missed} of {count.events}, {count.alarms} false alarms in {result.hours:.2f} h = "
        f"{rate.estimate:.2f} an hour ({rate.low:.2f} to {rate.high:.2f}){delay}"
    )


def measure(seed: int, sounds: dict[str, list[Samples]], args: argparse.Namespace, folder: Path) -> None:
    """Train with one seed, choose the rule, and print what is heard."""
    order = np.random.default_rng(seed).permutation(len(sounds["word"]))
    clips = [sounds["word"][place] for place in order]
    rest = clips[args.clips :]
    half = len(rest) // 2
    data = write_data(folder / "data", clips[: args.clips], sounds["train"])
    options: dict[str, Any] = {
        "class_weights": args.class_weights,
        "epochs": args.epochs,
        "seed": seed,
        "progress": False,
        "out": folder / "run",
    }
    result = train(data, args.arch, augmentation=args.augmentation, **options)
    (variant,) = convert(result.model, "tflite-int8", out=folder / "files")
    print(f"seed {seed}: test windows {100 * result.metrics['accuracy']:.2f} %", flush=True)
    chosen, table = write_scene(folder / "choose", rest[:half], np.concatenate(sounds["choose"]))
    how: dict[str, Any] = {"events": table, "step": args.step}
    calibration = calibrate_stream(variant.path, *chosen, max_alarms=args.alarms, **how)
    rule = calibration.evaluation.options
    print(f"  chosen: threshold {rule.threshold:g}, mean of {rule.average}; {one_line(calibration.evaluation)}")
    heard, table = write_scene(folder / "listen", rest[half:], np.concatenate(sounds["listen"]))
    file = calibration.path or variant.path
    print(f"  heard: {one_line(evaluate_stream(file, *heard, events=table))}", flush=True)
    quiet = [
        write(folder / "quiet" / path.name, (load_samples(path, RATE) * QUIETER).astype(np.int16)) for path in heard
    ]
    print(f"  20 dB quieter: {one_line(evaluate_stream(file, *quiet, events=table))}", flush=True)


def main() -> None:
    """Print the lines of each seed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name in ("word", "train", "choose", "listen"):
        parser.add_argument(f"--{name}", type=Path, nargs="+", required=True)
    parser.add_argument("--seeds", default="0,1,2")
    parser.add_argument("--clips", type=int, default=235)
    parser.add_argument("--arch", default="stream-cnn")
    parser.add_argument("--augmentation", default="auto")
    parser.add_argument("--class-weights", action="store_true")
    parser.add_argument("--epochs", type=int, default=60)
    parser.add_argument("--step", type=int, default=3)
    parser.add_argument("--alarms", default="1/h")
    parser.add_argument("--out", type=Path, help="keep everything here")
    args = parser.parse_args()
    names = ("word", "train", "choose", "listen")
    sounds = {name: read_all(getattr(args, name)) for name in names}
    for name in names:
        print(f"{name}: {len(sounds[name])} recordings, {sum(map(len, sounds[name])) / RATE / 3600:.2f} h", flush=True)
    with tempfile.TemporaryDirectory() as scratch:
        for seed in map(int, args.seeds.split(",")):
            measure(seed, sounds, args, (args.out or Path(scratch)) / f"seed{seed}")


if __name__ == "__main__":
    main()
