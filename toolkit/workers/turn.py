"""Child process: one turn of timing, from opening the file to the latencies of its calls.

A process that has only imported an engine forks for every turn (`take_turn`); the fork opens the file, warms up, times
calls and ends. So each turn is a new process, which takes a few milliseconds instead of a start of Python with an
engine, and all candidates have libraries and items at the same addresses: these change the speed of all calls of a
process by about a percent, which would look like a difference between files. The model's address is drawn anew in every
turn.

Where turns do not fork (`edgepress.toolkit.machine.host.turns`), every turn is a new Python that imports the engine,
opens the file (`open_turn`) and times its calls in slices (`take_slice`), between which the other candidates take
theirs. All addresses are then drawn anew in every turn, so no candidate is favoured by them.
"""

from __future__ import annotations

import gc
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from edgepress.converters.process.worker import Emit
from edgepress.runtime.engines import import_engine
from edgepress.runtime.errors import EdgepressError
from edgepress.toolkit.workers.opening import Candidate, Opening, engine_errors, open_candidate, open_model
from edgepress.toolkit.workers.system import in_fork, pin

WINDOW = 5
"""Latency is stable when the median of so many calls is not below that of the ones before by more than `SLACK`."""
SLACK = 0.02
"""Share of the earlier median."""
WARM_NS = 500_000_000
"""Longest warm-up, nanoseconds."""
WARM_CALLS = 200
"""Largest number of calls of a warm-up."""
TIMED_NS = 10_000_000
"""Time that a turn times calls for, nanoseconds, about."""
MIN_CALLS = 3
"""Least number of calls of a turn, which times calls for about `TIMED_NS` nanoseconds."""
MAX_CALLS = 500
"""Largest number of calls of a turn."""
SLICES = 5
"""Slices of a turn that does not fork. Each times calls for about `TIMED_NS`, after a few untimed ones, up to `WINDOW`,
that fill the caches again. If one call takes longer, there are `MIN_CALLS` slices of one call, and no untimed ones."""

Array = npt.NDArray[Any]


class Start(NamedTuple):
    """What a process that takes turns needs.

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
        open_model().answer(batch)
    emit(None if before is None else max(0, (_status("VmHWM") or before) - before))


def begin(start: Start, emit: Emit) -> None:
    """First job of a process that takes turns: import the engine and read the items."""
    import_engine(start.engine)
    _TurnState.items = np.load(start.items)
    gc.collect()
    gc.disable()  # a collection would slow down some calls at random
    emit(None)


def take_turn(turn: Turn, emit: Emit) -> None:
    """Fork, let the fork take the turn and emit `Taken`, and wait for it.

    Raises:
        EdgepressError: The turn failed, crashed or took too long.
    """

    def work() -> None:
        try:
            with engine_errors(turn.candidate.file):
                emit(OpenTurn(turn, _TurnState.items).whole())
        except EdgepressError as e:
            emit(e)

    in_fork(work, turn.limit_s)


def open_turn(turn: Turn, emit: Emit) -> None:
    """Open the file in this process, which must take no other turn, and warm it up; `take_slice` times it.

    Raises:
        EdgepressError: It does not open or does not answer.
    """
    with engine_errors(turn.candidate.file):
        _TurnState.turn = OpenTurn(turn, _TurnState.items)
    emit(None)


def take_slice(turn: Turn, emit: Emit) -> None:
    """Time some more calls of the turn's open file and emit `Taken` of all calls so far.

    Raises:
        EdgepressError: A call failed.
    """
    with engine_errors(turn.candidate.file):
        emit(_TurnState.turn.next_slice())


class OpenTurn:
    """A turn whose file is open, and was called until its latency was stable."""

    def __init__(self, turn: Turn, items: Array) -> None:
        if turn.cpus:
            pin(turn.cpus)
        candidate = turn.candidate
        clock = time.perf_counter_ns
        self._batches = _batches(items, candidate.batch)
        began = clock()
        self._model = candidate.load()
        self._load_ns = clock() - began
        if self._model.stateful:  # a reset is not a part of the net, and may mean to open the file again
            self._model = candidate.load(keep_state=True)
        warm = warm_up(self._model.answer, self._batches)
        self._first_ns = warm[0]
        self._warmup = max(0, len(warm) - WINDOW)
        self._untimed_ns = sum(warm)
        self._fitting = TIMED_NS / np.median(warm[-WINDOW:])
        self._times: list[npt.NDArray[np.int64]] = []

    @property
    def taken(self) -> Taken:
        """The measurements of all calls so far; at least one slice, or the whole, was timed."""
        times = np.concatenate(self._times)
        return Taken(self._load_ns, self._first_ns, self._warmup, self._untimed_ns + int(times.sum()), times)

    def whole(self) -> Taken:
        """Time all calls of the turn at once."""
        self._time(MIN_CALLS)
        return self.taken

    def next_slice(self) -> Taken:
        """Time the calls of one slice, if there is one left, and return those of all slices so far."""
        if len(self._times) < (SLICES if self._fitting >= 1 else MIN_CALLS):
            untimed = timed_calls(self._model.answer, self._batches, min(WINDOW, int(self._fitting)))
            self._untimed_ns += int(untimed.sum())
            self._time(1)
        return self.taken

    def _time(self, least: int) -> None:
        calls = int(np.clip(self._fitting, least, MAX_CALLS))
        self._times.append(timed_calls(self._model.answer, self._batches, calls))


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
            before = np.median(times[-2 * WINDOW : -WINDOW])
            now = np.median(times[-WINDOW:])
            if now >= (1 - SLACK) * before:
                break
    return times


def timed_calls(call: Callable[[Array], Any], batches: list[Array], calls: int) -> npt.NDArray[np.int64]:
    """Nanoseconds of each of `calls` calls, int64, shape (calls,)."""
    clock = time.perf_counter_ns
    times = np.empty(calls, np.int64)
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
        Path("/proc/self/clear_refs").write_text("5", encoding="ascii")  # see proc(5)
    except OSError:
        return None
    return _status("VmRSS")


def _status(name: str) -> int | None:
    for line in Path("/proc/self/status").read_text(encoding="utf-8", errors="replace").splitlines():
        if line.startswith(f"{name}:"):
            return 1024 * int(line.split()[1])
    return None


class _TurnState:
    items: Array
    turn: OpenTurn
