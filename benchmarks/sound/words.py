"""Made-up words: from WAV files by speaker to quantized files, and what these lose.

Draws recordings of four courses of a tone, each speaker with a pitch of its own, at levels that differ by 22 dB, in
noise. Nets are trained on speakers that are not in the test, converted, and every file is evaluated. No speech: it
shows that nothing is lost between the recordings and the files, and not how well words are heard.

    python benchmarks/sound/words.py [--seeds 0,1,2] [ARCH ...]
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

from sounds import write_words

SCHEMES = "tflite-float32,tflite-int8,onnx-float32,onnx-int8"
SPEAKERS = 20
EACH = 8


def run(*words: object) -> Any:
    """One command of edgepress, and its document."""
    command = [sys.executable, "-m", "edgepress", *map(str, words), "--json"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"{' '.join(command)}: {done.stdout}{done.stderr}")
    return json.loads(done.stdout)


def main() -> None:
    """Train, convert and evaluate; print one line a file."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("arch", nargs="*", default=["ds-cnn"])
    parser.add_argument("--seeds", default="0")
    parser.add_argument("--epochs", type=int, default=20)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_words(folder / "words", classes=4, speakers=SPEAKERS, each=EACH)
        for arch in args.arch:
            for seed in args.seeds.split(","):
                out = folder / f"{arch}-{seed}"
                how = ("--arch", arch, "--epochs", args.epochs, "--seed", seed, "--out", out, "--patience", 0)
                trained = run("train", "--data", folder / "words", *how)
                print(
                    f"{arch}, seed {seed}: {trained['parameters']} parameters, test {100 * trained['accuracy']:.2f} %"
                )
                run("convert", out / "model.keras", "--to", SCHEMES, "--out", out / "files")
                for file in sorted((out / "files").glob("model*")):
                    if file.suffix in (".tflite", ".onnx"):
                        found = run("evaluate", file)
                        print(f"  {file.name}: {100 * found['accuracy']:.2f} % of {found['count']}", flush=True)


if __name__ == "__main__":
    main()
