"""Where jobs are done: the protocol between the loop of a sweep and what runs its jobs."""

from __future__ import annotations

from collections.abc import Callable
from types import TracebackType
from typing import Any, Protocol

from edgepress.toolkit.sweeping.jobs import Job


class Future(Protocol):
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

    def submit(self, job: Job) -> Future:
        """Begin a job; returns at once."""
        ...

    def __enter__(self) -> Runner: ...

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        """End: jobs that still run are stopped, and go on where they were in the next sweep."""
        ...
