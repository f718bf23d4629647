"""Operations that compute each number from one number of each input, broadcast to one shape.

Formulas are those of the operator specification (https://onnx.ai/onnx/operators/). Where TFLite has no such operation,
they are written with operations that it has.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import numpy as np
import onnx
import tensorflow as tf

from edgepress.converters.importers.node import Node, Operation, Results, Value, aligned, filled

ERF_NUMERATOR = (
    -2.72614225801306e-10,
    2.77068142495902e-08,
    -2.10102402082508e-06,
    -5.69250639462346e-05,
    -7.34990630326855e-04,
    -2.95459980854025e-03,
    -1.60960333262415e-02,
)
ERF_DENOMINATOR = (
    -1.45660718464996e-05,
    -2.13374055278905e-04,
    -1.68282697438203e-03,
    -7.37332916720468e-03,
    -1.42647390514189e-02,
)
"""Coefficients of Eigen's rational approximation of erf in float32, `x P(x^2) / Q(x^2)`, highest power first."""


def erf(x: Any) -> Any:
    """The error function, which TFLite lacks but for GELU; the error is that of float32 (Eigen, `generic_fast_erf`)."""
    x = tf.clip_by_value(x, -4.0, 4.0)
    square = x * x
    above, below = (
        functools.reduce(lambda sum_, number: sum_ * square + number, numbers[1:], tf.fill(x.shape, numbers[0]))
        for numbers in (ERF_NUMERATOR, ERF_DENOMINATOR)
    )
    return x * above / below


UNARY: dict[str, Callable[[Any], Any]] = {
    "Abs": tf.abs,
    "Acos": lambda x: tf.atan2(tf.sqrt(1 - x * x), x),
    "Acosh": lambda x: tf.math.log(x + tf.sqrt(x * x - 1)),
    "Asin": lambda x: tf.atan2(x, tf.sqrt(1 - x * x)),
    "Asinh": lambda x: tf.sign(x) * tf.math.log(tf.abs(x) + tf.sqrt(x * x + 1)),
    "Atan": lambda x: tf.atan2(x, tf.ones_like(x)),
    "Atanh": lambda x: 0.5 * tf.math.log((1 + x) / (1 - x)),
    "Ceil": tf.math.ceil,
    "Cos": tf.cos,
    "Cosh": lambda x: 0.5 * (tf.exp(x) + tf.exp(-x)),
    "Erf": erf,
    "Exp": tf.exp,
    "Floor": tf.floor,
    "Identity": lambda x: x,
    "IsNaN": lambda x: tf.not_equal(x, x),
    "Log": tf.math.log,
    "Neg": tf.negative,
    "Not": tf.logical_not,
    "Reciprocal": lambda x: 1 / x,
    "Round": tf.round,
    "Sign": tf.sign,
    "Sin": tf.sin,
    "Sinh": lambda x: 0.5 * (tf.exp(x) - tf.exp(-x)),
    "Sqrt": tf.sqrt,
    "Tan": lambda x: tf.sin(x) / tf.cos(x),
}
"""Operations of one input and no attributes."""


def divided(x: Any, y: Any) -> Any:
    """A quotient; of whole numbers, ONNX cuts off what is behind the point."""
    if x.dtype.is_floating:
        return x / y
    return x // y if x.dtype.is_unsigned else tf.sign(x) * tf.sign(y) * (tf.abs(x) // tf.abs(y))


NARY: dict[str, Callable[[Any, Any], Any]] = {
    "Add": tf.add,
    "And": tf.logical_and,
    "Div": divided,
    "Equal": tf.equal,
    "Greater": tf.greater,
    "GreaterOrEqual": tf.greater_equal,
    "Less": tf.less,
    "LessOrEqual": tf.less_equal,
    "Max": tf.maximum,
    "Min": tf.minimum,
    "Mul": tf.multiply,
    "Or": tf.logical_or,
    "Sub": tf.subtract,
    "Sum": tf.add,
    "Xor": tf.not_equal,
}
"""Operations of inputs that are broadcast, two or any number of them."""


def one_input(function: Callable[[Any], Any], node: Node, value: Value) -> Value:
    """What a function makes of each number."""
    return value.like(function(value.tensor))


def _nary(function: Callable[[Any, Any], Any], node: Node, *values: Value) -> Value:
    order, tensors = aligned(values)
    return Value(functools.reduce(function, tensors), order)


