"""Patches, pools, largest values, spectra and softplus of frozen graphs, in operations that both formats have."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from frozen_graphs import answer, check, definition_of, kinds
from hypothesis import given, settings
from hypothesis import strategies as st

from edgepress.converters.freezing.fixes import fix
from edgepress.converters.freezing.spectra import LARGEST
from edgepress.toolkit.conversion.convert import convert


def patches(kernel: tuple[int, int], stride: int, *, rate: int = 1, padding: str = "VALID") -> Callable[[Any], Any]:
    import tensorflow as tf

    ones = [1, *kernel, 1], [1, stride, stride, 1], [1, rate, rate, 1]
    return lambda x: tf.image.extract_patches(x, *ones, padding) * 2


@pytest.mark.parametrize(
    ("kernel", "stride", "options", "kind"),
    [
        ((2, 2), 2, {}, "Slice"),
        ((3, 3), 3, {}, "Slice"),  # two rows and a column are left over
        ((4, 4), 4, {"padding": "SAME"}, "Slice"),
        ((3, 3), 3, {"padding": "SAME"}, "DepthwiseConv2dNative"),
        ((3, 3), 1, {"padding": "SAME"}, "DepthwiseConv2dNative"),
        ((3, 2), 2, {}, "DepthwiseConv2dNative"),
        ((2, 3), 1, {"rate": 2}, "DepthwiseConv2dNative"),
        ((1, 1), 2, {}, "DepthwiseConv2dNative"),
    ],
)
@pytest.mark.parametrize("batch", [1, None])
def test_patches_are_written_out(
    kernel: tuple[int, int], stride: int, options: dict[str, Any], kind: str, batch: int | None
) -> None:
    fixed = check(patches(kernel, stride, **options), (batch, 8, 16 if stride == 4 else 10, 3), changes=True)
    assert "ExtractImagePatches" not in kinds(fixed)
    assert kind in kinds(fixed)
    for node in fixed.node:
        if node.op == "Reshape":
            assert {*node.attr} <= {"T", "Tshape"}, "none of the attributes of patches is left"


def test_patches_may_be_cut_from_a_part() -> None:
    """Whose name has a number behind it."""
    import tensorflow as tf

    check(lambda x: patches((2, 2), 2)(tf.split(x, 2, axis=3)[1]), (1, 8, 8, 6), changes=True)


@pytest.mark.parametrize(("strides", "rate"), [((1, 2), 1), ((2, 2), 2), ((1, 2), 2)])
def test_patches_that_no_kernel_copies_stay(strides: tuple[int, int], rate: int) -> None:
    """TensorFlow's depthwise convolution takes equal strides, and rates only without strides."""
    import tensorflow as tf

    options = [1, 2, 3, 1], [1, *strides, 1], [1, rate, rate, 1], "VALID"
    check(lambda x: tf.image.extract_patches(x, *options) * 2, (1, 8, 10, 3), changes=False)


def test_patches_of_images_of_any_size_stay() -> None:
    check(patches((2, 2), 2), (1, None, 8, 3), changes=False)


@pytest.mark.slow
@pytest.mark.parametrize("stride", [2, 4])
def test_files_of_patches_answer_as_the_model_does(stride: int, tmp_path: Path) -> None:
    """A vision transformer's first layers, with patches side by side and with patches that overlap."""
    import keras
    import tensorflow as tf
    from keras import layers

    keras.utils.set_random_seed(1)
    inputs = keras.Input((16, 16, 3))
    cut = layers.Lambda(lambda x: tf.image.extract_patches(x, [1, 4, 4, 1], [1, stride, stride, 1], [1] * 4, "VALID"))
    x = layers.Dense(8, activation="gelu")(cut(layers.Rescaling(1 / 255)(inputs)))
    keras.Model(inputs, layers.Dense(3)(layers.GlobalAveragePooling2D()(x))).export(tmp_path / "model", verbose=False)
    random = np.random.default_rng(0)
    items = random.integers(0, 256, (2, 48, 16, 16, 3), dtype=np.uint8)
    np.savez(
        tmp_path / "data.npz", x_train=items[0], x_test=items[1], y_train=np.arange(48) % 3, y_test=np.zeros(48, int)
    )
    for variant in convert(tmp_path / "model", "all", out=tmp_path / "files", data=tmp_path / "data.npz", verify=False):
        assert variant.verification is not None, variant.error
        assert variant.verification.sqnr_db > (70 if "float" in variant.scheme else 20)


