"""The base of the engines' adapters, and the adapters of LiteRT, tflite-runtime and ONNX Runtime.

An adapter is an opened model file. It knows the file's types and quantization parameters. Its hot method, `run`, takes
a batch of exactly the file's type and returns float32.
"""

from __future__ import annotations

import math
import platform
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from edgepress.runtime.contract import MEMBER, Contract, read_contract
from edgepress.runtime.errors import EngineError, ModelFileError, parsing
from edgepress.runtime.filetypes import format_of
from edgepress.runtime.flatbuffer import assigns_resources, check_model, has_variables, unsupported_operations
from edgepress.runtime.protobuf import check_functions
from edgepress.runtime.system import FLAGS, cpu_info

if TYPE_CHECKING:
    import numpy.typing as npt  # for type checkers only: importing it is a tenth of the runtime's start on a board

_ONNX_TYPES = {"tensor(float)": np.float32, "tensor(float16)": np.float16} | {
    f"tensor({kind.__name__})": kind for kind in (np.uint8, np.int8, np.int16, np.int32, np.int64)
}
MAX_OUTPUTS = 1 << 20
_NEWER = "It is damaged, or made for a newer engine. Convert it again or upgrade the engine."


class Session:
    """An opened model file, the base of the adapters.

    Attributes:
        contract: The contract in the file, None for a file that edgepress did not make.
        shape: Shape of one item; -1 for sizes not fixed.
        dtype: Type of the file's input; of several inputs, that of a record of them, and `shape` is ().
        scale: Input scale and zero point: real value = scale * (stored value - zero point); (1, 0) if not quantized.
        scales: The same of several inputs, by name.
        output_shape: Shape of the output for one item: (classes,) if only one axis counts; -1 for sizes not fixed.
        classes: Number of outputs for one item, -1 if not fixed.
        batch: The file's fixed batch size, None if it is free.
        stateful: Whether the file has state, such as that of a fused LSTM.
        keep_state: Whether state is kept from one call to the next; False: every call begins anew.
    """

    contract: Contract | None
    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    scale: tuple[float, int] = (1.0, 0)
    scales: Mapping[str, tuple[float, int]] = {}
    output_shape: tuple[int, ...]
    classes: int
    batch: int | None
    stateful = keep_state = takes_several = False
    _table: npt.NDArray[np.float32] | None
    _half = False

    def reset(self) -> None:
        """Begin anew; of use only while state is kept."""

    def run(self, batch: npt.NDArray[Any]) -> npt.NDArray[np.float32]:
        """The outputs for a batch of the file's type and shape: float32, shape (N, classes)."""
        raise NotImplementedError

    def _real_values(self, stored: npt.NDArray[Any]) -> npt.NDArray[np.float32]:
        """Outputs as the file stores them, dequantized."""
        return np.asarray(stored, np.float32) if self._table is None else self._table[stored]

    def _describe(self, path: Path, inputs: list[list[Any]], outputs: list[list[Any]]) -> None:
        """Set the shapes; arguments and errors are those of `outputs_of`."""
        self.output_shape, self._flat = outputs_of(path, inputs, outputs, several=self.takes_several)
        self.classes = math.prod(self.output_shape) if min(self.output_shape) > 0 else -1
        size, *shape = (n if isinstance(n, int) and n > 0 else -1 for n in inputs[0])
        self.shape = tuple(shape)
        self.batch = size if size > 0 else None

    def _join(self, path: Path, ports: list[tuple[str, list[Any], Any, tuple[float, int]]]) -> None:
        """Take records of several inputs; arguments and errors are those of `describe_several`."""
        from edgepress.runtime.input_record import describe_several

        self.shape, self._half = (), False
        self.dtype, self.scales = describe_several(path, ports)


