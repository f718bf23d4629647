"""Activations and normalizations, in the forms that TFLite's converter joins to its own operations.

Formulas are those of the operator specification (https://onnx.ai/onnx/operators/).

Normalizations: by constants, by the values' own mean and variance, and by norms.

Their steps are those of Keras' layers, which `rewrites.tflite.layer_norm` knows.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from edgepress.converters.importers.elementwise import one_input
from edgepress.converters.importers.node import (
    Node,
    Operation,
    Results,
    Value,
    aligned,
    constant,
    first,
    in_order,
    last,
    of_last,
    plain,
    with_rank,
)


def softplus(x: Any) -> Any:
    """log(1 + exp(x)), which is not infinite for large x."""
    return tf.nn.relu(x) + tf.math.log(1 + tf.exp(-tf.abs(x)))


def hard_sigmoid(x: Any, alpha: float = 0.2, beta: float = 0.5) -> Any:
    """A line between 0 and 1; that of MobileNetV3, a sixth, in the form that TFLite's converter joins to HARD_SWISH."""
    if abs(alpha - 1 / 6) < 1e-6 and beta == 0.5:
        return tf.nn.relu6(x + 3) * np.float32(1 / 6)
    return tf.minimum(tf.nn.relu(np.float32(alpha) * x + np.float32(beta)), 1.0)


def leaky_relu(node: Node, value: Value) -> Value:
    """LeakyRelu (16)."""
    return value.like(tf.nn.leaky_relu(value.tensor, node.get("alpha", 0.01)))


def prelu(node: Node, value: Value, slope: Value) -> Value:
    """PRelu (16), in the form that TFLite's converter joins to PRELU: slopes without the batch."""
    order, (x, slopes) = aligned([value, slope])
    if order != value.order:
        raise node.refused("its slopes have more axes than the values")
    slopes = tf.squeeze(slopes, 0) if slopes.shape.rank > 1 and slopes.shape[0] == 1 else slopes
    return value.like(tf.nn.relu(x) + -slopes * tf.nn.relu(-x))


def elu(node: Node, value: Value) -> Value:
    """Elu (22): what is below 0 of the plain one times alpha."""
    alpha = node.get("alpha", 1.0)
    plain = tf.nn.elu(value.tensor)
    return value.like(plain if alpha == 1 else tf.nn.leaky_relu(plain, alpha))


def celu(node: Node, value: Value) -> Value:
    """Celu (12)."""
    x = value.tensor
    alpha = np.float32(node.get("alpha", 1.0))
    return value.like(tf.nn.relu(x) + tf.minimum(alpha * (tf.exp(x / alpha) - 1), 0.0))


def selu(node: Node, value: Value) -> Value:
    """Selu (22)."""
    alpha = node.get("alpha", 1.67326319217681884765625)
    gamma = np.float32(node.get("gamma", 1.05070102214813232421875))
    return value.like(gamma * tf.nn.leaky_relu(tf.nn.elu(value.tensor), alpha))


def hard_sigmoid_of(node: Node, value: Value) -> Value:
    """HardSigmoid (22)."""
    return value.like(hard_sigmoid(value.tensor, node.get("alpha", 0.2), node.get("beta", 0.5)))


def thresholded_relu(node: Node, value: Value) -> Value:
    """ThresholdedRelu (22)."""
    x = value.tensor
    return value.like(tf.where(x > node.get("alpha", 1.0), x, tf.zeros_like(x)))


def shrink(node: Node, value: Value) -> Value:
    """Shrink (9)."""
    x = value.tensor
    limit = node.get("lambd", 0.5)
    bias = np.float32(node.get("bias", 0.0))
    below = tf.where(x < -limit, x + bias, tf.zeros_like(x))
    return value.like(tf.where(x > limit, x - bias, below))


def swish(node: Node, value: Value) -> Value:
    """Swish (24)."""
    x = value.tensor
    alpha = node.get("alpha", 1.0)
    return value.like(x * tf.sigmoid(x if alpha == 1 else np.float32(alpha) * x))


