"""Corrupted model files: none kills the process that is given one, shows a traceback, or makes it hang.

    python benchmarks/faults/corrupted_files.py [--copies 1000] [--seeds 10] [--seed 0] [--jobs 2] [--out corrupted/]
        [--real ../shared/real/models | --made-only] [--command-line 10]

Copies of real files and of files made here - `.tflite`, `.onnx`, `.keras` (one of them deflated), `.h5` - are damaged
in three ways, seeded: bits flipped (half of the time near the beginning, where the structure is), cut off, and spliced
(a piece of another file, or of the same one, in the place of a piece). Each goes to one of the public functions
`inspect`, `convert` and `predict`. They are called as they are, but for one thing: the child processes that they
start are kept from one call to the next, one for each kind of file, because importing TensorFlow ten thousand times
would be all that is measured. Some go through the command line itself, in a fresh process. What may happen: an answer,
an `EdgepressError`, a child that dies and is reported. What may not is any other exception, here or in the child, or a
call that takes more time of the CPU than the limits allow. Time of the CPU, of the call and of its child processes, so
that a busy machine breaks no rule.

Each seed is a process of its own, `--jobs` of them at a time, which writes a line for every copy into
`OUT/seed-N.jsonl`. An interrupted run goes on where it stopped when it is started again with the same `--out`. Copies
that broke a rule are kept in `OUT/violations/`.
"""

from __future__ import annotations

import argparse
import contextlib
import functools
import importlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, ClassVar, TypeVar

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("CUDA_VISIBLE_DEVICES", "-1")

import numpy as np
import psutil
from corruption import SHARES, damaged, files_by_kind, make_files

from edgepress.converters.contract.hints import Hints
from edgepress.converters.process.worker import ChildDied, Emit, Worker
from edgepress.runtime import load
from edgepress.runtime.board import usable_cpus
from edgepress.runtime.errors import EdgepressError
from edgepress.toolkit.conversion.convert import convert
from edgepress.toolkit.conversion.inspection import inspect
from edgepress.toolkit.data.for_model import contract_of
from edgepress.toolkit.measurement.prediction import predict

A = TypeVar("A")

SILENCE_S, MEMORY_BYTES = 60.0, 6 << 30
"""Limits of the kept child."""
LIMIT_S = 3 * SILENCE_S
"""Most time of the CPU that a call may take: a conversion opens the file once for each format, and makes the files."""
WAIT_S = 10 * LIMIT_S
"""Longest time that a command is waited for: that of a busy machine."""


class KeptWorker:
    """A `Worker` that does not end with the call that made it; when its process dies, the next call starts another."""

    alive: ClassVar[dict[str, Worker]] = {}
    kind = ""
    """The kind of files for which the next one is; each has its own, so that a crash costs only that one's imports."""

    def __init__(self, **_: Any) -> None:
        self.key = KeptWorker.kind
        if self.key not in KeptWorker.alive:
            KeptWorker.alive[self.key] = Worker(silence_s=SILENCE_S, memory_bytes=MEMORY_BYTES)
        self.pid = KeptWorker.alive[self.key].pid

    def call(self, function: Callable[[A, Emit], None], argument: A) -> Iterator[Any]:
        """See `Worker.call`."""
        try:
            yield from KeptWorker.alive[self.key].call(function, argument)
        except ChildDied:
            KeptWorker.end(self.key)
            raise

    def close(self) -> None:
        """Nothing yet; see `end`."""

    @classmethod
    def end(cls, *keys: str) -> None:
        """End these processes, or all."""
        for key in keys or tuple(cls.alive):
            if key in cls.alive:
                cls.alive.pop(key).close()


def _run_in_kept(function: Callable[[A, Emit], None], argument: A, **_: Any) -> Iterator[Any]:
    yield from KeptWorker().call(function, argument)


def _keep_children() -> None:
    """Put the kept child in the place of those that the public functions start."""
    importlib.import_module("edgepress.converters.conversion.conversion").Worker = KeptWorker  # type: ignore[attr-defined]
    for module in ("inspection", "prediction", "data.for_model"):
        importlib.import_module(f"edgepress.toolkit.{module}").run_in_child = _run_in_kept  # type: ignore[attr-defined]


