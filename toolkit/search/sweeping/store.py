"""Results of jobs in one folder, each under the key of its job: what is there is not done again.

    FOLDER/results/ab/KEY/entry.json   the job, its result, and the SHA-256 of its files and of this document
    FOLDER/results/ab/KEY/...          the files
    FOLDER/partial/KEY/                where a job works; kept when it is killed, so that the next attempt goes on there
    FOLDER/partial/edgepress-.../      where a result is put together
    FOLDER/locks/KEY.lock              held while a job is done

A result is a folder that is renamed when it is complete, so it is there whole or not at all. Whenever it is read, its
fields are checked one by one (`checks`) and its content is compared with the hashes; one that is damaged counts as
absent, with a note. Links are not followed. Locks are the kernel's: those of a killed process are free at once, so none
gets stale. On a network file system they need one that shares locks (NFS 4 does).
"""

from __future__ import annotations

import errno
import hashlib
import json
import os
import shutil
import stat
from collections.abc import Callable, Container, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edgepress.converters.files import sha256_of_file
from edgepress.converters.process.scratch import ScratchFolder, remove_abandoned
from edgepress.toolkit.errors import BusyError, StoreError, SweepError

ENTRY = "entry.json"
SCHEMA_VERSION = 1
FORMAT = 1
"""Increment it when the same arguments of a job mean something else: that invalidates stored results."""
FIELDS = {"schema_version", "key", "job", "result", "made", "files", "check"}
"""What an entry holds; and "sizes" since version 0.1."""
ENTRY_BYTES = 64 << 20
"""Largest entry: results hold histories of trainings, no data."""
OF_SWEEPS = {"kind", "arguments", "needs", "context", "alone", "versions"}
"""The fields of a job of a sweep; the key depends on all but "context" and "alone"."""
FULL = (errno.ENOSPC, errno.EDQUOT, errno.EROFS)
"""Errors of the system that say that nothing more can be written."""


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
        on_note: Called once with each damaged result that counts as absent, in words.

    Raises:
        StoreError: It can't be created or written.
    """

    def __init__(self, folder: str | Path, on_note: Callable[[str], None] | None = None) -> None:
        self.folder = Path(folder)
        self._on_note = on_note or (lambda text: None)
        self._noted = set[str]()
        with writing(self.folder):
            for name in ("results", "partial", "locks"):
                (self.folder / name).mkdir(parents=True, exist_ok=True)
            remove_abandoned(self.folder / "partial")

    def get(self, key: str) -> Entry | None:
        """The result of the job with this key, after its fields were checked and its files compared with their hashes.

        None if there is none, or if it is damaged, which is noted: then the job is to be done again.
        """
        folder = self._place(key)
        try:
            return _read(folder, key)
        except FileNotFoundError as e:
            if not os.path.lexists(folder):
                return None
            reason = f"{Path(str(e.filename)).name} is missing"
        except (OSError, ValueError, RecursionError, MemoryError) as e:
            reason = getattr(e, "strerror", None) or str(e) or type(e).__name__
        if key not in self._noted:
            self._noted.add(key)
            self._on_note(f"The result {folder} counts as absent: {reason}.")
        return None

    def keep(self, key: str) -> bool:
        """Whether the result of this job is there and whole; if so, it counts as new when old ones are removed."""
        if exists := self.get(key) is not None:
            with suppress(OSError):
                os.utime(self._place(key))
        return exists

    def put(
        self,
        key: str,
        job: Mapping[str, Any],
        result: Mapping[str, Any],
        made: Mapping[str, Any],
        *,
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
            SweepError: A field of the result is wrong, or it is not that of this job.
            StoreError: It can't be written, or the disk is full.
        """
        from edgepress.toolkit.search.sweeping.checks import require_sound

        try:
            require_sound(job, result, made, dict.fromkeys(files))
            if ENTRY in map(str.casefold, files) or key != key_of(job):
                raise ValueError(f"a file has the name {ENTRY}" if key == key_of(job) else "the key is another job's")
        except (ValueError, TypeError, RecursionError) as e:
            raise SweepError(f"A result is refused: {e}.", "Run it again; if that does not help, report it.") from e
        place = self._place(key)
        with writing(self.folder):
            place.parent.mkdir(exist_ok=True)
            with ScratchFolder(parent=self.folder / "partial") as scratch:
                temporary = Path(scratch, "result")
                temporary.mkdir()
                for name, path in files.items():
                    _link_or_copy(path, temporary / name)
                document = {"schema_version": SCHEMA_VERSION, "key": key, "job": dict(job), "result": dict(result)}
                document |= {"made": dict(made), "files": {name: sha256_of_file(temporary / name) for name in files}}
                document["sizes"] = {name: (temporary / name).stat().st_size for name in files}
                text = json.dumps(document | {"check": digest(document)}, indent=1, allow_nan=False)
                (temporary / ENTRY).write_text(text, encoding="utf-8")
                self._rename(temporary, place, key)
        if (entry := self.get(key)) is None:
            raise StoreError(f"The result {place} was damaged while it was written.", "Check the disk, and run again.")
        return entry

    def _rename(self, temporary: Path, place: Path, key: str) -> None:
        """Give a complete result its name; one that another process has written meanwhile stays."""
        try:
            temporary.rename(place)
        except OSError:
            if not os.path.lexists(place):
                raise
            if self.get(key) is None:  # damaged
                place.rename(temporary.with_name("damaged"))
                temporary.rename(place)

    @contextmanager
    def working(self, key: str) -> Iterator[Path]:
        """Lock a job against other processes, and yield the folder it works in.

        The folder holds what an attempt that was killed left there. It is removed when the block ends without an error.

        Raises:
            BusyError: Another process is doing this job.
            StoreError: The folder can't be written.
        """
        import filelock

        path = self.folder / "locks" / f"{key}.lock"
        folder = self.folder / "partial" / key
        lock = filelock.FileLock(path)
        try:
            with writing(self.folder):
                lock.acquire(timeout=0)
                if folder.is_symlink() or folder.is_file():  # no attempt has left that
                    folder.unlink()
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


