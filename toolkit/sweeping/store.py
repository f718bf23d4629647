"""Results of jobs in one folder, each under the key of its job: what is there is not done again.

    FOLDER/results/ab/KEY/entry.json   the job, its result, and the SHA-256 of its files and of this document
    FOLDER/results/ab/KEY/...          the files
    FOLDER/partial/KEY/                where a job works; kept when it is killed, so that the next attempt goes on there
    FOLDER/locks/KEY.lock              held while a job is done

A result is a folder that is renamed when it is complete, so it is there whole or not at all. Its content is compared
with the hashes whenever it is read; one that was damaged counts as absent. Locks are the kernel's: those of a killed
process are free at once, so none gets stale. On a network file system they need one that shares locks (NFS 4 does).
"""

from __future__ import annotations

import errno
import hashlib
import json
import os
import shutil
import tempfile
import time
from collections.abc import Container, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edgepress.toolkit.errors import BusyError, StoreError

ENTRY = "entry.json"
SCHEMA_VERSION = 1
FULL = (errno.ENOSPC, errno.EDQUOT, errno.EROFS)
"""Errors of the system that say that nothing more can be written."""


STALE_S = 24 * 3600.0
"""Seconds after which what a killed process left of a result is removed."""


@dataclass(frozen=True)
class Entry:
    """The result of one job.

    Attributes:
        key: The key of the job.
        job: The job, as `Job.to_dict` writes it.
        result: What the job found, a JSON object; equal for equal jobs, unless they measure time.
        made: What differs between two runs of the same job: "host", "seconds", "created" (ISO 8601, UTC), and times.
        files: Its files by their names, below the folder of the store.
        hashes: The SHA-256 of each file.
    """

    key: str
    job: Mapping[str, Any]
    result: Mapping[str, Any]
    made: Mapping[str, Any]
    files: Mapping[str, Path]
    hashes: Mapping[str, str]


