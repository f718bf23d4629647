"""Does the benchmark see differences where there are none, and does it see one of 5 %?

    python benchmarks/speed/aa.py                    40 comparisons of each kind, about 10 minutes
    python benchmarks/speed/aa.py --runs 10          10 more of each kind, up to 40; go on with the same command
    python benchmarks/speed/aa.py --kind loaded      of one kind alone
    python benchmarks/speed/aa.py --runs 0           print what there is
    EDGEPRESS_TURNS=spawn python benchmarks/speed/aa.py  turns as on macOS and Windows: each a new Python, not pinned

idle     a file against its own copy, nothing else running: "no difference" in at least 35 of 40
loaded   the same with all CPUs busy but the last, which is timed on if turns are pinned (this script starts the load)
slower   a file against one with 5 % more work, 21 equal layers instead of 20: "slower" in at least 34 of 40

A comparison is what `edgepress benchmark` does for two candidates, with its own number of rounds: `time_candidates`,
then the interval of the speed-up. Files against themselves are LeNet on LiteRT, LeNet on ONNX Runtime, and a net of 20
convolutions on LiteRT, in turn. Every comparison is a line of JSON in `--log`,
with the commit that was measured, so that a run can be stopped.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from timing_models import files_in

from edgepress.runtime.board import usable_cpus
from edgepress.toolkit.data.for_model import contract_of
from edgepress.toolkit.errors import EdgepressError
from edgepress.toolkit.machine.host import choose_cpus, describe_host, turns
from edgepress.toolkit.measurement.benchmarking.quiet import Watch
from edgepress.toolkit.measurement.benchmarking.timing import ITEMS, time_candidates
from edgepress.toolkit.stats.intervals import paired_ratio
from edgepress.toolkit.workers.opening import Candidate, Opening

RUNS = 40
NEEDED = {"idle": ("no difference", 35), "loaded": ("no difference", 35), "slower": ("slower", 34)}
SAME = (("lenet.tflite", "litert"), ("lenet.onnx", "onnxruntime"), ("chain-20.tflite", "litert"))
LOAD = """
import os, sys, numpy as np
os.sched_setaffinity(0, {int(sys.argv[1])})
a = np.random.default_rng(0).random((600, 600))
while os.getppid() == int(sys.argv[2]):
    a @ a
    sum(i * i for i in range(20000))
"""


def main() -> None:
    """Compare, log, count."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=RUNS, help="comparisons of each kind to add, up to 40 in all")
    parser.add_argument("--kind", choices=NEEDED, help="one kind alone")
    name = "edgepress-aa.jsonl" if turns() == "fork" else f"edgepress-aa-{turns()}.jsonl"
    parser.add_argument("--log", type=Path, default=Path(tempfile.gettempdir()) / name)
    args = parser.parse_args()
    kinds = [args.kind] if args.kind else list(NEEDED)
    if others := {run.get("turns", "fork") for run in logged(args.log)} - {turns()}:
        sys.exit(f"{args.log} holds comparisons with turns by {', '.join(others)}: choose another file with --log.")
    files = files_in(args.log.with_suffix(".files"))
    for kind in kinds:
        done = sum(run["kind"] == kind for run in logged(args.log))
        with load() if kind == "loaded" else contextlib.nullcontext():
            for n in range(done, min(done + args.runs, RUNS)):
                run = compare(kind, n, files)
                with args.log.open("a") as log:
                    log.write(json.dumps(run) + "\n")
                print(f"{kind} {n + 1}: {run['verdict']} {run['low']:.4f} {run['high']:.4f}", file=sys.stderr)
    report(logged(args.log), kinds)


