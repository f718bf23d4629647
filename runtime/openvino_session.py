"""The adapter of OpenVINO, which opens `.tflite` and `.onnx` files."""

from __future__ import annotations

import struct
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from edgepress.runtime.contract import MEMBER, Contract, read_contract
from edgepress.runtime.errors import parsing
from edgepress.runtime.flatbuffer import Flatbuffer, check_model, unsupported_operations
from edgepress.runtime.protobuf import check_functions
from edgepress.runtime.sessions import Session, dequantization_table, file_format, input_scale, products_saturate

if TYPE_CHECKING:
    import numpy.typing as npt  # for type checkers only: importing it is a tenth of the runtime's start on a board


def openvino_options(threads: int) -> dict[str, Any]:
    """The options with which OpenVINO compiles a file.

    float32 stays float32; by default, OpenVINO would use bfloat16 where the CPU supports it. Where products of 8 bits
    saturate, int8 files are computed in float: slower, but right.
    """
    return {
        "PERFORMANCE_HINT": "LATENCY",
        "INFERENCE_PRECISION_HINT": "f32",
        "INFERENCE_NUM_THREADS": threads,
        "ENABLE_CPU_PINNING": False,  # the caller decides on which CPUs a process runs
        "LP_TRANSFORMS_MODE": not products_saturate(),
    }


class OpenVinoSession(Session):
    """A `.tflite` or `.onnx` file in OpenVINO.

    If the batch size is free, batches of 1 get a separate graph, because a free dimension costs a third of the time on
    small nets.
    """

    def __init__(self, path: Path, module: Any, threads: int) -> None:
        tflite = file_format(path) == "tflite"
        self._path = path
        self._module = module
        self._core = module.Core()
        self._options = openvino_options(threads)
        data = path.read_bytes() if tflite else b""
        if tflite:
            check_model(path, data)
        hint = "It is damaged, or contains an operation that OpenVINO lacks. Convert it again, or use another engine."
        with parsing(path, hint, failed="can't be opened by openvino"):
            if not tflite:
                check_functions(str(path))
            try:
                model = self._core.read_model(str(path))
                inputs, outputs = ([_shape(port) for port in ports] for ports in (model.inputs, model.outputs))
                key = ["framework", MEMBER]
                text = model.get_rt_info(key).value if not tflite and model.has_rt_info(key) else None
                scales = _tflite_quantization(data) if tflite else ((0.0, 0), (0.0, 0))
                self._describe(path, inputs, outputs)
                self._type = model.inputs[0].element_type
                output = model.outputs[0].element_type.to_dtype()
                del model
                self._requests = {self.batch or 1: self._compile(self.batch or 1)}
            except RuntimeError as e:
                lines = [line for line in str(e).splitlines() if line.strip()]  # the reason is the last
                raise (unsupported_operations(path, data) if tflite else None) or RuntimeError(*lines[-1:]) from e
        self.contract = read_contract(path) if tflite else Contract.from_json(text, where=str(path)) if text else None
        self.dtype = np.dtype(self._type.to_dtype())
        self.scale = input_scale({"quantization": scales[0]})
        self._table = dequantization_table({"quantization": scales[1], "dtype": output})
        self._input: npt.NDArray[Any] = np.empty(0)

    def run(self, batch: npt.NDArray[Any]) -> npt.NDArray[np.float32]:
        """The outputs for a batch, of any size unless the file fixes it."""
        if self._input.shape != batch.shape:
            size = len(batch) if len(batch) in self._requests else -1
            if size not in self._requests:
                self._requests[size] = self._compile(size)
            self._request = self._requests[size]
            tensor = self._module.Tensor(self._type, self._module.Shape(batch.shape))
            self._request.set_input_tensor(tensor)
            self._input = tensor.data  # filling it and calling `infer()` takes half as long as `infer([batch])`
        self._input[...] = batch
        self._request.infer(share_outputs=True)
        out: npt.NDArray[np.float32] = self._request.get_output_tensor(0).data
        out = out.copy() if self._table is None else self._table[out]
        return out if self._flat else out.reshape(len(batch), -1)

    def _compile(self, batch: int) -> Any:
        model = self._core.read_model(str(self._path))  # again: kept, it would double the memory
        if self.batch is None:
            model.reshape([batch, *self.shape])
        return self._core.compile_model(model, "CPU", self._options).create_infer_request()


def _shape(port: Any) -> list[int]:
    """Shape of an OpenVINO input or output, -1 where it is free."""
    return [n.get_length() if n.is_static else -1 for n in port.partial_shape]


def _tflite_quantization(model: bytes) -> tuple[tuple[float, int], ...]:
    """Scale and zero point of the first input and output, which OpenVINO does not report; 0 if they have none."""
    flat = Flatbuffer(model)
    graph = next(flat.tables(flat.root, 2))
    tensors = list(flat.tables(graph, 0))
    pairs = []
    for ports in (flat.inner(graph, 1), flat.inner(graph, 2)):
        quantization = flat.inner(tensors[flat.number(ports + 4)], 4)
        scale = flat.inner(quantization, 2)
        zero_point = flat.inner(quantization, 3)
        real = struct.unpack_from("<f", model, scale + 4)[0] if scale else 0.0
        pairs.append((real, flat.number(zero_point + 4, "<q") if zero_point else 0))
    return tuple(pairs)
