"""Do jobs on a cluster of Dask: on this machine (`--cluster local:4`) or on others (`--scheduler tls://host:8786`).

A scheduler runs whatever it is sent, so its address must be on this machine, or TLS certificates say who may use it, or
the user says that the network is trusted. The other direction is closed, too: what comes from workers are bytes, opened
as JSON and files with their hashes (`parcel`), and Dask's own pickles are refused meanwhile (`cluster_pickles`).

Dask gives a job of a lost worker to another one; after its limit (`allowed-failures`), the loop of the sweep tries
again, as long as others are finished. The scheduler of a local cluster is started again if it ends, and Dask's client
connects to it again. If another scheduler is lost, the sweep ends; the same command goes on with what is in the store.
"""

from __future__ import annotations

import concurrent.futures
import itertools
import logging
import pickle
import threading
import time
from contextlib import ExitStack, suppress
from pathlib import Path
from types import TracebackType
from typing import Any

from edgepress.converters.process.scratch import ScratchFolder
from edgepress.toolkit.errors import (
    ClusterError,
    EdgepressError,
    LostProcessError,
    LostWorkerError,
    StoreError,
    SweepError,
)
from edgepress.toolkit.search.cluster.setup import LocalCluster, Where
from edgepress.toolkit.search.cluster.worker import (
    do,
    entry_files,
    entry_header,
    error_of,
    pack,
    put_entry,
    refused_pickles,
    unpack,
)
from edgepress.toolkit.search.sweeping.jobs import Job
from edgepress.toolkit.search.sweeping.proposals import import_extra
from edgepress.toolkit.search.sweeping.store import Store, writing

CONNECT_S = 5.0
"""Seconds to wait for a scheduler on another machine."""
START_S = 60.0
"""Seconds to wait for one that was just started here."""
IDLE_S = 60.0
"""Seconds without any worker after which a sweep ends."""
TIMING_WORKER_S = 60.0
"""Seconds after the first worker within which one that may measure time must come; else timing jobs fail."""
LOOK_S = 0.5
"""Seconds between two looks at the workers."""
TIMING = "timing"
"""The resource of workers that may measure time."""


