"""A `.tflite` file as a source: a float one, or the float model that a quantized one stands for."""

from __future__ import annotations

import os
import re
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from edgepress.converters.adapter import InputAdapter, chosen_note, chosen_output
from edgepress.converters.arrays import Array, Floats
from edgepress.converters.contract.hints import ModelFacts, Size, SourceInput, fixed_shape, row_shape, split_rows
from edgepress.converters.contract.kinds import (
    INTEGERS,
    count_outputs,
    item_output,
    other_ends,
    refuse_types,
    source_inputs,
)
from edgepress.converters.contract.metadata import tflite_metadata
from edgepress.converters.errors import ConversionError
from edgepress.converters.sources.base import does_not_run
from edgepress.converters.to_onnx import interface
from edgepress.converters.to_onnx.from_tflite import float_onnx_of
from edgepress.converters.to_tflite import flatbuffer, passes, plain_forms
from edgepress.converters.to_tflite import interface as resize
from edgepress.converters.to_tflite.interface import with_input_names
from edgepress.converters.to_tflite.plain_forms import dequantized
from edgepress.runtime.contract import read_contract
from edgepress.runtime.errors import ModelFileError, first_line
from edgepress.runtime.flatbuffer import check_model, unsupported_operations

if TYPE_CHECKING:
    import onnx


_REAL = (flatbuffer.FLOAT32, flatbuffer.FLOAT16)


class TFLiteSource:
    """A float `.tflite` file; or a quantized one, as the float model that its integers stand for (`dequantize`)."""

    loops = False

    def __init__(self, path: Path, size: Size | None = None, output: str = "", *, dequantize: bool = False) -> None:
        from ai_edge_litert.interpreter import Interpreter

        self._model = whole = path.read_bytes()
        check_model(path, whole)
        if error := unsupported_operations(path, whole):
            first = next(name for name in passes.operations(whole) if name.startswith("CUSTOM"))
            layer = "" if "is compiled for" in error.message else f" The first makes {passes.output_of(whole, first)}."
            raise ConversionError(error.message + layer, error.hint)
        self._model, notes = _with_output(self._model, path, output)
        inputs = self._inputs = _named_inputs(self._model, path)
        stored_as = passes.input_storage(self._model)
        if (quantized := passes.quantized_tensors(self._model)) and dequantize:
            self._model = dequantized(self._model)
        elif quantized:
            raise ConversionError(
                f"{path} is quantized already ({len(quantized)} tensors, such as {quantized[0]}).",
                "Give the float model that it was made from.",
            )
        input_shape = resize.item_shape(self._model)
        shape = row_shape(inputs) if inputs else fixed_shape(input_shape, size, str(path))
        if None in input_shape:
            self._model = resize.with_shape(self._model, shape, str(path))
        self._model = with_input_names(self._model, [each.name for each in inputs])
        plain = plain_forms.zero_padding(passes.float_input(self._model))
        self._model = _name_tensors(plain_forms.as_dense(plain_forms.as_log_softmax(plain)))
        try:
            self._interpreter = interpreter = Interpreter(model_content=self._model, num_threads=os.cpu_count())
            interpreter.allocate_tensors()
        except (ValueError, RuntimeError) as e:
            raise _refusal(path, first_line(e)) from e
        if not (last := passes.last_operation(self._model)):
            raise ModelFileError(f"{path} has no operation that computes its output.", "Export it again.")
        self._sources = interpreter.get_input_details()
        self._sink = interpreter.get_output_details()[0]
        whole_input = self._sources[0]["shape"].tolist()
        sizes = self._sink["shape"].tolist()
        if whole_input[:1] != [1]:
            raise ModelFileError(
                f"{path} is not a model of batch 1: input {whole_input}, output {sizes}.",
                "Export it with a batch of 1.",
            )
        outputs, output_shape = count_outputs(item_output(path, [whole_input], [sizes]))
        if not output_shape and sizes != [1, outputs]:
            self._model = passes.flat_output(self._model, outputs)
        types = [np.dtype(each["dtype"]).name for each in self._sources]
        if inputs:
            refuse_types(path, [each.name for each in inputs], types)
        dtype, quantization = stored_as or (types[0], (1.0, 0))
        if dtype not in ("float32", *INTEGERS):
            accepted = ", ".join(INTEGERS)
            raise ModelFileError(f"{path} takes {dtype}.", f"Export it with an input of float32 or {accepted}.")
        self.facts = ModelFacts(
            shape,
            outputs,
            inputs=inputs,
            output_shape=output_shape,
            format="tflite",
            dtype=dtype,
            quantization=quantization,
            ends_in=last,
            chosen_from=passes.chosen_from(self._model),
            metadata=tflite_metadata(whole),
            contract=read_contract(path),
            notes=notes,
        )

    def answer(self, items: Array) -> Floats:
        """See `SourceModel`."""
        answers = []
        for item in zip(*split_rows(items, self._inputs), strict=True):
            self._interpreter.reset_all_variables()  # the state of a fused LSTM: each item begins anew
            for values, source in zip(item, self._sources, strict=True):
                self._interpreter.set_tensor(source["index"], values[np.newaxis].astype(source["dtype"]))
            try:
                self._interpreter.invoke()
                answer = self._interpreter.get_tensor(self._sink["index"])
            except (ValueError, RuntimeError) as e:
                raise does_not_run(e) from e
            if answer.size != self.facts.outputs:  # shapes that are known only while it runs
                raise does_not_run(f"its output has shape {list(answer.shape)}: not {self.facts.outputs} values")
            answers.append(answer.ravel())
        return np.array(answers, np.float32)

    def tflite(self, adapter: InputAdapter) -> bytes:
        """See `SourceModel`."""
        return passes.prepend_adapter(self._model, adapter)

    def onnx(self, adapter: InputAdapter) -> onnx.ModelProto:
        """See `SourceModel`."""
        return interface.prepend_adapter(float_onnx_of(self._model), adapter)


