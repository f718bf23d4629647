"""Latency of candidates: who takes a turn when, and what the turns add up to.

Rounds are interleaved: in each, every candidate takes one turn, in an order shuffled anew, while all others sleep, so
that a slow moment of the machine hits all alike, and a round's medians are compared with each other (`paired_ratio`).
What a turn is, and why each is a process of its own, is told in `edgepress.toolkit.workers.turn`. The processes that
fork for the turns are started anew every few rounds: where libraries lie in memory is drawn when they start.

The clock is around `Model.scores` of a ready batch, which is what a program on a board waits for. Limits: no other load
is made or controlled; what runs beside it is in the figures, and `edgepress.toolkit.benchmarking.quiet` says so.

Chosen by experiment on a shared virtual machine with 2 CPUs, a file against itself: see docs/decisions.md and
`benchmarks/aa.py`.
"""

from __future__ import annotations

import random
import tempfile
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from edgepress.converters.worker import ChildDied, Worker
from edgepress.runtime.board import usable_cores
from edgepress.toolkit.benchmarking.options import ROUNDS, BenchmarkOptions
from edgepress.toolkit.benchmarking.plan import Plan
from edgepress.toolkit.benchmarking.quiet import Watch
from edgepress.toolkit.engines.environments import python_for
from edgepress.toolkit.errors import EdgepressError, ModelFileError
from edgepress.toolkit.host.cpus import choose_cpus, out_of_the_way
from edgepress.toolkit.progress import OnProgress
from edgepress.toolkit.results.figures import LatencyFigures
from edgepress.toolkit.results.records import Noise
from edgepress.toolkit.stats.intervals import Interval, paired_ratio
from edgepress.toolkit.workers.opening import Candidate, Opening
from edgepress.toolkit.workers.turn import Probe, Start, Taken, Turn, begin, probe, take_turn

ITEMS = 16
"""Different items that calls take in turn."""
ROUNDS_A_START = 5
"""Rounds after which the processes that fork for turns are started anew."""
SEED = 0
"""Of the order of the turns: the same candidates take the same order again."""
START_S = 60.0
"""Seconds that a process may take to import an engine."""


@dataclass
class Timing:
    """What was measured of one candidate; times in nanoseconds.

    Attributes:
        taken: Its turns, one a round. A candidate that used up its time takes none in later rounds.
        memory_bytes: Peak resident memory over that of a process that has only imported the engine; None if unknown.
    """

    taken: list[Taken] = field(default_factory=list)
    memory_bytes: int | None = None

    @property
    def medians(self) -> npt.NDArray[np.float64]:
        """Median latency of each round, shape (rounds,)."""
        return np.array([np.median(t.times) for t in self.taken])

    @property
    def seconds(self) -> float:
        """Time that its turns took."""
        return sum(float(t.load_ns + t.spent_ns) for t in self.taken) / 1e9


def time_plan(
    plan: Plan,
    pairs: Sequence[Candidate],
    items: npt.NDArray[Any],
    options: BenchmarkOptions,
    *,
    on_progress: OnProgress | None = None,
) -> tuple[dict[Candidate, Timing | EdgepressError], Noise | None]:
    """Time pairs with every number of threads and batch size of a plan.

    Args:
        plan: The plan.
        pairs: The pairs of the plan whose answers are known: nothing else is timed.
        items: Test items for the calls to use in turn, shape (N, *item shape).
        options: The benchmark's settings.
        on_progress: Called with "latency" and the share that is done, 0-1.

    Returns:
        The timing of each candidate, or why there is none, and how quiet the host was (None if nothing was timed).
    """
    candidates = [c._replace(threads=t, batch=b) for t, b in plan.shapes for c in pairs]
    if not candidates:
        return {}, None

    def cpus(threads: int) -> tuple[int, ...]:
        return choose_cpus(threads) if options.cpus is None else tuple(options.cpus)

    openings = [Opening(c, plan.data.labels, plan.data.input, cpus(c.threads)) for c in candidates]
    watch = Watch(cpus(max(threads for threads, _ in plan.shapes)))
    timed = time_candidates(
        openings,
        items,
        watch,
        rounds=options.rounds,
        timing_s=options.timing_s,
        cap_s=options.time_cap_s,
        on_progress=on_progress,
    )
    known = [(c, t) for c, t in zip(candidates, timed, strict=True) if isinstance(t, Timing)]
    baseline = [t for c, t in known if plan.baseline is not None and c[:2] == plan.baseline[:2]]
    medians = (baseline or [t for _, t in known] or [Timing()])[0].medians
    return dict(zip(candidates, timed, strict=True)), watch.noise(medians.tolist())


def time_candidates(
    openings: Sequence[Opening],
    items: npt.NDArray[Any],
    watch: Watch,
    *,
    rounds: int = ROUNDS,
    timing_s: float = 10.0,
    cap_s: float = 120.0,
    on_progress: OnProgress | None = None,
) -> list[Timing | EdgepressError]:
    """Time candidates in interleaved rounds; one that fails or dies does so alone.

    Args:
        openings: Candidates, each with its engine's name, and how to open them.
        items: Test items for the calls to take in turn, shape (N, *item shape), of the type that the files take.
        watch: Is entered for the time of the rounds.
        rounds: Rounds of timing, at least 1; 6 or more give an interval.
        timing_s: Seconds of its own turns after which a candidate takes no more.
        cap_s: Seconds that opening and one turn may each take; beyond them the candidate has failed.
        on_progress: Called with "latency" and the share that is done, 0-1.

    Returns:
        One a candidate, in their order: its timing, or why there is none.
    """
    with tempfile.TemporaryDirectory(prefix="edgepress-") as folder:
        path = str(Path(folder) / "items.npy")
        np.save(path, items)
        outcomes = _probed(openings, path, cap_s)
        with out_of_the_way(tuple({cpu for o in openings for cpu in o.cpus})), watch:
            _take_rounds(openings, outcomes, path, watch, rounds, timing_s, cap_s, on_progress)
    return outcomes


