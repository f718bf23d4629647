"""Child process: open a candidate, that is a file on an engine with a number of threads.

Each candidate has its own process (`edgepress.converters.process.worker.Worker`): its use of memory, threads and caches
does not affect the figures of others, a crash fails one candidate only, and an engine may need its own environment.
"""

from __future__ import annotations

from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from edgepress.converters.process.worker import Emit
from edgepress.runtime import Contract, InputSpec, Model, load
from edgepress.runtime.errors import EngineError, InputError, parsing
from edgepress.toolkit.workers.system import pin


class Candidate(NamedTuple):
    """A file on an engine.

    Attributes:
        file: A `.tflite` or `.onnx` file.
        engine: Engine that runs it; None: the first installed one that opens the file.
        threads: Number of threads that the engine may use.
        batch: Number of items in one timed call.
        contract: The contract to open it with, as JSON; empty if the file has it.
    """

    file: Path
    engine: str | None
    threads: int = 1
    batch: int = 1
    contract: str = ""

    def load(self, *, keep_state: bool = False) -> Model:
        """The file, opened in this process."""
        contract = Contract.from_json(self.contract, where=str(self.file)) if self.contract else None
        return load(self.file, self.engine, self.threads, contract, keep_state=keep_state)


@dataclass(frozen=True)
class Opening:
    """How a candidate's process opens it.

    Attributes:
        candidate: The file to open.
        labels: Class names that the file must have.
        input: What an item looks like, as the file must take it.
        cpus: CPUs that the process may run on; empty: those of the parent process.
        multilabel: Whether items have any number of labels, so that each label is decided by itself.
    """

    candidate: Candidate
    labels: tuple[str, ...]
    input: InputSpec
    cpus: tuple[int, ...] = ()
    multilabel: bool = False


def open_candidate(opening: Opening, emit: Emit) -> None:
    """Pin the process, open the file, check that it matches the data set, and emit the engine's name."""
    if opening.cpus:
        pin(opening.cpus)
    with engine_errors(opening.candidate.file):
        model = _State.model = opening.candidate.load()
    _State.multilabel = opening.multilabel
    contract = model.contract
    if contract is None:
        raise InputError("The file has no contract, so the preparation of its input is unknown.")
    if contract.labels != opening.labels:
        raise InputError(f"Its labels ({_some(contract.labels)}) are not those of the data ({_some(opening.labels)}).")
    if opening.multilabel and contract.task != "multilabel":
        raise InputError(
            f"It gives one label an item (its task is {contract.task}); items of the data have any number."
        )
    if contract.input != opening.input:
        raise InputError(f"It takes {list(contract.input.shape)}; the data were opened as {list(opening.input.shape)}.")
    emit(model.engine)


def open_model() -> Model:
    """The model that this process has opened."""
    assert _State.model is not None, "open_candidate comes first"
    return _State.model


def decides_each() -> bool:
    """Whether items have any number of labels, so that each label is decided by itself."""
    return _State.multilabel


def engine_errors(file: Path) -> AbstractContextManager[None]:
    """Engines raise exceptions of any type: turn them into errors, which do not stop other candidates."""
    return parsing(file, "Try another engine, or convert it again.", failed="does not run", error=EngineError)


class _State:
    model: Model | None = None
    multilabel = False


def _some(labels: tuple[str, ...]) -> str:
    return f"{len(labels)}: {', '.join(labels[:5])}{', ...' if len(labels) > 5 else ''}"
