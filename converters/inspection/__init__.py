"""The content of a model file, whatever its format: interface, operations, memory, size, oldest engines.

`read` parses a file without running it; `open_in_engine` adds what this machine's engine reports. Both work in this
process, and native code that meets a damaged file may end it: `edgepress.toolkit.inspection` calls them in a child
process. Nothing here changes a file.
"""

from __future__ import annotations

import stat
import zipfile
from pathlib import Path

from edgepress.converters.inspection.report import Engine, Inspection, Node, Port, Runtime, Weight
from edgepress.runtime.errors import ModelFileError

__all__ = ["Engine", "Inspection", "Node", "Port", "Runtime", "Weight", "format_of", "open_in_engine", "read"]

ACCEPTED = "Accepted: .tflite, .onnx, .keras, .h5 or .hdf5 files, and SavedModel folders."


def format_of(path: Path) -> str:
    """The format that a file's content shows: "tflite", "onnx", "keras", "h5" or "saved_model".

    Raises:
        ModelFileError: It is missing, empty or of another kind.
    """
    if path.is_dir():
        if (path / "saved_model.pb").is_file():
            return "saved_model"
        raise ModelFileError(f"{path} is a folder and no SavedModel: it holds no saved_model.pb.", ACCEPTED)
    try:
        if not stat.S_ISREG(path.stat().st_mode):  # a pipe would be waited for
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
    if path.suffix == ".onnx" and head:  # protobuf has no mark of its own
        return "onnx"
    found = "an empty file" if not head else "of another kind, or damaged"
    raise ModelFileError(f"{path} is {found}.", ACCEPTED)


def read(path: Path) -> Inspection:
    """What a file holds, without an engine.

    Raises:
        ModelFileError: It can't be read; the message says why.
    """
    format = format_of(path)
    if format == "tflite":
        from edgepress.converters.inspection.tflite_file import read as read_tflite

        return read_tflite(path)
    if format == "onnx":
        from edgepress.converters.inspection.onnx_file import read as read_onnx

        return read_onnx(path)
    if format == "saved_model":
        from edgepress.converters.inspection.saved_model import read as read_saved_model

        return read_saved_model(path)
    from edgepress.converters.inspection import keras_file

    return keras_file.read_keras(path) if format == "keras" else keras_file.read_h5(path)


def open_in_engine(path: Path, found: Inspection) -> Inspection:
    """`found` with what this machine's engine makes of the file: LiteRT, ONNX Runtime or Keras."""
    if found.format == "tflite":
        from edgepress.converters.inspection.engines import open_in_litert

        return open_in_litert(path, found)
    if found.format == "onnx":
        from edgepress.converters.inspection.engines import open_in_onnxruntime

        return open_in_onnxruntime(path, found)
    if found.format in ("keras", "h5") and found.nodes:
        from edgepress.converters.inspection.keras_graph import open_in_keras

        return open_in_keras(path, found)
    return found
