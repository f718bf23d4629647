"""A job of a sweep: its key, and how it is done. `run_job` is a function of a job's JSON and the store alone.

The kinds of jobs and their functions are in `KINDS`. A program that sweeps something of its own names a function as
the kind, "module:function"; tests and benchmarks do that. A function is called as

    def train(job: Job, inputs: Mapping[str, Entry], folder: Path) -> Made

with the results that the job needs, by their roles, and a folder to work in. What an attempt that was killed left in
this folder is still there in the next one on the same machine.
"""

from __future__ import annotations

import dataclasses
import functools
import importlib
import os
import platform
import time
import traceback
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from typing import Any

from edgepress.toolkit.documents import default_cache
from edgepress.toolkit.errors import EdgepressError, SweepError
from edgepress.toolkit.search.sweeping.store import Entry, Store, key_of

KINDS = {
    "train": "edgepress.toolkit.search.sweeping.work:train",
    "part": "edgepress.toolkit.search.sweeping.search:train_part",
    "convert": "edgepress.toolkit.search.sweeping.work:convert",
    "time": "edgepress.toolkit.search.sweeping.work:time",
}
"""The function of each kind of job, as "module:function"."""
PACKAGES: dict[str, tuple[str, ...]] = {
    "train": ("edgepress", "tensorflow", "keras", "numpy", "pillow"),
    "part": ("edgepress", "tensorflow", "keras", "numpy", "pillow"),
    "convert": ("edgepress", "tensorflow", "ai-edge-litert", "litert-quantizer", "tf2onnx", "onnx", "onnxruntime"),
    "time": ("edgepress", "ai-edge-litert", "onnxruntime"),
}
"""Packages whose versions are part of the key of a job of each kind."""


@dataclass(frozen=True)
class Job:
    """One job.

    Attributes:
        kind: A name in `KINDS`, or "module:function".
        arguments: JSON object; all that the result depends on, the hash of the data included.
        needs: Keys of the jobs whose results it needs, by their roles.
        context: JSON object that the result does not depend on, such as where the data are; not part of the key.
        alone: Whether it measures time, so that nothing else may run on its machine; not part of the key.
        versions: Versions of the packages that it depends on; None: those of `PACKAGES` that are installed.
    """

    kind: str
    arguments: Mapping[str, Any]
    needs: Mapping[str, str] = field(default_factory=dict)
    context: Mapping[str, Any] = field(default_factory=dict)
    alone: bool = False
    versions: Mapping[str, str] | None = None

    def __post_init__(self) -> None:
        if self.versions is None:
            object.__setattr__(self, "versions", versions_of(self.kind))

    @functools.cached_property
    def key(self) -> str:
        """The SHA-256 of all that the result depends on, 64 hexadecimal digits."""
        return key_of(self.to_dict())

    def to_dict(self) -> dict[str, Any]:
        """The job as a JSON object; `Job(**...)` makes it again."""
        names = [f.name for f in dataclasses.fields(self)]
        values = {name: getattr(self, name) for name in names}
        return {name: dict(value) if isinstance(value, Mapping) else value for name, value in values.items()}


@dataclass(frozen=True)
class Made:
    """What the function of a kind returns.

    Attributes:
        result: JSON object, equal for equal jobs.
        files: Files to keep, by their names.
        made: JSON object of what differs between two runs of the same job, such as times.
    """

    result: Mapping[str, Any]
    files: Mapping[str, Path] = field(default_factory=dict)
    made: Mapping[str, Any] = field(default_factory=dict)


def versions_of(kind: str) -> dict[str, str]:
    """The installed versions of the packages that jobs of a kind depend on."""
    return {name: _version(name) for name in PACKAGES.get(kind, ("edgepress",))}


def run_job(job: Job, store: Store) -> Entry:
    """Do a job and keep its result, unless it is there.

    Raises:
        StoreError: The results can't be written, or the disk is full: the sweep should end.
        BusyError: Another process is doing it: come again later.
        EdgepressError: The job failed, and would again.
    """
    if (stored := store.get(job.key)) is not None:
        return stored
    if differ := [f"{n} {_version(n)} instead of {v}" for n, v in (job.versions or {}).items() if _version(n) != v]:
        raise SweepError(
            f"This machine ({platform.node()}) has {', '.join(differ)}.", "Install the same versions on all machines."
        )
    inputs = {role: store.get(key) for role, key in job.needs.items()}
    if lost := [role for role, entry in inputs.items() if entry is None]:
        raise SweepError(f"The {lost[0]} that the job needs is missing or damaged.", "Run the sweep again.")
    with store.working(job.key) as folder:
        if (stored := store.get(job.key)) is not None:  # another process has just done it
            return stored
        with machine(alone=job.alone):
            began = time.monotonic()
            created = datetime.now(UTC).isoformat(timespec="seconds")
            output = _call_kind(job, {role: entry for role, entry in inputs.items() if entry is not None}, folder)
            seconds = round(time.monotonic() - began, 3)
        about = {"host": platform.node(), "seconds": seconds, "created": created} | dict(output.made)
        return store.put(job.key, job.to_dict(), output.result, about, files=output.files)


def _call_kind(job: Job, inputs: Mapping[str, Entry], folder: Path) -> Made:
    """What the function of the job's kind returns; its unexpected errors become errors of this job."""
    module, colon, name = KINDS.get(job.kind, job.kind).partition(":")
    if not colon:
        raise SweepError(f"There is no kind of job {job.kind!r}.", f"Accepted: {', '.join(KINDS)}, MODULE:FUNCTION.")
    try:
        function: Callable[[Job, Mapping[str, Entry], Path], Made] = getattr(importlib.import_module(module), name)
        return function(job, inputs, folder)
    except (EdgepressError, OSError):
        raise
    except Exception as e:
        where = traceback.extract_tb(e.__traceback__)[-1]
        place = f"{Path(where.filename).name}:{where.lineno}"
        raise SweepError(f"The job failed: {type(e).__name__} in {place}: {e}.") from e


@contextmanager
def machine(*, alone: bool) -> Iterator[None]:
    """Share this machine with other jobs of any sweep, or wait until none runs, and keep others waiting."""
    import filelock

    folder = default_cache("locks")  # the temporary folder of a child process is its own
    folder.mkdir(parents=True, exist_ok=True)
    name = f"{os.getuid() if hasattr(os, 'getuid') else 'user'}.{platform.node()}"
    lock = filelock.ReadWriteLock(folder / f"{name}.machine", is_singleton=False)
    with filelock.FileLock(folder / f"{name}.gate", thread_local=False):  # whoever waits for the machine holds it, so
        (lock.acquire_write if alone else lock.acquire_read)()  # that those who come later queue
    try:
        yield
    finally:
        lock.release()


@functools.cache
def _version(name: str) -> str:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return ""