class Store:
    """The results of all jobs that were done with this folder.

    Args:
        folder: The folder; it is created if it is missing.

    Raises:
        StoreError: It can't be created or written.
    """

    def __init__(self, folder: str | Path) -> None:
        self.folder = Path(folder)
        with writing(self.folder):
            for name in ("results", "partial", "locks"):
                (self.folder / name).mkdir(parents=True, exist_ok=True)
            for path in (self.folder / "partial").glob(".*"):  # half results of killed processes
                if time.time() - path.stat().st_mtime > STALE_S:
                    shutil.rmtree(path, ignore_errors=True)

    def get(self, key: str) -> Entry | None:
        """The result of the job with this key, after its files were compared with their hashes.

        None if there is none, or if it is damaged: then the job is to be done again.
        """
        folder = self._place(key)
        try:
            document = json.loads((folder / ENTRY).read_text(encoding="utf-8"))
            check = document.pop("check")
            if check != digest(document) or document["key"] != key:
                return None
            hashes = {name: str(value) for name, value in document["files"].items()}
            files = {name: folder / name for name in hashes}
            if any(sha256_of(path) != hashes[name] for name, path in files.items()):
                return None
            return Entry(key, document["job"], document["result"], document["made"], files, hashes)
        except (OSError, ValueError, KeyError, TypeError, AttributeError):
            return None

    def keep(self, key: str) -> bool:
        """Whether the result of this job is there and whole; if so, it counts as new when old ones are removed."""
        if found := self.get(key) is not None:
            with suppress(OSError):
                os.utime(self._place(key))
        return found

    def put(
        self,
        key: str,
        job: Mapping[str, Any],
        result: Mapping[str, Any],
        made: Mapping[str, Any],
        files: Mapping[str, Path],
    ) -> Entry:
        """Keep the result of a job, whole or not at all. A result that is there stays; a damaged one is replaced.

        Args:
            key: The key of the job.
            job: The job, as `Job.to_dict` writes it.
            result: What it found; a JSON object without NaN.
            made: What differs between two runs of the job; a JSON object.
            files: Files to keep, by plain names to keep them under; they are copied, or linked where that works.

        Raises:
            StoreError: It can't be written, or the disk is full.
        """
        if wrong := [name for name in files if name != Path(name).name or name in (ENTRY, "..", ".", "")]:
            raise StoreError(f"A result can't keep a file under the name {wrong[0]!r}.")
        place = self._place(key)
        with writing(self.folder):
            place.parent.mkdir(exist_ok=True)
            temporary = Path(tempfile.mkdtemp(prefix=".", dir=self.folder / "partial"))
            try:
                for name, path in files.items():
                    _link_or_copy(path, temporary / name)
                document = {"schema_version": SCHEMA_VERSION, "key": key, "job": dict(job), "result": dict(result)}
                document |= {"made": dict(made), "files": {name: sha256_of(temporary / name) for name in files}}
                text = json.dumps(document | {"check": digest(document)}, indent=1, allow_nan=False)
                (temporary / ENTRY).write_text(text, encoding="utf-8")
                self._rename(temporary, place, key)
            finally:
                shutil.rmtree(temporary, ignore_errors=True)
        if (entry := self.get(key)) is None:
            raise StoreError(f"The result {place} was damaged while it was written.", "Check the disk, and run again.")
        return entry

    def _rename(self, temporary: Path, place: Path, key: str) -> None:
        """Give a complete result its name; one that another process has written meanwhile stays."""
        try:
            temporary.rename(place)
        except OSError:
            if not place.exists():
                raise
            if self.get(key) is None:  # damaged
                broken = Path(tempfile.mkdtemp(prefix=".", dir=self.folder / "partial"))
                place.rename(broken / "damaged")
                temporary.rename(place)
                shutil.rmtree(broken, ignore_errors=True)

    @contextmanager
    def working(self, key: str) -> Iterator[Path]:
        """Lock a job against other processes, and yield the folder it works in.

        The folder holds what an attempt that was killed left there. It is removed when the block ends without an error.

        Raises:
            BusyError: Another process is doing this job.
            StoreError: The folder can't be written.
        """
        import filelock

        path, folder = self.folder / "locks" / f"{key}.lock", self.folder / "partial" / key
        lock = filelock.FileLock(path)
        try:
            with writing(self.folder):
                lock.acquire(timeout=0)
                folder.mkdir(exist_ok=True)
        except filelock.Timeout:
            raise BusyError(f"Another process is doing the job {key[:12]}.") from None
        try:
            with writing(self.folder, FULL):
                yield folder
            shutil.rmtree(folder, ignore_errors=True)
            with suppress(OSError):  # the result is there, so whoever locks a file of this name again does nothing
                path.unlink()
        finally:
            lock.release()

    def __iter__(self) -> Iterator[Entry]:
        """All results that are whole."""
        for path in sorted((self.folder / "results").glob("*/*")):
            if (entry := self.get(path.name)) is not None:
                yield entry

    def _place(self, key: str) -> Path:
        return self.folder / "results" / key[:2] / key


def digest(value: Any) -> str:
    """The SHA-256 of a JSON value, whatever the order of its keys."""
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=True, allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()


def sha256_of(path: Path) -> str:
    """The SHA-256 of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


@contextmanager
def writing(folder: Path, errors: Container[int | None] | None = None) -> Iterator[None]:
    """Turn errors of the system in this block into one about the store, which ends the sweep: it can be resumed.

    Args:
        folder: The folder of the store.
        errors: The numbers of the errors that this is done for, however they were worded since; None: all.

    Raises:
        StoreError: Something could not be written.
    """
    try:
        yield
    except Exception as e:
        seen: BaseException | None = e
        while seen is not None and not (isinstance(seen, OSError) and (errors is None or seen.errno in errors)):
            seen = seen.__cause__ or seen.__context__
        if isinstance(e, (StoreError, BusyError, TimeoutError)) or seen is None:
            raise
        reason = getattr(seen, "strerror", None) or seen
        hint = "Nothing is half-written. Free some disk space or check the folder, and run the same command again."
        raise StoreError(f"The results in {folder} can't be written: {reason}.", hint) from e


def _link_or_copy(source: Path, target: Path) -> None:
    """A second name of a file, which costs no space; a copy where the system can't make one."""
    try:
        os.link(source, target)
    except OSError:
        shutil.copyfile(source, target)
