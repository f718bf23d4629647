"""Child process: one turn of timing, from opening the file to the latencies of its calls.

A process that has only imported an engine forks for every turn (`take_turn`); the fork opens the file, warms up, times
calls and ends. So each turn is a new process, which takes a few milliseconds instead of the 0.2 s of starting Python
with an engine, and all candidates have libraries and items at the same addresses: these change the speed of all calls
of a process by about a percent, which would look like a difference between files. The model's address is drawn anew in
every turn.
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
from edgepress.runtime.engines import import_engine
from edgepress.runtime.errors import EdgepressError, EngineError, ModelFileError
from edgepress.toolkit.workers.opening import Candidate, Opening, engine_errors, open_candidate, opened

WINDOW, SLACK = 5, 0.02
"""Latency is stable when the median of `WINDOW` calls is not below that of the ones before by more than `SLACK`."""
WARM_NS, WARM_CALLS = 500_000_000, 200
"""Limits of a warm-up; the first one that is reached ends it."""
TIMED_NS = 10_000_000
MIN_CALLS, MAX_CALLS = 3, 500
"""A turn times calls for about `TIMED_NS` nanoseconds, within these limits of their number."""

Array = npt.NDArray[Any]


class Start(NamedTuple):
    """What a process that forks for turns needs.

    Attributes:
        engine: Its engine.
        items: An `.npy` file of test items, shape (N, *item shape), of the type that the files take.
    """

    engine: str
    items: str


class Turn(NamedTuple):
    """One turn.

    Attributes:
        candidate: Its engine is that of the process.
        cpus: CPUs to run on; empty: those of the process.
        limit_s: Seconds after which the turn is aborted, at least 1.
    """

    candidate: Candidate
    cpus: tuple[int, ...]
    limit_s: int


class Taken(NamedTuple):
    """The measurements of a turn.

    Attributes:
        load_ns: Time to open the file, nanoseconds.
        first_ns: Time of the first call.
        warmup: Number of calls before the latency was stable.
        spent_ns: Time of all calls, including the warm-up.
        times: Time of each call after the warm-up, nanoseconds, int64, shape (calls,).
    """

    load_ns: int
    first_ns: int
    warmup: int
    spent_ns: int
    times: npt.NDArray[np.int64]


class Probe(NamedTuple):
    """A candidate to open once in its own process, with the same items."""

    opening: Opening
    items: str


def probe(job: Probe, emit: Emit) -> None:
    """Open a candidate, let it answer once, and emit the memory that this took, bytes.

    This is the peak of the process's resident memory minus its memory after importing the engine; None where the system
    does not report it.

    Raises:
        EdgepressError: It does not open, does not match the data set, or does not answer.
    """
    candidate = job.opening.candidate
    assert candidate.engine is not None
    import_engine(candidate.engine)
    batch = _batches(np.load(job.items), candidate.batch)[0]
    before = _forget_peak()
    with engine_errors(candidate.file):
        open_candidate(job.opening, lambda _: None)
        opened().answer(batch)
    emit(None if before is None else max(0, (_status("VmHWM") or before) - before))


def begin(start: Start, emit: Emit) -> None:
    """First job of a process that forks for turns: import the engine and read the items."""
    import_engine(start.engine)
    _State.items = np.load(start.items)
    gc.collect()
    gc.disable()  # a collection would slow down some calls at random
    emit(None)


def take_turn(turn: Turn, emit: Emit) -> None:
    """Fork, let the fork take the turn and emit `Taken`, and wait for it.

    Raises:
        EdgepressError: The turn failed, crashed or took too long.
    """
    sys.stdout.flush()
    child = os.fork()
    if child == 0:
        try:
            signal.signal(signal.SIGALRM, signal.SIG_DFL)
            signal.alarm(turn.limit_s)  # the kernel ends it, even if native code hangs
            with engine_errors(turn.candidate.file):
                emit(timed(turn, _State.items))
        except EdgepressError as e:
            emit(e)
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
    model = candidate.load()
    load_ns = clock() - began
    if model.stateful:  # a reset is not a part of the net, and may mean to open the file again
        model = candidate.load(keep_state=True)
    warm = warm_up(model.answer, batches)
    calls = int(np.clip(TIMED_NS / np.median(warm[-WINDOW:]), MIN_CALLS, MAX_CALLS))
    times = timed_calls(model.answer, batches, calls)
    return Taken(load_ns, warm[0], max(0, len(warm) - WINDOW), sum(warm) + int(times.sum()), times)


def warm_up(call: Callable[[Array], Any], batches: list[Array]) -> list[int]:
    """Call until calls get no faster; nanoseconds of each call, the last `WINDOW` of which were stable.

    Limited to `WARM_CALLS` calls and, from the third call on, to `WARM_NS`: a net that takes seconds gains nothing from
    a longer warm-up.
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
    """Contiguous batches that cycle through the items; a batch larger than their number repeats some."""
    if size == 1:
        return [items[i : i + 1] for i in range(len(items))]
    rows = np.arange(size)
    return [items[(rows + start) % len(items)] for start in range(0, max(len(items), size), size)]


def _forget_peak() -> int | None:
    """Reset the peak of the resident memory; returns that memory in bytes, None where the system does not report it."""
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
