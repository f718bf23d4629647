"""What child processes cost, and what two of them side by side gain, on MobileNetV2 1.0 at 224x224.

    python benchmarks/speed/isolation_cost.py [--rounds 5] [--only isolation|parallel]

isolation  five TFLite files through `Conversion`, in a child process, against the same calls made directly in
           one process (`open_model`, `make_files`): at most 1.10 of the time.
parallel   all nine files by one `Conversion`, TFLite and ONNX in two processes, against one format after the
           other: at most 0.75 of the time. Needs two cores that are idle.

Every side is timed in a fresh Python process, from its start to its end, so that importing TensorFlow counts on both.
Sides alternate. Each makes its files from the same `.keras` file and 100 calibration images, and compares them with it.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("CUDA_VISIBLE_DEVICES", "-1")

import numpy as np

sys.path.append(str(Path(__file__).parents[1] / "shared"))

from edgepress.converters.adapter import InputAdapter
from edgepress.converters.contract.hints import Hints
from edgepress.converters.conversion.conversion import Conversion
from edgepress.converters.conversion.encode import FilesJob
from edgepress.converters.conversion.float_graph import FloatGraphJob, OpenJob, make_float_graph, open_model
from edgepress.converters.conversion.make import Done, make_files
from edgepress.converters.files import sha256_of
from edgepress.converters.proof.selftest import ProofItems
from edgepress.converters.schemes import file_paths, parse_schemes
from edgepress.runtime import Contract, InputSpec

IMAGES, SIZE = 100, 224
CONTRACT = Contract(
    task="logits", labels=tuple(map(str, range(1000))), input=InputSpec.image(SIZE, SIZE, "rgb"), scheme="keras"
)
COMPARISONS = {
    "isolation": ("five TFLite files: in a child process, directly", ("child", "direct"), 1.10),
    "parallel": ("nine files: side by side, one after another", ("together", "in turn"), 0.75),
}


def main() -> None:
    """Alternate the sides of each comparison, report."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--only", choices=COMPARISONS, help="one of the two")
    parser.add_argument("--side", help=argparse.SUPPRESS)
    parser.add_argument("--model", type=Path, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.side:
        _do(args.side, args.model)
        return
    from side_by_side import report, summarize
    from zoo_models import build

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "mobilenet.keras"
        build("MobileNetV2", SIZE, images=32).save(path)
        found = []
        for name in [args.only] if args.only else COMPARISONS:
            title, sides, limit = COMPARISONS[name]
            times: tuple[list[float], list[float]] = ([], [])
            for turn in range(args.rounds):
                for side in (0, 1) if turn % 2 else (1, 0):
                    start = time.perf_counter()
                    subprocess.run(
                        [sys.executable, __file__, "--side", sides[side], "--model", path],
                        check=True,
                        stderr=subprocess.DEVNULL,
                    )
                    times[side].append(time.perf_counter() - start)
                print(f"{name}: {times[0][-1]:.1f} s {sides[0]}, {times[1][-1]:.1f} s {sides[1]}", file=sys.stderr)
            found.append(summarize(title, *times, limit=limit))
        report(found)


def _do(side: str, model: Path) -> None:
    """One side; an error if a file is missing at its end."""
    images = np.random.default_rng(0).integers(0, 256, (IMAGES, SIZE, SIZE, 3), dtype=np.uint8)
    calibration = partial(list, [images[i : i + 10] for i in range(0, IMAGES, 10)])
    with tempfile.TemporaryDirectory() as folder:
        if side == "direct":
            _directly(model, parse_schemes("tflite"), calibration, Path(folder))
            return
        for schemes in {"child": ["tflite"], "together": ["all"], "in turn": ["tflite", "onnx"]}[side]:
            with Conversion(model) as conversion:
                made = conversion.run(parse_schemes(schemes), CONTRACT, calibration=calibration, out=folder)
            assert all(v.path for v in made), [v.error for v in made]


def _directly(model: Path, schemes: Sequence[str], calibration: Any, out: Path) -> None:
    """What `Conversion` has its child process do, done here."""
    reports: list[Any] = []
    adapter = InputAdapter(CONTRACT.input, CONTRACT.input.shape)
    contract = CONTRACT.replace(parent_sha256=sha256_of(model))
    open_model(OpenJob(model, Hints()), reports.append)
    make_float_graph(FloatGraphJob(out, adapter, calibration), reports.append)
    float_graph, paths = reports.pop(), file_paths(schemes, out, "model", "cpu")
    make_files(FilesJob(paths, contract, adapter, calibration, ProofItems(), float_graph), reports.append)
    assert sum(isinstance(r, Done) and r.scores is not None for r in reports) == len(schemes), reports


if __name__ == "__main__":
    main()