def _read(folder: Path, key: str) -> Entry:
    """A result.

    Raises:
        OSError, ValueError: It is missing, can't be read, or is damaged.
    """
    from edgepress.toolkit.search.sweeping.checks import require_sound

    if stat.S_ISLNK(folder.lstat().st_mode):
        raise ValueError("it is a link")
    if _size(folder / ENTRY) > ENTRY_BYTES:
        raise ValueError(f"{ENTRY} has more than {ENTRY_BYTES} bytes")
    document = json.loads((folder / ENTRY).read_bytes())
    if not isinstance(document, dict) or document.keys() - {"sizes"} != FIELDS:
        raise ValueError(f"{ENTRY} does not hold {', '.join(sorted(FIELDS))}")
    if document.pop("check") != digest(document):
        raise ValueError(f"{ENTRY} was changed")
    version = document["schema_version"]
    job = document["job"]
    hashes = document["files"]
    if type(version) is not int or version != SCHEMA_VERSION:
        raise ValueError(f"its schema_version is {str(version)[:20]}; accepted: {SCHEMA_VERSION}")
    if not isinstance(job, dict) or document["key"] != key or key_of(job) != key:
        raise ValueError("it is the result of another job")
    if not isinstance(hashes, dict) or not isinstance(sizes := document.get("sizes", dict.fromkeys(hashes)), dict):
        raise ValueError("its files are no JSON object")
    require_sound(job, document["result"], document["made"], sizes)
    files = {name: folder / name for name in sizes}
    if hashes.keys() != sizes.keys() or any(sizes[name] not in (None, _size(path)) for name, path in files.items()):
        raise ValueError("a file of it has another size")
    if any(sha256_of_file(path) != hashes[name] for name, path in files.items()):
        raise ValueError("a file of it was changed")
    return Entry(key, job, document["result"], document["made"], files, hashes)


def _size(path: Path) -> int:
    """The size of a plain file; what is a folder, a link, or no file at all is damage."""
    status = path.lstat()
    if not stat.S_ISREG(status.st_mode):
        raise ValueError(f"{path.name} is not a plain file")
    return status.st_size


def key_of(job: Mapping[str, Any]) -> str:
    """The key of a job: the SHA-256 of all that its result depends on, 64 hexadecimal digits."""
    if job.keys() != OF_SWEEPS:
        return digest(dict(job))
    return digest({"format": FORMAT} | {name: job[name] for name in OF_SWEEPS - {"context", "alone"}})


def digest(value: Any) -> str:
    """The SHA-256 of a JSON value, whatever the order of its keys."""
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=True, allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()


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
