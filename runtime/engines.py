"""The engines: what opens a model file and runs it.

One visible table and three adapters, because LiteRT and tflite-runtime share one Python interface. An adapter is a
`Session`: it knows the file's own types and quantization parameters, and has one hot method, `run`, which takes a
batch of exactly the file's type and gives float32. Packages are imported when a file is opened, never before.
"""

from __future__ import annotations

import importlib
import importlib.util
import struct
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

import numpy as np

from edgepress.runtime.contract import MEMBER, Contract, read_contract
from edgepress.runtime.errors import EngineError, MissingExtraError, ModelFileError, unknown

if TYPE_CHECKING:
    import numpy.typing as npt  # for the eye alone: importing it is a tenth of what a board waits for us


class Session(Protocol):
    """An opened model file.

    Attributes:
        contract: What the file says of itself, None for a file that edgepress did not make.
        shape: Shape of one item.
        dtype: Type of the file's input.
        scale: Input scale and zero point: real value = scale * (stored value - zero point); (1, 0) if not quantized.
        classes: Number of outputs.
        batch: Batch size that the file is made for, None if free.
    """

    contract: Contract | None
    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    scale: tuple[float, int]
    classes: int
    batch: int | None

    def run(self, batch: npt.NDArray[Any]) -> npt.NDArray[np.float32]:
        """Answer a batch of the file's own type and shape: float32, shape (N, classes)."""
        ...


class TFLiteSession:
    """A `.tflite` file in LiteRT or tflite-runtime. Its batch is fixed, mostly to 1."""

    def __init__(self, path: Path, module: Any, threads: int) -> None:
        self.contract = read_contract(path)
        try:
            self._interpreter = interpreter = module.Interpreter(model_path=str(path), num_threads=threads)
            interpreter.allocate_tensors()
        except SystemError as e:
            what = f"{module.__name__.partition('.')[0]} does not work with numpy {np.__version__}."
            raise EngineError(what, "tflite-runtime needs an older one: pip install 'numpy<2'") from e
        except (ValueError, RuntimeError) as e:
            raise ModelFileError(
                f"{path} can't be opened by {module.__name__.partition('.')[0]}: {_first_line(e)}",
                "The file is damaged, or made for a newer interpreter. Convert it again or upgrade the engine.",
            ) from e
        inputs, outputs = interpreter.get_input_details(), interpreter.get_output_details()
        _check_classifier(path, *([d["shape"].tolist() for d in details] for details in (inputs, outputs)))
        self.shape = tuple(int(n) for n in inputs[0]["shape"][1:])
        self.batch: int | None = int(inputs[0]["shape"][0])
        self.dtype = np.dtype(inputs[0]["dtype"])
        self.scale = _scale(inputs[0])
        self.classes = int(outputs[0]["shape"][1])
        self._table = _dequantization_table(outputs[0])
        self._set, self._invoke, self._get = interpreter.set_tensor, interpreter.invoke, interpreter.get_tensor
        self._input, self._output = inputs[0]["index"], outputs[0]["index"]

    def run(self, batch: npt.NDArray[Any]) -> npt.NDArray[np.float32]:
        """Answer a batch of the size that the file is made for."""
        self._set(self._input, batch)
        self._invoke()
        out: npt.NDArray[np.float32] = self._get(self._output)
        return out if self._table is None else self._table[out]


class OnnxSession:
    """An `.onnx` file in ONNX Runtime."""

    def __init__(self, path: Path, module: Any, threads: int) -> None:
        options = module.SessionOptions()
        options.intra_op_num_threads = threads
        options.inter_op_num_threads = 1
        options.log_severity_level = 3  # errors: its warnings are about the graph, not for the user of a board
        try:
            session = module.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
            # In a damaged file, names and metadata may not be UTF-8, and asking for them then fails.
            inputs, outputs = session.get_inputs(), session.get_outputs()
            text = session.get_modelmeta().custom_metadata_map.get(MEMBER)
        except Exception as e:  # its exceptions share no base but Exception
            raise ModelFileError(
                f"{path} can't be opened by onnxruntime: {_first_line(e)}",
                "The file is damaged, or made for a newer ONNX Runtime. Convert it again or upgrade the engine.",
            ) from e
        _check_classifier(path, [i.shape for i in inputs], [o.shape for o in outputs])
        if inputs[0].type not in _ONNX_TYPES:
            raise ModelFileError(f"{path} takes {inputs[0].type}; accepted: {', '.join(_ONNX_TYPES)}.")
        self.contract = Contract.from_json(text, where=str(path)) if text is not None else None
        batch, *shape = inputs[0].shape
        self.batch = batch if isinstance(batch, int) else None
        self.shape = tuple(n if isinstance(n, int) else -1 for n in shape)
        self.dtype = np.dtype(_ONNX_TYPES[inputs[0].type])
        self.scale = (1.0, 0)
        self.classes = outputs[0].shape[1] if isinstance(outputs[0].shape[1], int) else -1
        self._run, self._input, self._outputs = session.run, inputs[0].name, [outputs[0].name]

    def run(self, batch: npt.NDArray[Any]) -> npt.NDArray[np.float32]:
        """Answer a batch; its size is free unless the file says otherwise."""
        out: npt.NDArray[np.float32] = self._run(self._outputs, {self._input: batch})[0]
        return out


