"""A float `.onnx` file as a source."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from edgepress.converters.adapter import InputAdapter
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
from edgepress.converters.contract.metadata import onnx_metadata
from edgepress.converters.errors import ConversionError
from edgepress.converters.process.scratch import ScratchFolder
from edgepress.converters.process.system import free_memory
from edgepress.converters.sources.base import does_not_run, refuse_broken_weights
from edgepress.converters.sources.tflite import TFLiteSource
from edgepress.converters.to_onnx import interface, opening
from edgepress.converters.to_onnx.convert import OPSET
from edgepress.converters.to_onnx.upgrade import opset_of
from edgepress.runtime.contract import MEMBER, Contract
from edgepress.runtime.errors import EdgepressError, ModelFileError, first_line
from edgepress.runtime.input_record import inputs_of
from edgepress.runtime.input_spec import InputSpec

if TYPE_CHECKING:
    import onnx

TEST_ITEMS = 4
"""Number of items on which the file is tried that is made of a model."""
LAST_BITS = 2.0**-22
"""Relative change of a value by its last bits in float32."""
ROUNDINGS = 10
"""Largest error accepted there instead, in errors that changes of the input by `LAST_BITS` make."""
WORST = 1e-3
"""Largest error accepted there, as a share of the largest output.

Each scheme is verified more strictly later; this finds out whether the float file that all are made from is at fault.
"""
UPGRADED = 1e-4
"""Largest error of a model that was brought to a newer opset, as a share of the largest output."""
_TYPES = {"tensor(float)": "float32"} | {f"tensor({name})": name for name in INTEGERS}
"""Types of inputs by ONNX Runtime's names of them."""
_MADE = "The TFLite file made of it"
_ONNX_ONLY = "ONNX schemes may still work."