def latency_figures(timing: Timing, baseline: Timing | None) -> LatencyFigures:
    """Latency of a candidate, and its speed-up over the baseline.

    Args:
        timing: The candidate's, with at least one turn.
        baseline: The baseline's with the same threads and batch size, None if there is none. The speed-up of the
            baseline itself, the same object as `timing`, is 1 by definition.
    """
    times = np.concatenate([t.times for t in timing.taken]) / 1000
    p50, p90, p99 = (float(v) for v in np.percentile(times, (50, 90, 99)))
    speedup = None if baseline is None else paired_ratio(baseline.medians, timing.medians)
    if timing is baseline:
        speedup = Interval(1.0, 1.0, 1.0)
    return LatencyFigures(
        load_ms=float(np.median([t.load_ns for t in timing.taken])) / 1e6,
        first_us=float(np.median([t.first_ns for t in timing.taken])) / 1000,
        warmup=float(np.median([t.warmup for t in timing.taken])),
        min_us=float(np.min(times)),
        p50_us=p50,
        p90_us=p90,
        p99_us=p99,
        count=len(times),
        rounds=len(timing.taken),
        round_medians_us=tuple(float(v) / 1000 for v in timing.medians),
        round_p90s_us=tuple(float(np.percentile(t.times, 90)) / 1000 for t in timing.taken),
        round_p99s_us=tuple(float(np.percentile(t.times, 99)) / 1000 for t in timing.taken),
        latency_quantiles_us=tuple(float(v) for v in np.percentile(times, np.arange(0, 101, 2))),
        speedup=speedup.estimate if speedup else None,
        speedup_low=speedup.low if speedup else None,
        speedup_high=speedup.high if speedup else None,
        memory_bytes=timing.memory_bytes,
    )


def _probed(openings: Sequence[Opening], items: str, cap_s: float) -> list[Timing | EdgepressError]:
    """Open each candidate once in a process of its own: does it answer, and what memory does it take?"""

    def probed(opening: Opening) -> Timing | EdgepressError:
        try:
            with _worker(opening.candidate, cap_s + START_S) as worker:
                (memory,) = worker.call(probe, Probe(opening, items))
            return Timing(memory_bytes=memory)
        except EdgepressError as e:
            return e
        except ChildDied as e:
            return _crash(opening.candidate, e)

    with ThreadPoolExecutor(usable_cores()) as pool:
        return list(pool.map(probed, openings))


def _take_rounds(
    openings: Sequence[Opening],
    outcomes: list[Timing | EdgepressError],
    items: str,
    watch: Watch,
    rounds: int,
    timing_s: float,
    cap_s: float,
    on_progress: OnProgress | None,
) -> None:
    shuffled = random.Random(SEED)
    order = list(range(len(openings)))
    for first in range(0, rounds, ROUNDS_A_START):
        with _Processes(items, cap_s) as processes:
            for done in range(first, min(first + ROUNDS_A_START, rounds)):
                shuffled.shuffle(order)
                watch.look()
                for index in order:
                    timing = outcomes[index]
                    if isinstance(timing, Timing) and timing.seconds < timing_s:
                        try:
                            timing.taken.append(processes.turn(openings[index]))
                        except EdgepressError as e:
                            outcomes[index] = e
                if on_progress is not None:
                    on_progress("latency", (done + 1) / rounds)


class _Processes:
    """The processes that fork for turns, one an engine; each is started when it is first needed."""

    def __init__(self, items: str, cap_s: float) -> None:
        self._items, self._cap_s = items, cap_s
        self._workers: dict[str, Worker] = {}

    def __enter__(self) -> _Processes:
        return self

    def __exit__(self, *_: object) -> None:
        for worker in self._workers.values():
            worker.close()

    def turn(self, opening: Opening) -> Taken:
        """Let a candidate take a turn.

        Raises:
            EdgepressError: It failed or died.
        """
        candidate = opening.candidate
        engine = candidate.engine or ""
        limit_s = max(1, round(self._cap_s))
        try:
            if engine not in self._workers:
                self._workers[engine] = _worker(candidate, limit_s + START_S)
                list(self._workers[engine].call(begin, Start(engine, self._items)))
            taken: Taken | EdgepressError
            (taken,) = self._workers[engine].call(take_turn, Turn(candidate, opening.cpus, limit_s))
        except ChildDied as e:
            self._workers.pop(engine).close()
            raise _crash(candidate, e) from e
        if isinstance(taken, EdgepressError):
            raise taken
        return taken


def _worker(candidate: Candidate, silence_s: float) -> Worker:
    return Worker(silence_s=silence_s, python=python_for(candidate.engine or ""))


def _crash(candidate: Candidate, error: ChildDied) -> EdgepressError:
    where = f"{candidate.file} on {candidate.engine}"
    return ModelFileError(f"{where} crashed the process that ran it ({error}).", "Convert it again.")
