"""A file of windows exported as one of a stream: its program, and the items of its self-test."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from edgepress.converters.process.scratch import ScratchFolder
from edgepress.converters.to_c.lowering import Program, lower
from edgepress.converters.to_tflite.streaming import to_streaming
from edgepress.toolkit.errors import InputError
from edgepress.toolkit.shipping.exporting.folder import fill
from edgepress.toolkit.shipping.exporting.vectors import Vectors

COMPARED = 32
"""Windows at most whose answers are compared with those of the stream."""


def streaming_program(path: Path, rows: int) -> Program:
    """The program of a file of windows that takes so many new rows a call.

    Raises:
        ConversionError: An operation of the file does not move along the time as a stream does.
        ModelFileError: The file holds something that is not exactly supported.
    """
    model = to_streaming(path.read_bytes(), rows)
    with ScratchFolder() as folder:
        target = Path(folder, path.name)
        target.write_bytes(model)
        return lower(target)


def calls_before_answers(window: int, rows: int) -> int:
    """Calls whose answers mean nothing, because no whole window was seen yet."""
    return -(-window // rows) - 1


def stream_vectors(windows: Program, stream: Program, given: Vectors) -> Vectors:
    """The calls of a self-test: the items of a file of windows one after the other, with the answers of the stream.

    Args:
        windows: The program of the file.
        stream: The same as a stream.
        given: Items of windows, as stored.

    Raises:
        InputError: The stream answers a window otherwise than the file, which is a bug of edgepress.
    """
    window = windows.input.shape[1]
    rows = stream.input.shape[1]
    series = given.inputs.reshape(len(given.inputs) * window, -1)
    calls = len(series) // rows
    inputs = series[: calls * rows].reshape(calls, -1)
    outputs = stream.answers(inputs)
    full = np.arange(calls_before_answers(window, rows) + 1, calls + 1)
    for call in full[np.linspace(0, len(full) - 1, min(COMPARED, len(full))).astype(int)].tolist():
        item = series[call * rows - window : call * rows].reshape(1, -1)
        if (windows.answers(item) != outputs[call - 1]).any():
            problem = f"After {call} calls, the stream answers otherwise than the file of windows."
            raise InputError(problem, "Please report this as a bug of edgepress, with the file.")
    return Vectors(given.source, inputs, outputs, given.right)


def stream_report(windows: Program, stream: Program) -> dict[str, Any]:
    """What `report.json` says of a stream."""
    window = windows.input.shape[1]
    rows = stream.input.shape[1]
    return {
        "rows": rows,
        "window": window,
        "calls_before_answers": calls_before_answers(window, rows),
        "window_macs": windows.macs,
    }


def stream_readme(report: dict[str, Any], name: str) -> str:
    """What the README says of a stream."""
    words = {key.upper(): str(report[key]) for key in ("rows", "window", "calls_before_answers")}
    return fill("stream/README.md", name, **words)
