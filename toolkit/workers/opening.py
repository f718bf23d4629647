"""A candidate - a file on an engine with some threads - and the part of its process that opens it.

Each candidate lives in a process of its own (`edgepress.converters.worker.Worker`): what one does to memory, threads or
caches is then not the others' figure, one that crashes fails alone, and an engine may have an environment of its own.
That process imports this module, so it imports nothing beyond NumPy and the runtime.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from edgepress.converters.worker import Emit
from edgepress.runtime import InputSpec, Model, load
from edgepress.runtime.errors import InputError


class Candidate(NamedTuple):
    """A file on an engine.

    Attributes:
        file: A `.tflite` or `.onnx` file.
        engine: What runs it; None: the first installed engine that opens the file.
        threads: Threads that the engine may use.
        batch: Items in one timed call.
    """

    file: Path
    engine: str | None
    threads: int = 1
    batch: int = 1


@dataclass(frozen=True)
class Opening:
    """How a candidate's process opens it.

    Attributes:
        candidate: What to open.
        labels: Class names that the file must have.
        input: What an item must look like.
        cpus: CPUs that the process may run on; empty: those of its parent.
    """

    candidate: Candidate
    labels: tuple[str, ...]
    input: InputSpec
    cpus: tuple[int, ...] = ()


def open_candidate(opening: Opening, emit: Emit) -> None:
    """A child's first job: pin the process, open the file, check that it fits the data; emits the engine's name."""
    if opening.cpus:
        os.sched_setaffinity(0, opening.cpus)
    model = _State.model = load(opening.candidate.file, opening.candidate.engine, opening.candidate.threads)
    contract = model.contract
    if contract is None:
        raise InputError("The file has no contract, so how to prepare its input is not known.")
    if contract.labels != opening.labels:
        raise InputError(f"Its labels ({_some(contract.labels)}) are not those of the data ({_some(opening.labels)}).")
    if contract.input != opening.input:
        raise InputError(f"It takes {list(contract.input.shape)}; the data were opened as {list(opening.input.shape)}.")
    emit(model.engine)


def opened() -> Model:
    """The model that this process has open."""
    assert _State.model is not None, "open_candidate comes first"
    return _State.model


class _State:
    model: Model | None = None


def _some(labels: tuple[str, ...]) -> str:
    return f"{len(labels)}: {', '.join(labels[:5])}{', ...' if len(labels) > 5 else ''}"