class TFLiteSession(Session):
    """A `.tflite` file in LiteRT or tflite-runtime. Its batch size is fixed, usually to 1.

    State is reset before every call, so no item depends on another, unless `keep_state` is set: variable tensors, such
    as those of a fused LSTM, by the interpreter; resource variables, which it can't reset, by opening the file again.
    """

    takes_several = True

    def __init__(self, path: Path, module: Any, threads: int) -> None:
        self.contract = read_contract(path)
        data = path.read_bytes()
        check_model(path, data)
        self._opening = path, module, threads
        interpreter = self._open()
        with parsing(path):  # a name may be no UTF-8
            inputs = interpreter.get_input_details()
            outputs = interpreter.get_output_details()
        input_shapes, output_shapes = ([d["shape"].tolist() for d in details] for details in (inputs, outputs))
        self._describe(path, input_shapes, output_shapes)
        self.dtype, self._half = _session_type(np.dtype(inputs[0]["dtype"]))
        self.scale = input_scale(inputs[0])
        if len(inputs) > 1:
            self._join(path, [(d["name"], d["shape"].tolist(), d["dtype"], input_scale(d)) for d in inputs])
        self._table = dequantization_table(outputs[0])
        self._reopens = assigns_resources(path, data)
        self.keep_state = False
        self.stateful = self._reopens or has_variables(path, data)
        self._input = inputs[0]["index"]
        self._output = outputs[0]["index"]

    def reset(self) -> None:
        """Begin anew."""
        if self._reopens:
            self._open()
        else:
            self._clear()

    def run(self, batch: npt.NDArray[Any]) -> npt.NDArray[np.float32]:
        """The outputs for a batch of the file's fixed size."""
        if not self.keep_state:
            self.reset()
        self._set(self._input, batch.astype(np.float16) if self._half else batch)
        self._invoke()
        out = self._real_values(self._get(self._output))
        return out if self._flat else out.reshape(len(batch), -1)

    def _open(self) -> Any:
        path, module, threads = self._opening
        engine = module.__name__.partition(".")[0]
        with parsing(path, _NEWER, failed=f"can't be opened by {engine}"):
            try:
                self._interpreter = interpreter = module.Interpreter(model_path=str(path), num_threads=threads)
                _refuse_free_sizes(path, interpreter.get_input_details())
                interpreter.allocate_tensors()
            except SystemError as e:
                problem = f"{engine} does not work with numpy {np.__version__}."
                raise EngineError(problem, "tflite-runtime needs an older one: pip install 'numpy<2'") from e
            except (ValueError, RuntimeError) as e:
                raise (unsupported_operations(path, path.read_bytes()) or e) from e
        self._set = interpreter.set_tensor
        if len(inputs := interpreter.get_input_details()) > 1:
            from edgepress.runtime.input_record import feed_each, input_name

            self._set = feed_each(self._set, {input_name(d["name"]): d["index"] for d in inputs})
        self._invoke = interpreter.invoke
        self._get = interpreter.get_tensor
        self._clear = interpreter.reset_all_variables
        return interpreter


def _refuse_free_sizes(path: Path, inputs: list[dict[str, Any]]) -> None:
    """Refuse a file whose input has free sizes, for which the file stores 1, and which would be answered at 1 x 1."""
    for details in inputs:
        signature = [int(n) for n in details["shape_signature"]]
        if any(n < 0 and size == 1 for n, size in zip(signature[1:], details["shape"][1:], strict=False)):
            hint = "Make a file of one size on the workstation: edgepress convert, with --size."
            raise ModelFileError(f"{path} leaves sizes of its input free: {signature}.", hint)


class OnnxSession(Session):
    """An `.onnx` file in ONNX Runtime."""

    takes_several = True

    def __init__(self, path: Path, module: Any, threads: int) -> None:
        settings = {"intra_op_num_threads": threads, "inter_op_num_threads": 1}
        with parsing(path, _NEWER, failed="can't be opened by onnxruntime"):
            # Errors only are logged: warnings concern the graph, not the user of a board.
            session = onnx_session(module, str(path), log_severity_level=3, **settings)
            # In a damaged file, names and metadata may not be UTF-8, which makes these calls fail.
            inputs = session.get_inputs()
            outputs = session.get_outputs()
            text = session.get_modelmeta().custom_metadata_map.get(MEMBER)
        self.contract = Contract.from_json(text, where=str(path)) if text is not None else None
        self._describe(path, [port.shape for port in inputs], [port.shape for port in outputs])
        if other := [port.type for port in inputs if port.type not in _ONNX_TYPES]:
            raise ModelFileError(f"{path} takes {other[0]}; accepted: {', '.join(_ONNX_TYPES)}.")
        self.dtype, self._half = _session_type(np.dtype(_ONNX_TYPES[inputs[0].type]))
        self._run = session.run
        if len(inputs) > 1:
            from edgepress.runtime.input_record import input_name, run_each

            self._join(path, [(port.name, port.shape, _ONNX_TYPES[port.type], (1.0, 0)) for port in inputs])
            self._run = run_each(session.run, {input_name(port.name): port.name for port in inputs})
        self._input = inputs[0].name
        self._outputs = [outputs[0].name]

    def run(self, batch: npt.NDArray[Any]) -> npt.NDArray[np.float32]:
        """The outputs for a batch, of any size unless the file fixes it."""
        batch = batch.astype(np.float16) if self._half else batch
        out = np.asarray(self._run(self._outputs, {self._input: batch})[0], np.float32)
        return out if self._flat else out.reshape(len(batch), -1)


def _session_type(dtype: np.dtype[Any]) -> tuple[np.dtype[Any], bool]:
    """The type that a session takes for a file of this type, and whether it has to store that as float16."""
    half = dtype == np.float16
    return np.dtype(np.float32) if half else dtype, bool(half)


