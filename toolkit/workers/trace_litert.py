"""Child process: trace a file with LiteRT's profiler, through the C interface of the library in its Python package.

The Python classes offer no profiler: `Interpreter` has none, and `CompiledModel` does not expose one. The library
beside them (`LIBRARY`) exports one that reports XNNPACK's kernels, too (litert/c/litert_profiler.h).
`CompiledModel` runs the same kernels as `Interpreter`.

Limits: `CompiledModel` takes no file with state (variable tensors) or with intermediate tensors, which `Interpreter`
does (litert/core/model/model_load.cc). Structures and options are those of ai-edge-litert 2.3. A later release may
change them, and C does not check; so this runs in a child process only, and values are checked before they are used.
"""

from __future__ import annotations

import ctypes
import importlib.util
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from edgepress.runtime.errors import EngineError

LIBRARY = {"darwin": "libLiteRt.dylib", "win32": "libLiteRt.dll"}.get(sys.platform, "libLiteRt.so")
CPU = 1
WRITE = 1
ELEMENT_TYPES = {np.dtype(np.float32): 1, np.dtype(np.uint8): 3, np.dtype(np.int8): 9, np.dtype(np.int16): 7}
OPERATION = 2
DELEGATE_OPERATION = 4
DELEGATE_PROFILED = 8
EVENT_TYPES = (1, OPERATION, DELEGATE_OPERATION, DELEGATE_PROFILED, 16, 32, 64, 128, 256)
_Handle = ctypes.c_void_p


class _Event(ctypes.Structure):
    _fields_ = (
        ("tag", ctypes.c_char_p),
        ("type", ctypes.c_int),
        ("start_us", ctypes.c_uint64),
        ("elapsed_us", ctypes.c_uint64),
        ("memory", ctypes.c_uint64 * 6),
        ("place", ctypes.c_uint64),
        ("graph", ctypes.c_uint64),
        ("source", ctypes.c_int),
    )


class _TensorType(ctypes.Structure):
    _fields_ = (
        ("element", ctypes.c_int),
        ("rank", ctypes.c_uint32),
        ("shape", ctypes.c_int32 * 8),
        ("strides", ctypes.c_uint32 * 8),
    )


class Ran(NamedTuple):
    """A kernel that ran: its name, time, whether a delegate ran it, and its position in the file or the delegate."""

    tag: str
    time_us: float
    delegated: bool
    place: int


class CompiledModel:
    """An opened file; `compile_file` makes one."""

    def __init__(self, library: Any, handles: dict[str, Any], size_bytes: int) -> None:
        self._library = library
        self._handles = handles
        self._size = size_bytes

    def trace(self, batch: npt.NDArray[Any]) -> list[Ran]:
        """Answer a batch and return what ran, in order.

        Raises:
            EngineError: The library reports events in an unknown form.
        """
        library = self._library
        h = self._handles
        address = _Handle()
        library.LiteRtLockTensorBuffer(h["input"], ctypes.byref(address), WRITE)
        ctypes.memmove(address, np.ascontiguousarray(batch).ctypes.data, self._size)
        library.LiteRtUnlockTensorBuffer(h["input"])
        library.LiteRtResetProfiler(h["profiler"])
        library.LiteRtStartProfiler(h["profiler"])
        one = ctypes.c_size_t(1)
        first = ctypes.c_size_t(0)
        library.LiteRtRunCompiledModel(
            h["compiled"], first, one, ctypes.byref(h["input"]), one, ctypes.byref(h["output"])
        )
        library.LiteRtStopProfiler(h["profiler"])
        count = ctypes.c_int()
        library.LiteRtGetNumProfilerEvents(h["profiler"], ctypes.byref(count))
        events = (_Event * max(count.value, 1))()
        library.LiteRtGetProfilerEvents(h["profiler"], count, events)
        nodes = []
        for event in events[: count.value]:
            if event.type not in EVENT_TYPES:
                hint = "Profile the file with another engine, or install ai-edge-litert 2.3."
                raise EngineError("This release of LiteRT reports its profile in another form than release 2.3.", hint)
            if event.type in (OPERATION, DELEGATE_OPERATION, DELEGATE_PROFILED):
                tag = event.tag.decode(errors="replace")
                nodes.append(Ran(tag, float(event.elapsed_us), event.type != OPERATION, event.place))
        return nodes


