"""Activations, in the forms that TFLite's converter joins to its own operations.

Formulas are those of the operator specification (https://onnx.ai/onnx/operators/).
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import numpy as np
import tensorflow as tf

from edgepress.converters.importers.elementwise import one_input
from edgepress.converters.importers.node import Node, Operation
from edgepress.converters.importers.values import Value, aligned


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
