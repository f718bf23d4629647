"""The loop of a sweep: asks for jobs, gives each to a runner once its inputs are there, and reports the results.

A job whose result is in the store is not done. One whose worker was lost is tried again as long as other jobs get done;
one whose own process ended, a few times (`ATTEMPTS`). One that failed is recorded, those that need it are left out, and
the others go on. All state but the results is in this process: after a kill, the same command finds the results in the
store and goes on.
"""

from __future__ import annotations

import contextlib
import heapq
import queue
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Literal, TypeAlias

from edgepress.toolkit.errors import (
    BusyError,
    ClusterError,
    EdgepressError,
    LostProcessError,
    LostWorkerError,
    StoreError,
    SweepError,
)
from edgepress.toolkit.search.sweeping.jobs import Job
from edgepress.toolkit.search.sweeping.runners import JobFuture, Runner
from edgepress.toolkit.search.sweeping.space import Proposer
from edgepress.toolkit.search.sweeping.store import Entry, Store

ATTEMPTS = 5
"""Most times that a job is begun whose own process ends each time."""
LOSSES = 20
"""Most times that a job is begun while no other job ends, if its worker or the scheduler is lost each time."""
BUSY_S = 1.0
"""Seconds before a job is tried again whose worker was lost, or that another sweep was doing; also the longest wait for
a job to end."""

Outcome: TypeAlias = Entry | EdgepressError
EventKind = Literal["kept", "started", "done", "again", "busy", "failed", "left out"]


@dataclass(frozen=True)
class Event:
    """Something that happened.

    Attributes:
        kind: "kept": the result was there; "started"; "done"; "again": its worker was lost, and it waits for another
            one; "busy": another sweep is doing it; "failed"; "left out": a job that it needs has failed.
        job: The job.
        outcome: Its result, or its error; None for "started".
        finished: Number of jobs that are finished.
        total: Number of jobs that were asked for so far.
    """

    kind: EventKind
    job: Job
    outcome: Outcome | None
    finished: int
    total: int


def run(
    proposer: Proposer, runner: Runner, store: Store, on_event: Callable[[Event], None] | None = None
) -> dict[str, Outcome]:
    """Do all jobs that a proposer asks for.

    Args:
        proposer: What is asked for jobs, and told the results.
        runner: Where they are done; entered and left by the caller.
        store: Where the results are.
        on_event: Called with each event, in this thread.

    Returns:
        The result of each job by its key, or the error.

    Raises:
        StoreError: The results can't be written; those that are there stay, and the next run goes on.
    """
    return _Loop(proposer, runner, store, on_event or (lambda event: None)).run()


