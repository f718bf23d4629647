"""Kinds of jobs for the tests and benchmarks of clusters: cheap ones, and ones of a hostile worker."""

from __future__ import annotations

import os
import time
from collections.abc import Mapping
from pathlib import Path

from edgepress.toolkit.errors import SweepError
from edgepress.toolkit.search.sweeping.jobs import Job, Made
from edgepress.toolkit.search.sweeping.store import Entry


def number(job: Job, inputs: Mapping[str, Entry], folder: Path) -> Made:
    """Wait, add up the numbers of the inputs' files and its own, and write the sum to a file."""
    time.sleep(job.arguments.get("seconds", 0))
    if job.arguments["n"] < 0:
        raise SweepError("Negative numbers fail.")
    total = job.arguments["n"] + sum(int(entry.files["n.txt"].read_text()) for entry in inputs.values())
    (folder / "n.txt").write_text(str(total))
    return Made({"total": total}, {"n.txt": folder / "n.txt"}, {"pid": os.getpid()})


class Mark:
    """Writes down which process opens its pickle."""

    def __init__(self, folder: str) -> None:
        self.folder = folder

    def __reduce__(self) -> tuple[object, ...]:
        return mark, (self.folder,)


def mark(folder: str) -> str:
    Path(folder, str(os.getpid())).touch()
    return "opened"


class BadError(Exception):
    def __init__(self, folder: str) -> None:
        super().__init__(folder)
        self.folder = folder

    def __reduce__(self) -> tuple[object, ...]:
        return mark, (self.folder,)


def send_object(parcel: bytes) -> object:
    return Mark(os.environ["HOSTILE"])


def send_error(parcel: bytes) -> bytes:
    raise BadError(os.environ["HOSTILE"])


def send_rubbish(parcel: bytes) -> bytes:
    return b"\0\0\0\0\0\0\0\2{}"


def send_other(parcel: bytes) -> bytes:
    from edgepress.toolkit.search.cluster.worker import pack

    return pack({"result": {"key": "0" * 64, "job": {}, "result": {}, "made": {}, "files": {}}})