@pytest.mark.parametrize("kind", ["max_pool3d", "avg_pool3d"])
@pytest.mark.parametrize("padding", ["SAME", "VALID"])
@pytest.mark.parametrize(
    ("size", "strides"),
    [((2, 2, 2), (2, 2, 2)), ((1, 2, 2), (1, 2, 2)), ((3, 1, 1), (2, 1, 1)), ((3, 2, 3), (2, 1, 3))],
)
def test_pools_of_volumes_are_pools_of_images(
    kind: str, padding: str, size: tuple[int, ...], strides: tuple[int, ...]
) -> None:
    import tensorflow as tf

    pool = getattr(tf.nn, kind)
    definition = check(lambda x: pool(x, size, strides, padding), (None, 6, 7, 8, 3), changes=True)
    assert "Pool3D" not in "".join(kinds(definition))


@pytest.mark.parametrize("shape", [(None, None, 7, 8, 3), (None, 6, 7, None, 3)])
def test_pools_of_volumes_of_free_sizes_stay(shape: tuple[int | None, ...]) -> None:
    import tensorflow as tf

    check(lambda x: tf.nn.max_pool3d(x, 2, 2, "SAME"), shape, changes=False)


@given(st.integers(3, 70), st.integers(-9, 9), st.sampled_from(["parts", "size", "all"]))
@settings(max_examples=15, deadline=None)
def test_spectra_of_any_length_become_products(length: int, more: int, read: str) -> None:
    """Of fewer values than the length, of as many, and of more."""
    import tensorflow as tf

    def function(x: Any) -> Any:
        spectrum = tf.signal.rfft(x, [length])
        parts = [tf.math.real(spectrum), tf.math.imag(spectrum)] if read != "size" else []
        return tf.concat([*parts, *([tf.abs(spectrum)] if read != "parts" else [])], -1)

    is_power = not length & (length - 1)
    fixed = check(function, (None, 2, max(1, length + more)), changes=not is_power)
    assert ("RFFT" in kinds(fixed)) == is_power


def test_spectra_stay_whose_values_are_read_or_that_are_long() -> None:
    import tensorflow as tf

    def inverse(x: Any) -> Any:
        return tf.signal.irfft(tf.signal.rfft(x, [12]) * 2)

    check(inverse, (1, 12), changes=False)
    check(lambda x: tf.abs(tf.signal.rfft(x, [LARGEST + 1])), (1, 20), changes=False)


@pytest.mark.parametrize("decibels", [True, False])
def test_mel_spectrograms_of_windows_of_any_length_convert(decibels: bool, tmp_path: Path) -> None:
    import keras

    sound = keras.Input((900,))
    mel = keras.layers.MelSpectrogram(
        fft_length=200, sequence_stride=100, sampling_rate=8000, num_mel_bins=16, power_to_db=decibels
    )(sound)
    answers = keras.layers.Dense(3, activation="softmax")(keras.layers.Flatten()(mel))
    sounds = np.random.default_rng(0).normal(size=(40, 900)).astype(np.float32)
    schemes = ["tflite-float32", "tflite-int8", "onnx-float32", "onnx-int8"]
    for variant in convert(keras.Model(sound, answers), schemes, data={"x": sounds}, out=tmp_path):
        assert variant.path is not None, variant.error
        assert variant.verification is not None
        assert (variant.verification.sqnr_db or 99) > (15 if "int8" in variant.scheme else 90), variant.scheme


@given(
    shape=st.lists(st.integers(1, 6), min_size=2, max_size=3),
    keep=st.booleans(),
    batch=st.sampled_from([1, None]),
    negative=st.booleans(),
)
@settings(max_examples=12, deadline=None)
def test_largest_values_of_whole_images_are_pools(
    shape: list[int], keep: bool, batch: int | None, negative: bool
) -> None:
    import tensorflow as tf

    axes = [axis - len(shape) - 1 if negative else axis for axis in range(1, len(shape))]
    changes = int(np.prod(shape[:-1])) > 1
    fixed = check(lambda x: tf.reduce_max(x, axes, keepdims=keep) * 2, (batch, *shape), changes=changes)
    assert ("MaxPool" in kinds(fixed)) == changes
    assert ("Max" in kinds(fixed)) != changes


@pytest.mark.parametrize("axes", [[1], [3], [1, 2, 3], [2, 3]])
def test_other_largest_values_stay(axes: list[int]) -> None:
    import tensorflow as tf

    check(lambda x: tf.reduce_max(x, axes), (1, 4, 3, 2), changes=False)


def test_largest_values_of_free_sizes_stay() -> None:
    import tensorflow as tf

    check(lambda x: tf.reduce_max(x, [1, 2]), (1, None, 3, 2), changes=False)


@given(st.floats(-600, 600, width=32))
@settings(max_examples=10, deadline=None)
def test_softplus_is_finite(value: float) -> None:
    import tensorflow as tf

    fixed, end = definition_of(tf.nn.softplus, (1, 3))
    fix(fixed)
    items = np.array([[value, -value, 0]], np.float32)
    assert "Softplus" not in kinds(fixed)
    assert answer(fixed, end, items) == pytest.approx(np.logaddexp(items, 0), rel=1e-6, abs=1e-7)