@contextmanager
def compile_file(file: Path, threads: int, batch: npt.NDArray[Any]) -> Iterator[CompiledModel]:
    """Open a file with the profiler on.

    Args:
        file: A `.tflite` file of one input and one output.
        threads: Number of threads that XNNPACK may use.
        batch: An input, for its shape and type.

    Raises:
        EngineError: The library is missing, or refuses something.
    """
    library = _library(file)
    names = ("environment", "model", "options", "compiled", "profiler", "input", "output")
    h: dict[str, Any] = {name: _Handle() for name in names}
    with ExitStack() as undo:

        def make(function: str, *arguments: Any, into: str, undone_by: str = "") -> None:
            getattr(library, function)(*arguments, ctypes.byref(h[into]))
            if undone_by:
                undo.callback(library.raw(undone_by), h[into])

        path = str(file).encode()
        make("LiteRtCreateEnvironment", 0, None, into="environment", undone_by="LiteRtDestroyEnvironment")
        make("LiteRtCreateModelFromFile", h["environment"], path, into="model", undone_by="LiteRtDestroyModel")
        make("LiteRtCreateOptions", into="options", undone_by="LiteRtDestroyOptions")
        library.LiteRtSetOptionsHardwareAccelerators(h["options"], CPU)
        texts = {"runtime_options_string": "enable_profiling = true", "xnnpack": f"num_threads = {threads}"}
        _kept = [_add_option(library, h["options"], *item) for item in texts.items()]
        what = (h["environment"], h["model"], h["options"])
        make("LiteRtCreateCompiledModel", *what, into="compiled", undone_by="LiteRtDestroyCompiledModel")
        make("LiteRtCompiledModelGetProfiler", h["compiled"], into="profiler")
        for side, kind in _port_types(file).items():
            needs = _Handle()
            first = ctypes.c_size_t(0)
            requirements = getattr(library, f"LiteRtGetCompiledModel{side}BufferRequirements")
            requirements(h["compiled"], first, first, ctypes.byref(needs))
            make(
                *("LiteRtCreateManagedTensorBufferFromRequirements", h["environment"], ctypes.byref(kind), needs),
                into=side.lower(),
                undone_by="LiteRtDestroyTensorBuffer",
            )
        yield CompiledModel(library, h, batch.nbytes)


def _library(file: Path) -> _Checked:
    spec = importlib.util.find_spec("ai_edge_litert")
    folders = (spec.submodule_search_locations or ()) if spec else ()
    path = next((path for folder in folders if (path := Path(folder, LIBRARY)).exists()), None)
    if path is None:
        raise EngineError(f"This installation of LiteRT has no {LIBRARY}, and its Python classes have no profiler.")
    return _Checked(ctypes.CDLL(str(path)), file)


def _add_option(library: _Checked, options: Any, name: str, text: str) -> Any:
    """Add one option; the library reads the returned objects as long as the options live."""
    option = _Handle()
    payload = ctypes.create_string_buffer(text.encode())
    nothing = ctypes.CFUNCTYPE(None, _Handle)(lambda _: None)
    library.LiteRtCreateOpaqueOptions(name.encode(), payload, nothing, ctypes.byref(option))
    library.LiteRtAddOpaqueOptions(options, option)
    return payload, nothing


def _port_types(file: Path) -> dict[str, _TensorType]:
    """Shape and type of a file's "Input" and "Output"."""
    from ai_edge_litert.interpreter import Interpreter

    ports = Interpreter(model_path=str(file))
    types = {}
    for side, (port,) in {"Input": ports.get_input_details(), "Output": ports.get_output_details()}.items():
        shape = [int(n) for n in port["shape"]]
        types[side] = _TensorType(ELEMENT_TYPES[np.dtype(port["dtype"])], len(shape))
        types[side].shape[: len(shape)] = shape
    return types


class _Checked:
    """The library; a status of its functions other than 0 becomes an error."""

    def __init__(self, library: ctypes.CDLL, file: Path) -> None:
        self._library = library
        self._file = file

    def raw(self, name: str) -> Any:
        return getattr(self._library, name)

    def __getattr__(self, name: str) -> Any:
        function = getattr(self._library, name)

        def call(*arguments: Any) -> None:
            if status := function(*arguments):
                problem = f"LiteRT's profiler can't be used on {self._file}: {name} returned status {status}."
                raise EngineError(problem, "Use edgepress benchmark, which times the whole file.")

        return call