class ClusterRunner:
    """Does jobs on a cluster of Dask; see `runner.Runner`.

    Args:
        store: Where the results go; only this process writes to it.
        where: Which cluster.
    """

    def __init__(self, store: Store, where: Where) -> None:
        self._store = store
        self._where = where
        self._guard = threading.RLock()
        self._open: dict[concurrent.futures.Future[None], tuple[Job, Any]] = {}
        self._client: Any = None
        self._numbers = itertools.count()
        self._stack = ExitStack()
        self._closed = threading.Event()
        self._failure: ClusterError | None = None
        self._threads = 0
        self._can_time = False
        self._tagged = False
        self._had_workers = time.monotonic()
        self._first_worker: float | None = None
        self.cluster: LocalCluster | None = None
        """The processes of a cluster of this machine."""

    @property
    def title(self) -> str:
        """What runs the jobs, in words, with the address of Dask's dashboard."""
        where = self._where.scheduler or "this machine"
        link = self._client.dashboard_link if self._client is not None else ""
        return f"{self._threads} worker threads on {where}" + (f", {link}" if link else "")

    def free(self, job: Job) -> bool:
        """Whether a worker takes this job soon; true, too, if none ever will: then `submit` says so."""
        with self._guard:
            if self._failure is not None or (job.alone and self._no_timing()):
                return True
            if job.alone:
                return self._can_time and not any(other.alone for other, _ in self._open.values())
            return len(self._open) < 2 * self._threads  # one that waits for each that runs hides network latency

    def submit(self, job: Job) -> concurrent.futures.Future[None]:
        """Send a job to the scheduler, with the results that it needs."""
        future: concurrent.futures.Future[None] = concurrent.futures.Future()
        try:
            if job.alone and self._no_timing():
                raise SweepError(
                    f"No worker that may measure time came within {TIMING_WORKER_S:g} s.",
                    "Start one with --resources timing=1, or sweep with --rounds 0.",
                )
            inputs = [self._store.get(key) for key in job.needs.values()]
            entries = [entry for entry in inputs if entry is not None]  # a missing one is the worker's error
            files = {sha256: path for entry in entries for sha256, path in entry_files(entry).items()}
            header = {"job": job.to_dict(), "inputs": [entry_header(entry) for entry in entries]}
            self._send(job, pack(header, files), future)
        except Exception as e:
            self._end(future, e)
        return future

    def _send(self, job: Job, parcel: bytes, future: concurrent.futures.Future[None]) -> None:
        with self._guard:
            if self._failure is not None:
                raise self._failure
            sent = self._client.submit(
                do,
                parcel,
                key=f"{job.kind.rpartition(':')[2]}-{job.key[:12]}-{next(self._numbers)}",
                pure=False,
                resources={TIMING: 1} if job.alone else None,
            )
            self._open[future] = (job, sent)
        sent.add_done_callback(lambda sent: self._receive(future, job, sent))

    def _receive(self, future: concurrent.futures.Future[None], job: Job, sent: Any) -> None:
        """Check what came back, keep it, and end the job."""
        try:
            if sent.status == "finished":
                self._keep(job, self._fetch(sent))
                error: BaseException | None = None
            elif sent.status == "error":
                error = LostWorkerError(f"The workers that did it were lost: {_words(sent)}.")
            else:
                error = LostWorkerError("The scheduler lost the job.")
        except BaseException as e:
            error = e
        sent.release()
        self._end(future, error)

    def _fetch(self, sent: Any) -> object:
        try:
            return sent.result(timeout=START_S)
        except (TypeError, pickle.UnpicklingError) as e:
            raise LostProcessError(f"What a worker sent is refused: {e}.", "Use only workers of your own.") from e
        except Exception as e:
            raise LostWorkerError(f"The result was lost on its way: {type(e).__name__}: {e}.") from e

    def _keep(self, job: Job, parcel: object) -> None:
        """Keep a result; one that is refused counts as an attempt that failed, so another worker may do better."""
        try:
            header, files = unpack(parcel)
            if isinstance(result := header.get("result"), dict):
                if result.get("key") != job.key:
                    raise SweepError("A worker sent the result of another job.", "Use only workers of your own.")
                with writing(self._store.folder), ScratchFolder("in-", self._store.folder / "partial") as folder:
                    put_entry(self._store, result | {"job": job.to_dict()}, files, Path(folder))
                return
        except StoreError:
            raise
        except SweepError as e:
            raise LostProcessError(e.message, e.hint) from e
        raise error_of(header)

    def _end(self, future: concurrent.futures.Future[None], error: BaseException | None) -> None:
        """Finish a job, unless it is finished."""
        with self._guard:
            self._open.pop(future, None)
            if future.done():
                return
            if error is not None and not isinstance(error, EdgepressError):
                error = LostWorkerError(f"The cluster lost the job: {type(error).__name__}: {error}.")
            if error is None:
                future.set_result(None)
            else:
                future.set_exception(error)

    def __enter__(self) -> ClusterRunner:
        import_extra("distributed", "A sweep on a cluster")
        for name in ("distributed", "tornado", "asyncio"):
            logging.getLogger(name).setLevel(
                logging.CRITICAL + 1
            )  # what matters becomes an error of a job or the sweep
        with self._stack as stack:  # closes what was opened if a line fails
            stack.enter_context(refused_pickles())
            if not self._where.scheduler:
                self.cluster = stack.enter_context(LocalCluster(self._where.count, self._fail))
            self._connect()
            stack.callback(self._disconnect)
            watcher = threading.Thread(target=self._watch, daemon=True, name="cluster-workers")
            watcher.start()
            stack.callback(watcher.join, START_S)
            stack.callback(self._closed.set)
            self._stack = stack.pop_all()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        self._closed.set()
        self._lose_all(LostWorkerError("The sweep was stopped."), cancel=True)
        self._stack.close()

    def _connect(self) -> None:
        from distributed import Client, Security

        address = self._where.scheduler or (self.cluster.address if self.cluster else "")
        wait = CONNECT_S if self._where.scheduler else START_S
        tls = self._where.tls
        security = None
        if tls is not None:
            security = Security(
                tls_ca_file=str(tls["ca"]),
                tls_client_cert=str(tls["cert"]),
                tls_client_key=str(tls["key"]),
                require_encryption=True,
            )
        try:
            self._client = Client(
                address,
                timeout=wait,
                security=security,
                set_as_default=False,
                direct_to_workers=False,
                serializers=["msgpack"],
                deserializers=["msgpack"],
            )
        except Exception as e:
            raise ClusterError(
                f"The scheduler {address} did not answer within {wait:g} s ({type(e).__name__}: {str(e)[:200]}).",
                "Check its address and certificates, and that it runs: dask scheduler --host HOST.",
            ) from e
        self._look()

    def _disconnect(self) -> None:
        with suppress(Exception):
            self._client.close(timeout=2)

    def _fail(self, error: ClusterError) -> None:
        """End the sweep."""
        with self._guard:
            if self._failure is None:
                self._failure = error
                self._lose_all(error)

    def _lose_all(self, error: EdgepressError, *, cancel: bool = False) -> None:
        with self._guard:
            if cancel and self._open:
                with suppress(Exception):
                    self._client.cancel([sent for _, sent in self._open.values()], force=True)
            for future in [*self._open]:
                self._end(future, error)

    def _no_timing(self) -> bool:
        """Whether no worker that may measure time came in time; one that is lost may come back."""
        first = self._first_worker
        return not self._tagged and first is not None and time.monotonic() - first > TIMING_WORKER_S

    def _watch(self) -> None:
        while not self._closed.wait(LOOK_S):
            self._look()

    def _look(self) -> None:
        """Count the workers, and end the sweep if there is no scheduler, or no workers for long."""
        try:
            workers = [*self._client.scheduler_info(n_workers=-1)["workers"].values()]
            running = self._client.status == "running"
        except Exception:
            workers = []
            running = False
        with self._guard:
            self._threads = sum(int(worker["nthreads"]) for worker in workers) if running else 0
            self._can_time = self.cluster is not None or any(TIMING in worker["resources"] for worker in workers)
            self._tagged = self._tagged or self._can_time
            now = time.monotonic()
            if self._threads:
                self._had_workers = now
                self._first_worker = self._first_worker or now
            elif self.cluster is None and not running and now - self._had_workers > CONNECT_S:
                self._fail(ClusterError(
                    f"The scheduler {self._where.scheduler} was lost.", "Start it, and run the same command again."
                ))  # fmt: skip
            elif now - self._had_workers > IDLE_S:
                where = self._where.scheduler or "this machine"
                self._fail(ClusterError(
                    f"There was no worker on {where} for {IDLE_S:g} s.",
                    "Start one: dask worker ADDRESS; then run the same command again.",
                ))  # fmt: skip


def _words(sent: Any) -> str:
    """The exception of a job as text; its class may have been refused."""
    try:
        return str(sent.exception(timeout=2)).strip().splitlines()[0][:300]
    except Exception as e:
        return type(e).__name__
