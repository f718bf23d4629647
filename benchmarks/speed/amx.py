"""What AMX brings to LiteRT's int8 kernels, file by file: the time of a call with it and without it.

    python benchmarks/speed/amx.py FILE.tflite ... --rounds 9

XNNPACK asks the system once in a process for AMX's tiles, and takes the kernels without if they are denied
(src/configs/hardware-config.c), which `EDGEPRESS_AMX=0` sees to. Processes of both kinds run in turns; what is compared
is the CPU time of a thread, which other processes disturb less. Exit status 1 if this CPU has no AMX.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
from pathlib import Path

import numpy as np

from edgepress.runtime.amx import VARIABLE, has_tiles
from edgepress.runtime.engines import import_engine
from edgepress.toolkit.stats.intervals import paired_ratio

SECONDS = 0.2
"""CPU time of one measurement."""


def measured(file: str) -> float:
    """CPU time of a call in this process, microseconds: the median of twenty parts."""
    interpreter = import_engine("litert").Interpreter(model_path=file, num_threads=1)
    interpreter.allocate_tensors()
    interpreter.invoke()
    started = time.thread_time()
    interpreter.invoke()
    calls = max(1, int(SECONDS / 20 / max(time.thread_time() - started, 1e-6)))
    times = []
    for _ in range(20):
        started = time.thread_time()
        for _ in range(calls):
            interpreter.invoke()
        times.append(1e6 * (time.thread_time() - started) / calls)
    return float(np.median(times))


def in_process(file: Path, *, tiles: bool) -> float:
    """The same in a process of its own."""
    environment = os.environ | {VARIABLE: str(int(tiles))}
    command = [sys.executable, __file__, str(file), "--child"]
    done = subprocess.run(command, capture_output=True, text=True, env=environment, check=False)
    if done.returncode:
        sys.exit(done.stderr.strip().rpartition("\n")[2])
    return float(done.stdout)


def main() -> None:
    """Print a line for each file."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("files", type=Path, nargs="+", help=".tflite files")
    parser.add_argument("--rounds", type=int, default=9, help="processes of each kind")
    parser.add_argument("--child", action="store_true", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.child:
        print(measured(str(args.files[0])))
        return
    if not has_tiles():
        sys.exit("This CPU has no AMX.")
    for file in args.files:
        pairs = np.array([[in_process(file, tiles=tiles) for tiles in (True, False)] for _ in range(args.rounds)])
        ratio = paired_ratio(pairs[:, 0], pairs[:, 1])
        row = {"file": file.name, "with_us": np.median(pairs[:, 0]), "without_us": np.median(pairs[:, 1])}
        print(json.dumps(row | {"times_as_long": [ratio.estimate, ratio.low, ratio.high]}), flush=True)


if __name__ == "__main__":
    main()
