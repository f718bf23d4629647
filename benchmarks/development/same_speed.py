"""Whether commands of one version of edgepress take longer than those of another, in alternation.

    git worktree add ../before v0.1.0
    python benchmarks/development/same_speed.py --before ../before --after . [--rounds 5]

Each side is a clone that has the links of `.types/`. Both are run by the Python that runs this script:

* `edgepress --help`, `edgepress convert --help`;
* `edgepress demo` into an empty folder;
* `edgepress convert` of an untrained MobileNetV2 for 224x224 pixels to `tflite-int8` and `onnx-int8`;
* `edgepress.runtime classify`, and a call of `Model.scores`, with an int8 LeNet that the older side has made.

A long command runs in `--rounds` rounds, a short one in four times as many, a call in ten times as many. Both sides see
the same files, each with a cache of its own, which a round that does not count fills. Times want an idle machine.
Prints the ratio of the times with its spread. Exit code 1: the whole interval of a ratio lies above `--limit`.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("CUDA_VISIBLE_DEVICES", "-1")
sys.path.append(str(Path(__file__).parents[1] / "shared"))

import numpy as np
import zoo_models
from side_by_side import Comparison, report, summarize

EDGEPRESS = "import sys; from edgepress.toolkit.cli.main import main; sys.exit(main())"
"""Runs the command line of the version that PYTHONPATH names."""
CALL = """
import sys, time, numpy as np
from edgepress.runtime import load
model, item, times = load(sys.argv[1]), np.zeros((1, 28, 28, 1), np.uint8), []
for _ in range(3000):
    began = time.perf_counter()
    model.scores(item)
    times.append(time.perf_counter() - began)
print(np.median(times[500:]))
"""
"""Prints the median time of a call with a grey image of 28x28, in seconds."""
CONVERT = "convert mobilenet.keras --data items.npz --to tflite-int8,onnx-int8 --task logits --input-range 0,255"
"""The conversion of a large net."""


def main() -> None:
    """Run both sides in alternation and print the ratios."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--before", type=Path, required=True, help="a clone")
    parser.add_argument("--after", type=Path, required=True, help="another clone")
    parser.add_argument("--rounds", type=int, default=5, help="of long commands")
    parser.add_argument("--limit", type=float, default=1.05, help="ratio up to which a side is as fast")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        sides = Sides(Path(name), before=options.before.absolute(), after=options.after.absolute())
        sides.run("before", *_edgepress("demo --out first"))
        _save_mobilenet(sides.folder)
        image = sorted((sides.folder / "first" / "images").iterdir())[0]
        int8 = "first/variants/model-int8.tflite"
        runtime = ["-m", "edgepress.runtime", "classify", int8, str(image)]
        rounds = options.rounds
        comparisons = [
            sides.compare("--help", 4 * rounds, _edgepress("--help")),
            sides.compare("convert --help", 4 * rounds, _edgepress("convert --help")),
            sides.compare("runtime classify", 4 * rounds, runtime),
            sides.compare("a call of Model.scores", 10 * rounds, ["-c", CALL, int8], printed=True),
            sides.compare("convert MobileNetV2 at 224x224", rounds, _edgepress(f"{CONVERT} --out out")),
            sides.compare("demo", rounds, _edgepress("demo --out out")),
        ]
    slower = [c.name for c in comparisons if (c.ratio_low or c.ratio) > options.limit]
    print(f"Slower: {', '.join(slower) or 'none'}", file=sys.stderr)
    try:
        report(comparisons)
    finally:
        if slower:
            sys.exit(1)


class Sides:
    """Two versions that run the same commands in one folder.

    Attributes:
        folder: Where the commands run; what they write to `out` is deleted before each.
    """

    def __init__(self, folder: Path, **clones: Path) -> None:
        self.folder = folder
        self._environments = {
            side: os.environ
            | {
                "PYTHONPATH": str(clone / ".types"),
                "EDGEPRESS_CACHE": str(folder / f".cache-{side}"),
                "XDG_STATE_HOME": str(folder / f".state-{side}"),
            }
            for side, clone in clones.items()
        }

    def run(self, side: str, *command: str) -> tuple[float, str]:
        """Run a Python command; its time in seconds and what it printed."""
        shutil.rmtree(self.folder / "out", ignore_errors=True)
        began = time.perf_counter()
        ended = subprocess.run(
            [sys.executable, *command],
            cwd=self.folder,
            env=self._environments[side],
            capture_output=True,
            text=True,
        )
        seconds = time.perf_counter() - began
        if ended.returncode:
            raise SystemExit(f"{side}: {' '.join(command)} ended with {ended.returncode}\n{ended.stderr}")
        return seconds, ended.stdout

    def compare(self, name: str, rounds: int, command: Sequence[str], *, printed: bool = False) -> Comparison:
        """Time a command on both sides, which goes first changing each round.

        Args:
            name: What is compared.
            rounds: Rounds that count; one more comes before them.
            command: Arguments of Python.
            printed: Take the seconds that the command prints in place of its own time.
        """
        times: dict[str, list[float]] = {"after": [], "before": []}
        for turn in range(rounds + 1):
            for side in sorted(times, reverse=bool(turn % 2)):
                seconds, text = self.run(side, *command)
                times[side].append(float(text) if printed else seconds)
        return summarize(name, times["after"][1:], times["before"][1:])


def _edgepress(line: str) -> list[str]:
    return ["-c", EDGEPRESS, *line.split()]


def _save_mobilenet(folder: Path) -> None:
    """An untrained net with the range of activations of a trained one, and items of its size."""
    zoo_models.build("MobileNetV2", 224, images=16).save(folder / "mobilenet.keras")
    rng = np.random.default_rng(0)
    items = rng.integers(0, 256, (48, 224, 224, 3), dtype=np.uint8)
    labels = np.linspace(0, 999, 48).astype(np.int64)
    np.savez(folder / "items.npz", x_train=items[:32], y_train=labels[:32], x_test=items[32:], y_test=labels[32:])


if __name__ == "__main__":
    main()
