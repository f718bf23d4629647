"""Damaged and extreme files: `edgepress export` of each one ends within its limits, and writes all files or none.

    python benchmarks/faults/export_files.py [--seed 0] [--count 200]

The files are those of tests/support/export_mutants.py: small graphs with flipped bits or changed fields, drawn from
--seed on, and every extreme one. The public function is called as it is, but for one thing: the child process is kept
from one call to the next, because its imports would be most of what is measured. Prints the outcomes and the files that
took longest, in seconds of the CPU. Exits with 1 if a call raised anything but an `EdgepressError`, took longer than
the limits allow, or left files behind an error.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
sys.path.append(str(ROOT / "tests" / "support"))

import psutil  # noqa: E402
from export_mutants import EXTREMES, mutated  # noqa: E402

from edgepress.converters.process.worker import ChildDied, Worker  # noqa: E402
from edgepress.runtime.errors import EdgepressError  # noqa: E402
from edgepress.toolkit.shipping.exporting import job  # noqa: E402
from edgepress.toolkit.shipping.exporting.export import export  # noqa: E402
from edgepress.toolkit.shipping.exporting.folder import REPORT  # noqa: E402

SAMPLES = 2
"""Items of each self-test."""
SLOWEST = 5
"""Files that are named."""


class KeptChild:
    """Stands for `run_in_child`: one process for all calls, and a new one after it died."""

    worker: Worker | None = None

    def __call__(
        self, function: Callable[..., None], argument: Any, *, silence_s: float, memory_bytes: int
    ) -> Iterator[Any]:
        """See `run_in_child`."""
        self.worker = self.worker or Worker(memory_bytes=memory_bytes)
        try:
            yield from self.worker.call(function, argument, silence_s=silence_s)
        except (ChildDied, RuntimeError):
            self.end()
            raise

    def end(self) -> None:
        """End the process."""
        if self.worker is not None:
            self.worker.close()
            self.worker = None

    def cpu_seconds(self) -> float:
        """What the process has used of the CPU; 0 without one."""
        try:
            return sum(psutil.Process(self.worker.pid).cpu_times()[:2]) if self.worker else 0.0
        except psutil.NoSuchProcess:
            return 0.0


def try_file(data: bytes, folder: Path, child: KeptChild) -> tuple[str, str, float]:
    """The outcome of an export, what is wrong about it, and its seconds of the CPU."""
    path, target = folder / "model.tflite", folder / "c"
    path.write_bytes(data)
    begin = child.cpu_seconds(), time.process_time()
    try:
        made = export(path, out=target, samples=SAMPLES)
    except EdgepressError as e:
        died = "the process that read it ended" in e.message
        outcome, wrong = "a child ended by a limit" if died else f"error of kind {e.kind}", ""
        if target.exists() or not e.message:
            wrong = "files behind an error"
    except Exception as e:
        outcome, wrong = "exception", f"{type(e).__name__}: {str(e)[-800:]}"
    else:
        present = {each.relative_to(target).as_posix() for each in target.rglob("*") if each.is_file()}
        outcome, wrong = "exported", "" if present == {*made.report["files"], REPORT} else "files are missing"
        for each in present:
            (target / each).unlink()
        target.rmdir()
    spent = max(0.0, child.cpu_seconds() - begin[0]) + time.process_time() - begin[1]
    if spent > job.STEP_S:
        wrong = wrong or f"{spent:.0f} s of CPU"
    return outcome, wrong, spent


def main() -> None:
    """Try all files and print what happened."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seed", type=int, default=0, help="of the first mutated file")
    parser.add_argument("--count", type=int, default=200, help="mutated files")
    args = parser.parse_args()
    child = KeptChild()
    job.run_in_child = child
    cases = [(f"seed {seed}", lambda seed=seed: mutated(seed)[1]) for seed in range(args.seed, args.seed + args.count)]
    cases += [*EXTREMES.items()]
    outcomes, spent, broken = Counter[str](), [], 0
    with tempfile.TemporaryDirectory() as name:
        for what, make in cases:
            outcome, wrong, seconds = try_file(make(), Path(name), child)
            outcomes[f"{'mutated' if what.startswith('seed') else 'extreme'}: {outcome}"] += 1
            spent.append((seconds, what))
            if wrong:
                broken += 1
                print(f"VIOLATION {what}: {outcome}: {wrong}", flush=True)
    child.end()
    for outcome, count in sorted(outcomes.items()):
        print(f"{count:5} {outcome}")
    for seconds, what in sorted(spent, reverse=True)[:SLOWEST]:
        print(f"{seconds:7.1f} s of CPU: {what}")
    print(f"{broken} violations in {len(cases)} files")
    sys.exit(broken > 0)


if __name__ == "__main__":
    main()