def gelu(node: Node, value: Value) -> Value:
    """Gelu (20), in the form that TFLite's converter joins to GELU."""
    return value.like(tf.nn.gelu(value.tensor, approximate=node.get("approximate", "none") == "tanh"))


PLAIN: dict[str, Callable[[Any], Any]] = {
    "HardSwish": lambda x: x * hard_sigmoid(x, 1 / 6),
    "Mish": lambda x: x * tf.tanh(softplus(x)),
    "Relu": tf.nn.relu,
    "Sigmoid": tf.sigmoid,
    "Softplus": softplus,
    "Softsign": lambda x: x / (1 + tf.abs(x)),
    "Tanh": tf.tanh,
}
"""Those without attributes."""
ACTIVATIONS: dict[str, Operation] = {
    **{kind: functools.partial(one_input, function) for kind, function in PLAIN.items()},
    "Celu": celu,
    "Elu": elu,
    "Gelu": gelu,
    "HardSigmoid": hard_sigmoid_of,
    "LeakyRelu": leaky_relu,
    "PRelu": prelu,
    "Selu": selu,
    "Shrink": shrink,
    "Swish": swish,
    "ThresholdedRelu": thresholded_relu,
}


EPSILON = 1e-30
"""Added to norms, so that 0 divided by a norm of 0 is 0."""


def batch_normalization(node: Node, value: Value, *parameters: Value) -> Value:
    """BatchNormalization (15) with known statistics: a product and a sum."""
    if node.get("training_mode", 0):
        raise node.refused("it is in training mode")
    if any(node.outputs[1:]):
        raise node.refused("its statistics, which only training changes, are read")
    scale, bias, mean, variance = (np.asarray(node.known(each, "parameter").stored, np.float64) for each in parameters)
    factor = scale / np.sqrt(variance + node.get("epsilon", 1e-5))
    shift = bias - mean * factor
    factors, shifts = (_of_channels(value, each.astype(np.float32)) for each in (factor, shift))
    return value.like(value.tensor * factors + shifts)


def _of_channels(value: Value, numbers: Any) -> Any:
    """Numbers of channels, as they are broadcast to a value; of opset 7 and 8, they may be of pixels, too."""
    shape = [1, *numbers.shape, *[1] * (value.rank - 1 - numbers.ndim)]
    return in_order(constant(numbers.reshape(shape)), value.order)


def normalize(
    value: Value, axes: Sequence[int], epsilon: float, scale: Value | None, bias: Value | None
) -> tuple[Value, Any, Any]:
    """A value less its mean, by its deviation, over some axes; then scaled and shifted.

    Returns:
        It, its mean and its inverse deviation as tensors with the axes kept, in the order of the value.
    """
    x = value.tensor
    places = [value.place(axis) for axis in axes]
    mean = tf.reduce_mean(x, places, keepdims=True)
    variance = tf.reduce_mean(tf.math.squared_difference(x, mean), places, keepdims=True)
    inverse = tf.math.rsqrt(variance + np.float32(epsilon))
    factor = inverse
    if scale is not None:
        factor = inverse * in_order(with_rank(scale, value.rank), value.order)
    shift = -mean * factor
    if bias is not None:
        shift = in_order(with_rank(bias, value.rank), value.order) - mean * factor
    return value.like(x * factor + shift), mean, inverse


def layer_normalization(node: Node, value: Value, scale: Value, bias: Value | None = None) -> Results:
    """LayerNormalization (17)."""
    axis = node.get("axis", -1) % value.rank
    axes = range(axis, value.rank)
    made, mean, inverse = normalize(value, axes, node.get("epsilon", 1e-5), scale, bias)
    return (made, value.like(mean), value.like(inverse)) if len(node.outputs) > 1 else made


