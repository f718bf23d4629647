"""Files that others made: what they hold (`inspect`), and a copy that describes itself (`annotate`).

Native code may crash, hang or exhaust memory on a damaged file. So a child process with limits first reads the file,
then opens it in an engine. If the engine crashes the process, the result holds what was read, and the crash.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from edgepress.converters import annotation
from edgepress.converters.contract.hints import Hints, Size
from edgepress.converters.inspection import Inspection, format_of, open_in_engine, read
from edgepress.converters.inspection.report import EngineCheck
from edgepress.converters.process.worker import ChildDied, Emit, Worker, run_in_child
from edgepress.runtime import Contract
from edgepress.runtime.sessions import file_format
from edgepress.toolkit.data.for_model import SILENCE_S, describe_published
from edgepress.toolkit.errors import InputError, ModelFileError
from edgepress.toolkit.machine.environments import engine_version, python_for
from edgepress.toolkit.results.run_files import model_in
from edgepress.toolkit.workers.operation_outputs import open_micro

__all__ = ["Inspection", "inspect"]


MICRO = "tflite-micro"
TIME_LIMIT_S = 60.0
"""Time limit for reading a file, seconds, unless the caller sets it."""
MEMORY_LIMIT_BYTES = 6 << 30
"""Largest memory of the process that reads a file, bytes, unless the caller sets it."""


def inspect(
    file: str | Path,
    *,
    size: Size | None = None,
    trust: bool = False,
    time_limit_s: float = TIME_LIMIT_S,
    memory_limit_bytes: int = MEMORY_LIMIT_BYTES,
) -> Inspection:
    """Inspect a model file.

    Args:
        file: A `.tflite`, `.onnx`, `.keras`, `.h5` or `.hdf5` file, a SavedModel folder, or a run's folder.
        size: What sizes that the model's inputs leave free are fixed to, "48x192"; None takes them as 1, with a note.
        trust: Run code inside the file: Lambda layers, and operations of a SavedModel that do more than compute.
        time_limit_s: Time limit for reading the file, and again for opening it in an engine, seconds.
        memory_limit_bytes: Memory limit of the child process.

    Returns:
        The findings; `Inspection.as_dict` returns the JSON document. If only the engine failed, `engine` says so.

    Raises:
        ModelFileError: The file is missing, damaged, of another kind, or exceeds the limits.
        InputError: `size` does not fit the model's inputs.

    Example:
        >>> from edgepress.toolkit import inspect
        >>> inspect("edgepress-demo/variants/model-int8.tflite").peak_activation_bytes
        5880
    """
    path = model_in(file)
    format_of(path)
    inspection: Inspection | None = None
    job = path, size, trust
    try:
        for report in run_in_child(_inspect, job, silence_s=time_limit_s, memory_bytes=memory_limit_bytes):
            inspection = report
    except ChildDied as e:
        if inspection is None:
            hint = "It is damaged: copy or convert it again."
            if e.late:  # opening a Keras file takes five seconds of a CPU, most of them to import TensorFlow
                hint = "Try again when this machine is less busy; if that does not help, the file is damaged."
            raise ModelFileError(f"{path} can't be read: the process that read it ended with {e}.", hint) from e
        return inspection.refused(f"The process that opened it ended with {e}. {e.log}".strip())
    assert inspection is not None
    return _with_microcontroller(inspection, path, time_limit_s)


def _with_microcontroller(inspection: Inspection, path: Path, time_limit_s: float) -> Inspection:
    """With the result of opening the file in tflite-micro, if that is installed."""
    if inspection.format != "tflite" or not (version := engine_version(MICRO)):
        return inspection
    name = f"{MICRO} {version}"
    try:
        with Worker(silence_s=time_limit_s, python=python_for(MICRO)) as worker:
            (opening,) = worker.call(open_micro, str(path))
    except ChildDied as e:
        return inspection.replace(
            microcontroller=EngineCheck(name=name, opens=False, error=f"The process ended with {e}.")
        )
    arena, error = opening
    check = EngineCheck(name=name, opens=not error, error=error, arena_bytes=arena)
    return inspection.replace(microcontroller=check)


def _inspect(job: tuple[Path, Size | None, bool], emit: Emit) -> None:
    path, size, trust = job
    inspection = read(path, size, trust=trust)
    emit(inspection)
    emit(open_in_engine(path, inspection, size, trust=trust))


@dataclass(frozen=True)
class Annotated:
    """A described file.

    Attributes:
        path: The copy, or the JSON file with the contract alone.
        contract: Its contract.
        notes: One line on each value of it that was found or guessed.
    """

    path: Path
    contract: Contract
    notes: tuple[str, ...]

    def to_dict(self) -> dict[str, Any]:
        """The document that `annotate --json` prints."""
        return {
            "file": str(self.path),
            "size_bytes": self.path.stat().st_size,
            "contract": asdict(self.contract),
            "notes": list(self.notes),
        }


def annotate(file: str | Path, out: str | Path, *, hints: Hints | None = None) -> Annotated:
    """Write a description of a `.tflite` or `.onnx` classifier, quantized or not, into a copy of it.

    The copy holds the contract with a self-test and the standard metadata that other tools read. Its weights and
    answers are those of the file. The contract comes from `hints`, then from a contract or other metadata in the file.

    Args:
        file: A `.tflite` or `.onnx` classifier, whoever made it.
        out: The copy, of the same format; or a path that ends in `.json`, to write the contract alone, for
            `python -m edgepress.runtime ... --contract`.
        hints: What you know of it.

    Raises:
        EdgepressError: The file can't be opened or is not a classifier, too little is known of it, or `out` can't be
            written.

    Example:
        >>> from edgepress.toolkit import annotate
        >>> annotate("edgepress-demo/variants/model-int8.tflite", "annotated.tflite").contract.task
        'softmax'
    """
    path = Path(file)
    target = Path(out)
    format = file_format(Path(file))
    if target.suffix not in (f".{format}", ".json"):
        raise InputError(
            f"{target} can't be a copy of {path}.", f"Name a .{format} file, or .json for the contract alone."
        )
    if target.exists() and target.samefile(path):
        raise InputError(f"{target} is the file itself, and would be overwritten.", "Name another file.")
    description = describe_published(path, hints or Hints())
    contract = write_annotated(path, description.contract, target)
    none = "no self-test: its answers to random items are not finite, or not probabilities"
    return Annotated(target, contract, (*description.notes, *([none] if contract.selftest is None else [])))


def write_annotated(file: Path, contract: Contract, out: Path) -> Contract:
    """Write a copy of a file that carries a contract, in a child process; returns the contract, with a self-test.

    Raises:
        EdgepressError: The file can't be run or rewritten, or the copy can't be written.
    """
    try:
        job = annotation.AnnotateJob(file, contract, out)
        (written,) = run_in_child(annotation.annotate, job, silence_s=SILENCE_S)
    except ChildDied as e:
        raise ModelFileError(f"{file} crashed the process that ran it ({e}).", "It is damaged: copy it again.") from e
    assert isinstance(written, Contract)
    return written
