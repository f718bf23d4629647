"""Changes of frozen graphs: what they compute stays, and other graphs stay as they are."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from frozen_graphs import answer, check, definition_of, kinds, weights

from edgepress.converters.freezing.fixes import fix
from edgepress.converters.freezing.frozen import freeze, trace
from edgepress.converters.to_tflite.convert import float_tflite


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
