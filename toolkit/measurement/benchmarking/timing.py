"""Time candidates (files on engines) in interleaved rounds.

In each round, every candidate takes one turn, in a newly shuffled order, while the others sleep: a slow moment of the
machine affects all of them, and medians of the same round are compared with each other (`paired_ratio`). A turn is a
process (`edgepress.toolkit.workers.turn` explains why; `edgepress.toolkit.measurement.benchmarking.turns` starts it).
Processes that fork are restarted every few rounds, because the addresses of libraries are drawn when they start.

What is timed is `Model.scores` of a prepared batch, the call that a program on a board waits for. Limits: other load on
the host is not controlled, only reported (`edgepress.toolkit.measurement.benchmarking.quiet`). The method was chosen by
comparing files with themselves on a shared virtual machine with 2 CPUs: see docs/decisions.md and
`benchmarks/speed/aa.py`.
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from edgepress.converters.process.scratch import ScratchFolder
from edgepress.converters.process.worker import ChildDied
from edgepress.runtime.board import usable_cores
from edgepress.runtime.engines import ENGINES
from edgepress.toolkit.arguments import OnProgress
from edgepress.toolkit.errors import EdgepressError
from edgepress.toolkit.machine.host import choose_cpus, out_of_the_way, turns
from edgepress.toolkit.measurement.benchmarking.answers import crash_error
from edgepress.toolkit.measurement.benchmarking.options import AS_USUAL, BenchmarkOptions
from edgepress.toolkit.measurement.benchmarking.plan import BenchmarkPlan
from edgepress.toolkit.measurement.benchmarking.quiet import Watch
from edgepress.toolkit.measurement.benchmarking.turns import START_S, turns_by, worker_for
from edgepress.toolkit.results.figures import LatencyFigures
from edgepress.toolkit.results.records import Noise
from edgepress.toolkit.stats.intervals import Interval, paired_ratio
from edgepress.toolkit.workers.opening import Candidate, Opening
from edgepress.toolkit.workers.turn import Probe, Taken, probe

ITEMS = 16
"""Number of different items that calls use in turn."""
ROUNDS_A_START = 5
"""Rounds after which the processes that fork for turns are restarted."""
SEED = 0
"""Seed of the order of turns: the same candidates get the same order again."""


@dataclass
class Timing:
    """The measurements of one candidate, in nanoseconds.

    Attributes:
        taken: Its turns, one per round. A candidate that used up its time takes none in later rounds.
        memory_bytes: Peak resident memory minus that of a process that has only imported the engine; None if unknown.
    """

    taken: list[Taken] = field(default_factory=list)
    memory_bytes: int | None = None

    @property
    def medians(self) -> npt.NDArray[np.float64]:
        """Median latency of each round, shape (rounds,)."""
        return np.array([np.median(t.times) for t in self.taken])

    @property
    def seconds(self) -> float:
        """Total time of its turns."""
        return sum(float(t.load_ns + t.spent_ns) for t in self.taken) / 1e9


def is_timed(candidate: Candidate) -> bool:
    """Whether the latency of a candidate says something."""
    return candidate.engine not in ENGINES or ENGINES[candidate.engine].timed


def time_plan(
    plan: BenchmarkPlan,
    pairs: Sequence[Candidate],
    items: npt.NDArray[Any],
    options: BenchmarkOptions,
    *,
    on_progress: OnProgress | None,
) -> tuple[dict[Candidate, Timing | EdgepressError], Noise | None]:
    """Time the pairs of a plan that answered, with every number of threads and batch size; see `time_candidates`.

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
    timed = time_candidates(openings, items, watch, options, on_progress=on_progress)
    known = [(c, t) for c, t in zip(candidates, timed, strict=True) if isinstance(t, Timing)]
    baseline = [t for c, t in known if plan.baseline is not None and c[:2] == plan.baseline[:2]]
    medians = (baseline or [t for _, t in known] or [Timing()])[0].medians
    return dict(zip(candidates, timed, strict=True)), watch.noise(medians.tolist())


def time_candidates(
    openings: Sequence[Opening],
    items: npt.NDArray[Any],
    watch: Watch,
    options: BenchmarkOptions = AS_USUAL,
    *,
    on_progress: OnProgress | None = None,
) -> list[Timing | EdgepressError]:
    """Time candidates in interleaved rounds; one that fails or dies does so alone.

    Args:
        openings: Candidates, each with its engine's name, and how to open them.
        items: Test items for the calls to use in turn, shape (N, *item shape), of the type that the files take.
        watch: Entered during the rounds.
        options: Their `rounds`, `timing_s` and `time_cap` (of opening, and of each turn) apply.
        on_progress: Called with "latency" and the share that is done, 0-1.

    Returns:
        For each candidate, in their order: its timing, or why there is none.
    """
    with ScratchFolder() as folder:
        path = str(Path(folder) / "items.npy")
        np.save(path, items)
        outcomes = _probe(openings, path, options.time_cap)
        with out_of_the_way(tuple({cpu for o in openings for cpu in o.cpus})), watch:
            for share in _rounds(openings, outcomes, path, watch, options=options):
                if on_progress is not None:
                    on_progress("latency", share)
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


def _probe(openings: Sequence[Opening], items: str, cap_s: float) -> list[Timing | EdgepressError]:
    """Open each candidate once in a child process, to see whether it answers and how much memory it takes."""

    def probed(opening: Opening) -> Timing | EdgepressError:
        try:
            with worker_for(opening.candidate, cap_s + START_S) as worker:
                (memory,) = worker.call(probe, Probe(opening, items))
            return Timing(memory_bytes=memory)
        except EdgepressError as e:
            return e
        except ChildDied as e:
            return crash_error(opening.candidate, e)

    with ThreadPoolExecutor(usable_cores()) as pool:
        return list(pool.map(probed, openings))


def _rounds(
    openings: Sequence[Opening],
    outcomes: list[Timing | EdgepressError],
    items: str,
    watch: Watch,
    *,
    options: BenchmarkOptions,
) -> Iterator[float]:
    """Take the rounds, adding turns to `outcomes`; yields the share that is done after each."""
    shuffled = random.Random(SEED)
    order = list(range(len(openings)))
    for first in range(0, options.rounds, ROUNDS_A_START):
        with turns_by(turns(), items, max(1, round(options.time_cap))) as take_turns:
            for done in range(first, min(first + ROUNDS_A_START, options.rounds)):
                shuffled.shuffle(order)
                watch.look()
                timings = ((n, timing) for n in order if isinstance(timing := outcomes[n], Timing))
                able = [(n, timing) for n, timing in timings if timing.seconds < options.timing_s]
                for (n, timing), taken in zip(able, take_turns([openings[n] for n, _ in able]), strict=True):
                    if isinstance(taken, EdgepressError):
                        outcomes[n] = taken
                    else:
                        timing.taken.append(taken)
                yield (done + 1) / options.rounds
