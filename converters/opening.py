"""The model that a process of a conversion has opened; it stays open between the jobs of one process."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from pathlib import Path

from edgepress.converters.contract.hints import Hints
from edgepress.converters.contract.outputs import Looks
from edgepress.converters.contract.probe import probed
from edgepress.converters.sources.base import Source
from edgepress.converters.sources.open import open_source
from edgepress.converters.worker import Emit
from edgepress.runtime.errors import parsing


@dataclass(frozen=True)
class OpenJob:
    """Open a model and report its `Facts`."""

    path: Path
    hints: Hints
    looks: Looks | None = None
    """What its outputs look like, if already known."""


_opened: list[Source] = []


def open_model(job: OpenJob, emit: Emit) -> None:
    """Open a model, keep it for the jobs that follow, and report its `Facts`."""
    source = open_source(job.path, job.hints)
    with parsing(job.path, "Check how it was exported.", failed="does not run"):
        if job.looks is None:
            source.facts = probed(source.facts, source.answer)
        else:
            source.facts = dataclasses.replace(source.facts, looks=job.looks)
    _opened[:] = [source]
    emit(source.facts)


def opened() -> Source:
    """The model that this process has opened."""
    return _opened[0]
