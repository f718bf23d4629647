"""What to compress, and each step of it done once: results are kept under the hash of all that they depend on.

A step that was done by an earlier run, killed or not, is read from the store. One that failed is not kept: its reason
may be gone when the user comes back.
"""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from importlib import metadata
from pathlib import Path
from typing import Any

from edgepress.converters.contract.hints import Hints
from edgepress.converters.conversion.conversion import TOOLS
from edgepress.converters.files import sha256_of
from edgepress.converters.schemes import Target
from edgepress.runtime.board import cpu_name
from edgepress.toolkit.data.types import DataSet
from edgepress.toolkit.errors import BoardError, SweepError
from edgepress.toolkit.machine.environments import engine_version
from edgepress.toolkit.search.compression.options import AS_USUAL, CompressOptions
from edgepress.toolkit.search.sweeping.store import Entry, Store, digest

FATAL = (BoardError, SweepError)
"""Errors that end a search, because the next file would meet them, too: a lost board, a full disk."""
Files = Mapping[str, Path]
Work = Callable[[Path], tuple[dict[str, Any], Files]]


@dataclass(frozen=True, kw_only=True)
class Subject:
    """What to compress.

    Attributes:
        model: The source model.
        data: The data as the user named them; None: those of the model's contract.
        hints: What the user knows of a model made elsewhere.
        opened: The data, opened as the model's files take them.
        format: Format of the files, "tflite" or "onnx".
        engine: Engine that runs them.
        arch: Architecture of the model, if edgepress trained it; "" if it is not known.
        options: The user's options; `format` and `engine` follow from these.
    """

    model: Path
    data: str | None
    hints: Hints
    opened: DataSet
    format: str
    engine: str
    arch: str = ""
    options: CompressOptions = AS_USUAL

    @property
    def memory(self) -> bool:
        """Whether the memory of a file is asked for."""
        return self.options.max_memory is not None

    @property
    def target(self) -> Target:
        """What int8 files are made for: "integer-only" if RAM or flash of the exported C is limited."""
        return "integer-only" if self.options.limits.exported else "cpu"

    @property
    def validation(self) -> DataSet:
        """The data with the validation items in place of the test items, for what measures on "test" items."""
        return self.opened.tested_on("val")


class StepCache:
    """The steps of a search, each done once.

    Args:
        subject: What to compress.
        store: Keeps the results.
        on_step: Called with each step that begins, in words; a step whose result is kept does not begin.

    Attributes:
        notes: What the user should know of the steps, in the order in which it was found.
    """

    def __init__(self, subject: Subject, store: Store, on_step: Callable[[str], None]) -> None:
        self.subject = subject
        self._store = store
        self.on_step = on_step
        self.notes: dict[str, None] = {}
        self._taken: dict[str, float] = {}

    @property
    def seconds(self) -> float:
        """Time that the steps of this search took when they were done, each counted once."""
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
            self.on_step(words)
            started = time.monotonic()
            with self._store.working(key) as folder:
                result, files = work(folder)
                timing = {"seconds": round(time.monotonic() - started, 3)} | result.pop("made", {})
                result["files"] = {name: path.name for name, path in files.items()}
                entry = self._store.put(key, job, result, timing, files={path.name: path for path in files.values()})
        self._taken[key] = entry.made["seconds"]
        return replace(entry, files={name: entry.files[file] for name, file in entry.result["files"].items()})

    @cached_property
    def _identity(self) -> dict[str, Any]:
        subject = self.subject
        hints = {f.name: str(getattr(subject.hints, f.name)) for f in dataclasses.fields(subject.hints)}
        versions = {name: metadata.version(name) for name in TOOLS}
        model = sha256_of(subject.model)
        return {"model": model, "data": subject.opened.sha256, "hints": hints, "versions": versions}

    @cached_property
    def _host(self) -> dict[str, Any]:
        engine = self.subject.engine
        board = self.subject.options.board or ""  # as in the keys of earlier results
        return {"cpu": cpu_name(), "engine": engine, "version": engine_version(engine), "board": board}
