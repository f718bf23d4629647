"""Time many files of one net in one process, in rounds, and judge their answers: what the rewrite benchmarks share.

Every round holds one block of calls for each file, in an order drawn anew, so that drift and neighbours hit all files
alike; a block begins with a call that is not counted, because the block before it took the caches. A comparison is the
median over rounds of the ratio of two blocks (`side_by_side.summarize`). One thread, pinned to one CPU.

On a busy machine, calls longer than the scheduler's slice hold the time of other processes and shorter ones do not, so
ratios are wrong; the CPU clock (`--clock cpu`: time that this process computes) leaves it out.
"""

from __future__ import annotations

import argparse
import contextlib
import gc
import hashlib
import json
import math
import os
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import cache
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from edgepress.runtime import load
from edgepress.runtime.board import usable_cpus
from edgepress.runtime.engines import open_session
from edgepress.toolkit.machine.host import choose_cpus, describe_host

Array = npt.NDArray[Any]
ROUNDS = 15
BUDGET_S = 0.4
"""Seconds of counted calls that a file gets in all rounds together, at least one call a round."""
CLOCKS: dict[str, Callable[[], int]] = {"wall": time.perf_counter_ns, "cpu": time.process_time_ns}
"""Clocks by the name of the option, nanoseconds."""
ENGINES = {"litert": "ai-edge-litert", "onnxruntime": "onnxruntime", "openvino": "openvino"}
"""The packages of the engines, whose versions are part of what a time depends on."""


def add_options(parser: argparse.ArgumentParser) -> None:
    """The options of timing."""
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    parser.add_argument("--budget-s", type=float, default=BUDGET_S, help="seconds of calls a file")
    parser.add_argument("--clock", choices=CLOCKS, default="wall", help="cpu for a busy machine")


def options_of(args: argparse.Namespace) -> dict[str, Any]:
    """The same as arguments of `timed`."""
    return {"rounds": args.rounds, "budget_s": args.budget_s, "clock": args.clock}


@contextlib.contextmanager
def pinned() -> Iterator[None]:
    """Keep this process, and the threads that engines start, on one CPU, without garbage collection."""
    mine = usable_cpus()
    os.sched_setaffinity(0, choose_cpus(1))
    gc.disable()
    try:
        yield
    finally:
        gc.enable()
        os.sched_setaffinity(0, mine)


def caller(path: Path, engine: str, item: Array) -> Callable[[], object]:
    """A function that answers one item (1, *shape) by the runtime's own session of a file."""
    _, session = open_session(path, engine, 1)
    batch = item.astype(session.dtype)
    if batch.shape[1:] != tuple(session.shape):  # peers' files may take channels first
        batch = np.ascontiguousarray(np.moveaxis(batch, -1, 1))
    return lambda: session.run(batch)


def timed(
    calls: Mapping[str, Callable[[], object]], *, rounds: int = ROUNDS, budget_s: float = BUDGET_S, clock: str = "wall"
) -> dict[str, list[float]]:
    """Seconds of a call of each function, one number a round."""
    rng, times = np.random.default_rng(0), {name: list[float]() for name in calls}
    with pinned():
        counts = {name: _count(call, budget_s / rounds, CLOCKS[clock]) for name, call in calls.items()}
        names = list(calls)
        for _ in range(rounds):
            for i in rng.permutation(len(names)):
                name = names[i]
                times[name].append(_block(calls[name], counts[name], CLOCKS[clock]))
    return times


def _count(call: Callable[[], object], seconds: float, clock: Callable[[], int]) -> int:
    """Calls of a block that takes about so long; the file is warm afterwards."""
    took = min(_block(call, 1, clock) for _ in range(3))
    return max(1, min(1000, round(seconds / max(took, 1e-6))))


def _block(call: Callable[[], object], count: int, clock: Callable[[], int]) -> float:
    times = []
    call()
    for _ in range(count):
        start = clock()
        call()
        times.append(clock() - start)
    return float(np.median(times)) / 1e9


def time_files(files: Mapping[str, Path], engine: str, item: Array, **options: Any) -> dict[str, list[float]]:
    """Seconds of a call of each file, one number a round; files of equal content are timed once."""
    first: dict[str, str] = {}
    for name, path in files.items():
        first.setdefault(file_hash(path), name)
    found = timed({name: caller(files[name], engine, item) for name in first.values()}, **options)
    return {name: found[first[file_hash(path)]] for name, path in files.items()}


def judged(path: Path, items: Mapping[str, Array], *, engine: str | None = None) -> dict[str, float]:
    """What a file's answers to the test items are worth: "right", of items with labels; "sqnr_db" and "agreement"."""
    scores = np.asarray(load(path, engine).scores(items["test"]), np.float64)
    truth = items["truth"]
    found = {
        "sqnr_db": sqnr_db(scores, truth),
        "agreement": float(np.mean(scores.argmax(1) == truth.argmax(1))),
        "items": float(len(truth)),
    }
    if "labels" in items:
        found["right"] = float(np.sum(scores.argmax(1) == items["labels"]))
    return found


def sqnr_db(scores: Array, truth: Array) -> float:
    """Signal to noise, dB; at most 200, and -200 of answers that are not finite."""
    if not np.isfinite(scores).all():
        return -200.0
    noise = float(np.square(scores - truth.astype(np.float64)).sum())
    return round(min(200.0, 10 * math.log10(float(np.square(truth.astype(np.float64)).sum()) / max(noise, 1e-30))), 2)


@cache
def file_hash(path: Path) -> str:
    """Hash of a file's content."""
    return hashlib.sha256(path.read_bytes()).hexdigest()[:16]


def key_of(*parts: Any) -> str:
    """Hash of all that a measurement depends on."""
    return hashlib.sha256(json.dumps(parts, sort_keys=True, default=str).encode()).hexdigest()[:16]


def machine(engine: str) -> list[str]:
    """The CPU and the engine's version, on which times depend."""
    return [str(describe_host().get("cpu")), metadata.version(ENGINES[engine])]


class Log:
    """JSON lines that only grow: one measurement a line, found again by its key.

    Attributes:
        lines: Every measurement by its key; of several under one key, all, in the order in which they were made.
    """

    def __init__(self, folder: Path, name: str, clock: str) -> None:
        path = self.path = folder / f"{name}{'' if clock == 'wall' else f'-{clock}'}.jsonl"
        self.lines: dict[str, list[dict[str, Any]]] = {}
        for line in path.read_text().splitlines() if path.exists() else []:
            try:
                found = json.loads(line)
                self.lines.setdefault(found["key"], []).append(found)
            except (ValueError, TypeError, KeyError):  # a killed run's last line
                print(f"left out a line of {path}: {line[:60]}", file=sys.stderr)

    def add(self, found: dict[str, Any]) -> dict[str, Any]:
        """Keep a measurement, which has a "key"."""
        with self.path.open("a") as file:
            print(json.dumps(found), file=file, flush=True)
        self.lines.setdefault(found["key"], []).append(found)
        return found

    def once(self, key: str, measure: Callable[[], dict[str, Any]]) -> dict[str, Any]:
        """The measurement with this key, made if there is none."""
        return self.lines[key][-1] if key in self.lines else self.add({"key": key} | measure())


def words(lines: Iterable[str]) -> None:
    """Print lines on standard output."""
    for line in lines:
        print(line, flush=True)
