"""The content of a model file, whatever its format: interface, operations, memory, size, oldest engines.

`read` parses a file without running it; `open_in_engine` adds what this machine's engine reports. Both work in this
process, and native code that meets a damaged file may end it: `edgepress.toolkit.conversion.inspection` calls them in a
child process. Nothing here changes a file.
"""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import Any

from edgepress.converters.contract.hints import Size
from edgepress.converters.inspection.report import EngineCheck, Inspection, Node, Port, Runtime, Weight
from edgepress.runtime import filetypes
from edgepress.runtime.errors import EdgepressError, first_line, parsing

__all__ = ["EngineCheck", "Inspection", "Node", "Port", "Runtime", "Weight", "format_of", "open_in_engine", "read"]


def format_of(path: Path) -> str:
    """The format of a file, recognized by its content: a key of the table of readers.

    Raises:
        ModelFileError: It is missing, empty or of another kind.
    """
    return filetypes.format_of(
        path, tuple(_READERS), ".tflite, .onnx, .keras, .h5 or .hdf5 files, and SavedModel folders"
    )


_READERS = {
    "tflite": ("tflite_file", "read"),
    "onnx": ("onnx_file", "read"),
    "saved_model": ("saved_model", "read"),
    "keras": ("keras_file", "read_keras"),
    "h5": ("keras_file", "read_h5"),
}
_ENGINES = {
    "tflite": ("engines", "open_in_litert"),
    "onnx": ("engines", "open_in_onnxruntime"),
    "keras": ("keras_graph", "open_in_keras"),
    "h5": ("keras_graph", "open_in_keras"),
}
"""By format, the module of this package and its function; imported when used, because they are heavy."""


def read(path: Path, size: Size | None = None, *, trust: bool = False) -> Inspection:
    """Describe a file without an engine.

    Args:
        path: The file.
        size: What free sizes of its inputs are fixed to; None takes them as 1, with a note.
        trust: Whether a SavedModel, which TensorFlow loads to read it, may do more than compute.

    Raises:
        ModelFileError: It can't be read; the message gives the reason.
        InputError: `size` does not fit its inputs.
    """
    format = format_of(path)
    reader = _load(_READERS[format])
    options = {"trust": trust} if format == "saved_model" else {}
    with parsing(path):
        inspection: Inspection = reader(path, size, **options)
    free = [
        f"{p.name}[{axis}]" for p in inspection.inputs for axis, n in enumerate(p.shape or ()) if axis and n is None
    ]
    if not free or size is not None:
        return inspection
    return inspection.replace(
        notes=(*inspection.notes, f"Free sizes taken as 1: {', '.join(free)}; fix them with --size.")
    )


def open_in_engine(path: Path, inspection: Inspection, size: Size | None = None, *, trust: bool = False) -> Inspection:
    """The inspection, completed by opening the file in this machine's engine: LiteRT, ONNX Runtime or Keras.

    `trust` lets Keras run code inside the file.

    Raises:
        InputError: Keras, which has the shapes of a Keras file, can't make the model for `size`.
    """
    if (inspection.format in ("keras", "h5") and not inspection.nodes) or inspection.format not in _ENGINES:
        return inspection
    opens = _load(_ENGINES[inspection.format])
    options = {"size": size, "trust": trust} if inspection.format in ("keras", "h5") else {}
    try:
        opened: Inspection = opens(path, inspection, **options)
    except EdgepressError:
        raise
    except Exception as e:  # of the engine, about what it made of the file
        note = f"What the engine makes of it can't be described ({type(e).__name__}: {first_line(e)})."
        return inspection.replace(notes=(*inspection.notes, note))
    return opened


def _load(place: tuple[str, str]) -> Any:
    return getattr(importlib.import_module(f"{__name__}.{place[0]}"), place[1])
