"""Keras nets whose TensorFlow graphs the converters can't take as they are."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgepress.converters.inspection import read
from edgepress.toolkit.conversion.convert import convert

SHAPE = (8, 6, 1)


def biases_in_the_middle(x: Any) -> Any:
    """Sums with constants of shape (N, 1), of which Keras makes BiasAdd over axis 1, of ranks 3 and 5."""
    from keras import layers

    x = layers.Reshape(SHAPE[:2])(x)
    x = layers.EinsumDense("abc,bd->adc", output_shape=(5, 6), bias_axes="d", activation="relu")(x)
    x = layers.Reshape((5, 2, 3, 1))(x)
    return layers.EinsumDense("abcde,bf->afcde", output_shape=(7, 2, 3, 1), bias_axes="f")(x)


def channels_first_in_one_dimension(x: Any) -> Any:
    from keras import layers

    x = layers.Reshape(SHAPE[:2])(x)
    x = layers.Conv1D(8, 3, padding="same", data_format="channels_first", activation="relu")(x)
    x = layers.MaxPooling1D(2, data_format="channels_first")(x)
    x = layers.Conv1D(12, 2, strides=2, data_format="channels_first")(x)
    return layers.GlobalAveragePooling1D(data_format="channels_first")(x)


def dilated_series(x: Any) -> Any:
    """Convolutions whose length is a multiple of the dilation with padding, without it, and not at all."""
    from keras import layers

    x = layers.Reshape((SHAPE[0] * SHAPE[1], 1))(x)
    for dilation, padding in ((2, "causal"), (3, "same"), (5, "same"), (4, "valid"), (7, "valid")):
        x = layers.Conv1D(8, 3, padding=padding, dilation_rate=dilation, activation="relu")(x)
    first, second = (layers.Conv1D(4, 2, dilation_rate=2)(x) for _ in range(2))
    return layers.Concatenate()([first, second])


def dilated_channels_first(x: Any) -> Any:
    from keras import layers

    first = "channels_first"
    x = layers.Reshape(SHAPE[:2])(x)
    x = layers.Conv1D(8, 2, padding="same", dilation_rate=2, data_format=first, activation="relu")(x)
    x = layers.Reshape((2, 4, 6))(x)
    x = layers.Conv2D(4, 3, padding="same", dilation_rate=(1, 2), data_format=first, activation="relu")(x)
    return layers.Conv2D(4, (3, 2), groups=2, dilation_rate=(1, 3), data_format=first)(x)


def recurrent_convolution(x: Any) -> Any:
    """A loop whose body reads a turned image (`onnx-body-inputs`)."""
    from keras import layers

    x = layers.Reshape((4, 2, 6, 1))(x)
    return layers.ConvLSTM2D(3, (1, 3), padding="same")(x)


NETS = [
    biases_in_the_middle,
    channels_first_in_one_dimension,
    dilated_series,
    dilated_channels_first,
    recurrent_convolution,
]


@pytest.mark.slow
@pytest.mark.parametrize("layers", NETS)
def test_they_become_files_of_both_formats(layers: Any, tmp_path: Path) -> None:
    import keras

    keras.utils.set_random_seed(3)
    inputs = keras.Input(SHAPE)
    x = layers(keras.layers.Rescaling(1 / 255)(inputs))
    model = keras.Model(inputs, keras.layers.Dense(4)(keras.layers.Flatten()(x)))
    for weights in model.weights:
        if weights.name == "bias":
            weights.assign(np.random.default_rng(1).normal(0, 0.1, size=weights.shape))
    model.save(tmp_path / "net.keras")
    rng = np.random.default_rng(2)
    lights = rng.uniform(0, 256, (2, 80, 1, 1, 1)) * rng.uniform(0.5, 1, (2, 80, *SHAPE))
    parts = {f"x_{part}": items for part, items in zip(("train", "test"), lights.astype(np.uint8), strict=True)}
    np.savez(tmp_path / "data.npz", **parts, y_train=np.arange(80) % 4, y_test=np.arange(80) % 4)
    schemes = "tflite-float32,onnx-float32,tflite-int8,onnx-int8"
    variants = convert(tmp_path / "net.keras", schemes, out=tmp_path / "files", data=tmp_path / "data.npz")
    assert [variant.status for variant in variants] == ["ok"] * 4, [variant.error for variant in variants]
    for variant in variants:
        assert variant.verification is not None
        assert variant.verification.agreement > (0.99 if "float" in variant.scheme else 0.8)
        if layers in (dilated_series, dilated_channels_first) and variant.path is not None:
            operations = {node.operation for node in read(variant.path).nodes}
            assert not operations & {"SPACE_TO_BATCH_ND", "BATCH_TO_SPACE_ND", "Loop", "Shape", "Slice", "Gather"}


@pytest.mark.slow
def test_an_operation_that_onnx_lacks_is_named(tmp_path: Path) -> None:
    import keras

    inputs = keras.Input((4,))
    x = keras.ops.slice_update(inputs, (0, 1), keras.ops.ones((1, 2)))
    keras.Model(inputs, keras.layers.Dense(3)(x)).save(tmp_path / "net.keras")
    tflite, onnx = convert(tmp_path / "net.keras", "tflite-float32,onnx-float32", out=tmp_path / "files")
    assert tflite.status == "ok", tflite.error
    assert onnx.error == "The model needs operations that ONNX lacks: XlaDynamicUpdateSlice."
    assert "TFLite" in onnx.hint
