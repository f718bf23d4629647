"""What a sweep shows while it runs: a live table of the running jobs, or one line a finished job without a terminal."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Protocol

from edgepress.toolkit import text
from edgepress.toolkit.cli import screen
from edgepress.toolkit.errors import EdgepressError
from edgepress.toolkit.search.sweeping.jobs import Job
from edgepress.toolkit.search.sweeping.loop import Event
from edgepress.toolkit.search.sweeping.runners import Runner
from edgepress.toolkit.search.sweeping.store import Entry
from edgepress.toolkit.terminal import Group, Live, ProgressBar, Text, console

LAST = 5
"""Finished jobs below those that run."""


class SweepView(Protocol):
    """Takes what happens."""

    def begin(self, runner: Runner) -> None:
        """Jobs are about to begin."""

    def event(self, event: Event) -> None:
        """Something happened to a job."""


@contextmanager
def view() -> Iterator[SweepView]:
    """What shows a sweep on standard error, as it allows."""
    shown = console(stderr=True)
    if not shown.is_terminal:
        yield Lines()
        return
    table = Table()
    with Live(get_renderable=table.render, console=shown, refresh_per_second=2, transient=True):
        yield table


class Lines:
    """One line for each job that ends."""

    def begin(self, runner: Runner) -> None:
        """Say where the jobs run."""
        screen.step(f"Jobs run in {runner.title}")

    def event(self, event: Event) -> None:
        """Print what ended."""
        if event.kind not in ("started", "busy"):
            screen.step(f"{event.finished}/{event.total}  {line_of(event)}")


class Table:
    """The jobs that run, the last ones that ended, and how far the sweep is."""

    def __init__(self) -> None:
        self._title = ""
        self._began = time.monotonic()
        self._running: dict[str, tuple[Job, float]] = {}
        self._last: list[str] = []
        self._counts: Counter[str] = Counter()
        self._finished = 0
        self._total = 0
        self._done = 0

    def begin(self, runner: Runner) -> None:
        """Note where the jobs run."""
        self._title = runner.title

    def event(self, event: Event) -> None:
        """Note what happened."""
        key = event.job.key
        self._finished = event.finished
        self._total = event.total
        self._counts[event.kind] += 1
        if event.kind == "started":
            self._running[key] = event.job, time.monotonic()
            return
        self._running.pop(key, None)
        self._done += event.kind == "done"
        if event.kind not in ("busy", "kept"):
            self._last = [*self._last, line_of(event)][-LAST:]

    def render(self) -> Any:
        """The table as it is now."""
        now = time.monotonic()
        rows = [[job.kind, _name_job(job), _clock(now - began)] for job, began in self._running.copy().values()]
        table = screen.table(
            [("job", "left"), ("of", "left"), ("time", "right")], rows, room=console(stderr=True).width
        )
        parts = [f"{self._finished} of {self._total} jobs"]
        parts += [f"{self._counts[name]} {name}" for name in ("kept", "failed", "left out") if self._counts[name]]
        if self._done and self._finished < self._total:
            left = (now - self._began) / self._done * (self._total - self._finished)
            parts.append(f"about {_clock(left)} left")
        bar = ProgressBar(total=max(1, self._total), completed=self._finished, width=40)
        lines = [Text(line, style="dim", cut=True) for line in self._last]
        return Group(Text(self._title, style="cyan"), table, *lines, bar, Text(", ".join(parts)))


def line_of(event: Event) -> str:
    """What happened to a job, in one line: "train lenet, seed 0: 97.22 % on validation items (12.1 s)"."""
    job = event.job
    outcome = event.outcome
    if isinstance(outcome, EdgepressError):
        word = {"again": "tried again", "left out": "left out", "failed": "failed", "busy": "waits"}[event.kind]
        return f"{job.kind} {_name_job(job)}: {word}: {outcome.message}"
    assert isinstance(outcome, Entry)
    accuracy = outcome.result.get("val_accuracy")
    latency = outcome.result.get("p50_us")
    figure = (
        text.duration(latency) if latency else f"{text.percent(accuracy)} on validation items" if accuracy else "done"
    )
    how = "was there" if event.kind == "kept" else _clock(float(outcome.made.get("seconds", 0.0)))
    return f"{job.kind} {_name_job(job)}: {figure} ({how})"


def _name_job(job: Job) -> str:
    return str(job.context.get("title", job.key[:12]))


def _clock(seconds: float) -> str:
    """A duration: "4 s", "3:05 min", "2:10 h"."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    return f"{whole // 60}:{whole % 60:02} min" if whole < 3600 else f"{whole // 3600}:{whole // 60 % 60:02} h"
