"""Where jobs of a sweep are done: the protocol of a runner, and processes of this machine.

Each process uses one thread, so that results do not depend on how many run at once, and small nets train faster side
by side than one after the other on all cores. How much memory a job takes is measured while jobs of its kind run; a
further one begins only if there is room for it beside what the running ones may still take.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Any, Protocol

from edgepress.converters.process.worker import ChildDied, Emit, Worker
from edgepress.runtime.board import usable_cores
from edgepress.toolkit.errors import InputError, LostProcessError, LostWorkerError, SweepError
from edgepress.toolkit.search.sweeping.jobs import Job, run_job
from edgepress.toolkit.search.sweeping.store import Store

NEED_BYTES = 1 << 30
"""Memory that a job is expected to take before one of its kind was measured: TensorFlow and a small net take 0.7 GB."""
LOOK_S = 0.5
"""Seconds between two measurements of memory."""
HELD_BYTES = 2 << 30
"""Memory above which a process that has done a job is replaced, because libraries do not give all back."""
ONE_THREAD = dict.fromkeys(("OMP_NUM_THREADS", "TF_NUM_INTRAOP_THREADS", "TF_NUM_INTEROP_THREADS"), "1")


class LocalRunner:
    """Does jobs in processes of this machine; see `runner.Runner`.

    Args:
        store: Where the results go.
        processes: Number of processes at most; None: one a core.

    Raises:
        InputError: The number can't be used.
    """

    def __init__(self, store: Store, processes: int | None = None) -> None:
        if processes is not None and processes < 1:
            raise InputError(f"The number of processes is {processes}; accepted: 1 or more.")
        self._store = store
        self._slots = processes or usable_cores()
        self._pool = ThreadPoolExecutor(self._slots, thread_name_prefix="sweep")
        self._guard = threading.Lock()
        self._idle: list[Worker] = []
        self._busy: dict[Worker, str] = {}  # the kind of job that each is doing
        self._running: list[Job] = []
        self._needs: dict[str, int] = {}
        self._closed = threading.Event()

    @property
    def title(self) -> str:
        """What runs the jobs, in words."""
        return f"up to {self._slots} process{'es' if self._slots > 1 else ''} on this machine"

    def free(self, job: Job) -> bool:
        """Whether there is a core and enough memory for this job; a timing job needs that nothing else runs."""
        with self._guard:
            if not self._running:
                return True
            if job.alone or any(other.alone for other in self._running) or len(self._running) >= self._slots:
                return False
            return self._room() >= self._needs.get(job.kind, NEED_BYTES)

    def submit(self, job: Job) -> Future[None]:
        """Begin a job in a process of its own."""
        with self._guard:
            self._running.append(job)
        return self._pool.submit(self._do, job)

    def __enter__(self) -> LocalRunner:
        threading.Thread(target=self._measure, daemon=True).start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        self._closed.set()
        self._pool.shutdown(wait=False, cancel_futures=True)
        with self._guard:
            workers = [*self._busy, *self._idle]
        for worker in workers:
            worker.close()
        self._pool.shutdown(wait=True)

    def _do(self, job: Job) -> None:
        worker = self._take(job)
        alive = True
        try:
            for _ in worker.call(run_here, (job.to_dict(), self._store.folder)):
                pass
        except ChildDied as e:
            alive = False
            raise LostProcessError(f"The process that did it ended: {e}.") from e
        except RuntimeError as e:
            raise SweepError(f"The job failed: {str(e).strip().splitlines()[-1]}.") from e
        finally:
            self._give_back(worker, job, keep=alive and memory_of(worker.pid) < HELD_BYTES)

    def _take(self, job: Job) -> Worker:
        with self._guard:
            if self._closed.is_set():
                raise LostWorkerError("The sweep was stopped.")
            worker = self._idle.pop() if self._idle else Worker()
            self._busy[worker] = job.kind
        return worker

    def _give_back(self, worker: Worker, job: Job, *, keep: bool) -> None:
        with self._guard:
            self._busy.pop(worker)
            self._running.remove(job)
            if keep := keep and not self._closed.is_set():
                self._idle.append(worker)
        if not keep:
            worker.close()

    def _room(self) -> int:
        """Bytes that are free, less what the running jobs are expected to take beyond what they have."""
        import psutil

        free = int(psutil.virtual_memory().available)
        expected = sum(
            max(0, self._needs.get(kind, NEED_BYTES) - memory_of(worker.pid)) for worker, kind in self._busy.items()
        )
        return free - expected

    def _measure(self) -> None:
        """Note the most memory that a job of each kind has taken."""
        while not self._closed.wait(LOOK_S):
            with self._guard:
                busy = [(worker.pid, kind) for worker, kind in self._busy.items()]
            for pid, kind in busy:
                self._needs[kind] = max(self._needs.get(kind, 0), memory_of(pid))


def run_here(argument: tuple[dict[str, Any], Path], emit: Emit) -> None:
    """Do a job in this process, which ends when the sweep that started it does (`worker_child`)."""
    job, folder = argument
    os.environ.update(ONE_THREAD)  # before TensorFlow is imported
    run_job(Job(**job), Store(folder))


def memory_of(pid: int) -> int:
    """Resident memory of a process and its children, bytes; 0 if it has ended."""
    import psutil

    def resident() -> Iterator[int]:
        process = psutil.Process(pid)
        for each in (process, *process.children(recursive=True)):
            with suppress(psutil.Error):
                yield int(each.memory_info().rss)

    with suppress(psutil.Error):
        return sum(resident())
    return 0


class JobFuture(Protocol):
    """What `concurrent.futures.Future` and that of Dask have in common."""

    def exception(self) -> BaseException | None:
        """The error of a job that is done; None if it succeeded."""
        ...

    def add_done_callback(self, function: Callable[[Any], Any], /) -> Any:
        """Call a function with this future when the job is done, perhaps in another thread."""
        ...


class Runner(Protocol):
    """Does jobs; used as a context manager.

    When a future is done without an exception, the result is in the store that the loop reads. Its exception is one of

    - `LostWorkerError`: the worker, its machine or the scheduler ended; the loop tries again as long as others end;
    - `LostProcessError`: only the process of this job ended; the loop tries again, a few times;
    - `BusyError`: another process is doing the job; the loop comes again later;
    - `StoreError`, `ClusterError`: the results can't be written, or the cluster is lost; the loop ends the sweep;
    - any other `EdgepressError`: the job failed, and is recorded as failed.
    """

    @property
    def title(self) -> str:
        """What runs the jobs, in words, with the address of a dashboard if there is one: "2 processes"."""
        ...

    def free(self, job: Job) -> bool:
        """Whether the job would start soon if it were submitted now.

        The loop submits those jobs only, in its order, so that a job of more importance that comes later is not behind
        many others. A timing job (`Job.alone`) needs a machine where nothing else runs.
        """
        ...

    def submit(self, job: Job) -> JobFuture:
        """Begin a job; returns at once."""
        ...

    def __enter__(self) -> Runner: ...

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        """End: jobs that still run are stopped, and go on where they were in the next sweep."""
        ...
