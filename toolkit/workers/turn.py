"""The part of timing that runs in child processes: one turn of a candidate, from opening its file to its latencies.

A process that has imported an engine, and nothing else, forks for every turn (`take_turn`); the fork opens the file,
warms up, times calls and ends. So each turn of each candidate is a process of its own, which costs a few milliseconds
instead of the 0.2 s that a start of Python with an engine takes, and candidates that take turns have the same libraries
and items at the same addresses: where those lie changes the speed of all calls of a process by a percent or so, which
would be taken for a difference between the files. Where the model lies is drawn anew with every turn.

That process may be an engine's own environment, so this module imports nothing beyond NumPy and the runtime.
"""

from __future__ import annotations

import gc
import os
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from edgepress.converters.worker import Emit
from edgepress.runtime import load
from edgepress.runtime.engines import import_engine
from edgepress.runtime.errors import EdgepressError, EngineError, ModelFileError
from edgepress.toolkit.workers.opening import Candidate, Opening, open_candidate, opened

WINDOW, SLACK = 5, 0.02
"""Latency is stable when the median of `WINDOW` calls is not below that of the ones before by more than `SLACK`."""
WARM_NS, WARM_CALLS = 500_000_000, 200
"""Most that a warm-up may take, the one that is reached first ends it."""
TIMED_NS = 10_000_000
MIN_CALLS, MAX_CALLS = 3, 500
"""A turn times calls for about `TIMED_NS` nanoseconds, but at least and at most so many."""

Array = npt.NDArray[Any]


class Start(NamedTuple):
    """What a process is told that shall fork for turns.

    Attributes:
        engine: Its engine.
        items: An `.npy` file of test items, shape (N, *item shape), of the type that the files take.
    """

    engine: str
    items: str


class Turn(NamedTuple):
    """A turn to take.

    Attributes:
        candidate: Its engine is that of the process.
        cpus: CPUs to run on; empty: those of the process.
        limit_s: Seconds after which the turn is given up, at least 1.
    """

    candidate: Candidate
    cpus: tuple[int, ...]
    limit_s: int


class Taken(NamedTuple):
    """What a turn gave.

    Attributes:
        load_ns: Time to open the file, nanoseconds.
        first_ns: Time of the first call.
        warmup: Number of calls until the latency was stable.
        spent_ns: Time of all calls, those of the warm-up included.
        times: Time of each call after the warm-up, nanoseconds, int64, shape (calls,).
    """

    load_ns: int
    first_ns: int
    warmup: int
    spent_ns: int
    times: npt.NDArray[np.int64]


class Probe(NamedTuple):
    """A candidate to open for once in a process of its own, with the same items."""

    opening: Opening
    items: str


def probe(job: Probe, emit: Emit) -> None:
    """Open a candidate and let it answer once; emits the bytes that this took, None where the system does not tell.

    They are the peak of the process' resident memory over what it had when it had imported the engine.

    Raises:
        EdgepressError: It does not open, does not fit the data, or does not answer.
    """
    candidate = job.opening.candidate
    assert candidate.engine is not None
    import_engine(candidate.engine)
    batch = _batches(np.load(job.items), candidate.batch)[0]
    before = _forget_peak()
    try:
        open_candidate(job.opening, lambda _: None)
        opened().scores(batch)
    except EdgepressError:
        raise
    except Exception as e:  # engines raise what they like
        raise EngineError(f"{type(e).__name__}: {e}") from e
    emit(None if before is None else max(0, (_status("VmHWM") or before) - before))


def begin(start: Start, emit: Emit) -> None:
    """The first job of a process that forks for turns: import the engine and read the items."""
    import_engine(start.engine)
    _State.items = np.load(start.items)
    gc.collect()
    gc.disable()  # a collection would land in some candidate's figures by chance
    emit(None)


def take_turn(turn: Turn, emit: Emit) -> None:
    """Fork, let the fork take the turn and emit `Taken`, and wait for it.

    Raises:
        EdgepressError: What it raised on purpose, or how it died.
    """
    sys.stdout.flush()
    child = os.fork()
    if child == 0:
        try:
            signal.signal(signal.SIGALRM, signal.SIG_DFL)
            signal.alarm(turn.limit_s)  # the kernel ends it, whatever it hangs in
            emit(timed(turn, _State.items))
        except EdgepressError as e:
            emit(e)
        except Exception as e:  # engines raise what they like
            emit(EngineError(f"{type(e).__name__}: {e}"))
        finally:
            os._exit(0)
    code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    if code == -signal.SIGALRM:
        raise EngineError(f"A timing turn took over {turn.limit_s} s.", "Raise the limit with --time-cap.")
    if code:
        how = signal.Signals(-code).name if code < 0 else f"exit code {code}"
        raise ModelFileError(f"It crashed the process that timed it ({how}).", "Convert it again.")


def timed(turn: Turn, items: Array) -> Taken:
    """Open the file, warm it up until its latency is stable, and time calls of ready batches of `items`."""
    if turn.cpus:
        os.sched_setaffinity(0, turn.cpus)
    candidate, clock = turn.candidate, time.perf_counter_ns
    batches = _batches(items, candidate.batch)
    began = clock()
    model = load(candidate.file, candidate.engine, candidate.threads)
    load_ns = clock() - began
    warm = warm_up(model.scores, batches)
    calls = int(np.clip(TIMED_NS / np.median(warm[-WINDOW:]), MIN_CALLS, MAX_CALLS))
    times = timed_calls(model.scores, batches, calls)
    return Taken(load_ns, warm[0], max(0, len(warm) - WINDOW), sum(warm) + int(times.sum()), times)


def warm_up(call: Callable[[Array], Any], batches: list[Array]) -> list[int]:
    """Call until it gets no faster: nanoseconds of each call, of which the last `WINDOW` were stable.

    Bounded by `WARM_CALLS` calls and, from the third call on, by `WARM_NS`: a net that takes seconds has no more to
    gain from a warm-up than what its first calls showed.
    """
    times: list[int] = []
    clock = time.perf_counter_ns
    while len(times) < WARM_CALLS and (len(times) < MIN_CALLS or sum(times) < WARM_NS):
        batch = batches[len(times) % len(batches)]
        began = clock()
        call(batch)
        times.append(clock() - began)
        if len(times) >= 2 * WINDOW:
            before, now = np.median(times[-2 * WINDOW : -WINDOW]), np.median(times[-WINDOW:])
            if now >= (1 - SLACK) * before:
                break
    return times


def timed_calls(call: Callable[[Array], Any], batches: list[Array], calls: int) -> npt.NDArray[np.int64]:
    """Nanoseconds of each of `calls` calls, int64, shape (calls,)."""
    clock, times = time.perf_counter_ns, np.empty(calls, np.int64)
    for n in range(calls):
        batch = batches[n % len(batches)]
        began = clock()
        call(batch)
        times[n] = clock() - began
    return times


def _batches(items: Array, size: int) -> list[Array]:
    """Ready batches, contiguous, that go round the items; a batch larger than their number repeats some."""
    if size == 1:
        return [items[i : i + 1] for i in range(len(items))]
    rows = np.arange(size)
    return [items[(rows + start) % len(items)] for start in range(0, max(len(items), size), size)]


def _forget_peak() -> int | None:
    """Let the peak of the resident memory begin anew; that memory in bytes, None where the system does not tell."""
    try:
        Path("/proc/self/clear_refs").write_text("5")  # see proc(5)
    except OSError:
        return None
    return _status("VmRSS")


def _status(name: str) -> int | None:
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(f"{name}:"):
            return 1024 * int(line.split()[1])
    return None


class _State:
    items: Array