def _named_inputs(model: bytes, path: Path) -> tuple[SourceInput, ...]:
    """The inputs of a model of several, by the names of its signature or else of its tensors; () of one."""
    root, graph = flatbuffer.read(model, several=True)
    names = {int(place): (graph.tensors[place].name or b"").decode(errors="replace") for place in graph.inputs}
    for signature in (root.signatureDefs or [])[:1]:
        names |= {end.tensorIndex: end.name.decode() for end in signature.inputs or [] if end.tensorIndex in names}
    shapes = []
    for place in names:
        tensor = graph.tensors[place]
        signs = tensor.shape if tensor.shapeSignature is None else tensor.shapeSignature
        shapes.append([int(n) if free >= 0 else None for n, free in zip(tensor.shape, signs, strict=True)])
    return source_inputs(path, list(names.values()), shapes)


def _with_output(model: bytes, path: Path, output: str) -> tuple[bytes, tuple[str, ...]]:
    """The model with one of its outputs, and a remark if there were several; see `chosen_output`."""
    root, graph = flatbuffer.read(model, several=True)
    tensors = {int(place): (graph.tensors[place].name or b"").decode(errors="replace") for place in graph.outputs}
    for signature in root.signatureDefs or []:
        tensors |= {end.tensorIndex: end.name.decode() for end in signature.outputs or [] if end.tensorIndex in tensors}
    real = {name: graph.tensors[place].type in _REAL for place, name in tensors.items()}
    computed = {int(place) for op in graph.operators for place in op.outputs} - {*tensors}
    inner = {(graph.tensors[place].name or b"").decode(errors="replace"): place for place in computed}
    if (chosen := chosen_output(str(path), real, output, inner)) is None:
        if len(tensors) > 1:
            shapes = [[list(map(int, graph.tensors[i].shape)) for i in ends] for ends in (graph.inputs, graph.outputs)]
            raise other_ends(path, *shapes, names=tuple(real))
        return model, ()
    places = inner | {name: place for place, name in tensors.items()}
    graph.outputs = [places[chosen]]
    root.signatureDefs = []
    return flatbuffer.write(root), (chosen_note(chosen, real, output),)


def _refusal(path: Path, text: str) -> ModelFileError:
    """LiteRT's error as one of ours, with what to do about it."""
    if newer := re.search(r"builtin opcode '(\w+)' version '(\d+)'", text):
        return ModelFileError(
            f"{path} has {newer[1]} of version {newer[2]}, which LiteRT {metadata.version('ai-edge-litert')} lacks.",
            "Update ai-edge-litert, or convert the model with an older TensorFlow.",
        )
    return ModelFileError(f"LiteRT can't open {path}: {text}.", "It is damaged, or made for another interpreter.")


def _name_tensors(model: bytes) -> bytes:
    """The model with a unique UTF-8 name for each tensor, which the interpreter and the quantizer need."""
    root, graph = flatbuffer.read(model)
    used_names: set[str] = set()
    changed = False
    for number, tensor in enumerate(graph.tensors):
        name = (tensor.name or b"").decode(errors="replace") or f"tensor_{number}"
        while name in used_names:
            name += f"_{number}"
        used_names.add(name)
        if tensor.name != name.encode():
            tensor.name = name.encode()
            changed = True
    return flatbuffer.write(root) if changed else model