class OpenVinoSession:
    """A `.tflite` or `.onnx` file in OpenVINO.

    Where the batch is free, the usual one of 1 gets a graph of its own: a free dimension costs a third of the time on
    small nets. float32 stays float32; left alone, OpenVINO takes bfloat16 instead where the CPU has it.
    """

    def __init__(self, path: Path, module: Any, threads: int) -> None:
        tflite = file_format(path) == "tflite"
        self._path, self._module, self._core = path, module, module.Core()
        self._options = {**OPENVINO_OPTIONS, "INFERENCE_NUM_THREADS": threads}
        try:
            model = self._core.read_model(str(path))
            inputs, outputs = ([_shape(port) for port in ports] for ports in (model.inputs, model.outputs))
            key = ["framework", MEMBER]
            text = model.get_rt_info(key).value if not tflite and model.has_rt_info(key) else None
            scales = _tflite_quantization(path.read_bytes()) if tflite else ((0.0, 0), (0.0, 0))
            _check_classifier(path, inputs, outputs)
            self.batch = inputs[0][0] if inputs[0][0] > 0 else None
            self.shape, self.classes = tuple(inputs[0][1:]), outputs[0][1]
            self._type, output = model.inputs[0].element_type, model.outputs[0].element_type.to_dtype()
            del model
            self._requests = {self.batch or 1: self._compiled(self.batch or 1)}
        except (RuntimeError, struct.error, IndexError) as e:
            reason = [line for line in str(e).splitlines() if line.strip()][-1:] or [type(e).__name__]
            raise ModelFileError(
                f"{path} can't be opened by openvino: {reason[0].strip().rstrip('.')}.",
                "It is damaged, or holds an operation that OpenVINO lacks. Convert it again, or take another engine.",
            ) from e
        self.contract = read_contract(path) if tflite else Contract.from_json(text, where=str(path)) if text else None
        self.dtype, self.scale = np.dtype(self._type.to_dtype()), _scale({"quantization": scales[0]})
        self._table = _dequantization_table({"quantization": scales[1], "dtype": output})
        self._input: npt.NDArray[Any] = np.empty(0)

    def run(self, batch: npt.NDArray[Any]) -> npt.NDArray[np.float32]:
        """Answer a batch; its size is free unless the file says otherwise."""
        if self._input.shape != batch.shape:
            size = len(batch) if len(batch) in self._requests else -1
            if size not in self._requests:
                self._requests[size] = self._compiled(size)
            self._request = self._requests[size]
            tensor = self._module.Tensor(self._type, self._module.Shape(batch.shape))
            self._request.set_input_tensor(tensor)
            self._input = tensor.data  # filling it and calling `infer()` takes half the time of `infer([batch])`
        self._input[...] = batch
        self._request.infer(share_outputs=True)
        out: npt.NDArray[np.float32] = self._request.get_output_tensor(0).data
        return out.copy() if self._table is None else self._table[out]

    def _compiled(self, batch: int) -> Any:
        model = self._core.read_model(str(self._path))  # again, rather than to keep it beside its compiled form
        if self.batch is None:
            model.reshape([batch, *self.shape])
        return self._core.compile_model(model, "CPU", self._options).create_infer_request()


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

