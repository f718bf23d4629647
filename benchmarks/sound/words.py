"""Words: from WAV files by speaker to quantized files, and what these lose.

Draws recordings of four courses of a tone, each speaker with a pitch of its own, at levels that differ by 22 dB, in
noise. Nets are trained on speakers that are not in the test, converted, and every file is evaluated. No speech: it
shows that nothing is lost between the recordings and the files, and not how well words are heard. `--digits` takes
the folder `recordings` of the Free Spoken Digit Dataset (github.com/Jakobovski/free-spoken-digit-dataset) instead:
spoken digits, of speakers that are not in the training. `--quieter` also evaluates test items that are 20 dB quieter.

    python benchmarks/sound/words.py [--seeds 0,1,2] [--sound kind=log-mel] [--digits FOLDER] [--quieter]
        [--augmentation none] [ARCH ...]
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

sys.path.append(str(Path(__file__).resolve().parents[2] / "tests" / "support"))

import numpy as np
from sounds import wav_bytes, write_words

from edgepress.runtime.sound.wav import read_wav

SCHEMES = "tflite-float32,tflite-int8,onnx-float32,onnx-int8"
SPEAKERS = 20
EACH = 8
SPEAKER = "^([a-z]+)_"
"""The speaker in the name of a linked recording of a digit."""


def run(*words: object) -> Any:
    """One command of edgepress, and its document."""
    command = [sys.executable, "-m", "edgepress", *map(str, words), "--json"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"{' '.join(command)}: {done.stdout}{done.stderr}")
    return json.loads(done.stdout)


def lay_out_digits(recordings: Path, folder: Path, each: int) -> None:
    """Link so many recordings of each digit and speaker, such as 7_jackson_32.wav, into a folder for each digit."""
    for path in sorted(recordings.glob("*.wav")):
        if int(path.stem.rpartition("_")[2]) >= each:
            continue
        (place := folder / path.name[0]).mkdir(parents=True, exist_ok=True)
        (place / path.name[2:]).symlink_to(path.resolve())


def make_quieter(source: Path, target: Path) -> None:
    """Write the recordings of a folder of classes with a tenth of their amplitude."""
    for path in sorted(source.glob("*/*.wav")):
        samples, rate = read_wav(path)
        (place := target / path.parent.name).mkdir(parents=True, exist_ok=True)
        (place / path.name).write_bytes(wav_bytes(np.rint(samples[:, None] / 10), rate))


def main() -> None:
    """Train, convert and evaluate; print one line a file."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("arch", nargs="*", default=["ds-cnn"])
    parser.add_argument("--seeds", default="0")
    parser.add_argument("--epochs", type=int, default=20)
    parser.add_argument("--sound", action="append", help="parameters of the front end; repeatable")
    parser.add_argument("--digits", type=Path, help="recordings of the Free Spoken Digit Dataset")
    parser.add_argument("--quieter", action="store_true", help="also evaluate 20 dB quieter")
    parser.add_argument("--schemes", default=SCHEMES)
    parser.add_argument("--each", type=int, default=EACH, help="recordings of a word and speaker")
    parser.add_argument("--augmentation", default="auto")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        words = folder / "words"
        if args.digits is None:
            write_words(words, classes=4, speakers=SPEAKERS, each=args.each)
        else:
            lay_out_digits(args.digits, words, args.each)
        data = {"": words}
        if args.quieter:
            make_quieter(words, folder / "quieter")
            data[", 20 dB quieter"] = folder / "quieter"
        for sound in args.sound or [""]:
            for arch in args.arch:
                for seed in args.seeds.split(","):
                    out = folder / f"{arch}-{seed}-{sound}"
                    train_and_evaluate(arch, seed, sound, data=data, out=out, args=args)


def train_and_evaluate(
    arch: str, seed: str, sound: str, *, data: dict[str, Path], out: Path, args: argparse.Namespace
) -> None:
    """Train on the first data, and print the accuracy of each file on the test items of all."""
    how = ["--arch", arch, "--epochs", args.epochs, "--seed", seed, "--out", out, "--patience", 0]
    how += ["--augmentation", args.augmentation]
    how += ["--sound", sound] if sound else []
    how += ["--group", SPEAKER] if args.digits else []
    trained = run("train", "--data", data[""], *how)
    front_end = sound or "usual front end"
    accuracy = f"test {100 * trained['accuracy']:.2f} %"
    print(f"{arch}, {front_end}, seed {seed}: {trained['parameters']} parameters, {accuracy}", flush=True)
    run("convert", out / "model.keras", "--to", args.schemes, "--out", out / "files")
    for file in sorted((out / "files").glob("model*")):
        if file.suffix in (".tflite", ".onnx"):
            for what, source in data.items():
                found = run("evaluate", file, "--data", source)
                print(f"  {file.name}{what}: {100 * found['accuracy']:.2f} % of {found['count']}", flush=True)


if __name__ == "__main__":
    main()