class OnnxSource:
    """A float `.onnx` file."""

    loops = False

    def __init__(self, path: Path, size: Size | None = None, output: str = "") -> None:
        notes: list[str] = []
        original, model = opening.open_model(path, output, notes.append)
        is_changed = original is not model
        if len(model.graph.input) == 1:
            sizes = [dim.dim_value or None for dim in model.graph.input[0].type.tensor_type.shape.dim[1:]]
            shape = fixed_shape(sizes, size, str(path))
            model = opening.with_shape(model, shape, str(path)) if None in sizes else model
        else:
            model = interface.float_inputs(model)
        self._model = model
        if quantized := interface.quantized_operations(model):
            raise ConversionError(
                f"{path} is quantized already (it has {', '.join(quantized)}).",
                "Give the float model that it was made from.",
            )
        try:
            self._session = _session(model)
        except Exception as e:  # ONNX Runtime's errors share no base class
            raise ModelFileError(
                f"ONNX Runtime can't open {path}: {first_line(e)}.",
                f"Export it with opset {OPSET} and standard operations only.",
            ) from e
        source, sink, inputs = _checked_ends(path, self._session)
        count, output_shape = count_outputs(item_output(path, [source.shape], [sink.shape]))
        if not output_shape and len(sink.shape) != 2:
            self._model = interface.flat_output(model, count)
        if source.type not in _TYPES:
            raise ModelFileError(f"{path} takes {source.type}.", f"Accepted: {', '.join(_TYPES)}.")
        props = {p.key: p.value for p in model.metadata_props}
        self.facts = ModelFacts(
            row_shape(inputs) if inputs else tuple(source.shape[1:]),
            count,
            inputs=inputs,
            output_shape=output_shape,
            format="onnx",
            dtype=_TYPES[source.type],
            ends_in=interface.last_operation(model),
            chosen_from=interface.chosen_from(model),
            metadata=onnx_metadata(props),
            contract=Contract.from_json(props[MEMBER], where=str(path)) if MEMBER in props else None,
            notes=tuple(notes),
        )
        with suppress(ConversionError):  # such as a model of words, which may not take ones
            ones = np.ones((1, *self.facts.shape), np.float32)
            refuse_broken_weights(path, interface.broken_weights(model), lambda: self.answer(ones))
        if not isinstance(source.shape[0], int) and not self._takes_batches():
            self._model = interface.of_one_item(self._model)
            self._session = _session(self._model)
            alone = "its batch is free, but several items fail or are answered otherwise than alone; its files take one"
            self.facts = dataclasses.replace(self.facts, notes=(*notes, alone))
        if is_changed:
            self._answer_as(original, path)

    def _takes_batches(self) -> bool:
        """Whether the model, whose batch is free, answers items together as it answers each of them."""
        items = _random_items(self.facts.shape, self.facts.dtype).astype(self.facts.dtype)
        try:
            alone = _answers(self._session, items, self.facts.inputs)
        except ConversionError:  # such as a model of words; its own data will show
            return True
        try:
            together = self._session.run(None, _feeds(self._session, split_rows(items, self.facts.inputs)))[0]
        except Exception:  # ONNX Runtime's errors share no base class
            return False
        if together.size != alone.size:
            return False
        known = np.isfinite(alone)
        error = np.abs(together.reshape(alone.shape) - alone)[known]
        return bool((error <= WORST * np.abs(alone[known]).max(initial=0.0)).all())

    def _answer_as(self, original: onnx.ModelProto, path: Path) -> None:
        """Take the answers of the file itself for the reference, and refuse the upgraded model if it gives others.

        Raises:
            ConversionError: It gives others.
        """
        version = opset_of(original)
        newer = self._session
        try:
            self._session = _session(original)
        except Exception as e:  # as above; ONNX Runtime has no kernels for many operations before opset 7
            why = f"ONNX Runtime can't run it in opset {version}, so what is converted could not be compared with it"
            self.facts = dataclasses.replace(self.facts, notes=(*self.facts.notes, f"{why} ({first_line(e)})"))
            return
        items = _random_items(self.facts.shape, self.facts.dtype)
        try:
            reference = self.answer(items)
        except ConversionError:  # such as a model of words; its own data will show
            return
        updated = _answers(newer, items, self.facts.inputs)
        error = np.abs(updated - reference).max()
        largest = np.abs(reference).max()
        if not error <= UPGRADED * largest and np.isfinite(reference).all():
            newest = opset_of(self._model)
            form = f"Upgraded to {newest}" if version != newest else "In the form that is converted"
            raise ConversionError(
                f"{path} is of opset {version}. {form}, it answers otherwise: the largest output is {largest:.3g} and "
                f"the largest error {error:.3g}.",
                f"Export it with opset {OPSET}.",
            )

    def answer(self, items: Array) -> Floats:
        """See `SourceModel`."""
        return _answers(self._session, items.astype(self.facts.dtype), self.facts.inputs)

    def tflite(self, adapter: InputAdapter) -> bytes:
        """See `SourceModel`. The channels of images move to the end; other items keep their order of axes."""
        inner = _channels_last(adapter)
        made = self._import(channels_last=inner is not None)
        with ScratchFolder() as folder:
            path = Path(folder, "model.tflite")
            path.write_bytes(made)
            converted = _open_converted(path)
        inner = inner or adapter
        if (converted.facts.shape, converted.facts.outputs) != (inner.model_shape, self.facts.outputs):
            differs = f"takes {list(converted.facts.shape)} and returns {converted.facts.outputs} values"
            raise ConversionError(f"{_MADE} {differs}, unlike the model.", _ONNX_ONLY)
        items = _trial_items(adapter.item)
        reference = self.answer(adapter.apply(items))
        error = np.abs(_answers_of_converted(converted, inner.apply(items)) - reference).max()
        largest = np.abs(reference).max()
        darkest = adapter.item.limits[0] if adapter.item.is_image else 0.0
        dark = np.full_like(items[:1], darkest) if items.dtype.names is None else np.zeros_like(items[:1])  # of norm 0
        is_answered = np.isfinite(self.answer(adapter.apply(dark))).all()
        if is_answered and not np.isfinite(_answers_of_converted(converted, inner.apply(dark))).all():
            raise ConversionError(f"{_MADE} returns NaN or infinity for an item of {darkest:g} alone.", _ONNX_ONLY)
        is_near = error <= WORST * largest or error <= ROUNDINGS * self._rounding(adapter.apply(items), reference)
        if not is_near and np.isfinite(reference).all():
            on = f"on {TEST_ITEMS} random items, the largest output is {largest:.3g} and the largest error {error:.3g}"
            raise ConversionError(f"{_MADE} does not answer like the model: {on}.", _ONNX_ONLY)
        return converted.tflite(inner)

    def _import(self, *, channels_last: bool) -> bytes:
        """The model as a float TFLite file that takes items as it does, or images with their channels last."""
        from edgepress.converters.freezing.frozen import freeze, trace
        from edgepress.converters.importers.onnx_graph import import_graph
        from edgepress.converters.importers.operations import join_steps
        from edgepress.converters.to_tflite.convert import float_tflite
        from edgepress.converters.to_tflite.plain_forms import without_last_transposes

        infer = import_graph(join_steps(interface.of_one_item(self._model)), channels_last=channels_last)
        shapes = [each.shape for each in self.facts.inputs] or [self.facts.shape]
        first, *more = [((1, *s[1:], s[0]) if channels_last else (1, *s), self.facts.dtype) for s in shapes]
        names = tuple(each.name for each in self.facts.inputs)
        made = without_last_transposes(float_tflite(freeze(trace(infer, *first, *more), names)))
        free_memory(len(made))  # of the frozen graph and of what the converter made of it
        return made

    def _rounding(self, items: Floats, reference: Floats) -> float:
        """How far answers move with the last bits of items (N, *shape): far in deep nets, on items unlike their own."""
        if self.facts.dtype != "float32":
            return 0.0
        changes = np.random.default_rng(1).choice((1 - LAST_BITS, 1 + LAST_BITS), items.shape)
        return float(np.abs(self.answer(items * changes) - reference).max())

    def onnx(self, adapter: InputAdapter) -> onnx.ModelProto:
        """See `SourceModel`."""
        return interface.prepend_adapter(self._model, adapter)


