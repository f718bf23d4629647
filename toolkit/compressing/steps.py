"""Do each step once: its result is kept in a store under the hash of all that it depends on.

A step that was done by an earlier run, killed or not, is read from the store. One that failed is not kept: its reason
may be gone when the user comes back.
"""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import cached_property
from importlib import metadata
from pathlib import Path
from typing import Any

from edgepress.converters.conversion import TOOLS
from edgepress.converters.sources.keras import sha256_of
from edgepress.runtime.board import cpu_name
from edgepress.toolkit.compressing.order import Order
from edgepress.toolkit.engines.environments import engine_version
from edgepress.toolkit.errors import BoardError, SweepError
from edgepress.toolkit.sweeping.store import Entry, Store, digest

FATAL = (BoardError, SweepError)
"""Errors that end a climb, because the next file would meet them, too: a lost board, a full disk."""
Files = Mapping[str, Path]
Work = Callable[[Path], tuple[dict[str, Any], Files]]


class Steps:
    """The steps of a climb.

    Args:
        order: What to compress.
        store: Keeps the results.
        on_step: Called with each step that begins, in words; a step whose result is kept does not begin.

    Attributes:
        notes: What the user should know of the steps, in the order in which it was found.
    """

    def __init__(self, order: Order, store: Store, on_step: Callable[[str], None]) -> None:
        self.order, self._store, self._on_step = order, store, on_step
        self.notes: dict[str, None] = {}
        self._taken: dict[str, float] = {}

    @property
    def seconds(self) -> float:
        """Time that the steps of this climb took when they were done, each counted once."""
        return sum(self._taken.values())

    def step(self, kind: str, words: str, arguments: Mapping[str, Any], work: Work, *, here: bool = False) -> Entry:
        """The kept result of a step, or that of doing it now.

        Args:
            kind: Its kind.
            words: What it does, for the user.
            arguments: All that its result depends on besides model, data and versions; JSON.
            work: Does it, in the folder that it is given; returns its result and its files by the names to keep.
            here: Whether the result depends on this machine.
        """
        job = {"kind": f"compress-{kind}", "arguments": dict(arguments)} | self._identity
        if here:
            job["host"] = self._host
        key = digest(job)
        if (entry := self._store.get(key)) is None:
            self._on_step(words)
            started = time.monotonic()
            with self._store.working(key) as folder:
                result, files = work(folder)
                made = {"seconds": round(time.monotonic() - started, 3)} | result.pop("made", {})
                result["files"] = {name: path.name for name, path in files.items()}
                entry = self._store.put(key, job, result, made, {path.name: path for path in files.values()})
        self._taken[key] = entry.made["seconds"]
        return replace(entry, files={name: entry.files[file] for name, file in entry.result["files"].items()})

    @cached_property
    def _identity(self) -> dict[str, Any]:
        order = self.order
        hints = {f.name: str(getattr(order.hints, f.name)) for f in dataclasses.fields(order.hints)}
        versions = {name: metadata.version(name) for name in TOOLS}
        model = sha256_of(order.model)
        return {"model": model, "data": order.opened.sha256, "hints": hints, "versions": versions}

    @cached_property
    def _host(self) -> dict[str, Any]:
        engine = self.order.engine
        return {"cpu": cpu_name(), "engine": engine, "version": engine_version(engine), "board": self.order.board}
