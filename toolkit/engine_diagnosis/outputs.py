"""The outputs of all operations of a file on one engine."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from edgepress.converters.files import write_bytes
from edgepress.converters.to_c.lowering import Program
from edgepress.converters.to_tflite import flatbuffer
from edgepress.converters.worker import ChildDied, Worker
from edgepress.runtime.errors import parsing
from edgepress.toolkit.engines.environments import python_for
from edgepress.toolkit.errors import ModelFileError
from edgepress.toolkit.workers.operation_outputs import OutputsJob, operation_outputs

Outputs = dict[int, npt.NDArray[Any]]
"""The stored output of each operation for one item, flat, by the number of the tensor."""
SILENCE_S = 600.0
"""Seconds that one item may take."""


def expose_outputs(path: Path, tensors: tuple[int, ...], target: Path) -> None:
    """Write a copy of a file whose graph returns these tensors, in this order."""
    with parsing(path):
        root, graph = flatbuffer.read(path.read_bytes())
        graph.outputs = list(tensors)
        root.signatureDefs = []
        content = flatbuffer.write(root)
    write_bytes(target, content)


def outputs_on(engine: str, file: Path, items: npt.NDArray[Any], tensors: tuple[int, ...]) -> list[Outputs]:
    """The outputs of operations for each item, by an engine in a process of its own.

    Args:
        engine: "litert", "litert-built-in" or "tflite-micro".
        file: The copy that returns these tensors; what the process needs is written beside it.
        items: Items as the file stores them, shape (N, values).
        tensors: Numbers of the tensors.

    Raises:
        EdgepressError: The engine is not installed, or does not run the file.
    """
    stored = file.with_suffix(".npy")
    np.save(stored, items)
    package = "tflite-micro" if engine == "tflite-micro" else "litert"
    job = OutputsJob(str(file), engine, str(stored), tensors)
    try:
        with Worker(silence_s=SILENCE_S, python=python_for(package)) as worker:
            return list(worker.call(operation_outputs, job))
    except ChildDied as e:
        raise ModelFileError(
            f"The file crashed the process in which {engine} ran it ({e}).", "It is damaged: copy or convert it again."
        ) from e


def outputs_of_program(program: Program, items: npt.NDArray[Any]) -> list[Outputs]:
    """The outputs of operations for each item, by the exact model of the exported C."""
    rows = []
    for item in items:
        values = program.values(item)
        tensors = [operation.output for operation in program.graph.operations]
        rows.append({each.index: values[program.of(each).index].reshape(-1) for each in tensors})
    return rows
