"""What each TFLite operation computes, in TensorFlow: their table, and those by elements, norms and reductions.

The first axis of a graph's tensors is that of its one item; here it has as many as are run together. What they mean is
what LiteRT's reference kernels do (tflite/kernels/internal/reference).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from edgepress.converters.graph.layers import LAYERS, activate
from edgepress.converters.graph.shapes import SHAPES
from edgepress.converters.graph.step import OperationFunction, Step


def _tensorflow_function(path: str) -> Callable[..., Any]:
    """A function of TensorFlow, such as "nn.relu", which is looked up when it is called."""

    def call(*x: Any, **options: Any) -> Any:
        import tensorflow as tf

        attribute: Any = tf
        for name in path.split("."):
            attribute = getattr(attribute, name)
        return attribute(*x, **options)

    return call


def _from_function(path: str) -> OperationFunction:
    """An operation that calls a function of TensorFlow with all its inputs, then the fused activation."""
    function = _tensorflow_function(path)
    return lambda step, x: activate(
        step, function(*x) if _has_batch_first(step) else _with_batch_axis(step, x, function)
    )


def _has_batch_first(step: Step) -> bool:
    """Whether the first axis of each computed input is the batch alone, or there is only one input."""
    shapes = [shape for position, shape in enumerate(step.input_shapes) if position not in step.constants]
    return len(step.inputs) < 2 or all(shape[:1] == (1,) and len(shape) == len(step.shape) for shape in shapes)


def _with_batch_axis(step: Step, x: Sequence[Any], function: Callable[..., Any]) -> Any:
    """Call a function with a batch axis added to inputs that have none, such as those of shape (channels,).

    Each computed input gets a batch axis in front for the call, and the result is reshaped back. A number that is
    computed from a whole item, of shape () in the graph, has the batch axis alone already (`_reduction`).
    """
    import tensorflow as tf

    rank = len(step.shape)
    batched = []
    for position, (value, shape) in enumerate(zip(x, step.input_shapes, strict=True)):
        if position in step.constants or (not shape and not value.shape.rank):
            batched.append(value)
        elif not shape:
            batched.append(tf.reshape(value, [-1, *[1] * rank]))
        else:
            ones = [1] * (rank - len(shape))
            batched.append(tf.reshape(value, [tf.shape(value)[0] // shape[0], *ones, *shape]))
    result = function(*batched)
    return tf.reshape(result, [tf.shape(result)[0] * step.shape[0], *step.shape[1:]]) if step.shape else result


def _clip(low: float, high: float) -> OperationFunction:
    function = _tensorflow_function("clip_by_value")
    return lambda step, x: function(x[0], low, high)


def _reduction(path: str) -> OperationFunction:
    """A reduction; over the axis of the items only if that is all that is left of them.

    A graph has one item, so it may reduce that axis, too, as Keras does for the largest power of a spectrogram. Here,
    each item keeps its own result: of shape (n,) where the graph has a number.
    """
    function = _tensorflow_function(path)

    def reduce(step: Step, x: Sequence[Any]) -> Any:
        rank = len(step.input_shape)
        axes = {axis % rank for axis in step.constant_integers(1)} if rank else set()
        keeps = bool(step.options.keepDims)
        if 0 in axes and step.input_shape[0] == 1 and (keeps or not step.shape):
            axes.remove(0)
        return function(x[0], sorted(axes), keepdims=keeps)

    return reduce


def _arg_extreme(path: str) -> OperationFunction:
    function = _tensorflow_function(path)
    return lambda step, x: function(x[0], step.constant_integers(1)[0], output_type=step.dtype)


def _hard_swish(step: Step, x: Sequence[Any]) -> Any:
    import tensorflow as tf

    return x[0] * tf.nn.relu6(x[0] + 3.0) * (1 / 6)


def _softmax(step: Step, x: Sequence[Any]) -> Any:
    import tensorflow as tf

    return tf.nn.softmax(x[0] * step.options.beta)


def _leaky_relu(step: Step, x: Sequence[Any]) -> Any:
    import tensorflow as tf

    return tf.nn.leaky_relu(x[0], step.options.alpha)


def _prelu(step: Step, x: Sequence[Any]) -> Any:
    import tensorflow as tf

    return tf.where(x[0] >= 0, x[0], x[0] * x[1])


def _gelu(step: Step, x: Sequence[Any]) -> Any:
    import tensorflow as tf

    return tf.nn.gelu(x[0], approximate=bool(getattr(step.options, "approximate", False)))


def _l2_normalization(step: Step, x: Sequence[Any]) -> Any:
    import tensorflow as tf

    return activate(step, tf.math.l2_normalize(x[0], -1, epsilon=1e-12))


def _local_response(step: Step, x: Sequence[Any]) -> Any:
    import tensorflow as tf

    o = step.options
    return tf.nn.local_response_normalization(x[0], o.radius, o.bias, o.alpha, o.beta)


def _sum_of_all(step: Step, x: Sequence[Any]) -> Any:
    return sum(x[1:], x[0])


def _spectrum(step: Step, x: Sequence[Any]) -> Any:
    """Compute RFFT2D: the spectrum of the last two axes, which are cut or padded with zeros to its lengths."""
    import tensorflow as tf

    return tf.signal.rfft2d(x[0], step.constant_integers(1))


def _cast(step: Step, x: Sequence[Any]) -> Any:
    """Compute CAST, and DEQUANTIZE, which float16 files have behind their weights."""
    import tensorflow as tf

    return tf.cast(x[0], step.dtype or tf.bool)  # of the types that graphs hold, only this one has no NumPy type here


_FUNCTIONS = {
    "ADD": "add",
    "SUB": "subtract",
    "MUL": "multiply",
    "DIV": "divide",
    "POW": "pow",
    "MAXIMUM": "maximum",
    "MINIMUM": "minimum",
    "SQUARED_DIFFERENCE": "math.squared_difference",
    "FLOOR_DIV": "math.floordiv",
    "FLOOR_MOD": "math.floormod",
    "EQUAL": "equal",
    "NOT_EQUAL": "not_equal",
    "GREATER": "greater",
    "GREATER_EQUAL": "greater_equal",
    "LESS": "less",
    "LESS_EQUAL": "less_equal",
    "LOGICAL_AND": "logical_and",
    "LOGICAL_OR": "logical_or",
    "LOGICAL_NOT": "logical_not",
    "SELECT": "where",
    "SELECT_V2": "where",
    "ABS": "abs",
    "COMPLEX_ABS": "abs",
    "REAL": "math.real",
    "IMAG": "math.imag",
    "CEIL": "math.ceil",
    "COS": "cos",
    "ELU": "nn.elu",
    "EXP": "exp",
    "FLOOR": "floor",
    "LOG": "math.log",
    "LOGISTIC": "sigmoid",
    "LOG_SOFTMAX": "nn.log_softmax",
    "NEG": "negative",
    "RELU": "nn.relu",
    "RELU6": "nn.relu6",
    "ROUND": "round",
    "RSQRT": "math.rsqrt",
    "SIGN": "sign",
    "SIN": "sin",
    "SQRT": "sqrt",
    "SQUARE": "square",
    "TANH": "tanh",
    "ZEROS_LIKE": "zeros_like",
}
"""Functions of TensorFlow by the kind of operation that they compute."""
ARITHMETIC: dict[str, OperationFunction] = {kind: _from_function(path) for kind, path in _FUNCTIONS.items()} | {
    "RELU_N1_TO_1": _clip(-1.0, 1.0),
    "RELU_0_TO_1": _clip(0.0, 1.0),
    "HARD_SWISH": _hard_swish,
    "LEAKY_RELU": _leaky_relu,
    "PRELU": _prelu,
    "GELU": _gelu,
    "SOFTMAX": _softmax,
    "L2_NORMALIZATION": _l2_normalization,
    "LOCAL_RESPONSE_NORMALIZATION": _local_response,
    "ADD_N": _sum_of_all,
    "CAST": _cast,
    "DEQUANTIZE": _cast,
    "RFFT2D": _spectrum,
    "MEAN": _reduction("reduce_mean"),
    "SUM": _reduction("reduce_sum"),
    "REDUCE_ALL": _reduction("reduce_all"),
    "REDUCE_ANY": _reduction("reduce_any"),
    "REDUCE_MAX": _reduction("reduce_max"),
    "REDUCE_MIN": _reduction("reduce_min"),
    "REDUCE_PROD": _reduction("reduce_prod"),
    "ARG_MAX": _arg_extreme("argmax"),
    "ARG_MIN": _arg_extreme("argmin"),
}
"""Functions that compute operations, by the kind in TFLite's schema."""


OPERATIONS: dict[str, OperationFunction] = LAYERS | ARITHMETIC | SHAPES
"""By the name of the kind in the schema."""
