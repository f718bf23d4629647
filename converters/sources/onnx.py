"""A float `.onnx` file as a source."""

from __future__ import annotations

import dataclasses
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from edgepress.converters.adapter import InputAdapter
from edgepress.converters.contract.hints import Facts
from edgepress.converters.contract.kinds import counted, item_output, other_ends
from edgepress.converters.contract.metadata import onnx_metadata
from edgepress.converters.contract.probe import INTEGERS
from edgepress.converters.contract.size import Size, fixed_shape
from edgepress.converters.errors import ConversionError
from edgepress.converters.sources.base import Array, Onnx2tf, does_not_run
from edgepress.converters.sources.tflite import TFLiteSource
from edgepress.converters.to_onnx import interface
from edgepress.converters.to_onnx.convert import OPSET
from edgepress.converters.to_onnx.quantize import prepared
from edgepress.converters.to_tflite.from_onnx import VERSION, Onnx2tfJob, convert_file, not_installed
from edgepress.runtime.contract import MEMBER, Contract
from edgepress.runtime.errors import EdgepressError, ModelFileError, first_line

if TYPE_CHECKING:
    import onnx

TRIED, WORST = 4, 1e-3
"""Number of items on which onnx2tf's file is tried, and the largest error accepted, as a share of the largest output.

Each scheme is verified more strictly later; this finds out whether the float file that all are made from is at fault.
"""
_MADE, _ONNX_ONLY = f"The file that onnx2tf {VERSION} makes", "ONNX schemes may still work."


class OnnxSource:
    """A float `.onnx` file."""

    loops = False

    def __init__(self, path: Path, size: Size | None = None) -> None:
        import onnxruntime

        model = interface.load(path)
        if len(model.graph.input) == 1:
            taken = [dim.dim_value or None for dim in model.graph.input[0].type.tensor_type.shape.dim[1:]]
            shape = fixed_shape(taken, size, str(path))
            model = interface.with_shape(model, shape, str(path)) if None in taken else model
        self._model = model
        if quantized := interface.quantized_operations(model):
            raise ConversionError(
                f"{path} is quantized already (it has {', '.join(quantized)}).",
                "Give the float model that it was made from.",
            )
        options = onnxruntime.SessionOptions()
        options.log_severity_level = 3
        try:
            self._session = onnxruntime.InferenceSession(
                model.SerializeToString(), options, providers=["CPUExecutionProvider"]
            )
        except Exception as e:  # ONNX Runtime's errors share no base class
            raise ModelFileError(
                f"ONNX Runtime can't open {path}: {first_line(e)}.",
                f"Export it with opset {OPSET} and standard operations only.",
            ) from e
        inputs, outputs = self._session.get_inputs(), self._session.get_outputs()
        shapes = [[v.shape for v in ends] for ends in (inputs, outputs)]
        if len(inputs) != 1 or len(outputs) != 1 or not inputs[0].shape or not outputs[0].shape:
            raise other_ends(path, *shapes)
        (source,), (sink,) = inputs, outputs
        if isinstance(source.shape[0], int) and source.shape[0] != 1:
            raise ModelFileError(
                f"{path} takes {source.shape[0]} items at once.", "Export it with a batch of 1 or a free one."
            )
        if not all(isinstance(n, int) for n in (*source.shape[1:], *sink.shape[1:])):
            raise ModelFileError(
                f"{path} takes {source.shape} and returns {sink.shape}: the number of outputs is not known.",
                "Export it with an output of fixed size.",
            )
        count, output_shape = counted(item_output(path, *shapes))
        if not output_shape and len(sink.shape) != 2:
            self._model = interface.flat_output(model, count)
        types = {"tensor(float)": "float32"} | {f"tensor({name})": name for name in INTEGERS}
        if source.type not in types:
            raise ModelFileError(f"{path} takes {source.type}.", f"Accepted: {', '.join(types)}.")
        props = {p.key: p.value for p in model.metadata_props}
        self.facts = Facts(
            tuple(source.shape[1:]),
            count,
            output_shape=output_shape,
            format="onnx",
            dtype=types[source.type],
            ends_in=interface.last_operation(model),
            metadata=onnx_metadata(props),
            contract=Contract.from_json(props[MEMBER], where=str(path)) if MEMBER in props else None,
        )

    def answer(self, items: Array) -> npt.NDArray[np.float32]:
        """See `Source`."""
        name = self._session.get_inputs()[0].name
        items = items.astype(self.facts.dtype)
        try:
            parts = [self._session.run(None, {name: x[np.newaxis]})[0].ravel() for x in items]
        except Exception as e:  # as above
            raise does_not_run(e) from e
        return np.array(parts, np.float32)

    def tflite(self, adapter: InputAdapter, onnx2tf: Onnx2tf = None) -> bytes:
        """See `Source`. onnx2tf moves the channels of images to the end; other items keep the order of their axes."""
        if not isinstance(onnx2tf, Path):
            raise onnx2tf or not_installed()
        inner = _channels_last(adapter)
        kept = () if inner is not None else (self._model.graph.input[0].name,)
        with tempfile.TemporaryDirectory() as folder:
            job = Onnx2tfJob(Path(folder, "model.onnx"), Path(folder), kept)
            job.source.write_bytes(prepared(interface.of_one_item(self._model)).SerializeToString())
            convert_file(job, onnx2tf)
            converted = _opened(job.target)
        inner = inner or adapter
        if (converted.facts.shape, converted.facts.outputs) != (inner.model_shape, self.facts.outputs):
            found = f"takes {list(converted.facts.shape)} and returns {converted.facts.outputs} values"
            raise ConversionError(f"{_MADE} {found}, unlike the model.", _ONNX_ONLY)
        random, shape = np.random.default_rng(0), (TRIED, *adapter.item.shape)
        items: Array = random.normal(size=shape)
        if adapter.item.is_image or adapter.item.is_integer:
            low, high = map(int, adapter.item.limits)
            items = random.integers(low, high, shape, endpoint=True)
        truth = self.answer(adapter.apply(items))
        error, largest = np.abs(converted.answer(inner.apply(items)) - truth).max(), np.abs(truth).max()
        if error > WORST * largest:
            on = f"on {TRIED} random items, the largest output is {largest:.3g} and the largest error {error:.3g}"
            raise ConversionError(f"{_MADE} does not answer like the model: {on}.", _ONNX_ONLY)
        return converted.tflite(inner)

    def onnx(self, adapter: InputAdapter) -> onnx.ModelProto:
        """See `Source`."""
        return interface.adapted(self._model, adapter)


def _channels_last(adapter: InputAdapter) -> InputAdapter | None:
    """The adapter of a model whose channels were moved to the end; None if its items are not images, channels first."""
    shape = adapter.item.shape
    if not adapter.item.is_image or adapter.model_shape != (shape[2], *shape[:2]):
        return None
    if not (adapter.channels_first or shape[2] == 1):
        return None
    return dataclasses.replace(adapter, channels_first=False, model_shape=shape)


def _opened(path: Path) -> TFLiteSource:
    """A file that onnx2tf made, as a source of TFLite schemes."""
    try:
        return TFLiteSource(path)
    except EdgepressError as e:
        message = e.message.replace(str(path), "it")
        raise ConversionError(f"{_MADE} can't be used: {message}", _ONNX_ONLY) from e
