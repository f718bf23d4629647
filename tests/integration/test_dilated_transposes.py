"""Dilated transposed convolutions get filters with zeros in between."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from frozen_graphs import check, kinds, weights

from edgepress.toolkit.conversion.convert import convert


@pytest.mark.parametrize("padding", ["SAME", "VALID"])
@pytest.mark.parametrize("dilations", [(2, 1), (3, 2)])
def test_filters_of_dilated_transposed_convolutions_are_filled_with_zeros(dilations: Any, padding: str) -> None:
    import tensorflow as tf

    size = [8 + (2 - row) * by if padding == "VALID" else 8 for row, by in enumerate(dilations)]
    options = {"padding": padding, "strides": 1, "dilations": dilations}

    def transposed(x: Any) -> Any:
        return tf.nn.conv2d_transpose(x, tf.constant(weights(3, 2, 4, 3)), (2, *size, 4), **options)

    assert "Conv2DBackpropInput" in kinds(check(transposed, (2, 8, 8, 3), changes=True))
    check(lambda x: tf.nn.conv2d_transpose(x, weights(3, 2, 4, 3), (2, 16, 16, 4), 2), (2, 8, 8, 3), changes=False)


@pytest.mark.parametrize("axis", [0, 1, -4])
def test_filters_of_series_along_either_side_are_filled_with_zeros(axis: int) -> None:
    import tensorflow as tf

    by, size = ((2, 1), (12, 8)) if axis == 1 else ((1, 2), (8, 12))

    def transposed(x: Any) -> Any:
        filter_of_images = tf.expand_dims(tf.constant(weights(3, 2, 3)), axis)
        return tf.nn.conv2d_transpose(x, filter_of_images, (2, *size, 2), 1, "VALID", dilations=by)

    check(transposed, (2, 8, 8, 3), changes=True)


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["Conv1DTranspose", "Conv2DTranspose", "Conv3DTranspose", "channels_first"])
def test_dilated_transposed_convolutions_become_files(kind: str, tmp_path: Path) -> None:
    import keras
    from keras import layers

    rank = 2 if kind == "channels_first" else int(kind[4])
    source = keras.Input((*[5] * rank, 2))
    more = {"data_format": "channels_first"} if kind == "channels_first" else {}
    layer = getattr(layers, f"Conv{rank}DTranspose")(5, 2, dilation_rate=3, activation="relu", **more)
    model = keras.Model(source, layers.Dense(3, activation="softmax")(layers.Flatten()(layer(source))))
    model.save(tmp_path / "net.keras")
    variants = convert(tmp_path / "net.keras", "tflite-float32,onnx-float32", out=tmp_path)
    assert [variant.error for variant in variants] == ["", ""]
