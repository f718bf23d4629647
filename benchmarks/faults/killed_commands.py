"""Kill commands at random moments and count the temporary folders that they leave.

    python benchmarks/faults/killed_commands.py [--kills 20] [--signal KILL] [--seed 1]

`convert`, `train`, `benchmark` and `sweep` run with a folder for temporary files of their own and are killed after 1 to
`--longest` seconds. Counted are the entries of that folder, of the folders that they write to, and of the store of the
sweep, once the child processes have ended (at most 10 s later) and once the next command, `inspect`, has run.
"""

from __future__ import annotations

import argparse
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

EDGEPRESS = [sys.executable, "-m", "edgepress.toolkit.cli.main"]
ENDED_S = 10.0
"""Seconds that child processes have to notice that their parent was killed."""


def left(place: Path, out: Path) -> list[str]:
    """Temporary folders, and files that are not complete."""
    found = [str(path.relative_to(place)) for path in place.iterdir()]
    found += [str(path.relative_to(out)) for path in out.rglob(".*edgepress-*")]
    return sorted(found + [str(path.relative_to(out)) for path in out.rglob("partial/edgepress-*")])


def main() -> None:
    """Kill, and count."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--signal", default="KILL", help="KILL, TERM or HUP")
    parser.add_argument("--longest", type=float, default=20.0, help="seconds after which a command is killed at most")
    parser.add_argument("--seed", type=int, default=random.randrange(10**6))
    options = parser.parse_args()
    rng, number = random.Random(options.seed), signal.Signals[f"SIG{options.signal}"]
    print(f"seed {options.seed}", flush=True)
    after_end = after_next = before_end = 0
    with tempfile.TemporaryDirectory() as folder:
        place, out = Path(folder) / "tmp", Path(folder) / "out"
        place.mkdir()
        environment = os.environ | {"TMPDIR": str(place), "EDGEPRESS_CACHE": str(Path(folder) / "cache")}
        train = ["train", "--data", "digits", "--arch", "lenet", "--epochs", "3"]
        subprocess.run(
            [*EDGEPRESS, *train, "--out", str(out / "run")], env=environment, check=True, capture_output=True
        )
        model = str(out / "run" / "model.keras")
        convert = ["convert", model, "--to", "tflite-int8,onnx-int8", "--out", str(out / "variants")]
        subprocess.run([*EDGEPRESS, *convert], env=environment, check=True, capture_output=True)
        commands = {
            "convert": convert,
            "train": [*train, "--out", str(out / "again"), "--overwrite"],
            "benchmark": ["benchmark", str(out / "variants"), "--rounds", "20"],
            "sweep": ["sweep", "--data", "digits", "--seeds", "9", "--out", str(out / "sweep")],
        }
        for kill in range(options.kills):
            name = list(commands)[kill % len(commands)]
            seconds = rng.uniform(1.0, options.longest)
            process = subprocess.Popen(
                [*EDGEPRESS, *commands[name]],
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
            )
            try:
                process.wait(seconds)
            except subprocess.TimeoutExpired:
                process.send_signal(number)
            process.wait()
            at_once = len(left(place, out))
            deadline = time.monotonic() + ENDED_S
            while left(place, out) and time.monotonic() < deadline:
                time.sleep(0.2)
            later = left(place, out)
            subprocess.run([*EDGEPRESS, "inspect", model], env=environment, check=True, capture_output=True)
            last = [path for path in left(place, out) if path.startswith("edgepress-")]
            before_end, after_end, after_next = before_end + at_once, after_end + len(later), after_next + len(last)
            print(f"{name} after {seconds:.1f} s (code {process.returncode}): {at_once}, {later}, {last}", flush=True)
    print(f"{options.kills} kills: {before_end} left at once, {after_end} when the child processes had ended, ", end="")
    print(f"{after_next} folders after the next command")
    sys.exit(after_next > 0)


if __name__ == "__main__":
    main()
