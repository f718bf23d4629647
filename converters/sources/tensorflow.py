"""Keras models and SavedModels as a source: a function of TensorFlow, frozen, its recurrent layers prepared first.

Prepare recurrent Keras layers (LSTM, GRU, SimpleRNN, RNN around any cell) for conversion.

They are loops over time. In ONNX they become LSTM or Loop; in TFLite they would become several graphs, which quantizers
do not support. For TFLite they are therefore unrolled, as by `unroll=True` in Keras: the operations of a step are
repeated for each step, with shared weights. Loops in SavedModels, which are no longer layers, are not supported.
"""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from edgepress.converters.adapter import InputAdapter
from edgepress.converters.arrays import Array, Floats
from edgepress.converters.contract.hints import ModelFacts, SourceInput, split_rows
from edgepress.converters.contract.kinds import count_outputs, item_output
from edgepress.converters.errors import ConversionError
from edgepress.converters.freezing.frozen import freeze, last_operation, trace
from edgepress.converters.process.system import free_memory
from edgepress.converters.sources.base import does_not_run, refuse_broken_weights
from edgepress.converters.sources.keras import keras_of
from edgepress.runtime.contract import Contract

if TYPE_CHECKING:
    import onnx


class TensorFlowSource:
    """A function of TensorFlow: a Keras model or a SavedModel's signature.

    Args:
        format: "keras" or "savedmodel".
        infer: Maps a tensor of `dtype`, (N, *shape), to one of (N, ...); of several inputs, a tensor for each.
        shape: Shape of one item.
        declared: Shape of the output, with the batch, as the file says; None for sizes that tracing finds.
        inputs: The inputs, if they are several; `shape` is then that of a row.
        dtype: Type of the input of `infer`.
        where: The file, for messages.
        batch: Number of items that it takes at once; None for any number.
        contract: The contract in the file; None if it has none.
        infer_unrolled: `infer` without loops, for TFLite; None if it has none.
        notes: Remarks for the user on how it was opened.
    """

    def __init__(
        self,
        format: str,
        infer: Callable[..., Any],
        shape: tuple[int, ...],
        declared: Sequence[int | None],
        *,
        inputs: tuple[SourceInput, ...] = (),
        dtype: str,
        where: Path,
        batch: int | None = None,
        contract: Contract | None = None,
        infer_unrolled: Callable[[Any], Any] | None = None,
        notes: tuple[str, ...] = (),
    ) -> None:
        import tensorflow as tf

        # TensorFlow 2.21 computes some fused convolutions with the channels first wrongly on a CPU.
        tf.config.optimizer.set_experimental_options({"remapping": False})
        self._tf = tf
        self._inputs = inputs
        self._infer: Callable[..., Any] = lambda *x: infer(*(tf.cast(each, dtype) for each in x))
        self._unrolled = infer_unrolled and (lambda *x: infer_unrolled(*(tf.cast(each, dtype) for each in x)))
        self.loops = infer_unrolled is not None
        self._batch = batch
        # Frozen only when a file is made: until then, one copy of the variables is enough.
        shapes = [each.shape for each in inputs] or [shape]
        ends = [((1, *each), "float32") for each in shapes]
        self._bare = trace(self._infer, *ends[0], *ends[1:])
        weights = [each for each in self._bare.variables if each.dtype.is_floating]
        broken = [each.name.partition(":")[0] for each in weights if not bool(tf.reduce_all(tf.math.is_finite(each)))]
        refuse_broken_weights(where, broken, lambda: self._bare(*(tf.ones(end[0]) for end in ends)))
        item = item_output(where, [[1, *shape]], [_known_sizes(self._bare.outputs[0].shape, declared)])
        outputs, spread = count_outputs(item)
        ends_in = last_operation(self._bare)
        if not spread and len(item) != 1:  # one axis counts: files return (batch, outputs)
            inner = self._infer
            unrolled = self._unrolled
            self._infer = lambda *x: tf.reshape(inner(*x), [-1, outputs])
            self._unrolled = unrolled and (lambda *x: tf.reshape(unrolled(*x), [-1, outputs]))
            self._bare = trace(self._infer, *ends[0], *ends[1:])
        self.facts = ModelFacts(
            shape,
            outputs,
            inputs=inputs,
            output_shape=spread,
            format=format,
            dtype=dtype,
            ends_in=ends_in,
            contract=contract,
            notes=notes,
        )

    def answer(self, items: Array) -> Floats:
        """See `SourceModel`."""
        try:
            tensors = [[self._tf.constant(x[np.newaxis]) for x in part] for part in split_rows(items, self._inputs)]
            return np.array([np.ravel(self._bare(*each)) for each in zip(*tensors, strict=True)], np.float32)
        except self._tf.errors.OpError as e:
            raise does_not_run(_reason(e.message)) from e

    def tflite(self, adapter: InputAdapter) -> bytes:
        """See `SourceModel`."""
        from edgepress.converters.to_tflite import passes
        from edgepress.converters.to_tflite.convert import float_tflite
        from edgepress.converters.to_tflite.plain_forms import without_last_transposes

        scaling, adapter = adapter.split()
        whole = adapter.item.is_integer
        stepless = not any(part.steps for part in adapter.inputs)
        bare = stepless and not (adapter.end or self._unrolled or whole)
        infer = self._unrolled or self._infer
        dtype = adapter.item.dtype if whole else "float32"
        traced = self._bare if bare else self._trace(infer, adapter, batch=1, dtype=dtype)
        model = without_last_transposes(float_tflite(freeze(traced, self._names)))
        free_memory(len(model))  # of the frozen graph and of what the converter made of it
        return passes.prepend_adapter(model, scaling) if scaling.steps else model

    def onnx(self, adapter: InputAdapter) -> onnx.ModelProto:
        """See `SourceModel`."""
        from edgepress.converters.to_onnx import interface
        from edgepress.converters.to_onnx.convert import float_onnx

        scaling, adapter = adapter.split()
        dtype = "float32" if scaling.steps else ""
        traced = self._trace(self._infer, adapter, batch=self._batch, dtype=dtype)
        model = float_onnx(freeze(traced, self._names))
        return interface.prepend_adapter(model, scaling) if scaling.steps else model

    @property
    def _names(self) -> tuple[str, ...]:
        return tuple(each.name for each in self._inputs)

    def _trace(self, infer: Callable[..., Any], adapter: InputAdapter, *, batch: int | None, dtype: str) -> Any:
        """The model with the adapter's steps; its inputs are of `dtype`, "" for those of the items."""
        tf = self._tf
        render = {
            "gather": lambda x, channels: tf.gather(x, channels, axis=-1),
            "mul": tf.multiply,
            "add": tf.add,
            "transpose": tf.transpose,
            "reshape": lambda x, shape: tf.reshape(x, [-1, *shape]),
        }
        ends = {None: lambda x: x, "softmax": tf.nn.softmax, "sigmoid": tf.sigmoid}

        def prepared(x: Any, part: InputAdapter) -> Any:
            x = x if part.item.is_integer else tf.cast(x, tf.float32)
            for step in part.steps:
                x = render[step.kind](x, step.values)
            return x

        def whole(*x: Any) -> Any:
            return ends[adapter.end](infer(*map(prepared, x, adapter.inputs)))

        first, *more = [((batch, *part.item.shape), dtype or part.item.dtype) for part in adapter.inputs]
        return trace(whole, *first, *more)