def instance_normalization(node: Node, value: Value, scale: Value, bias: Value) -> Value:
    """InstanceNormalization (22)."""
    parameters = [_column(node, each, value.rank) for each in (scale, bias)]
    return normalize(value, range(2, value.rank), node.get("epsilon", 1e-5), *parameters)[0]


def _column(node: Node, numbers: Value, rank: int) -> Value:
    """Numbers of channels as they are broadcast to values of some rank."""
    return constant(node.known(numbers, "parameter").stored.reshape(-1, *[1] * (rank - 2)))


def group_normalization(node: Node, value: Value, scale: Value, bias: Value) -> Value:
    """GroupNormalization (21); before, scale and bias were of groups."""
    groups = node.get("num_groups")
    batch, channels, *space = value.shape
    grouped = plain(tf.reshape(first(value), [batch, groups, -1]))
    normal = normalize(grouped, [2], node.get("epsilon", 1e-5), None, None)[0]
    parts = [node.known(each, "parameter").stored for each in (scale, bias)]
    factors, shifts = (
        (part if len(part) == channels else np.repeat(part, channels // groups)).reshape(-1, *[1] * len(space))
        for part in parts
    )
    return plain(tf.reshape(normal.stored, value.shape) * factors + shifts)


def mean_variance_normalization(node: Node, value: Value) -> Value:
    """MeanVarianceNormalization (13): the least deviation is added outside the root."""
    x = value.tensor
    places = [value.place(axis) for axis in node.get("axes", [0, 2, 3])]
    mean = tf.reduce_mean(x, places, keepdims=True)
    variance = tf.reduce_mean(tf.math.squared_difference(x, mean), places, keepdims=True)
    return value.like((x - mean) / (tf.sqrt(variance) + 1e-9))


def rms_normalization(node: Node, value: Value, scale: Value) -> Value:
    """RMSNormalization (23)."""
    x = value.tensor
    places = [value.place(axis) for axis in range(node.get("axis", -1) % value.rank, value.rank)]
    square = tf.reduce_mean(tf.square(x), places, keepdims=True)
    scales = in_order(with_rank(scale, value.rank), value.order)
    return value.like(x * tf.math.rsqrt(square + np.float32(node.get("epsilon", 1e-5))) * scales)


def lp_normalization(node: Node, value: Value) -> Value:
    """LpNormalization (22): a quotient, 0 where the norm is 0."""
    x = value.tensor
    place = value.place(node.get("axis", -1))
    is_square = node.get("p", 2) == 2
    total = tf.reduce_sum(tf.square(x) if is_square else tf.abs(x), place, keepdims=True)
    return value.like(x / ((tf.sqrt(total) if is_square else total) + EPSILON))


def local_response_normalization(node: Node, value: Value) -> Value:
    """LRN (13): TFLite's operation, or for windows of even size, sums of squares that a pool makes."""
    size = node.get("size")
    alpha = node.get("alpha", 1e-4) / size
    beta = node.get("beta", 0.75)
    bias = node.get("bias", 1.0)
    if size % 2 and value.rank == 4:
        return of_last(tf.nn.local_response_normalization(last(value), (size - 1) // 2, bias, alpha, beta))
    x = last(value)
    channels = x.shape[-1]
    before = (size - 1) // 2
    rows = tf.reshape(tf.square(x), [1, -1, channels, 1])
    rows = tf.pad(rows, [(0, 0), (0, 0), (before, size - 1 - before), (0, 0)])
    sums = tf.reshape(tf.nn.avg_pool2d(rows, [1, size], [1, 1], "VALID"), x.shape) * size
    return of_last(x / tf.pow(bias + alpha * sums, beta))


NORMALIZATIONS: dict[str, Operation] = {
    "BatchNormalization": batch_normalization,
    "GroupNormalization": group_normalization,
    "InstanceNormalization": instance_normalization,
    "LRN": local_response_normalization,
    "LayerNormalization": layer_normalization,
    "LpNormalization": lp_normalization,
    "MeanVarianceNormalization": mean_variance_normalization,
    "RMSNormalization": rms_normalization,
}
