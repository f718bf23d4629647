"""Recurrent Keras layers (LSTM, GRU, SimpleRNN, RNN around any cell): what they need before they can be converted.

They are loops over time. In ONNX they are LSTM or Loop; in TFLite they would be several graphs, which no quantizer
takes. So for TFLite they are unrolled, as `unroll=True` in Keras does it: the step's operations once for each step,
with the weights shared.

Not covered: loops in SavedModels, which are operations of a graph and no layers any more.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from edgepress.converters.errors import ConversionError

LARGEST_STEPS = 256
"""Steps that are unrolled: each adds its operations to the file, and its time to the conversion."""


def recurrent_layers(model: Any) -> list[Any]:
    """The recurrent layers of a model, those inside other layers and models too."""
    import keras

    return [layer for layer in model._flatten_layers() if isinstance(layer, keras.layers.RNN)]


def without_dropout(model: Any) -> Any:
    """Switch dropout inside recurrent cells off: Keras draws its mask, and counts the draw, for inference as well."""
    for layer in model._flatten_layers():
        if hasattr(layer, "get_dropout_mask"):
            layer.dropout = layer.recurrent_dropout = 0.0
    return model


def unrolled(model: Any, infer: Callable[[Any], Any]) -> Callable[[Any], Any] | None:
    """`infer`, which calls the model, with every loop over time unrolled; None if there is none.

    Calling it raises ConversionError where there are more than `LARGEST_STEPS` steps, or any number of them.
    """
    loops = [layer for layer in recurrent_layers(model) if not layer.unroll]
    if not loops:
        return None

    def call(x: Any) -> Any:
        for layer in loops:
            steps = _steps(layer)
            if steps is None or steps > LARGEST_STEPS:
                raise ConversionError(
                    f"The recurrent layer {layer.name} runs over {steps or 'any number of'} steps; in a TFLite file, "
                    f"where they are unrolled, up to {LARGEST_STEPS} can be.",
                    "Give the model a shorter input of fixed length, build the layer with unroll=True, or make ONNX "
                    "files, which need no unrolling.",
                )
        try:
            for layer in loops:
                layer.unroll = True
            return infer(x)
        finally:
            for layer in loops:
                layer.unroll = False

    return call


def _steps(layer: Any) -> int | None:
    """Steps of the input that a layer was built for; None if any number, or unknown."""
    shapes = list((layer.get_build_config() or {}).values())
    while shapes and isinstance(shapes[0], dict):  # of several inputs, by name: the sequence comes first
        shapes = list(shapes[0].values())
    steps = shapes[0][1] if shapes and isinstance(shapes[0], (list, tuple)) else None
    return int(steps) if isinstance(steps, int) else None
