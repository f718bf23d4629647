"""Prepare recurrent Keras layers (LSTM, GRU, SimpleRNN, RNN around any cell) for conversion.

They are loops over time. In ONNX they become LSTM or Loop; in TFLite they would become several graphs, which quantizers
do not support. For TFLite they are therefore unrolled, as by `unroll=True` in Keras: the operations of a step are
repeated for each step, with shared weights. Loops in SavedModels, which are no longer layers, are not supported.
"""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

from edgepress.converters.errors import ConversionError
from edgepress.converters.frozen import trace
from edgepress.converters.sources.keras import keras_of

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