_ONNX_TYPES = {"tensor(uint8)": np.uint8, "tensor(int8)": np.int8, "tensor(float)": np.float32}
OPENVINO_OPTIONS = {
    "PERFORMANCE_HINT": "LATENCY",
    "INFERENCE_PRECISION_HINT": "f32",
    "ENABLE_CPU_PINNING": False,  # on which CPU a process runs is not the engine's choice
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


def file_format(path: Path) -> str:
    """The format, "tflite" or "onnx", that a file's first bytes show.

    Raises:
        ModelFileError: It is missing, empty, or of a kind that no engine opens.
    """
    try:
        with path.open("rb") as f:
            head = f.read(300)
    except IsADirectoryError as e:
        raise ModelFileError(f"{path} is a folder.", "Name a .tflite or .onnx file in it.") from e
    except OSError as e:
        raise ModelFileError(f"{path} can't be read: {e.strerror or e}.", "Check the path.") from e
    if head[4:8] == b"TFL3":
        return "tflite"
    if head[:4] == b"PK\x03\x04" and b"MANIFEST.json" in head:
        raise ModelFileError(f"{path} is a bundle.", f"Unpack it: python3 -m zipfile -e {path} FOLDER")
    if head[:4] == b"PK\x03\x04" or head[:8] == b"\x89HDF\r\n\x1a\n":
        raise ModelFileError(
            f"{path} is a Keras model, which no board's engine opens.", "Convert it first: edgepress convert."
        )
    if path.suffix == ".onnx" and head[:1] == b"\x08":  # protobuf field 1 of ModelProto, ir_version
        return "onnx"
    found = "an empty file" if not head else "of another kind, or damaged"
    raise ModelFileError(f"{path} is {found}. Accepted: .tflite and .onnx files.", "Convert the model again.")


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
        reason = f"{what} needs {row.package}, which is installed but can't be imported: {_first_line(e)}"
        raise EngineError(reason, "See: python -m edgepress.runtime doctor") from e
    finally:
        if silenced:
            del sys.modules[_TELEMETRY]


def _check_classifier(path: Path, inputs: list[list[Any]], outputs: list[list[Any]]) -> None:
    """Refuse a file whose inputs and outputs, by their shapes, are not those of a classifier."""
    if len(inputs) != 1 or len(outputs) != 1 or len(outputs[0]) != 2:
        what = f"{path} is not a classifier: inputs {inputs}, outputs {outputs}."
        raise ModelFileError(what, "One input and one output of shape (batch, classes) are needed.")


def _scale(details: dict[str, Any]) -> tuple[float, int]:
    scale, zero_point = details["quantization"]
    return (float(scale), int(zero_point)) if scale else (1.0, 0)


def _shape(port: Any) -> list[int]:
    """Shape of an OpenVINO input or output, -1 where it is free."""
    return [n.get_length() if n.is_static else -1 for n in port.partial_shape]


def _tflite_quantization(model: bytes) -> tuple[tuple[float, int], ...]:
    """Scale and zero point of the first input and the first output, which OpenVINO does not tell; 0 if there are none.

    Raises:
        struct.error, IndexError: The flatbuffer is cut off.
    """

    def number(at: int, form: str = "<I") -> Any:
        return struct.unpack_from(form, model, at)[0]

    def field(table: int, index: int) -> int:
        """Where a table's field points to; 0 if it is left out, as are all fields of what is left out."""
        if not table:
            return 0
        fields = table - number(table, "<i")
        offset = number(fields + 4 + 2 * index, "<H") if 4 + 2 * index < number(fields, "<H") else 0
        return table + offset + number(table + offset) if offset else 0

    graphs = field(number(0), 2)
    graph = graphs + 4 + number(graphs + 4)
    found = []
    for ports in (field(graph, 1), field(graph, 2)):
        tensor = field(graph, 0) + 4 + 4 * number(ports + 4)
        quantization = field(tensor + number(tensor), 4)
        scale, zero_point = field(quantization, 2), field(quantization, 3)
        found.append((number(scale + 4, "<f") if scale else 0.0, number(zero_point + 4, "<q") if zero_point else 0))
    return tuple(found)


def _dequantization_table(details: dict[str, Any]) -> npt.NDArray[np.float32] | None:
    """The real value of each of 256 stored values, as they lie in memory; looking up beats arithmetic on arrays."""
    dtype, scale = np.dtype(details["dtype"]), _scale(details)
    if dtype == np.float32:
        return None
    if dtype.itemsize != 1:
        raise ModelFileError(f"The output is {dtype}; accepted: float32, uint8, int8.", "Convert the model again.")
    stored = np.arange(256, dtype=np.uint8).view(dtype).astype(np.float32)
    table = np.empty(256, np.float32)
    # A negative index counts from the end, so int8 -1 finds entry 255, which is where its bits put it.
    table[:] = (stored - scale[1]) * scale[0]
    return table


def _first_line(error: Exception) -> str:
    return str(error).strip().partition("\n")[0].rstrip(". ") + "."
