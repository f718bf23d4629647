"""TFLite graphs of TensorFlow's functions, written in ONNX without tf2onnx and with a free batch: their answers."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
import tensorflow as tf

from edgepress.converters.freezing.frozen import freeze, trace
from edgepress.converters.to_onnx.from_tflite import float_onnx_of
from edgepress.converters.to_tflite.convert import float_tflite

Function = Callable[[Any], Any]


def emitted(function: Function, shape: tuple[int, ...]) -> onnx.ModelProto:
    model = float_onnx_of(float_tflite(freeze(trace(function, (1, *shape), "float32"))))
    assert model.producer_name != "tf2onnx"
    return model


def answers(model: onnx.ModelProto, items: Any) -> Any:
    session = onnxruntime.InferenceSession(model.SerializeToString())
    return session.run(None, {session.get_inputs()[0].name: items})[0]


def whole(x: Any) -> Any:
    return tf.cast(tf.round(x), tf.int32)


def real_parts(spectrum: Any) -> Any:
    return tf.math.real(spectrum) + 2 * tf.math.imag(spectrum)


def one_hots(axis: int, **values: float) -> Function:
    """Whole numbers below 0 are of no class."""
    return lambda x: tf.one_hot(whole(x), 3, axis=axis, **values)


FUNCTIONS: dict[str, tuple[Function, tuple[int, ...]]] = {
    "the last step": (lambda x: x[:, -1], (5, 4)),
    "a step inside": (lambda x: x[:, 1, 1:3], (5, 4)),
    "another axis": (lambda x: x[:, tf.newaxis, 1:], (5, 4)),
    "backwards": (lambda x: x[:, ::-2, 1:], (6, 4)),
    "backwards from inside": (lambda x: x[:, 3:0:-1], (6, 4)),
    "reversed": (lambda x: tf.reverse(x, [1, 2]), (6, 4)),
    "unstacked": (lambda x: sum(i * part for i, part in enumerate(tf.unstack(x, axis=2))), (4, 3)),
    "broadcast": (lambda x: tf.broadcast_to(x, [1, 5, 4]) if x.shape[0] else x, (1, 4)),
    "largest": (lambda x: tf.math.top_k(x, 3)[0], (5, 4)),
    "places of the largest": (lambda x: tf.cast(tf.math.top_k(x, 2)[1], tf.float32), (5, 4)),
    "sorted": (lambda x: tf.sort(x, axis=1), (5, 4)),
    "place of the largest": (lambda x: tf.cast(tf.argmax(x, 1), tf.float32), (5, 4)),
    "place of the least": (lambda x: tf.cast(tf.argmin(x, -1, tf.int32), tf.float32), (5, 4)),
    "classes": (one_hots(-1), (5, 4)),
    "classes in front": (one_hots(1), (5, 4)),
    "classes of other values": (one_hots(-1, on_value=3.0, off_value=-1.0), (5, 4)),
    "buckets": (lambda x: tf.cast(tf.raw_ops.Bucketize(input=x, boundaries=[-0.5, 0.0, 1.0]), tf.float32), (5, 4)),
    "running sums": (lambda x: tf.cumsum(x, 1) - 2 * tf.cumsum(x, 2, exclusive=True, reverse=True), (5, 4)),
    "any": (lambda x: tf.cast(tf.reduce_any(x > 1, axis=1), tf.float32), (5, 4)),
    "all": (lambda x: tf.cast(tf.reduce_all(x > -1, axis=-1, keepdims=True), tf.float32), (5, 4)),
    "spectrum": (lambda x: real_parts(tf.signal.rfft(x)), (16,)),
    "spectra of other lengths": (lambda x: tf.abs(tf.signal.rfft(x, [8])), (3, 6)),
    "spectrum of images": (lambda x: real_parts(tf.signal.rfft2d(x)), (8, 16)),
    "short spectra": (lambda x: tf.abs(tf.signal.stft(x, 16, 8, 16)), (48,)),
}


@pytest.mark.parametrize("name", FUNCTIONS)
def test_functions(name: str) -> None:
    function, shape = FUNCTIONS[name]
    items = np.random.default_rng(0).normal(size=(3, *shape)).astype(np.float32) * 2
    expected = np.concatenate([function(tf.constant(item[np.newaxis])) for item in items])
    np.testing.assert_allclose(answers(emitted(function, shape), items), expected, rtol=1e-5, atol=1e-5)


def test_what_compares_items_of_a_batch_takes_one() -> None:
    """Keras' `MelSpectrogram` leaves alone what is at most 80 dB below the loudest value of the batch."""
    model = emitted(
        lambda x: tf.maximum(tf.math.log(tf.abs(x) + 1e-12), tf.reduce_max(tf.math.log(tf.abs(x) + 1e-12)) - 8), (6,)
    )
    assert model.graph.input[0].type.tensor_type.shape.dim[0].dim_value == 1