def onnx_session(module: Any, model: str | bytes, **settings: Any) -> Any:
    """Open a model in ONNX Runtime on the CPU so that products of 8 bits do not saturate.

    On x86 without VNNI they do, because sums of two are kept in 16 bits: unsigned activations times signed weights give
    wrong answers. An option, `session.x64quantprecision`, prevents it, and costs time where it is not needed. ONNX
    Runtime 1.32 does not open some files with it, such as those of shared weights; their products are computed in
    float, which is slower, but right, unless they are written as operations of integers (QLinearConv).

    Args:
        module: The package `onnxruntime`.
        model: Path of the file, or its bytes.
        settings: Attributes of `SessionOptions`.

    Raises:
        ValueError: Its functions call themselves, or stand for very many nodes.
    """
    check_functions(model)
    if not products_saturate():
        return _open_session(module, model, settings)
    with suppress(Exception):  # ONNX Runtime's errors share no base class
        return _open_session(module, model, settings | {"log_severity_level": 4}, precise=True)
    level = module.GraphOptimizationLevel.ORT_ENABLE_BASIC  # the levels above it make integer operations
    return _open_session(module, model, {"graph_optimization_level": level} | settings)


def _open_session(module: Any, model: str | bytes, settings: dict[str, Any], *, precise: bool = False) -> Any:
    options = module.SessionOptions()
    for name, value in settings.items():
        setattr(options, name, value)
    if precise:
        options.add_session_config_entry("session.x64quantprecision", "1")
    return module.InferenceSession(model, options, providers=["CPUExecutionProvider"])


def products_saturate() -> bool:
    """Whether this is x86 without VNNI. Where that is not known it is assumed: right answers come first."""
    return platform.machine() in ("x86_64", "AMD64") and not {"avx512_vnni", "avx_vnni"} & {*cpu_info(FLAGS).split()}


def file_format(path: Path) -> str:
    """The format of a file, "tflite" or "onnx", from its content.

    Raises:
        ModelFileError: It is missing or something else; the message says what.
    """
    return format_of(path, ("tflite", "onnx"), ".tflite and .onnx files")


def outputs_of(
    path: Path, inputs: list[list[Any]], outputs: list[list[Any]], *, several: bool = False
) -> tuple[tuple[int, ...], bool]:
    """`Session.output_shape`, and whether the file returns (batch, outputs), so that nothing must be flattened.

    Args:
        path: The file, for messages.
        inputs: Shapes of the inputs, with the batch; free sizes are negative or no numbers.
        outputs: Shapes of the outputs, likewise.
        several: Whether the engine's adapter takes several inputs.

    Raises:
        ModelFileError: There is not one output, or not one input, or several that the adapter does not take.
    """
    if len(outputs) == 1 and len(inputs) > 1 and all((*inputs, *outputs)) and not several:
        hint = "Use litert or onnxruntime."
        raise ModelFileError(f"{path} has {len(inputs)} inputs, and this engine runs files of one here.", hint)
    if not inputs or len(outputs) != 1 or not all((*inputs, *outputs)):
        raise ModelFileError(
            f"{path} is not a classifier: inputs {inputs}, outputs {outputs}.",
            "One output is needed: (batch, classes), or any shape for models without labels.",
        )
    shape = [n if isinstance(n, int) and n > 0 else -1 for n in outputs[0]]
    item = shape[1:] if shape[0] == -1 or outputs[0][0] == inputs[0][0] else shape
    counted = [n for n in item if n != 1]
    return tuple(item if len(counted) > 1 else counted or [1]), len(shape) == 2 and len(item) == 1


def check_outputs(path: Path, count: int) -> None:
    """Refuse a file with more outputs than labels fit into memory."""
    if count > MAX_OUTPUTS:
        raise ModelFileError(f"{path} has {count} outputs; accepted: up to {MAX_OUTPUTS}.", "It is not a classifier.")


def input_scale(details: dict[str, Any]) -> tuple[float, int]:
    """Scale and zero point; (1, 0) if the tensor is not quantized."""
    scale, zero_point = details["quantization"]
    return (float(scale), int(zero_point)) if scale else (1.0, 0)


def dequantization_table(details: dict[str, Any]) -> npt.NDArray[np.float32] | None:
    """The real values of all stored values, in the order of their bits; a lookup is faster than arithmetic."""
    dtype = np.dtype(details["dtype"])
    scale = input_scale(details)
    if dtype.kind == "f":
        return None
    if dtype.itemsize > 2:
        accepted = "float32, float16, uint8, int8, int16"
        raise ModelFileError(f"The output is {dtype}; accepted: {accepted}.", "Export the model with one of these.")
    stored = np.arange(256**dtype.itemsize).astype(f"u{dtype.itemsize}").view(dtype).astype(np.float32)
    table = np.empty(len(stored), np.float32)
    # A negative index counts from the end, so int8 -1 finds entry 255, the value of its bits.
    table[:] = (stored - scale[1]) * scale[0]
    return table
