"""Do our latencies agree with the engines' own tools?

    python benchmarks/speed/peer_tools.py [--rounds 20] [--only litert|onnxruntime]

litert       `edgepress benchmark`'s p50 against the median of `ai_edge_litert.tools.benchmark_litert_model`
onnxruntime  against the median of a loop around a bare `InferenceSession.run`

LeNet at 28x28 and MobileNetV2 at 96x96, float32, one thread, pinned to one CPU. Rounds alternate between ours and
theirs, each in fresh processes. Passes where the median over rounds of ours / theirs is within 5 % of 1.

LiteRT's tool does not copy the input in and the answer out, and runs LiteRT's newer interface, `CompiledModel`; so
a third figure is printed, which decides nothing: theirs with `Interpreter.invoke` alone. Its results are rounded to
10 us, which is half of LeNet's latency: rounding is switched off in its module, the rest is run as it is.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

sys.path.append(str(Path(__file__).parents[1] / "shared"))

from side_by_side import summarize
from timing_models import files_in

from edgepress.toolkit.data.for_model import contract_of
from edgepress.toolkit.errors import EdgepressError
from edgepress.toolkit.machine.host import choose_cpus, describe_host
from edgepress.toolkit.measurement.benchmarking.options import BenchmarkOptions
from edgepress.toolkit.measurement.benchmarking.quiet import Watch
from edgepress.toolkit.measurement.benchmarking.timing import ITEMS, time_candidates
from edgepress.toolkit.workers.opening import Candidate, Opening

WITHIN = 0.05
SIDES = {"litert": ("tool", "invoke"), "onnxruntime": ("session",)}
CALLS = {"lenet": 500, "mobilenet": 50}
PIN = "import os, sys; os.sched_setaffinity(0, {int(sys.argv[2])}); path, calls = sys.argv[1], int(sys.argv[3])\n"
LOOP = """
import time
times = []
for n in range(calls + 20):
    start = time.perf_counter_ns()
    call()
    times.append(time.perf_counter_ns() - start)
print(sorted(times[20:])[calls // 2] / 1e9)
"""
THEIRS = {
    "tool": """
import contextlib, io
from ai_edge_litert.tools import benchmark_litert_model as tool
tool.round = lambda value, digits: value
sys.argv = ["tool", "--model", path, "--num_runs", str(calls), "--warmup_runs", "20", "--num_threads", "1"]
with contextlib.redirect_stdout(io.StringIO()):
    found = tool.run_benchmark(tool.parse_args())
print(found["latency"]["median_ms"] / 1e3)
""",
    "invoke": """
import numpy as np
from ai_edge_litert.interpreter import Interpreter
interpreter = Interpreter(model_path=path, num_threads=1)
interpreter.allocate_tensors()
source = interpreter.get_input_details()[0]
item = np.random.default_rng(0).integers(0, 256, source["shape"], dtype=np.uint8)
interpreter.set_tensor(source["index"], item)
call = interpreter.invoke
"""
    + LOOP,
    "session": """
import numpy as np, onnxruntime
options = onnxruntime.SessionOptions()
options.intra_op_num_threads = options.inter_op_num_threads = 1
session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
source = session.get_inputs()[0]
item = np.random.default_rng(0).integers(0, 256, [1, *source.shape[1:]], dtype=np.uint8)
names, feed = [session.get_outputs()[0].name], {source.name: item}
call = lambda: session.run(names, feed)
"""
    + LOOP,
}


def main() -> None:
    """Alternate, report; exit with 1 if a pair does not agree."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=20)
    parser.add_argument("--only", choices=SIDES)
    parser.add_argument("--files", type=Path, help="folder that keeps the files for the next time")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        files = files_in(args.files or Path(folder))
        found, agree = [], True
        for engine in [args.only] if args.only else SIDES:
            for net, calls in CALLS.items():
                path = files[f"{net}.{'onnx' if engine == 'onnxruntime' else 'tflite'}"]
                for side, result in compare(path, engine, calls, args.rounds).items():
                    decides = side != "invoke"
                    agree = agree and (not decides or abs(result.ratio - 1) <= WITHIN)
                    ends = (result.ratio_low, result.ratio_high)
                    spread = "" if None in ends else f" [{ends[0]:.3f}, {ends[1]:.3f}]"  # none below 6 rounds
                    words = "agrees" if abs(result.ratio - 1) <= WITHIN else "DIFFERS" if decides else "differs"
                    print(
                        f"{net} on {engine}, against {side}: ours {result.ours_us:.1f} us, theirs "
                        f"{result.theirs_us:.1f} us, ratio {result.ratio:.3f}{spread} {words}",
                        file=sys.stderr,
                    )
                    found.append({"net": net, "engine": engine, "side": side, "ratio": result.ratio, "words": words})
    print(json.dumps({"host": describe_host(), "comparisons": found}))
    sys.exit(not agree)


def compare(path: Path, engine: str, calls: int, rounds: int) -> dict[str, Any]:
    """Ours against each of the engine's sides, all in every round, in an order that turns."""
    sides: dict[str, Callable[[], float]] = {"ours": lambda: ours(path, engine)}
    for name in SIDES[engine]:
        sides[name] = lambda name=name: theirs(name, path, calls)  # type: ignore[misc]
    times: dict[str, list[float]] = {name: [] for name in sides}
    order = list(sides)
    for _ in range(rounds):
        for name in order:
            times[name].append(sides[name]())
        order = order[1:] + order[:1]
    return {name: summarize(name, times["ours"], times[name]) for name in SIDES[engine]}


def ours(path: Path, engine: str) -> float:
    """Seconds of a call, by one round of `edgepress benchmark`."""
    contract, cpus = contract_of(path), choose_cpus(1)
    items = np.random.default_rng(0).integers(0, 256, (ITEMS, *contract.input.shape), dtype=np.uint8)
    opening = Opening(Candidate(path, engine), contract.labels, contract.input, cpus)
    (timing,) = time_candidates([opening], items, Watch(cpus), BenchmarkOptions(rounds=1))
    if isinstance(timing, EdgepressError):
        raise timing
    return float(timing.medians[0]) / 1e9


def theirs(name: str, path: Path, calls: int) -> float:
    """Seconds of a call, by their tool or loop in a process of its own on the same CPU."""
    command = [sys.executable, "-c", PIN + THEIRS[name], str(path), str(choose_cpus(1)[0]), str(calls)]
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    return float(done.stdout)


if __name__ == "__main__":
    main()
