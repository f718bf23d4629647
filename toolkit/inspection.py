"""Show what a model file holds: interface, operations, memory, sizes, and the oldest engines that run it.

Native code may crash, hang or exhaust memory on a damaged file. So a child process with limits first reads the file,
then opens it in an engine. If the engine crashes the process, the result holds what was read, and the crash.
"""

from __future__ import annotations

from pathlib import Path

from edgepress.converters.contract.size import Size
from edgepress.converters.inspection import Inspection, format_of, open_in_engine, read
from edgepress.converters.inspection.report import EngineCheck
from edgepress.converters.worker import ChildDied, Emit, Worker, run_in_child
from edgepress.toolkit.engines.environments import engine_version, python_for
from edgepress.toolkit.errors import ModelFileError
from edgepress.toolkit.results.run_files import model_in
from edgepress.toolkit.workers.open_micro import open_micro

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
