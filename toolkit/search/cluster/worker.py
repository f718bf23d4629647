"""What a worker of a cluster does: a parcel of JSON and files in, a job in a child process, a parcel out, no pickles.

Results are kept in a store in the worker's cache folder. So a job whose result was lost on the way is not done again by
this machine, and a training that was killed goes on after its last epoch.

JSON and files as bytes, with a hash of each file: what travels between the machines of a sweep.

A parcel is opened without trust: nothing in it is code, and a file whose hash differs from the one that is promised is
refused. Layout: the length of the header in 8 bytes, big-endian; the header, a JSON object; the files.
"""

from __future__ import annotations

import contextlib
import hashlib
import io
import json
import pickle
import platform
import shutil
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from edgepress.converters.process.scratch import PREFIX, ScratchFolder
from edgepress.converters.process.worker import ChildDied, Worker
from edgepress.toolkit.documents import default_cache
from edgepress.toolkit.errors import (
    BusyError,
    EdgepressError,
    LostProcessError,
    LostWorkerError,
    StoreError,
    SweepError,
)
from edgepress.toolkit.search.sweeping.jobs import Job
from edgepress.toolkit.search.sweeping.runners import HELD_BYTES, memory_of, run_here
from edgepress.toolkit.search.sweeping.store import Entry, Store


class _RefusedError(pickle.UnpicklingError, AttributeError):
    """A pickle that is not opened. Dask goes on without what it can't open if the error is an `AttributeError`."""


class _Plain(pickle.Unpickler):
    """Opens pickles of texts, numbers and bytes, and of the types of these; other classes and functions are refused."""

    def find_class(self, module: str, name: str) -> Any:
        if module == "builtins" and name in ("str", "bytes"):
            return {"str": str, "bytes": bytes}[name]
        raise _RefusedError(f"a pickle of {module}.{name}")


def _loads(pickled: Any, *, buffers: Any = ()) -> Any:
    try:
        return _Plain(io.BytesIO(pickled), buffers=buffers).load()
    except Exception as e:
        raise _RefusedError(str(e)) from e


@contextmanager
def refused_pickles() -> Iterator[None]:
    """Replace Dask's unpickling in this process, where workers' exceptions and types of results would be opened.

    `deserializers=["msgpack"]` of the client covers results, but neither of these. Afterwards, Dask is as it was.
    """
    import distributed.client
    import distributed.protocol.pickle as theirs

    modules = (theirs, distributed.client)
    before = [module.loads for module in modules]
    for module in modules:
        module.loads = _loads
    try:
        yield
    finally:
        for module, loads in zip(modules, before, strict=True):
            module.loads = loads


HEADER_BYTES = 64 << 20
"""Largest header: results hold histories of trainings, no data."""


def pack(header: Mapping[str, Any], files: Mapping[str, Path] | None = None) -> bytes:
    """A parcel of a JSON object and files by their SHA-256."""
    contents = {sha256: path.read_bytes() for sha256, path in (files or {}).items()}
    sizes = [[sha256, len(content)] for sha256, content in contents.items()]
    text = json.dumps({"header": dict(header), "files": sizes}, allow_nan=False).encode()
    return b"".join((len(text).to_bytes(8, "big"), text, *contents.values()))


def unpack(parcel: object) -> tuple[dict[str, Any], dict[str, bytes]]:
    """The JSON object and the files by their SHA-256.

    Raises:
        SweepError: It is no parcel, or a file has another hash.
    """
    try:
        if not isinstance(parcel, bytes):
            raise TypeError(f"it is of type {type(parcel).__name__}")
        end = 8 + int.from_bytes(parcel[:8], "big")
        if not 8 < end <= min(len(parcel), HEADER_BYTES):
            raise ValueError("its header is cut off")
        document = json.loads(parcel[8:end])
        files = {}
        for sha256, size in document["files"]:
            content = parcel[end : end + size]
            if type(size) is not int or len(content) != size or hashlib.sha256(content).hexdigest() != sha256:
                raise ValueError(f"the file {str(sha256)[:12]} has another hash")
            files[sha256] = content
            end += size
        header = document["header"]
        if end != len(parcel) or not isinstance(header, dict):
            raise ValueError("its length or header is wrong")
    except (ValueError, TypeError, KeyError, RecursionError) as e:
        raise SweepError(f"What a worker sent is refused: {e}.", "Use only workers of your own.") from e
    return header, files


def entry_header(entry: Entry) -> dict[str, Any]:
    """A result as a JSON object, without its files, which `put_entry` reads."""
    names = ("key", "job", "result", "made")
    return {name: getattr(entry, name) for name in names} | {"files": dict(entry.hashes)}


def entry_files(entry: Entry) -> dict[str, Path]:
    """The files of a result by their SHA-256."""
    return {sha256: entry.files[name] for name, sha256 in entry.hashes.items()}


def put_entry(store: Store, header: Mapping[str, Any], files: Mapping[str, bytes], folder: Path) -> Entry:
    """Keep a result that came in a parcel.

    Args:
        store: Where to keep it.
        header: The result, as `entry_header` writes it.
        files: The files of the parcel.
        folder: An empty folder on the disk of the store, to write the files to.

    Raises:
        SweepError: A field is wrong, or a file is missing.
        StoreError: It can't be written.
    """
    from edgepress.toolkit.search.sweeping.checks import require_sound

    try:
        key = header["key"]
        job = header["job"]
        result = header["result"]
        made = header["made"]
        contents = {str(name): files[sha256] for name, sha256 in header["files"].items()}
        if unknown := header.keys() - {"key", "job", "result", "made", "files"}:
            raise ValueError(f"nobody expects the field {min(unknown)[:40]!r}")
        require_sound(job, result, made, {name: len(content) for name, content in contents.items()})
    except (KeyError, TypeError, AttributeError, ValueError, RecursionError) as e:
        reason = f"{e} is missing" if isinstance(e, KeyError) else str(e)
        raise SweepError(f"The result of a worker is refused: {reason}.", "Use only workers of your own.") from e
    paths = {}
    for number, (name, content) in enumerate(contents.items()):
        paths[name] = folder / str(number)
        paths[name].write_bytes(content)
    return store.put(key, job, result, made, files=paths)


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
