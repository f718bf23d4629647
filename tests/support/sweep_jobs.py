"""Kinds of jobs whose cost is known, for tests and benchmarks of sweeps: `Job("sweep_jobs:spin", {"seconds": 0.1})`.

This folder must be on the path of the processes that do them.
"""

from __future__ import annotations

import os
import time
from collections.abc import Mapping
from pathlib import Path

from edgepress.toolkit.errors import InputError
from edgepress.toolkit.search.sweeping.jobs import Job, Made
from edgepress.toolkit.search.sweeping.store import Entry


def spin(job: Job, inputs: Mapping[str, Entry], folder: Path) -> Made:
    """Compute for "seconds" of the CPU's time; the result is "number" plus those of the jobs that it needs.

    The context names a file, "log", to which a line is added for each attempt.
    """
    _log(job)
    until = time.process_time() + job.arguments.get("seconds", 0.0)
    while time.process_time() < until:
        sum(range(100))
    number = job.arguments["number"] + sum(entry.result["number"] for entry in inputs.values())
    path = folder / "number.txt"
    path.write_text(str(number))
    return Made({"number": number}, {path.name: path})


def sleep(job: Job, inputs: Mapping[str, Entry], folder: Path) -> Made:
    """Wait for "seconds"; `made` has the times of the clock at which it began and ended."""
    _log(job)
    began = time.monotonic()
    time.sleep(job.arguments["seconds"])
    return Made({}, {}, {"span": [began, time.monotonic()]})


def fail(job: Job, inputs: Mapping[str, Entry], folder: Path) -> Made:
    """Fail as the argument "how" says: "input" with a message, "bug" unexpectedly, "die" with the process."""
    _log(job)
    if job.arguments["how"] == "die":
        os.kill(os.getpid(), 9)
    if job.arguments["how"] == "input":
        raise InputError("It can't be done.", "Do something else.")
    raise ZeroDivisionError("as planned")


def resume(job: Job, inputs: Mapping[str, Entry], folder: Path) -> Made:
    """Die in the first attempt, after some work; the second one goes on from there."""
    _log(job)
    kept = folder / "kept.txt"
    if not kept.exists():
        kept.write_text("7")
        os.kill(os.getpid(), 9)
    return Made({"number": int(kept.read_text())})


def _log(job: Job) -> None:
    if log := job.context.get("log"):
        with open(log, "a") as file:
            file.write(f"{job.key}\n")