def _known_sizes(traced: Any, declared: Sequence[int | None]) -> list[int | None]:
    """The sizes of an output: those that tracing found, and what the file declares of the others."""
    traced_sizes = traced.as_list() if traced.rank is not None else [None] * len(declared)
    same = declared if len(declared) == len(traced_sizes) else [None] * len(traced_sizes)
    return [size if size is not None else other for size, other in zip(traced_sizes, same, strict=True)]


def _reason(message: str) -> str:
    """The line with the reason: TensorFlow surrounds it with the traceback of the operation's definition."""
    lines = [line.strip() for line in message.splitlines() if line.strip()]
    marked = next((i for i, line in enumerate(lines) if line.startswith("[[")), 1)
    return lines[max(0, marked - 1)] if lines else "no reason was given"


LARGEST_STEPS = 256
"""Largest number of steps that are unrolled: each adds operations to the file and time to the conversion."""


def nested_layers(model: Any) -> list[Any]:
    """All layers of a model, those inside other layers and models too. The only way is private to Keras 3.15.1.

    See docs/architecture.md, "Interfaces that libraries do not document".
    """
    return list(model._flatten_layers())


def recurrent_layers(model: Any) -> list[Any]:
    """The recurrent layers of a model, those inside other layers and models too."""
    rnn = keras_of(model).layers.RNN
    return [layer for layer in nested_layers(model) if isinstance(layer, rnn)]