def main() -> None:
    """Start a process for each seed, print the counts by outcome and by seed; exit with 1 on any violation."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--copies", type=int, default=1000, help="for each seed")
    parser.add_argument("--seed", type=int, default=0, help="the first")
    parser.add_argument("--seeds", type=int, default=1, help="how many, one after the other")
    parser.add_argument("--jobs", type=int, default=len(usable_cpus()), help="seeds at a time")
    parser.add_argument("--real", type=Path, default=Path("../shared/real/models"), help="folder of real files")
    parser.add_argument("--made-only", action="store_true", help="damage no real files, only those made here")
    parser.add_argument(
        "--command-line", type=int, default=10, help="copies of a seed that go through the command line"
    )
    parser.add_argument("--out", type=Path, help="folder that keeps what was done; none by default")
    parser.add_argument("--one", type=int, help=argparse.SUPPRESS)  # the part of a seed's process
    args = parser.parse_args()
    if args.one is not None:
        _one_seed(args, args.one)
        return
    if not args.made_only and not any(path.suffix in SHARES for path in args.real.rglob("*")):
        parser.error(f"--real {args.real} holds no model files; give another folder, or --made-only")
    start = time.monotonic()
    with tempfile.TemporaryDirectory() as name:
        args.out = args.out or Path(name)
        make_files(args.out / "made")
        seeds = range(args.seed, args.seed + args.seeds)
        with ThreadPoolExecutor(args.jobs) as pool:
            list(pool.map(lambda seed: _start(args, seed), seeds))
        lines = {seed: _done(args.out, seed) for seed in seeds}
    counts = Counter(line["outcome"] for found in lines.values() for line in found)
    seconds: dict[str, float] = defaultdict(float)
    for line in (line for found in lines.values() for line in found):
        seconds[line["call"]] += line["seconds"]
    for what, count in sorted(counts.items()):
        print(f"{count:6} {what}")
    for what, spent in sorted(seconds.items()):
        print(f"{spent:6.0f} s of CPU {what}")
    broken = {seed: [line for line in found if line["violation"]] for seed, found in lines.items()}
    for seed, found in lines.items():
        slowest = max((line["seconds"] for line in found), default=0)
        print(f"seed {seed}: {len(found)} copies, {len(broken[seed])} violations, slowest {slowest:.1f} s of CPU")
    for line in (line for found in broken.values() for line in found):
        print(f"\nseed {line['seed']}, copy {line['copy']}, {line['damage']}, {line['call']}: {line['violation']}")
    total = {"copies": sum(map(len, lines.values())), "violations": sum(map(len, broken.values()))}
    minutes = {"cpu_minutes": sum(seconds.values()) / 60, "minutes": (time.monotonic() - start) / 60}
    print(json.dumps(total | {"seeds": len(lines)} | {name: round(value, 1) for name, value in minutes.items()}))
    sys.exit(total["violations"] > 0 or total["copies"] < args.copies * args.seeds)


def _start(args: argparse.Namespace, seed: int) -> None:
    options = [
        f"--{name.replace('_', '-')}={getattr(args, name)}" for name in ("copies", "real", "command_line", "out")
    ]
    options += ["--made-only"] if args.made_only else []
    subprocess.run([sys.executable, __file__, "--one", str(seed), *options], check=False)
    print(f"seed {seed}: {len(_done(args.out, seed))} copies done", file=sys.stderr)


def _done(out: Path, seed: int) -> list[dict[str, Any]]:
    """The lines of a seed; one that was cut off when the run was interrupted is left out."""
    path = out / f"seed-{seed}.jsonl"
    lines = path.read_text().split("\n")[:-1] if path.exists() else []
    return [json.loads(line) for line in lines]


def _one_seed(args: argparse.Namespace, seed: int) -> None:
    files = files_by_kind(None if args.made_only else args.real, args.out / "made")
    done = _done(args.out, seed)
    _keep_children()
    log = args.out / f"seed-{seed}.jsonl"
    log.write_text("".join(json.dumps(line) + "\n" for line in done))  # without a line that was cut off
    with tempfile.TemporaryDirectory() as name, log.open("a") as out:
        for i in range(len(done), args.copies):
            line = _one_copy(args, seed, i, files, Path(name))
            out.write(json.dumps(line) + "\n")
            out.flush()
        KeptWorker.end()


def _one_copy(
    args: argparse.Namespace, seed: int, i: int, files: dict[str, list[Path]], folder: Path
) -> dict[str, Any]:
    """Damage a file, try it, and say what happened."""
    rng = np.random.default_rng([seed, i])
    # Kinds by turns, in their shares, so that any number of copies is spread alike.
    suffix = next(s for s, end in zip(SHARES, np.cumsum([*SHARES.values()]), strict=True) if (i * 0.37) % 1 < end)
    path = folder / f"copy{suffix}"
    source, damage = damaged(rng, files, suffix, path)
    verbs = ("inspect", "convert", "predict") if suffix in (".tflite", ".onnx") else ("inspect", "convert")
    verb = verbs[i // 3 % len(verbs)]
    by_command_line = i % max(1, args.copies // max(1, args.command_line)) == 0 and args.command_line > 0
    call = f"{'edgepress ' if by_command_line else ''}{verb} {suffix}"
    KeptWorker.kind = suffix
    start, violation = _cpu_seconds(), ""
    try:
        outcome = (_by_command_line if by_command_line else _in_process)(verb, path, source, folder)
    except Exception as e:
        outcome, violation = f"VIOLATION {type(e).__name__}", f"{type(e).__name__}: {str(e)[-1500:]}"
        KeptWorker.end(suffix)
    seconds = _cpu_seconds() - start
    if seconds > LIMIT_S:
        violation = violation or f"{seconds:.0f} s of CPU"
    if violation:
        kept = args.out / "violations" / f"{seed}-{i}-{verb}{suffix}"
        kept.parent.mkdir(exist_ok=True)
        shutil.copy(path, kept)
    line = {"seed": seed, "copy": i, "damage": f"{suffix}, {damage}", "call": call, "outcome": f"{call}: {outcome}"}
    return line | {"seconds": round(seconds, 3), "violation": violation}


def _cpu_seconds() -> float:
    """What this process has used of the CPU with its child processes, those that live and those that have ended."""
    total, this = 0.0, psutil.Process()
    for process in [this, *this.children(recursive=True)]:
        with contextlib.suppress(psutil.NoSuchProcess):  # it ended, and counts with its parent
            total += sum(process.cpu_times()[:4])
    return total


def _in_process(verb: str, path: Path, source: Path, folder: Path) -> str:
    """Call the public function and say how it ended; exceptions that are not ours pass."""
    try:
        if verb == "inspect":
            engine = inspect(path).engine
            return "answered" if engine is None or engine.opens else "answered; its engine does not open it"
        if verb == "predict":
            results = predict(path, [_item(source, folder)], hints=_hints(source))
            return "answered" if all(r.error is None for r in results) else "refused the item"
        format = "onnx" if path.suffix == ".onnx" else "tflite"
        variants = convert(path, f"{format}-float32,{format}-dynamic", out=folder / "out")
        if any("process that made it died" in v.error for v in variants):
            return "a child died, contained"
        return "answered" if all(v.path for v in variants) else "scheme refused"
    except EdgepressError as e:
        died = "crashed the process" in str(e) or "process that tried" in str(e)
        return "a child died, contained" if died else f"error of kind {e.kind}"


def _by_command_line(verb: str, path: Path, source: Path, folder: Path) -> str:
    more = {"predict": [str(_item(source, folder))], "inspect": []}
    options = more.get(
        verb, ["--to", f"{'onnx' if path.suffix == '.onnx' else 'tflite'}-float32", "--out", str(folder)]
    )
    arguments = [sys.executable, "-m", "edgepress.toolkit.cli.main", verb, str(path), *options, "--json"]
    done = subprocess.run(arguments, capture_output=True, text=True, timeout=WAIT_S, check=False)
    if done.returncode not in (0, 1) or "Traceback" in done.stderr:
        raise RuntimeError(f"exit code {done.returncode}: {done.stderr}")
    json.loads(done.stdout)
    return f"exit code {done.returncode}"


@functools.cache
def _hints(source: Path) -> Hints:
    """What `predict` needs to know of a file that others made: that items are not to be changed."""
    try:
        contract_of(source)
    except EdgepressError:
        return Hints(color="none")
    return Hints()


def _item(source: Path, folder: Path) -> Path:
    """An item of the shape that the undamaged file takes."""
    path = folder / f"{source.name}.npy"
    if not path.exists():
        try:
            model = load(source)
            np.save(path, np.zeros(model.shape, np.float32))
        except EdgepressError:  # it answers nobody: any item does
            np.save(path, np.zeros((16, 16, 3), np.uint8))
    return path


if __name__ == "__main__":
    main()
