"""What each kind of TFLite operation computes, in TensorFlow, for any number of items at once.

The first axis of a graph's tensors is that of its one item; here it has as many as are run together. What they mean is
what LiteRT's reference kernels do (tflite/kernels/internal/reference).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from edgepress.converters.graph.step import Step

ACTIVATIONS = ("", "relu", "relu_n1_to_1", "relu6", "tanh")
"""Names of the schema's `ActivationFunctionType`, by number."""
PADDINGS = ("SAME", "VALID")
"""Names of the schema's `Padding`, by number."""
Operation = Callable[["Step", Sequence[Any]], Any]
"""Computes the output of a step, or a tuple of several, from its inputs; an input that is left out is None."""


def activated(step: Step, value: Any) -> Any:
    """The value after the activation that the operation contains."""
    import tensorflow as tf

    name = ACTIVATIONS[getattr(step.options, "fusedActivationFunction", 0) or 0]
    match name:
        case "":
            return value
        case "relu_n1_to_1":
            return tf.clip_by_value(value, -1.0, 1.0)
        case _:
            return getattr(tf.nn, name)(value)


def _convolution(step: Step, x: Sequence[Any]) -> Any:
    import tensorflow as tf

    o, weights = step.options, tf.transpose(x[1], [1, 2, 3, 0])
    groups = x[0].shape[-1] // x[1].shape[-1]
    strides, dilations = (o.strideH, o.strideW), (o.dilationHFactor, o.dilationWFactor)
    convolved = [
        tf.nn.conv2d(part, kernel, strides, PADDINGS[o.padding], dilations=dilations)
        for part, kernel in zip(tf.split(x[0], groups, -1), tf.split(weights, groups, -1), strict=True)
    ]
    return _with_bias(step, x, convolved[0] if groups == 1 else tf.concat(convolved, -1))


def _depthwise(step: Step, x: Sequence[Any]) -> Any:
    import tensorflow as tf

    o, (_, height, width, _) = step.options, x[1].shape
    weights = tf.reshape(x[1], [height, width, x[0].shape[-1], -1])
    strides, dilations = (1, o.strideH, o.strideW, 1), (o.dilationHFactor, o.dilationWFactor)
    return _with_bias(step, x, tf.nn.depthwise_conv2d(x[0], weights, strides, PADDINGS[o.padding], dilations=dilations))


def _dense(step: Step, x: Sequence[Any]) -> Any:
    import tensorflow as tf

    rows = tf.reshape(x[0], [-1, x[1].shape[-1]]) if not step.options.keepNumDims else x[0]
    return _with_bias(step, x, tf.matmul(rows, x[1], transpose_b=True))


def _with_bias(step: Step, x: Sequence[Any], value: Any) -> Any:
    return activated(step, value if len(x) <= 2 or x[2] is None else value + x[2])


def _pool(reduce: str) -> Operation:
    def compute(step: Step, x: Sequence[Any]) -> Any:
        import tensorflow as tf

        o = step.options
        window, strides = (o.filterHeight, o.filterWidth), (o.strideH, o.strideW)
        return activated(step, getattr(tf.nn, reduce)(x[0], window, strides, PADDINGS[o.padding]))

    return compute


def _binary(name: str) -> Operation:
    def compute(step: Step, x: Sequence[Any]) -> Any:
        import tensorflow as tf

        return activated(step, getattr(tf, name)(x[0], x[1]))

    return compute


def _unary(path: str) -> Operation:
    def compute(step: Step, x: Sequence[Any]) -> Any:
        import tensorflow as tf

        home, _, name = path.rpartition(".")
        return getattr(getattr(tf, home) if home else tf, name)(x[0])

    return compute


def _mean(step: Step, x: Sequence[Any]) -> Any:
    import tensorflow as tf

    return tf.reduce_mean(x[0], step.integers(1), keepdims=bool(step.options.keepDims))


def _reshape(step: Step, x: Sequence[Any]) -> Any:
    """The first axis stays that of the items; a graph that mixes them in is refused by `Program.batched`."""
    import tensorflow as tf

    return tf.reshape(x[0], [tf.shape(x[0])[0] * step.shape[0] // max(step.input_shape[0], 1), *step.shape[1:]])


def _hard_swish(step: Step, x: Sequence[Any]) -> Any:
    import tensorflow as tf

    return x[0] * tf.nn.relu6(x[0] + 3.0) * (1 / 6)


def _cast(step: Step, x: Sequence[Any]) -> Any:
    import tensorflow as tf

    return tf.cast(x[0], step.dtype)


def _concatenation(step: Step, x: Sequence[Any]) -> Any:
    import tensorflow as tf

    return activated(step, tf.concat(list(x), step.options.axis))


def _pad(step: Step, x: Sequence[Any]) -> Any:
    import tensorflow as tf

    return tf.pad(x[0], step.constants[1].tolist())


def _softmax(step: Step, x: Sequence[Any]) -> Any:
    import tensorflow as tf

    return tf.nn.softmax(x[0] * step.options.beta)


OPERATIONS: dict[str, Operation] = {
    "CONV_2D": _convolution,
    "DEPTHWISE_CONV_2D": _depthwise,
    "FULLY_CONNECTED": _dense,
    "ADD": _binary("add"),
    "SUB": _binary("subtract"),
    "MUL": _binary("multiply"),
    "AVERAGE_POOL_2D": _pool("avg_pool2d"),
    "MAX_POOL_2D": _pool("max_pool2d"),
    "MEAN": _mean,
    "RESHAPE": _reshape,
    "SQUEEZE": _reshape,
    "CAST": _cast,
    "RELU": _unary("nn.relu"),
    "RELU6": _unary("nn.relu6"),
    "LOGISTIC": _unary("sigmoid"),
    "TANH": _unary("tanh"),
    "HARD_SWISH": _hard_swish,
    "CONCATENATION": _concatenation,
    "PAD": _pad,
    "SOFTMAX": _softmax,
}
"""By the name of the kind in the schema."""
