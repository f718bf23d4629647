"""The outputs of all operations of a file, on an engine here or on a board by ssh."""

from __future__ import annotations

import contextlib
import json
import secrets
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from edgepress.converters.files import write_bytes
from edgepress.converters.process.worker import ChildDied, Worker
from edgepress.converters.to_c.graph import Tensor
from edgepress.converters.to_c.lowering import Program
from edgepress.converters.to_tflite import flatbuffer
from edgepress.runtime.errors import parsing
from edgepress.toolkit.errors import BoardError, LostError, ModelFileError
from edgepress.toolkit.machine.environments import python_for
from edgepress.toolkit.shipping.boards import remote_outputs
from edgepress.toolkit.shipping.boards.session import ANSWER_S, FOLDER, TIDY
from edgepress.toolkit.shipping.boards.ssh import Connection
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


PREFIX = "board:"
"""What a board's name begins with among the engines."""
HEADER_BYTES = 1000
"""Limit on what a board says of its engine."""
WORD = 60
"""Most characters of a word of that."""


class BoardOutputs(NamedTuple):
    """What a board answered.

    Attributes:
        engine: The engine that ran there, as the board says.
        about: The engine with its version, and the board's processor.
        outputs: As of `outputs_on`.
    """

    engine: str
    about: str
    outputs: list[Outputs]


def outputs_on_board(
    host: str, file: Path, items: npt.NDArray[np.generic], tensors: Sequence[Tensor], *, config: Path | None = None
) -> BoardOutputs:
    """The outputs of operations for each item on a board, which needs LiteRT or tflite-runtime.

    Args:
        host: As for `Connection`.
        file: The copy that returns these tensors.
        items: Items as the file stores them, shape (N, values).
        tensors: The tensors.
        config: As for `Connection`.

    Raises:
        BoardError: The board can't be reached, has no such engine, or answers something else.
    """
    stored = file.with_suffix(".npy")
    np.save(stored, items)
    members: dict[str, bytes | Path] = {"model.tflite": file, "items.npy": stored}
    members["outputs.py"] = Path(remote_outputs.__file__)
    folder = f"{FOLDER}/outputs-{secrets.token_hex(8)}"
    numbers = ",".join(str(tensor.index) for tensor in tensors)
    expected = len(items) * sum(tensor.size * np.dtype(tensor.dtype).itemsize for tensor in tensors)
    with Connection(host, config=config) as board:
        try:
            board.push(members, folder)
            answer = board.run(
                ["python3", "outputs.py", "model.tflite", "items.npy", numbers],
                folder=folder,
                timeout_s=ANSWER_S,
                most=expected + HEADER_BYTES,
            )
        except LostError:
            raise
        except BoardError as e:
            if remote_outputs.NONE not in e.message:
                raise
            hint = f"Install a bundle there: edgepress bundle FILE, edgepress board push {host} BUNDLE"
            raise BoardError(e.message, hint) from e
        finally:
            with contextlib.suppress(BoardError):  # an error of the run itself is more informative
                board.run(["sh", "-c", TIDY, "sh", folder, FOLDER])
    return read_outputs(host, answer, tensors, expected)


def read_outputs(host: str, answer: bytes, tensors: Sequence[Tensor], expected: int) -> BoardOutputs:
    """Check and read what a board wrote, which is not trusted."""
    header, _, content = answer.partition(b"\n")
    try:
        if len(header) > HEADER_BYTES:
            raise ValueError(f"{len(header)} bytes")
        about = json.loads(header)
        engine, version, machine = (str(about[key])[:WORD] for key in ("engine", "version", "machine"))
    except (ValueError, TypeError, KeyError, RecursionError) as e:
        raise BoardError(f"{host} did not say what ran the file.", "Try again.") from e
    if len(content) != expected:
        raise BoardError(f"{host} returned {len(content)} bytes of outputs; expected: {expected}.", "Try again.")
    rows: list[Outputs] = []
    at = 0
    while at < len(content):
        row: Outputs = {}
        for tensor in tensors:
            row[tensor.index] = np.frombuffer(content, tensor.dtype, tensor.size, at)
            at += row[tensor.index].nbytes
        rows.append(row)
    return BoardOutputs(engine, f"{engine} {version} on {machine}", rows)