def _session(model: onnx.ModelProto) -> Any:
    """The model, opened by ONNX Runtime."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    return onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])


def _feeds(session: Any, values: Iterable[Array]) -> dict[str, Array]:
    """What an open model runs on: an array for each input, in their order."""
    return {port.name: value for port, value in zip(session.get_inputs(), values, strict=True)}


def _answers(session: Any, items: Array, inputs: tuple[SourceInput, ...] = ()) -> Floats:
    """Answers of an open model to items, or to rows of several inputs, one at a time."""
    arrays = split_rows(items, inputs)
    try:
        feeds = (_feeds(session, (array[n : n + 1] for array in arrays)) for n in range(len(items)))
        parts = [session.run(None, feed)[0].ravel() for feed in feeds]
    except Exception as e:  # ONNX Runtime's errors share no base class
        raise does_not_run(e) from e
    return np.array(parts, np.float32)


def _trial_items(item: InputSpec) -> Array:
    """Items, or records of several inputs, on which the file is tried that is made of a model."""
    random = np.random.default_rng(0)
    values: list[Array] = []
    for each in inputs_of(item) or (item,):
        shape = (TEST_ITEMS, *each.shape)
        if each.is_image or each.is_integer:
            low, high = map(int, each.limits)
            values.append(random.integers(low, high, shape, endpoint=True))
        else:
            values.append(random.normal(size=shape))
    if not inputs_of(item):
        return values[0]
    records = np.empty(TEST_ITEMS, item.item)
    for name, value in zip(records.dtype.names or (), values, strict=True):
        records[name] = value
    return records


def _random_items(shape: tuple[int, ...], dtype: str) -> Array:
    """Normal numbers and pixels; of integers, which may be places in a short table, 0 and 1."""
    random = np.random.default_rng(0)
    half = (TEST_ITEMS, *shape)
    if dtype != "float32":
        return random.integers(0, 2, half)
    return np.concatenate([random.normal(size=half), random.uniform(0, 255, half)]).astype(np.float32)


def _channels_last(adapter: InputAdapter) -> InputAdapter | None:
    """The adapter of a model whose channels were moved to the end; None if its items are not images, channels first."""
    shape = adapter.item.shape
    if not adapter.item.is_image or adapter.model_shape != (shape[2], *shape[:2]):
        return None
    if not (adapter.channels_first or shape[2] == 1):
        return None
    return dataclasses.replace(adapter, channels_first=False, model_shape=shape)


def _open_converted(path: Path) -> TFLiteSource:
    """A file that was made of a model, as a source of TFLite schemes."""
    try:
        return TFLiteSource(path)
    except EdgepressError as e:
        raise ConversionError(f"{_MADE} can't be used: {e.message.replace(str(path), 'it')}", _ONNX_ONLY) from e


def _checked_ends(path: Path, session: Any) -> tuple[Any, Any, tuple[SourceInput, ...]]:
    """The first input and the one output of a model, and its inputs if they are several.

    Raises:
        ModelFileError: There are others, or a size or the batch is not as needed.
    """
    inputs = session.get_inputs()
    outputs = session.get_outputs()
    if not inputs or len(outputs) != 1 or not inputs[0].shape or not outputs[0].shape:
        shapes = [[v.shape for v in ends] for ends in (inputs, outputs)]
        raise other_ends(path, *shapes, names=[v.name for v in outputs])
    source, (sink,) = inputs[0], outputs
    names = [port.name for port in inputs]
    if several := source_inputs(path, names, [port.shape for port in inputs]):
        refuse_types(path, names, [_TYPES.get(port.type, port.type) for port in inputs])
    if isinstance(source.shape[0], int) and source.shape[0] != 1:
        raise ModelFileError(
            f"{path} takes {source.shape[0]} items at once.", "Export it with a batch of 1 or a free one."
        )
    if not all(isinstance(n, int) for n in (*source.shape[1:], *sink.shape[1:])):
        raise ModelFileError(
            f"{path} takes {source.shape} and returns {sink.shape}: the number of outputs is not known.",
            "Export it with an output of fixed size.",
        )
    return source, sink, several


def _answers_of_converted(converted: TFLiteSource, items: Array) -> Floats:
    """Answers of the file that was made, whose failures are not the model's."""
    try:
        return converted.answer(items)
    except ConversionError as e:
        raise ConversionError(e.message.replace("The model itself", _MADE), _ONNX_ONLY) from e
