"""The table of engines, and opening a model file with one of them.

LiteRT and tflite-runtime share an adapter, because they have the same Python interface. An engine's package is imported
when it opens a file, not before.
"""

from __future__ import annotations

import importlib
import importlib.util
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

from edgepress.runtime import amx
from edgepress.runtime.errors import EngineError, MissingExtraError, first_line, unknown
from edgepress.runtime.sessions import OnnxSession, Session, TFLiteSession, file_format


class Engine(NamedTuple):
    """One row of the engine table: all that depends on an engine, apart from its adapter.

    Attributes:
        formats: The file formats that it opens.
        module: Module to import.
        package: Name of the package on PyPI.
        extra: The extra of edgepress that installs it; empty if none does.
        session: The adapter.
        color: Its colour in plots.
        requirements: What pip installs into an environment made for this engine; empty: the package.
        newest_python: Latest Python with wheels of the package; None: no known limit.
        profiler: Description of its profiler; empty if it has none. `edgepress.toolkit.workers.trace` reads it.
        delegates: Whether it hands parts of a graph to a delegate.
        dynamic_in_float: Whether it unpacks dynamically quantized weights and computes in float32.
        slow_int8_on_x86: Whether it lacks fast int8 kernels for x86.
        timed: Whether its latency says something; it is not measured otherwise, and "all" leaves the engine out.
        built: Whether each model is compiled into its own library; such an engine is never chosen automatically.
        one_thread: Whether it computes with one thread, however many it is given.
        bundled: Whether bundles can install its package on boards.
        several_inputs: Whether its adapter takes several inputs.
    """

    formats: tuple[str, ...]
    module: str
    package: str
    extra: str
    session: Callable[[Path, Any, int], Session]
    color: str
    requirements: tuple[str, ...] = ()
    newest_python: tuple[int, int] | None = None
    profiler: str = ""
    delegates: bool = False
    dynamic_in_float: bool = False
    slow_int8_on_x86: bool = False
    timed: bool = True
    built: bool = False
    one_thread: bool = False
    bundled: bool = False
    several_inputs: bool = False


def _later(module: str, name: str) -> Callable[[Path, Any, int], Session]:
    """An adapter that is imported when it opens a file: few files are opened with these engines."""

    def open_file(path: Path, package: Any, threads: int) -> Session:
        adapter = getattr(importlib.import_module(f"edgepress.runtime.{module}"), name)
        session: Session = adapter(path, package, threads)
        return session

    return open_file


# fmt: off
ENGINES: dict[str, Engine] = {
    "litert": Engine(
        ("tflite",), "ai_edge_litert.interpreter", "ai-edge-litert", "tflite", TFLiteSession, "#1b6ca8",
        profiler="LiteRT's own profiler, with the kernels of its delegate XNNPACK", delegates=True, bundled=True,
        several_inputs=True),
    "tflite-runtime": Engine(
        ("tflite",), "tflite_runtime.interpreter", "tflite-runtime", "tflite-runtime", TFLiteSession, "#6f9f3c",
        requirements=("tflite-runtime>=2.14", "numpy<2"), newest_python=(3, 11), slow_int8_on_x86=True, bundled=True,
        several_inputs=True),
    "onnxruntime": Engine(
        ("onnx",), "onnxruntime", "onnxruntime", "onnx", OnnxSession, "#c8641b",
        profiler="ONNX Runtime's own profiling", bundled=True, several_inputs=True),
    "openvino": Engine(
        ("tflite", "onnx"), "openvino", "openvino", "openvino",
        _later("openvino_session", "OpenVinoSession"), "#7b4fa3",
        profiler="OpenVINO's own performance counters", dynamic_in_float=True),
    "tflite-micro": Engine(
        ("tflite",), "tflite_micro", "tflite-micro", "micro", _later("micro_session", "MicroSession"), "#b0355f",
        requirements=("tflite-micro==0.dev20261023182759",), newest_python=(3, 13), timed=False, one_thread=True),
    "native": Engine(
        ("tflite",), "ctypes", "", "", _later("native_session", "NativeSession"), "#5c6670",
        built=True, one_thread=True),
}
# fmt: on
"""The engines, in order of preference. To add one: an adapter module and a row here."""
PACKAGED = {name: engine for name, engine in ENGINES.items() if not engine.built}
"""Engines installed as Python packages; all but native."""

_TELEMETRY = "openvino.tools.ovc"
"""Part of OpenVINO that is not needed here and reports every import over the network; it is kept from loading."""


def available_engines(format: str | None = None) -> list[str]:
    """Names of the installed engines, best first; optionally only those that open a format ("tflite" or "onnx")."""
    return [
        name
        for name, engine in PACKAGED.items()
        if format in (None, *engine.formats) and importlib.util.find_spec(engine.module.partition(".")[0]) is not None
    ]


def open_session(path: Path, engine: str | None, threads: int) -> tuple[str, Session]:
    """Open a file with the named engine, or with the first installed one that opens its format.

    Returns:
        The engine's name and the session.

    Raises:
        ModelFileError: The file can't be opened.
        EngineError: The engine is unknown or does not open this kind of file.
        MissingExtraError: No fitting engine is installed.
    """
    if engine is not None and engine not in ENGINES:
        raise EngineError(*unknown("engine", engine, ENGINES).args)
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
    """Import the module of an engine.

    Args:
        name: An engine of the table.
        purpose: What needs the engine, for the error message.

    Raises:
        MissingExtraError: It is not installed.
        EngineError: It is, but can't be imported, or can't do without AMX (`amx.apply`).
    """
    row = ENGINES[name]
    amx.apply()
    silenced = sys.modules.setdefault(_TELEMETRY, None) is None  # type: ignore[arg-type]
    try:
        return importlib.import_module(row.module)
    except Exception as e:  # a package for another NumPy or CPU raises what it likes
        what = purpose or f"The engine {name}"
        if isinstance(e, ModuleNotFoundError) and e.name and row.module.startswith(e.name):
            raise MissingExtraError(what, row.package, row.extra) from e
        reason = f"{what} needs {row.package}, which is installed but can't be imported: {first_line(e)}."
        raise EngineError(reason, "See: python -m edgepress.runtime doctor") from e
    finally:
        if silenced:
            del sys.modules[_TELEMETRY]