class _Loop:
    def __init__(self, proposer: Proposer, runner: Runner, store: Store, on_event: Callable[[Event], None]) -> None:
        self._proposer = proposer
        self._runner = runner
        self._store = store
        self._on_event = on_event
        self._jobs: dict[str, Job] = {}
        self._order: dict[str, int] = {}
        self._outcomes: dict[str, Outcome] = {}
        self._missing: dict[str, set[str]] = {}  # what a job still waits for
        self._dependents: dict[str, list[str]] = {}
        self._ready: dict[tuple[str, bool], list[tuple[int, str]]] = {}  # a heap for each sort of job
        self._postponed: list[tuple[float, str]] = []  # a heap of jobs that another sweep does, or that lost a worker
        self._crashes: dict[str, int] = {}  # how often a job's own process ended
        self._losses: dict[str, int] = {}  # how often a job's worker was lost since the last job was done
        self._running: set[str] = set()
        self._ended: queue.SimpleQueue[tuple[str, JobFuture]] = queue.SimpleQueue()

    def run(self) -> dict[str, Outcome]:
        self._ask()
        while len(self._outcomes) < len(self._jobs):
            self._retry_postponed()
            for job in self._take_startable():
                self._submit(job)
            for key, future in self._take_ended():
                self._settle(key, future)
            self._ask()
        return self._outcomes

    def _ask(self) -> None:
        """Take new jobs until there are none: some are finished at once."""
        while new := {job.key: job for job in self._proposer.ask() if job.key not in self._jobs}:
            self._order |= {key: number for number, key in enumerate(new, start=len(self._order))}
            self._jobs |= new
            for job in new.values():
                self._add(job)

    def _add(self, job: Job) -> None:
        key = job.key
        if (entry := self._store.get(key)) is not None:
            self._finish(job, "kept", entry)
            return
        self._missing[key] = {need for need in job.needs.values() if not self._is_available(need)}
        for need in self._missing[key]:
            self._dependents.setdefault(need, []).append(key)
        if failed := [need for need in job.needs.values() if isinstance(self._outcomes.get(need), EdgepressError)]:
            self._leave_out(key, failed[0])
        elif not self._missing[key]:
            self._push(key)

    def _is_available(self, need: str) -> bool:
        outcome = self._outcomes.get(need)
        return isinstance(outcome, Entry) or (need not in self._jobs and self._store.get(need) is not None)

    def _push(self, key: str) -> None:
        job = self._jobs[key]
        heapq.heappush(self._ready.setdefault((job.kind, job.alone), []), (self._order[key], key))

    def _take_startable(self) -> Iterator[Job]:
        """Jobs that would start now, in their order; each is taken from those that are ready."""
        full: set[tuple[str, bool]] = set()
        while heaps := {sort: heap for sort, heap in self._ready.items() if heap and sort not in full}:
            sort, heap = min(heaps.items(), key=lambda item: item[1][0])
            job = self._jobs[heap[0][1]]
            if self._runner.free(job):
                heapq.heappop(heap)
                yield job
            else:
                full.add(sort)

    def _submit(self, job: Job) -> None:
        key = job.key
        self._running.add(key)
        self._report("started", job, None)
        self._runner.submit(job).add_done_callback(lambda future: self._ended.put((key, future)))

    def _take_ended(self) -> Iterable[tuple[str, JobFuture]]:
        """Jobs that have ended: at least one, unless none ends within `BUSY_S`."""
        futures: list[tuple[str, JobFuture]] = []
        if not self._running and not self._postponed and not any(self._ready.values()):
            self._refuse_circle()
            return futures
        with contextlib.suppress(queue.Empty):
            futures.append(self._ended.get(timeout=BUSY_S))
            while True:
                futures.append(self._ended.get_nowait())
        return futures

    def _settle(self, key: str, future: JobFuture) -> None:
        self._running.discard(key)
        job = self._jobs[key]
        error = future.exception()
        if isinstance(error, (StoreError, ClusterError)):
            raise error
        if isinstance(error, BusyError):
            self._postpone(key)
            self._report("busy", job, error)
        elif isinstance(error, LostWorkerError) and self._may_try_again(key, error):
            (self._push if isinstance(error, LostProcessError) else self._postpone)(key)
            self._report("again", job, error)
        elif error is None:
            if (entry := self._store.get(key)) is not None:
                self._losses.clear()
                self._finish(job, "done", entry)
            else:
                self._fail(job, SweepError("The result was damaged as soon as it was written.", "Check the disk."))
        elif isinstance(error, EdgepressError):
            self._fail(job, error)
        else:
            raise error

    def _may_try_again(self, key: str, error: LostWorkerError) -> bool:
        """Count a lost attempt. Those that are not the job's own fault count only as long as no job gets anywhere."""
        own = isinstance(error, LostProcessError)
        counts, most = (self._crashes, ATTEMPTS) if own else (self._losses, LOSSES)
        counts[key] = counts.get(key, 0) + 1
        return counts[key] < most

    def _postpone(self, key: str) -> None:
        heapq.heappush(self._postponed, (time.monotonic() + BUSY_S, key))

    def _retry_postponed(self) -> None:
        """Take up the jobs that another sweep was doing, or whose workers were lost."""
        while self._postponed and self._postponed[0][0] <= time.monotonic():
            _, key = heapq.heappop(self._postponed)
            if (entry := self._store.get(key)) is not None:
                self._finish(self._jobs[key], "kept", entry)
            else:
                self._push(key)

    def _finish(self, job: Job, kind: EventKind, outcome: Outcome) -> None:
        self._outcomes[job.key] = outcome
        self._report(kind, job, outcome)
        self._proposer.tell(job, outcome)
        if isinstance(outcome, EdgepressError):
            return
        for key in self._dependents.pop(job.key, ()):
            self._missing[key].discard(job.key)
            if not self._missing[key] and key not in self._outcomes:
                self._push(key)

    def _fail(self, job: Job, error: EdgepressError, kind: EventKind = "failed") -> None:
        self._finish(job, kind, error)
        for key in self._dependents.pop(job.key, ()):
            self._leave_out(key, job.key)

    def _leave_out(self, key: str, failed: str) -> None:
        if key not in self._outcomes:
            job = self._jobs[key]
            role = next(role for role, need in job.needs.items() if need == failed)
            self._fail(job, SweepError(f"Left out: there is no {role}, because its job failed."), "left out")

    def _refuse_circle(self) -> None:
        """Jobs that wait for one that nobody asked for would wait for ever."""
        for key in [key for key in self._jobs if key not in self._outcomes]:
            if key not in self._outcomes:
                self._fail(self._jobs[key], SweepError("Left out: no job makes what it needs."), "left out")

    def _report(self, kind: EventKind, job: Job, outcome: Outcome | None) -> None:
        self._on_event(Event(kind, job, outcome, len(self._outcomes), len(self._jobs)))
