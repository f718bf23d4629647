"""Open a model of any kind as a `SourceModel`, from which the float TFLite and ONNX files are made.

Three classes share the interface `base.SourceModel`: TensorFlow models (Keras files and SavedModels), float `.tflite`
and float `.onnx` files. Opening a foreign file may crash the process, so `open_source` runs in a child
(`conversion.float_graph`).
"""

from __future__ import annotations

import zipfile
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from edgepress.converters.contract.hints import Hints, SourceInput, fixed_shape, row_shape
from edgepress.converters.contract.kinds import refuse_types, source_inputs
from edgepress.converters.errors import ConversionError
from edgepress.converters.sources.base import SourceModel
from edgepress.converters.sources.keras import load_keras, takes_tokens
from edgepress.converters.sources.onnx import OnnxSource
from edgepress.converters.sources.saved_model import function_of, serving_signature
from edgepress.converters.sources.tensorflow import (
    TensorFlowSource,
    nested_layers,
    recurrent_layers,
    unroll_loops,
    without_dropout,
)
from edgepress.converters.sources.tflite import TFLiteSource
from edgepress.runtime.contract import read_contract
from edgepress.runtime.errors import EdgepressError, ModelFileError, parsing
from edgepress.runtime.filetypes import format_of
from edgepress.runtime.sessions import check_outputs


def open_source(path: Path, hints: Hints | None = None) -> SourceModel:
    """Open a model of any kind.

    Raises:
        ModelFileError: It is missing, damaged, not a classifier, or needs an option; the message says why.
        ConversionError: It is quantized already, or has operations that boards don't have.
    """
    format = format_of(path, tuple(_OPENERS), ".keras, .h5, .hdf5, .tflite, .onnx and SavedModel folders")
    with parsing(path, "Save it again with the tool that made it.", failed="can't be opened"):
        source = _OPENERS[format](path, hints or Hints())
        check_outputs(path, source.facts.outputs)
        return source


def _source_of_saved_model(path: Path, hints: Hints) -> SourceModel:
    signature = serving_signature(path, trust=hints.trust)
    function = function_of(path, signature, hints.output)
    inputs = function.inputs
    fixed = row_shape(inputs) if inputs else fixed_shape(function.shape, hints.size, str(path))
    _refuse_text(path, function.dtype)
    return TensorFlowSource(
        "savedmodel",
        function.infer,
        fixed,
        function.declared,
        inputs=inputs,
        dtype=function.dtype,
        where=path,
        batch=function.batch,
        notes=signature.notes,
    )


def _keras_source(path: Path, hints: Hints) -> SourceModel:
    model = without_dropout(load_keras(path, custom=hints.custom, trust=hints.trust, output=hints.output))
    if quantized := [layer.name for layer in nested_layers(model) if getattr(layer, "quantization_mode", None)]:
        raise ConversionError(
            f"{path} is quantized already ({len(quantized)} layers, such as {quantized[0]}).",
            "Give the float model, as it was before model.quantize.",
        )
    inputs = _inputs_of(path, model)
    batch = model.inputs[0].shape[0]
    fixed = row_shape(inputs) if inputs else fixed_shape(model.input_shape[1:], hints.size, str(path))
    if stateful := [layer.name for layer in recurrent_layers(model) if layer.stateful]:
        fixed_batch = f"takes {batch} items at once and " if batch not in (None, 1) else ""
        raise ModelFileError(
            f"{path} {fixed_batch}keeps state between calls (in {', '.join(stateful[:3])}).",
            "Build it with stateful=False, copy the weights with set_weights, and save it.",
        )
    dtype = getattr(model.inputs[0].dtype, "name", str(model.inputs[0].dtype))
    _refuse_text(path, dtype)
    if dtype == "float32" and not inputs and takes_tokens(model):
        dtype = "int32"
    contract = read_contract(path) if zipfile.is_zipfile(path) else None
    infer = _of_each(model) if inputs else partial(model, training=False)
    try:
        return TensorFlowSource(
            "keras",
            infer,
            fixed,
            model.output_shape,
            inputs=inputs,
            dtype=dtype,
            where=path,
            contract=contract,
            infer_unrolled=unroll_loops(model, infer),
        )
    except Exception as e:  # whatever TensorFlow, Keras and the user's layers raise where they meet another batch
        if batch in (None, 1) or isinstance(e, EdgepressError):
            raise
        raise ModelFileError(
            f"{path} takes {batch} items at once.", "Save it with a batch of 1 or a free one (None)."
        ) from e


def _inputs_of(path: Path, model: Any) -> tuple[SourceInput, ...]:
    """The inputs of a Keras model of several; () of one."""
    names = [str(each.name).partition(":")[0] for each in model.inputs]
    inputs = source_inputs(path, names, [list(each.shape) for each in model.inputs])
    if inputs:
        refuse_types(path, names, [getattr(each.dtype, "name", str(each.dtype)) for each in model.inputs])
    return inputs


def _of_each(model: Any) -> Callable[..., Any]:
    """A Keras model of several inputs as a function of a tensor for each, in whatever structure it takes them."""
    import tensorflow as tf

    def infer(*tensors: Any) -> Any:
        return model(tf.nest.pack_sequence_as(model.input, tensors), training=False)

    return infer


_OPENERS: dict[str, Callable[[Path, Hints], SourceModel]] = {
    "keras": _keras_source,
    "h5": _keras_source,
    "saved_model": _source_of_saved_model,
    "tflite": lambda path, hints: TFLiteSource(path, hints.size, hints.output, dequantize=hints.dequantize),
    "onnx": lambda path, hints: OnnxSource(path, hints.size, hints.output),
}
"""How a file of each format is opened; its content tells the format, not its suffix."""


def _refuse_text(path: Path, dtype: str) -> None:
    if dtype == "string":
        raise ModelFileError(f"{path} takes text.", "Save the part of it after its text layer, which takes numbers.")