def compare(kind: str, n: int, files: dict[str, Path]) -> dict[str, Any]:
    """One comparison of two candidates: the ratio, its interval and what that says."""
    first, engine = ("chain-20.tflite", "litert") if kind == "slower" else SAME[n % len(SAME)]
    began = time.perf_counter()
    with tempfile.TemporaryDirectory() as folder:
        if kind == "slower":
            second = files["chain-21.tflite"]
        else:
            second = Path(shutil.copy(files[first], Path(folder) / f"copy-{first}"))
        contract = contract_of(second)
        cpus = choose_cpus(1)
        openings = [
            Opening(Candidate(path, engine), contract.labels, contract.input, cpus) for path in (files[first], second)
        ]
        items = np.random.default_rng(n).integers(0, 256, (ITEMS, *contract.input.shape), dtype=np.uint8)
        watch = Watch(cpus)
        timings = time_candidates(openings, items, watch)
    medians = []
    for timing in timings:
        if isinstance(timing, EdgepressError):
            raise timing
        medians.append(timing.medians)
    ratio = paired_ratio(*medians)
    assert ratio.low is not None
    assert ratio.high is not None
    verdict = "slower" if ratio.high < 1 else "faster" if ratio.low > 1 else "no difference"
    return {
        "kind": kind,
        "file": first,
        "engine": engine,
        "turns": turns(),
        "commit": commit(),
        "ratio": ratio.estimate,
        "low": ratio.low,
        "high": ratio.high,
        "verdict": verdict,
        "p50_us": float(np.median(medians[0])) / 1000,
        "reasons": watch.noise(medians[0]).reasons,
        "medians": [m.tolist() for m in medians],
        "seconds": time.perf_counter() - began,
    }


@contextlib.contextmanager
def load() -> Iterator[None]:
    """Keep all CPUs busy but the last, which turns are pinned to if they are."""
    others = usable_cpus()[:-1]
    if not others:
        sys.exit("There is one CPU alone, so no other that could be loaded.")
    environment = os.environ | {"OPENBLAS_NUM_THREADS": "1"}
    me = str(os.getpid())
    processes = [subprocess.Popen([sys.executable, "-c", LOAD, str(cpu), me], env=environment) for cpu in others]
    try:
        time.sleep(1)
        yield
    finally:
        for process in processes:
            process.kill()
            process.wait()


def commit() -> str:
    """The commit that is measured, with "-dirty" if files differ from it; "" outside of a clone."""
    command = ["git", "describe", "--always", "--dirty", "--abbrev=40", "--exclude=*"]
    done = subprocess.run(command, cwd=Path(__file__).parent, capture_output=True, text=True, check=False)
    return done.stdout.strip()


def logged(path: Path) -> list[dict[str, Any]]:
    """The comparisons made so far."""
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


def report(runs: list[dict[str, Any]], kinds: list[str]) -> None:
    """Print the counts on stderr and one JSON document on stdout; exit with 1 if too few of a full count are right."""
    counts = {}
    for kind in kinds:
        mine = [run for run in runs if run["kind"] == kind]
        wanted, needed = NEEDED[kind]
        right = sum(run["verdict"] == wanted for run in mine)
        counts[kind] = {"runs": len(mine), "wanted": wanted, "right": right, "needed": needed}
        if mine:
            counts[kind]["ratio"] = float(np.median([run["ratio"] for run in mine]))
            counts[kind]["half_width"] = float(np.median([(run["high"] - run["low"]) / 2 for run in mine]))
            counts[kind]["seconds"] = float(np.median([run["seconds"] for run in mine]))
            counts[kind]["said_noisy"] = sum(bool(run["reasons"]) for run in mine)
            print(
                f"{kind:7} {wanted!r} in {right} of {len(mine)} (needed: {needed} of {RUNS}); median ratio "
                f"{counts[kind]['ratio']:.4f}, half width {100 * counts[kind]['half_width']:.2f} %, "
                f"{counts[kind]['seconds']:.1f} s each, said to be noisy: {counts[kind]['said_noisy']}",
                file=sys.stderr,
            )
    print(json.dumps({"commit": commit(), "host": describe_host(), "turns": turns(), "counts": counts}))
    sys.exit(any(c["runs"] >= RUNS and c["right"] < c["needed"] for c in counts.values()))


if __name__ == "__main__":
    main()
