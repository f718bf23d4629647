"""The engines: one visible table, and which of them opens a model file.

LiteRT and tflite-runtime share one adapter, because they share one Python interface. Packages are imported when a file
is opened, never before.
"""

from __future__ import annotations

import importlib
import importlib.util
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

from edgepress.runtime.errors import EngineError, MissingExtraError, unknown
from edgepress.runtime.openvino_session import OpenVinoSession
from edgepress.runtime.sessions import OnnxSession, Session, TFLiteSession, file_format, first_line


class Engine(NamedTuple):
    """One row of the engine table.

    Attributes:
        formats: The kinds of file that it opens.
        module: What to import.
        package: The package's name on PyPI.
        extra: The extra of edgepress that installs it.
        session: The adapter.
    """

    formats: tuple[str, ...]
    module: str
    package: str
    extra: str
    session: Callable[[Path, Any, int], Session]


_TFLITE = ("tflite",)
ENGINES: dict[str, Engine] = {
    "litert": Engine(_TFLITE, "ai_edge_litert.interpreter", "ai-edge-litert", "tflite", TFLiteSession),
    "tflite-runtime": Engine(_TFLITE, "tflite_runtime.interpreter", "tflite-runtime", "tflite-runtime", TFLiteSession),
    "onnxruntime": Engine(("onnx",), "onnxruntime", "onnxruntime", "onnx", OnnxSession),
    "openvino": Engine(("tflite", "onnx"), "openvino", "openvino", "openvino", OpenVinoSession),
}

_TELEMETRY = "openvino.tools.ovc"
"""Part of OpenVINO that we don't need and that reports every import over the network; kept from loading."""


def available_engines(format: str | None = None) -> list[str]:
    """Names of the installed engines, best first, optionally only those that open a format ("tflite" or "onnx")."""
    return [
        name
        for name, engine in ENGINES.items()
        if format in (None, *engine.formats) and importlib.util.find_spec(engine.module.partition(".")[0]) is not None
    ]


def open_session(path: Path, engine: str | None, threads: int) -> tuple[str, Session]:
    """Open a file with an engine, by name or the first installed one that takes it.

    Returns:
        The engine's name and the session.

    Raises:
        ModelFileError: The file can't be opened.
        EngineError: The engine is unknown or does not open this kind of file.
        MissingExtraError: No fitting engine is installed.
    """
    if engine is not None and engine not in ENGINES:
        error = unknown("engine", engine, ENGINES)
        raise EngineError(error.message, error.hint)
    format = file_format(path)
    fitting = {name: e for name, e in ENGINES.items() if format in e.formats}
    if engine is None:
        engine = next(iter(available_engines(format)), next(iter(fitting)))
    if engine not in fitting:
        raise EngineError(
            f"The engine {engine} opens .{' and .'.join(ENGINES[engine].formats)} files; {path} is .{format}.",
            f"Use one of: {', '.join(fitting)}.",
        )
    module = import_engine(engine, f"Opening {path}")
    return engine, ENGINES[engine].session(path, module, threads)


def import_engine(name: str, purpose: str = "") -> Any:
    """The module of an engine.

    Args:
        name: An engine of the table.
        purpose: What it is for, for the message of the error.

    Raises:
        MissingExtraError: It is not installed.
        EngineError: It is, but can't be imported.
    """
    row = ENGINES[name]
    silenced = sys.modules.setdefault(_TELEMETRY, None) is None  # type: ignore[arg-type]
    try:
        return importlib.import_module(row.module)
    except Exception as e:  # a package for another NumPy or CPU raises what it likes
        what = purpose or f"The engine {name}"
        if isinstance(e, ModuleNotFoundError) and e.name and row.module.startswith(e.name):
            raise MissingExtraError(what, row.package, row.extra) from e
        reason = f"{what} needs {row.package}, which is installed but can't be imported: {first_line(e)}"
        raise EngineError(reason, "See: python -m edgepress.runtime doctor") from e
    finally:
        if silenced:
            del sys.modules[_TELEMETRY]
