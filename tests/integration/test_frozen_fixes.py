"""Changes of frozen graphs: what they compute stays, and other graphs stay as they are."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from frozen_graphs import answer, check, definition_of, kinds, weights
from hypothesis import given, settings
from hypothesis import strategies as st

from edgepress.converters.freezing.fixes import fix
from edgepress.converters.freezing.frozen import freeze, trace
from edgepress.converters.freezing.spectra import LARGEST
from edgepress.converters.to_tflite.convert import float_tflite
from edgepress.toolkit.conversion.convert import convert


@pytest.mark.parametrize("batch", [1, None])
@pytest.mark.parametrize("rank", [3, 5])
def test_biases_of_axis_1_become_additions(rank: int, batch: int | None) -> None:
    import tensorflow as tf

    shape = (batch, 4, *[3] * (rank - 2))
    fixed = check(lambda x: tf.nn.bias_add(x, weights(4), data_format="NCHW") * 2, shape, changes=True)
    assert "BiasAdd" not in kinds(fixed)


@pytest.mark.parametrize("form", ["NCHW", "NHWC"])
def test_biases_of_images_stay(form: str) -> None:
    import tensorflow as tf

    check(lambda x: tf.nn.bias_add(x, weights(4), data_format=form), (1, 4, 4, 4), changes=False)


def test_other_graphs_get_no_attribute() -> None:
    import tensorflow as tf

    check(lambda x: tf.nn.relu(x) * 2 + tf.squeeze(tf.nn.conv2d(x, weights(3, 3, 2, 2), 1, "SAME")), (1, 5, 5, 2),
          changes=False)  # fmt: skip


def squeeze_behind_channels_first(x: Any, **axes: Any) -> Any:
    import tensorflow as tf

    return tf.squeeze(tf.nn.conv2d(x, weights(1, 2, 3, 4), 1, "VALID", data_format="NCHW"), **axes)


@pytest.mark.parametrize(
    ("batch", "length", "axes", "changes"),
    [
        (1, 6, {"axis": [2]}, True),
        (None, 6, {"axis": [2]}, True),
        (None, None, {"axis": [2]}, False),
        (None, None, {}, False),
    ],
)
def test_a_squeeze_of_unknown_sizes_stays(batch: int | None, length: int | None, axes: Any, changes: bool) -> None:
    """A free batch and a free length are two unknown sizes. TensorFlow has no CPU kernel for channels first to run."""
    shape = (batch, 3, 1, length)
    definition, _ = definition_of(lambda x: squeeze_behind_channels_first(x, **axes), shape)
    fix(definition)
    assert ("Squeeze" not in kinds(definition)) == changes


def test_what_a_node_waits_for_stays_behind_what_it_reads() -> None:
    import tensorflow as tf

    def waiting(x: Any) -> Any:
        conv = tf.nn.conv2d(x, weights(1, 2, 3, 4), 1, "VALID", data_format="NCHW")
        with tf.control_dependencies([tf.raw_ops.NoOp()]):
            return tf.squeeze(conv, [2])

    definition, _ = definition_of(waiting, (1, 3, 1, 6))
    fix(definition)
    graph = tf.Graph()
    with graph.as_default():
        tf.import_graph_def(definition, name="")
    assert "Squeeze" not in kinds(definition)


@pytest.mark.parametrize("padding", ["SAME", "VALID"])
@pytest.mark.parametrize("dilation", [2, 3, 5])
@pytest.mark.parametrize(("batch", "length"), [(1, 16), (None, 15)])
def test_convolutions_of_series_get_their_dilation(batch: Any, length: int, dilation: int, padding: str) -> None:
    import tensorflow as tf

    fixed = check(
        lambda x: tf.nn.convolution(x, weights(3, 2, 4), dilations=[dilation], padding=padding),
        (batch, length, 2),
        changes=True,
    )
    dilated = [node for node in fixed.node if node.op == "Conv2D" and node.name.endswith("/dilated")]
    assert [list(node.attr["dilations"].list.i) for node in dilated] == [[1, 1, dilation, 1]]


@pytest.mark.parametrize("padding", ["SAME", "VALID"])
@pytest.mark.parametrize(("sizes", "dilations", "form"), [
    ((11,), [3], "NCW"), ((6, 7), [2, 2], "NCHW"), ((6, 7), [1, 3], "NCHW"), ((7, 6), [3, 2], "NHWC"),
])  # fmt: skip
def test_convolutions_get_their_dilation_in_both_orders(
    sizes: tuple[int, ...], dilations: list[int], form: str, padding: str
) -> None:
    """TFLite's interpreter runs what the converter makes: TensorFlow's kernels for the CPU take channels last only."""
    import tensorflow as tf
    from ai_edge_litert.interpreter import Interpreter

    channels_last = np.random.default_rng(2).normal(size=(1, *sizes, 2)).astype(np.float32)
    kernel = weights(3, *[2] * (len(sizes) - 1), 2, 4)
    expected = tf.nn.convolution(channels_last, kernel, dilations=dilations, padding=padding).numpy()
    first = form != "NHWC"
    x, expected = (np.moveaxis(each, -1, 1) if first else each for each in (channels_last, expected))
    frozen = freeze(
        trace(
            lambda x: tf.nn.convolution(x, kernel, dilations=dilations, padding=padding, data_format=form),
            x.shape,
            "float32",
        )
    )
    assert ("BatchToSpaceND" in kinds(frozen.definition)) == (not first)
    interpreter = Interpreter(model_content=float_tflite(frozen))
    interpreter.allocate_tensors()
    interpreter.set_tensor(interpreter.get_input_details()[0]["index"], np.ascontiguousarray(x))
    interpreter.invoke()
    outputs = interpreter.get_tensor(interpreter.get_output_details()[0]["index"])
    np.testing.assert_allclose(outputs, expected, rtol=1e-5, atol=1e-5)


def test_each_reader_of_what_was_taken_apart_gets_its_own() -> None:
    import tensorflow as tf

    def twice(x: Any) -> Any:
        blocks = tf.expand_dims(tf.space_to_batch_nd(x, [2], [[0, 0]]), -3)
        parts = [tf.nn.conv2d(blocks, weights(1, 2, 2, 4) * sign, 1, "VALID") for sign in (1, -2)]
        return tf.add_n([tf.batch_to_space(tf.squeeze(part, [-3]), [2], [[0, 0]]) for part in parts])

    fixed = check(twice, (1, 12, 2), changes=True)
    assert sum(node.name.endswith("/dilated") for node in fixed.node) == 2


@pytest.mark.parametrize(
    "options", [{"crops": [[1, 0]]}, {"crops": [[0, 1]]}, {"stride": 2}, {"padding": "SAME"}, {"axis": 2}]
)
def test_other_chains_stay(options: dict[str, Any]) -> None:
    """A crop of what was not padded, strides, padding of parts, and parts as images of one column."""
    import tensorflow as tf

    def chain(x: Any) -> Any:
        axis = options.get("axis", 1)
        blocks = tf.expand_dims(tf.space_to_batch_nd(x, [2], [[0, 0]]), axis)
        kernel = weights(*((1, 2) if axis == 1 else (2, 1)), 2, 4)
        conv = tf.nn.conv2d(blocks, kernel, options.get("stride", 1), options.get("padding", "VALID"))
        return tf.batch_to_space(tf.squeeze(conv, [axis]), [2], options.get("crops", [[0, 0]]))

    check(chain, (1, 12, 2), changes=False)


@pytest.mark.parametrize(
    ("block", "pads", "crops", "changes"),
    [
        ([1, 2, 2], [[0, 0], [0, 0], [0, 0]], [[0, 0], [0, 0], [0, 0]], True),
        ([2, 1, 2], [[0, 0], [0, 0], [0, 0]], [[0, 0], [0, 0], [0, 0]], False),
        ([1, 2, 2], [[1, 0], [0, 0], [0, 0]], [[0, 0], [0, 0], [0, 0]], False),
        ([1, 2, 2], [[0, 0], [0, 0], [0, 0]], [[0, 1], [0, 0], [0, 0]], False),
    ],
)
def test_channels_that_are_taken_apart_stay(block: Any, pads: Any, crops: Any, changes: bool) -> None:
    import tensorflow as tf

    def chain(x: Any) -> Any:
        blocks = tf.space_to_batch_nd(x, block, pads)
        kernel = weights(2, 2, blocks.shape[1], 4)
        return tf.batch_to_space(tf.nn.conv2d(blocks, kernel, 1, "VALID", data_format="NCHW"), block, crops)

    definition, _ = definition_of(chain, (1, 4, 8, 8))
    fix(definition)
    assert ("BatchToSpaceND" not in kinds(definition)) == changes


def test_other_blocks_behind_than_in_front_stay() -> None:
    import tensorflow as tf

    def chain(x: Any) -> Any:
        blocks = tf.expand_dims(tf.space_to_batch_nd(x, [4], [[0, 0]]), 1)
        conv = tf.squeeze(tf.nn.conv2d(blocks, weights(1, 1, 2, 4), 1, "VALID"), [1])
        return tf.batch_to_space(conv, [2], [[0, 0]])

    check(chain, (1, 16, 2), changes=False)


def test_blocks_of_two_dimensions_stay() -> None:
    import tensorflow as tf

    def chain(x: Any) -> Any:
        blocks = tf.space_to_batch_nd(x, [2, 2], [[0, 0], [0, 0]])
        conv = tf.squeeze(tf.nn.conv2d(tf.expand_dims(blocks, 1), weights(1, 1, 2, 4), 1, "VALID"), [1])
        return tf.batch_to_space(conv, [2, 2], [[0, 0], [0, 0]])

    check(chain, (1, 4, 4), changes=False)


@pytest.mark.parametrize("swapped", [False, True])
def test_what_an_inverse_root_is_taken_of_is_bounded(*, swapped: bool) -> None:
    import tensorflow as tf

    def unit(x: Any) -> Any:
        operands = [tf.math.rsqrt(tf.reduce_sum(tf.square(tf.nn.relu(x)), -1, keepdims=True)), tf.constant(1e6)]
        return x * tf.minimum(*operands[:: -1 if swapped else 1])

    fixed = check(unit, (None, 4), changes=True)
    assert "Minimum" not in kinds(fixed)
    assert answer(fixed, "end:0", -np.ones((1, 4), np.float32)) == pytest.approx(-1e6)


@pytest.mark.parametrize("bound", [0.0, -2.0, [1.0, 2.0, 3.0, 4.0], 1e-20, 1e20])
def test_other_bounds_of_roots_stay(bound: Any) -> None:
    """Those whose inverse squares are no numbers of float32, too."""
    import tensorflow as tf

    check(lambda x: tf.minimum(tf.math.rsqrt(tf.square(x)), tf.constant(bound, tf.float32)), (None, 4), changes=False)
    check(lambda x: tf.minimum(tf.sqrt(tf.square(x)), tf.constant(2.0)), (None, 4), changes=False)


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