def without_dropout(model: Any) -> Any:
    """Disable dropout inside recurrent cells: Keras draws its mask, and counts the draw, even for inference."""
    for layer in nested_layers(model):
        if hasattr(layer, "get_dropout_mask"):
            layer.dropout = layer.recurrent_dropout = 0.0
    return model


def unroll_loops(model: Any, infer: Callable[..., Any]) -> Callable[..., Any] | None:
    """`infer`, which calls the model, with every loop over time unrolled; None if there is none.

    Calling it raises ConversionError if the number of steps is above `LARGEST_STEPS` or not fixed.
    """
    loops = [layer for layer in recurrent_layers(model) if not layer.unroll]
    if not loops:
        return None

    def call(*x: Any) -> Any:
        for layer, steps in _steps(loops, infer, x):
            if steps is None or steps > LARGEST_STEPS:
                raise ConversionError(
                    f"The recurrent layer {layer.name} runs over {steps or 'any number of'} steps; TFLite "
                    f"files, in which they are unrolled, allow up to {LARGEST_STEPS}.",
                    "Give the model a shorter input of fixed length, build the layer with unroll=True, or use ONNX "
                    "schemes, which need no unrolling.",
                )
        turned = [layer for layer in loops if layer.go_backwards and getattr(layer, "zero_output_for_mask", False)]
        try:
            for layer in loops:
                layer.unroll = True
            for layer in turned:
                layer.call = partial(_with_turned_mask, layer, layer.call)
            with _unrolled_convolutions(keras_of(model)):
                return infer(*x)
        finally:
            for layer in turned:
                del layer.call
            for layer in loops:
                layer.unroll = False

    return call


@contextlib.contextmanager
def _unrolled_convolutions(keras: Any) -> Iterator[None]:
    """Let loops of tf_keras be unrolled where a layer does not say so: ConvLSTM of 2.21 ignores its own `unroll`."""
    if keras.__name__ != "tf_keras":
        yield
        return
    backend: Any = sys.modules["tf_keras.src.backend"]
    loop = backend.rnn
    backend.rnn = partial(loop, unroll=True)
    try:
        yield
    finally:
        backend.rnn = loop


def _with_turned_mask(layer: Any, call: Callable[..., Any], *args: Any, mask: Any = None, **kwargs: Any) -> Any:
    """What a layer that runs backwards and returns 0 for masked steps makes, as its loop does.

    Unrolled, Keras 3.15.1 makes 0 of the steps that the mask leaves out when it is read from the other end.
    """
    import tensorflow as tf

    if mask is None or not layer.return_sequences:
        return call(*args, mask=mask, **kwargs)
    layer.zero_output_for_mask = False
    try:
        outputs = call(*args, mask=mask, **kwargs)
    finally:
        layer.zero_output_for_mask = True
    sequence, *states = outputs if isinstance(outputs, (list, tuple)) else (outputs,)
    steps = tf.stack(tf.unstack(mask, axis=1)[::-1], axis=1)
    steps = steps[(..., *[tf.newaxis] * (len(sequence.shape) - 2))]
    sequence = tf.where(steps, sequence, tf.zeros_like(sequence))
    return type(outputs)([sequence, *states]) if states else sequence


def _steps(layers: list[Any], infer: Callable[..., Any], x: tuple[Any, ...]) -> list[tuple[Any, int | None]]:
    """The layers, with the number of steps (None if not fixed) of each of their calls in `infer(*x)`, traced apart.

    The shapes that they were built with do not tell: a file may leave the length free.
    """
    loops: list[tuple[Any, int | None]] = []

    def noting(layer: Any, call: Callable[..., Any], sequences: Any, *args: Any, **kwargs: Any) -> Any:
        loops.append((layer, sequences.shape[1]))
        return call(sequences, *args, **kwargs)

    try:
        for layer in layers:
            layer.call = partial(noting, layer, layer.call)
        first, *more = [(tuple(each.shape), each.dtype.name) for each in x]
        trace(infer, *first, *more)
    finally:
        for layer in layers:
            del layer.call  # that of its class again
    return loops
