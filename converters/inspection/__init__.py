"""The content of a model file, whatever its format: interface, operations, memory, size, oldest engines.

`read` parses a file without running it; `open_in_engine` adds what this machine's engine reports. Both work in this
process, and native code that meets a damaged file may end it: `edgepress.toolkit.inspection` calls them in a child
process. Nothing here changes a file.
"""

from __future__ import annotations

import importlib
import stat
import zipfile
from pathlib import Path
from typing import Any

from edgepress.converters.contract.size import Size
from edgepress.converters.inspection.report import Engine, Inspection, Node, Port, Runtime, Weight
from edgepress.runtime.errors import ModelFileError

__all__ = ["Engine", "Inspection", "Node", "Port", "Runtime", "Weight", "format_of", "open_in_engine", "read"]

ACCEPTED = "Accepted: .tflite, .onnx, .keras, .h5 or .hdf5 files, and SavedModel folders."


def format_of(path: Path) -> str:
    """The format of a file, recognized by its content: "tflite", "onnx", "keras", "h5" or "saved_model".

    Raises:
        ModelFileError: It is missing, empty or of another kind.
    """
    if path.is_dir():
        if (path / "saved_model.pb").is_file():
            return "saved_model"
        raise ModelFileError(f"{path} is a folder and no SavedModel: saved_model.pb is missing.", ACCEPTED)
    try:
        if not stat.S_ISREG(path.stat().st_mode):  # reading a pipe would block
            raise ModelFileError(f"{path} is neither a file nor a folder.", ACCEPTED)
        with path.open("rb") as file:
            head = file.read(8)
    except OSError as e:
        raise ModelFileError(f"{path} can't be read: {e.strerror or e}.", "Check the path.") from e
    if head[4:8] == b"TFL3":
        return "tflite"
    if head == b"\x89HDF\r\n\x1a\n":
        return "h5"
    if head[:4] == b"PK\x03\x04" and (path.suffix == ".keras" or zipfile.is_zipfile(path)):
        return "keras"
    if path.suffix == ".onnx" and head:  # protobuf has no signature
        return "onnx"
    found = "an empty file" if not head else "of another kind, or damaged"
    raise ModelFileError(f"{path} is {found}.", ACCEPTED)


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


def read(path: Path, size: Size | None = None) -> Inspection:
    """Describe a file without an engine.

    Args:
        path: The file.
        size: What free sizes of its inputs are fixed to; None takes them as 1, with a note.

    Raises:
        ModelFileError: It can't be read; the message gives the reason.
        InputError: `size` does not fit its inputs.
    """
    found: Inspection = _load(_READERS[format_of(path)])(path, size)
    free = [f"{p.name}[{axis}]" for p in found.inputs for axis, n in enumerate(p.shape or ()) if axis and n is None]
    if not free or size is not None:
        return found
    return found.replace(notes=(*found.notes, f"Free sizes taken as 1: {', '.join(free)}; fix them with --size."))


def open_in_engine(path: Path, found: Inspection, size: Size | None = None) -> Inspection:
    """`found`, completed by opening the file in this machine's engine: LiteRT, ONNX Runtime or Keras.

    Raises:
        InputError: Keras, which has the shapes of a Keras file, can't make the model for `size`.
    """
    bare = found.format in ("keras", "h5") and not found.nodes
    if bare or found.format not in _ENGINES:
        return found
    options = {"size": size} if found.format in ("keras", "h5") else {}
    opened: Inspection = _load(_ENGINES[found.format])(path, found, **options)
    return opened


def _load(place: tuple[str, str]) -> Any:
    return getattr(importlib.import_module(f"{__name__}.{place[0]}"), place[1])