def mean(node: Node, *values: Value) -> Value:
    """Mean (13)."""
    total = _nary(tf.add, node, *values)
    return total.like(total.stored / len(values))


def power(node: Node, base: Value, exponent: Value) -> Value:
    """Pow (15); a constant power that a simpler operation computes becomes that."""
    simple: dict[float, Callable[[Any], Any]] = {
        0.5: tf.sqrt,
        1: tf.identity,
        2: tf.square,
        3: lambda x: x * tf.square(x),
        -1: lambda x: 1 / x,
        -0.5: tf.math.rsqrt,
    }
    if exponent.is_constant and exponent.stored.size == 1 and base.is_float and base.rank >= exponent.rank:
        function = simple.get(float(exponent.stored.item()))
        if function is not None:
            return base.like(function(base.tensor))
    order, (x, y) = aligned([base, exponent])
    if x.dtype == y.dtype:
        return Value(tf.pow(x, y), order)
    wide = tf.float32 if y.dtype.is_floating else x.dtype
    return Value(tf.cast(tf.pow(tf.cast(x, wide), tf.cast(y, wide)), x.dtype), order)


def remainder(node: Node, value: Value, divisor: Value) -> Value:
    """Mod (13): with the sign of the divisor, or with `fmod` that of the value."""
    order, (x, y) = aligned([value, divisor])
    if not node.get("fmod", 0):
        return Value(tf.math.floormod(x, y), order)
    return Value(tf.sign(x) * tf.math.floormod(tf.abs(x), tf.abs(y)), order)


def where(node: Node, condition: Value, one: Value, other: Value) -> Value:
    """Where (16)."""
    order, tensors = aligned([condition, one, other])
    return Value(tf.where(*tensors), order)


def clip(node: Node, value: Value, low: Value | None = None, high: Value | None = None) -> Value:
    """Clip (13), or of opset 6 with attributes."""
    x = value.tensor
    bounds = []
    for name, given in (("min", low), ("max", high)):
        number = node.get(name) if given is None else given.stored if given.is_constant else given.tensor
        bounds.append(number if number is None or tf.is_tensor(number) else np.asarray(number).item())
    least, most = bounds
    if least is None and most is None:
        return value
    if isinstance(least, float) and isinstance(most, float) and (least, most) == (0, 6):
        return value.like(tf.nn.relu6(x))
    if least is not None:
        is_relu = isinstance(least, float) and least == 0
        x = tf.nn.relu(x) if is_relu else tf.maximum(x, tf.cast(least, x.dtype))
    return value.like(x if most is None else tf.minimum(x, tf.cast(most, x.dtype)))


def is_infinite(node: Node, value: Value) -> Value:
    """IsInf (20)."""
    x = value.tensor
    signs = [s for name, s in (("detect_positive", 1), ("detect_negative", -1)) if node.get(name, 1)]
    if not signs:
        return value.like(tf.zeros(x.shape, tf.bool))
    x = tf.abs(x) if len(signs) == 2 else x * tf.constant(signs[0], x.dtype)
    return value.like(tf.equal(x, tf.constant(np.inf, x.dtype)))


def cast(node: Node, value: Value) -> Value:
    """Cast (13)."""
    return value.like(tf.cast(value.tensor, onnx.helper.tensor_dtype_to_np_dtype(node.get("to"))))


def cast_like(node: Node, value: Value, other: Value) -> Value:
    """CastLike (15)."""
    return value.like(tf.cast(value.tensor, other.dtype))


def dropout(node: Node, value: Value, ratio: Value | None = None, training: Value | None = None) -> Results:
    """Dropout (13), which passes values on but while a net is trained."""
    is_random = ratio is None or not ratio.is_constant or ratio.stored.item() != 0
    if training is not None and is_random and bool(node.known(training, "training_mode").stored):
        raise node.refused("it is in training mode")
    mask = Value(filled(value.shape, True, bool), tuple(range(value.rank)))
    return (value, mask) if len(node.outputs) > 1 else value


ELEMENTWISE: dict[str, Operation] = {
    **{kind: functools.partial(one_input, function) for kind, function in UNARY.items()},
    **{kind: functools.partial(_nary, function) for kind, function in NARY.items()},
    "Cast": cast,
    "CastLike": cast_like,
    "Clip": clip,
    "Dropout": dropout,
    "IsInf": is_infinite,
    "Mean": mean,
    "Mod": remainder,
    "Pow": power,
    "Where": where,
}
