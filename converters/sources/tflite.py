"""A float `.tflite` file as a source."""

from __future__ import annotations

import os
import re
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from edgepress.converters.adapter import InputAdapter
from edgepress.converters.contract.hints import Facts
from edgepress.converters.contract.kinds import counted, item_output
from edgepress.converters.contract.metadata import tflite_metadata
from edgepress.converters.contract.probe import INTEGERS
from edgepress.converters.contract.size import Size, fixed_shape
from edgepress.converters.errors import ConversionError
from edgepress.converters.sources.base import Array, Onnx2tf, does_not_run
from edgepress.converters.to_onnx import interface
from edgepress.converters.to_onnx.from_tflite import float_onnx_of
from edgepress.converters.to_tflite import dense, flatbuffer, padding, passes, resize
from edgepress.runtime.contract import read_contract
from edgepress.runtime.errors import ModelFileError, first_line
from edgepress.runtime.flatbuffer import check_constants, unsupported_operations

if TYPE_CHECKING:
    import onnx


class TFLiteSource:
    """A float `.tflite` file."""

    loops = False

    def __init__(self, path: Path, size: Size | None = None) -> None:
        from ai_edge_litert.interpreter import Interpreter

        self._model = whole = path.read_bytes()
        check_constants(path, whole)
        if error := unsupported_operations(path, whole):
            first = next(name for name in passes.operations(whole) if name.startswith("CUSTOM"))
            layer = "" if "Edge TPU" in error.message else f" The first makes {passes.output_of(whole, first)}."
            raise ConversionError(error.message + layer, error.hint)
        if quantized := passes.quantized_tensors(self._model):
            raise ConversionError(
                f"{path} is quantized already ({len(quantized)} tensors, such as {quantized[0]}).",
                "Give the float model that it was made from.",
            )
        taken = resize.item_shape(self._model)
        shape = fixed_shape(taken, size, str(path))
        if None in taken:
            self._model = resize.with_shape(self._model, shape, str(path))
        self._model = _named(dense.as_dense(padding.zero_padding(passes.float_input(self._model))))
        try:
            self._interpreter = interpreter = Interpreter(model_content=self._model, num_threads=os.cpu_count())
            interpreter.allocate_tensors()
        except (ValueError, RuntimeError) as e:
            raise _refusal(path, first_line(e)) from e
        if not (last := passes.last_operation(self._model)):
            raise ModelFileError(f"{path} has no operation that computes its output.", "Export it again.")
        self._source, self._sink = interpreter.get_input_details()[0], interpreter.get_output_details()[0]
        whole_input, given = self._source["shape"].tolist(), self._sink["shape"].tolist()
        if whole_input[:1] != [1]:
            raise ModelFileError(
                f"{path} is not a model of batch 1: input {whole_input}, output {given}.",
                "Export it with a batch of 1.",
            )
        outputs, output_shape = counted(item_output(path, [whole_input], [given]))
        if not output_shape and given != [1, outputs]:
            self._model = passes.flat_output(self._model, outputs)
        dtype = np.dtype(self._source["dtype"]).name
        if dtype not in ("float32", *INTEGERS):
            accepted = ", ".join(INTEGERS)
            raise ModelFileError(f"{path} takes {dtype}.", f"Export it with an input of float32 or {accepted}.")
        self.facts = Facts(
            shape,
            outputs,
            output_shape=output_shape,
            format="tflite",
            dtype=dtype,
            ends_in=last,
            metadata=tflite_metadata(whole),
            contract=read_contract(path),
        )

    def answer(self, items: Array) -> npt.NDArray[np.float32]:
        """See `Source`."""
        answers = []
        for item in items:
            self._interpreter.reset_all_variables()  # the state of a fused LSTM: each item begins anew
            self._interpreter.set_tensor(self._source["index"], item[np.newaxis].astype(self._source["dtype"]))
            try:
                self._interpreter.invoke()
                answer = self._interpreter.get_tensor(self._sink["index"])
            except (ValueError, RuntimeError) as e:
                raise does_not_run(e) from e
            if answer.size != self.facts.outputs:  # shapes that are known only while it runs
                raise does_not_run(f"its output has shape {list(answer.shape)}: not {self.facts.outputs} values")
            answers.append(answer.ravel())
        return np.array(answers, np.float32)

    def tflite(self, adapter: InputAdapter, onnx2tf: Onnx2tf = None) -> bytes:
        """See `Source`."""
        return passes.adapted(self._model, adapter)

    def onnx(self, adapter: InputAdapter) -> onnx.ModelProto:
        """See `Source`."""
        return interface.adapted(float_onnx_of(self._model), adapter)


def _refusal(path: Path, text: str) -> ModelFileError:
    """LiteRT's error as one of ours, with what to do about it."""
    if newer := re.search(r"builtin opcode '(\w+)' version '(\d+)'", text):
        return ModelFileError(
            f"{path} has {newer[1]} of version {newer[2]}, which LiteRT {metadata.version('ai-edge-litert')} lacks.",
            "Update ai-edge-litert, or convert the model with an older TensorFlow.",
        )
    return ModelFileError(f"LiteRT can't open {path}: {text}.", "It is damaged, or made for another interpreter.")


def _named(model: bytes) -> bytes:
    """The model with a unique UTF-8 name for each tensor, which the interpreter and the quantizer need."""
    root, graph = flatbuffer.read(model)
    taken: set[str] = set()
    changed = False
    for number, tensor in enumerate(graph.tensors):
        name = (tensor.name or b"").decode(errors="replace") or f"tensor_{number}"
        while name in taken:
            name += f"_{number}"
        taken.add(name)
        if tensor.name != name.encode():
            tensor.name, changed = name.encode(), True
    return flatbuffer.write(root) if changed else model
