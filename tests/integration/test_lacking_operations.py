"""Operations that TFLite lacks are written with others: the answers stay, and LiteRT and ONNX Runtime run the files."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from frozen_graphs import check, definition_of, kinds

from edgepress.converters.freezing import lacking
from edgepress.converters.freezing.fixes import fix
from edgepress.converters.freezing.lacking import matrix_of_resize
from edgepress.toolkit import convert, evaluate

DRAWS = range(6)


@pytest.mark.parametrize("reverse", [False, True])
@pytest.mark.parametrize("exclusive", [False, True])
@pytest.mark.parametrize("draw", DRAWS)
def test_cumulative_products_are_scans(draw: int, exclusive: bool, reverse: bool) -> None:
    import tensorflow as tf

    rng = np.random.default_rng()
    sizes = [int(size) for size in rng.integers(2, 18, rng.integers(1, 4))]
    place = int(rng.integers(len(sizes)))
    axis = place + 1 if draw % 2 else place - len(sizes)
    definition = check(
        lambda x: tf.math.cumprod(tf.tanh(x), axis=axis, exclusive=exclusive, reverse=reverse),
        (None if draw % 3 else 3, *sizes),
        changes=True,
    )
    assert "Cumprod" not in kinds(definition)
    steps = int(np.ceil(np.log2(sizes[place])))
    assert kinds(definition).count("Mul") == steps
    assert kinds(definition).count("PadV2") == steps + exclusive


def test_cumulative_products_of_unknown_length_or_one_value_stay() -> None:
    import tensorflow as tf

    check(lambda x: tf.math.cumprod(x, axis=1), (1, None), changes=False)
    check(lambda x: tf.math.cumprod(x, axis=0), (None, 4), changes=False)
    check(lambda x: tf.math.cumprod(x, axis=1), (1, 1), changes=False)
    check(lambda x: tf.cast(tf.math.cumprod(tf.cast(x, tf.int32), axis=1), tf.float32), (1, 4), changes=False)


@pytest.mark.parametrize(("corners", "half"), [(False, True), (False, False), (True, False)])
@pytest.mark.parametrize("draw", DRAWS)
def test_bicubic_resizes_are_products(draw: int, corners: bool, half: bool) -> None:
    import tensorflow as tf

    rng = np.random.default_rng()
    height, width, channels, *new = (int(size) for size in rng.integers((1, 1, 1, 1, 1), (19, 19, 5, 24, 24)))
    definition = check(
        lambda x: tf.raw_ops.ResizeBicubic(images=x, size=new, align_corners=corners, half_pixel_centers=half),
        (None if draw % 2 else 2, height, width, channels),
        changes=True,
    )
    assert "ResizeBicubic" not in kinds(definition)


def test_bicubic_resizes_of_unknown_sizes_or_of_large_matrices_stay(monkeypatch: Any) -> None:
    import tensorflow as tf

    def resized(x: Any) -> Any:
        return tf.image.resize(x, (6, 7), "bicubic")

    check(resized, (1, None, 5, 3), changes=False)
    check(resized, (1, 5, None, 3), changes=False)
    definition, _ = definition_of(resized, (1, 5, 5, 3))
    monkeypatch.setattr(lacking, "LARGEST", 34)
    fix(definition)
    assert "ResizeBicubic" in kinds(definition)
    monkeypatch.setattr(lacking, "LARGEST", 35)
    fix(definition)
    assert "ResizeBicubic" not in kinds(definition)


def test_each_value_of_a_resize_is_a_mean_of_values() -> None:
    rng = np.random.default_rng()
    size, new = (int(n) for n in rng.integers(2, 40, 2))
    matrix = matrix_of_resize(size, new, align_corners=False, half_pixel_centers=True)
    assert (matrix.shape, matrix.dtype) == ((size, new), np.float32)
    np.testing.assert_allclose(matrix.sum(axis=0), 1, atol=1e-5)
    assert (np.count_nonzero(matrix, axis=0) <= 4).all()


def test_nets_with_them_become_files_of_both_formats_with_the_same_answers(tmp_path: Any, digits: Any) -> None:
    """An ordinal head: products of probabilities that the class is at least 1, 2, ...; pixels resized by Keras."""
    import keras

    x = digits.train.read(slice(None))
    y = digits.train.y
    keras.utils.set_random_seed(int(np.random.default_rng().integers(1 << 30)))
    pixels = keras.Input(x.shape[1:])
    hidden = keras.layers.Resizing(12, 10, interpolation="bicubic")(keras.layers.Rescaling(1 / 255)(pixels))
    hidden = keras.layers.Dense(32, activation="relu")(keras.layers.Flatten()(hidden))
    at_least = keras.ops.cumprod(keras.layers.Dense(9, activation="sigmoid")(hidden), axis=-1)
    ends = keras.ops.pad(at_least, ((0, 0), (1, 1)))
    ends = ends + keras.ops.convert_to_tensor(np.eye(1, 11, dtype=np.float32))
    net = keras.Model(pixels, ends[:, :-1] - ends[:, 1:])
    net.compile("adam", "sparse_categorical_crossentropy")
    net.fit(x, y, epochs=3, verbose=0)
    net.save(tmp_path / "net.keras")
    files = convert(tmp_path / "net.keras", to="tflite-float32,onnx-float32,tflite-int8,onnx-int8", data="digits")
    assert [each.status for each in files] == ["ok"] * 4
    right = float(np.mean(net.predict(x, verbose=0).argmax(axis=1) == y))
    assert right > 0.2
    accuracy = {each.scheme: evaluate(each.path, data="digits")["accuracy"] for each in files}
    assert accuracy["tflite-float32"] == accuracy["onnx-float32"]
    assert all(abs(each - accuracy["tflite-float32"]) < 0.03 for each in accuracy.values())
