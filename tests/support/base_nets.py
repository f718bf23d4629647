"""Classifiers of other people, in all formats, whose features are known: a Keras net and what it is saved as."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

KINDS = ("tflite", "int8", "onnx", "keras", "h5", "saved_model")


def classifier(seed: int, *, classes: int, side: int = 16, end: str = "dense") -> tuple[Any, Any]:
    """A net for images of -1 to 1, and the part of it up to the features.

    Args:
        seed: Seed of its weights and of its widths.
        classes: Number of classes.
        side: Height and width of the images.
        end: How it classifies: by a "dense" layer, a convolution of one place ("places"), or one before the mean
            ("map"), as MobileNetV1 and SqueezeNet do.
    """
    import keras

    keras.utils.set_random_seed(seed)
    first, second, size = np.random.default_rng(seed).integers(5, 12, 3).tolist()
    layers = keras.layers
    source = keras.Input((side, side, 3), batch_size=1)
    x = layers.Conv2D(first, 3, strides=2, use_bias=False)(source)
    x = layers.BatchNormalization(beta_initializer="uniform", moving_mean_initializer="uniform")(x)
    x = layers.ReLU(6.0)(x)
    x = layers.DepthwiseConv2D(3, padding="same", activation="relu")(x)
    x = layers.Conv2D(second, 1, activation="relu")(x)
    if end == "dense":
        features = layers.Dense(size, activation="relu")(layers.GlobalAveragePooling2D()(x))
        x = layers.Dense(classes, activation="softmax")(layers.Dropout(0.5)(features))
    elif end == "places":
        features = layers.GlobalAveragePooling2D(keepdims=True)(x)
        x = layers.Softmax()(layers.Flatten()(layers.Conv2D(classes, 1)(features)))
    else:
        features = x
        x = layers.Softmax()(layers.GlobalAveragePooling2D()(layers.Conv2D(classes, 1, activation="relu")(x)))
    if end == "map":
        features = layers.GlobalAveragePooling2D()(features)
    elif end == "places":
        features = layers.Flatten()(features)
    return keras.Model(source, x), keras.Model(source, features)


def saved(model: Any, kind: str, folder: Path) -> Path:
    """A model in one of `KINDS`; "int8" is a `.tflite` with integers at its ends, too."""
    path = folder / f"net.{kind}"
    match kind:
        case "keras" | "h5":
            model.save(path)
        case "saved_model":
            path = folder / "net"
            model.export(path, verbose=False)
        case "onnx":
            _write_onnx(model, path)
        case _:
            path = folder / f"{kind}.tflite"
            path.write_bytes(_tflite(model, integers=kind == "int8"))
    return path


def _tflite(model: Any, *, integers: bool) -> bytes:
    import tensorflow as tf

    converter = tf.lite.TFLiteConverter.from_keras_model(model)
    if integers:
        items = np.random.default_rng(0).uniform(-1, 1, (64, *model.input_shape[1:])).astype(np.float32)
        items[0, 0, 0, :2] = -1, 1
        converter.optimizations = [tf.lite.Optimize.DEFAULT]
        converter.representative_dataset = lambda: ([item[np.newaxis]] for item in items)
        converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS_INT8]
        converter.inference_input_type = tf.uint8
        converter.inference_output_type = tf.uint8
    return bytes(converter.convert())


def _write_onnx(model: Any, path: Path) -> None:
    """Channels first, as PyTorch writes it."""
    import keras
    import tensorflow as tf
    import tf2onnx

    _, height, width, channels = model.input_shape
    first = keras.Input((channels, height, width), batch_size=1)
    turned = keras.Model(first, model(keras.layers.Permute((2, 3, 1))(first)))
    signature = [tf.TensorSpec((1, channels, height, width), tf.float32, name="image")]
    function = tf.function(lambda x: turned(x, training=False), input_signature=signature)
    tf2onnx.convert.from_function(function, input_signature=signature, opset=17, output_path=str(path))
