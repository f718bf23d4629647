"""What a worker of a cluster does: the job of a parcel, in a child process, and the result as a parcel.

Results are kept in a store in the worker's cache folder. So a job whose result was lost on the way is not done again by
this machine, and a training that was killed goes on after its last epoch.
"""

from __future__ import annotations

import contextlib
import json
import platform
import shutil
import threading
import time
from pathlib import Path

from edgepress.converters.scratch import PREFIX, ScratchFolder
from edgepress.converters.worker import ChildDied, Worker
from edgepress.toolkit.caches import default_cache
from edgepress.toolkit.errors import (
    BusyError,
    EdgepressError,
    LostProcessError,
    LostWorkerError,
    StoreError,
    SweepError,
)
from edgepress.toolkit.sweeping.jobs import Job
from edgepress.toolkit.sweeping.local import HELD_BYTES, memory_of, run_here
from edgepress.toolkit.sweeping.parcel import entry_files, entry_header, pack, put_entry, unpack
from edgepress.toolkit.sweeping.store import Store

KEEP_S = 24 * 3600.0
"""Seconds for which a worker keeps results, and what killed jobs left."""
ERRORS: dict[str, type[EdgepressError]] = {
    "busy": BusyError,
    "ended": LostProcessError,
    "lost": LostWorkerError,
    "failed": SweepError,
}
"""Kinds of errors that travel."""

_idle: list[Worker] = []
_guard = threading.Lock()


def do(parcel: bytes) -> bytes:
    """Do a job.

    Args:
        parcel: "job", as `Job.to_dict` writes it, and "inputs", the results it needs, with their files.

    Returns:
        A parcel: "result" with its files, or "error", "message" and "hint". Never raises: Dask pickles exceptions.
    """
    try:
        header, files = unpack(parcel)
        store = Store(default_cache("worker"))
        _tidy(store)
        with ScratchFolder("in-", store.folder / "partial") as place:
            for number, entry in enumerate(header["inputs"]):
                if not store.keep(entry["key"]):
                    folder = Path(place) / str(number)
                    folder.mkdir()
                    put_entry(store, entry, files, folder)
        job = Job(**header["job"])
        _in_child(job, store)
        stored = store.get(job.key)
        if stored is None:
            raise LostWorkerError("The result was damaged on the worker's disk.")
        return pack({"result": entry_header(stored)}, entry_files(stored))
    except BaseException as e:
        return pack(_error(e))


def _error(e: BaseException) -> dict[str, str]:
    """An error as JSON; one of this machine's disk is that of a lost worker, since others may have room."""
    if isinstance(e, EdgepressError):
        kind = next((kind for kind, each in ERRORS.items() if isinstance(e, each)), "failed")
        kind = "lost" if isinstance(e, StoreError) else kind
        where = f" ({platform.node()})" if kind == "lost" else ""
        return {"error": kind, "message": f"{e.message}{where}", "hint": e.hint}
    lost = isinstance(e, (OSError, MemoryError, SystemExit, KeyboardInterrupt))
    message = f"The worker on {platform.node()} failed: {type(e).__name__}: {e}."
    return {"error": "lost" if lost else "failed", "message": message, "hint": ""}


def error_of(header: dict[str, object]) -> EdgepressError:
    """The error in a parcel that `do` returned."""
    kind = ERRORS.get(str(header.get("error")), SweepError)
    return kind(str(header.get("message", "The worker sent no result."))[:2000], str(header.get("hint", ""))[:2000])


def _in_child(job: Job, store: Store) -> None:
    """Do a job in a child process, which is kept for the next one if it is whole and small."""
    with _guard:
        worker = _idle.pop() if _idle else Worker()
    keep = False
    try:
        for _ in worker.call(run_here, (job.to_dict(), store.folder)):
            pass
        keep = True
    except ChildDied as e:
        raise LostProcessError(f"The process that did it ended: {e}.") from e
    except RuntimeError as e:
        raise SweepError(f"The job failed: {str(e).strip().splitlines()[-1]}.") from e
    except EdgepressError:
        keep = True
        raise
    finally:
        if keep and memory_of(worker.pid) < HELD_BYTES:
            with _guard:
                _idle.append(worker)
        else:
            worker.close()


def _tidy(store: Store) -> None:
    """Remove old results and what killed jobs left, at most once an hour."""
    folder = store.folder
    mark = store.folder / "tidied.json"
    now = time.time()
    with contextlib.suppress(OSError, ValueError):
        if now - float(json.loads(mark.read_text())) < KEEP_S / 24:
            return
    with contextlib.suppress(OSError):
        mark.write_text(json.dumps(now))
        for path in (folder / "results").glob("*/*"):
            if now - path.stat().st_mtime > KEEP_S:
                shutil.rmtree(path, ignore_errors=True)
        for path in {*(folder / "partial").glob("[!.]*")} - {*(folder / "partial").glob(f"{PREFIX}*")}:
            newest = max(p.stat().st_mtime for p in (path, *path.rglob("*")))
            if now - newest > KEEP_S:
                with contextlib.suppress(BusyError), store.working(path.name):  # a job that runs keeps its folder
                    pass
