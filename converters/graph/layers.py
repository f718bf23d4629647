"""Operations of a program that slide a window over images or multiply by matrices, and their pools and resizing.

They are written so that TensorFlow's CPU kernels have gradients for them: those of dilated convolutions do not, and its
depthwise kernel takes equal strides only.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from edgepress.converters.graph.step import OperationFunction, Step, UnknownOperationError
from edgepress.converters.to_tflite.graph import same_padding

ACTIVATIONS = ("", "relu", "relu_n1_to_1", "relu6", "tanh")
"""Names of the schema's `ActivationFunctionType`, by number."""
PADDINGS = ("SAME", "VALID")
"""Names of the schema's `Padding`, by number."""


def activate(step: Step, value: Any) -> Any:
    """The value after the activation that the operation contains."""
    import tensorflow as tf

    number = getattr(step.options, "fusedActivationFunction", 0) or 0
    match ACTIVATIONS[number] if number < len(ACTIVATIONS) else None:
        case None:
            raise UnknownOperationError(f"activation {number} in {step.kind}, which makes {step.output}")
        case "":
            return value
        case "relu_n1_to_1":
            return tf.clip_by_value(value, -1.0, 1.0)
        case name:
            return getattr(tf.nn, name)(value)


def _with_bias(step: Step, x: Sequence[Any], value: Any) -> Any:
    return activate(step, value if len(x) <= 2 or x[2] is None else value + x[2])


def _convolution(step: Step, x: Sequence[Any]) -> Any:
    import tensorflow as tf

    o = step.options
    channels = x[1].shape[-1]
    weights = _dilate(tf.transpose(x[1], [1, 2, 3, 0]), o)
    groups = x[0].shape[-1] // channels
    if groups > 1 and channels == 1:  # (height, width, 1, groups * multiplier)
        return _with_bias(step, x, _by_channel(x[0], weights, o))
    image = x[0]
    strides = (o.strideH, o.strideW)
    if strides != (1, 1) and weights.shape[:2] == (1, 1):
        # TensorFlow 2.21 writes beyond its memory in the gradient of such weights, such as with strides of (1, 3), or
        # with 15 channels, strides of (2, 2) and 9 items.
        image = image[:, :: strides[0], :: strides[1]]
        strides = (1, 1)
    parts = zip(tf.split(image, groups, -1), tf.split(weights, groups, -1), strict=True)
    convolved = [tf.nn.conv2d(part, kernel, strides, PADDINGS[o.padding]) for part, kernel in parts]
    return _with_bias(step, x, convolved[0] if groups == 1 else tf.concat(convolved, -1))


def _depthwise(step: Step, x: Sequence[Any]) -> Any:
    import tensorflow as tf

    weights = _dilate(tf.transpose(x[1], [1, 2, 0, 3]), step.options)
    return _with_bias(step, x, _by_channel(x[0], weights, step.options))


def _by_channel(image: Any, weights: Any, options: Any) -> Any:
    """A depthwise convolution by weights (height, width, 1, channels * multiplier)."""
    import tensorflow as tf

    height, width, _, _ = weights.shape
    kernel = tf.reshape(weights, [height, width, image.shape[-1], -1])
    down = options.strideH
    across = options.strideW
    if down == across:
        return tf.nn.depthwise_conv2d(image, kernel, (1, down, across, 1), PADDINGS[options.padding])
    amounts = [(0, 0), (0, 0), (0, 0), (0, 0)]
    if PADDINGS[options.padding] == "SAME":
        amounts[1:3] = same_padding(image.shape[1], height, down), same_padding(image.shape[2], width, across)
    every = tf.nn.depthwise_conv2d(tf.pad(image, amounts), kernel, (1, 1, 1, 1), "VALID")
    return every[:, ::down, ::across]


def _dilate(weights: Any, options: Any) -> Any:
    """Weights (height, width, ...) with the zeros between them that dilation stands for."""
    import tensorflow as tf

    for axis, factor in ((0, options.dilationHFactor), (1, options.dilationWFactor)):
        if factor > 1 and weights.shape[axis] > 1:
            shape = [*weights.shape]
            apart = tf.expand_dims(weights, axis + 1)
            amounts = [(0, 0)] * len(apart.shape)
            amounts[axis + 1] = (0, factor - 1)
            shape[axis] *= factor
            spread = tf.reshape(tf.pad(apart, amounts), shape)
            weights = tf.split(spread, [shape[axis] - factor + 1, factor - 1], axis)[0]
    return weights


def _dense(step: Step, x: Sequence[Any]) -> Any:
    import tensorflow as tf

    if step.options.weightsFormat:
        raise UnknownOperationError(f"FULLY_CONNECTED with shuffled weights, which makes {step.output}")
    rows = x[0] if step.options.keepNumDims else tf.reshape(x[0], [-1, x[1].shape[-1]])
    return _with_bias(step, x, tf.tensordot(rows, x[1], [[-1], [-1]]))


def _matmul(step: Step, x: Sequence[Any]) -> Any:
    import tensorflow as tf

    return tf.matmul(x[0], x[1], transpose_a=bool(step.options.adjX), transpose_b=bool(step.options.adjY))


def _transpose_convolution(step: Step, x: Sequence[Any]) -> Any:
    """A transposed convolution; its inputs are the shape, the weights, the image and perhaps a bias."""
    import tensorflow as tf

    o = step.options
    image = x[2]
    shape = tf.stack([tf.shape(image)[0], *step.shape[1:]])
    weights = tf.transpose(x[1], [1, 2, 0, 3])
    convolved = tf.nn.conv2d_transpose(image, weights, shape, (o.strideH, o.strideW), PADDINGS[o.padding])
    return activate(step, convolved if len(x) <= 3 or x[3] is None else convolved + x[3])


def _pool(reduce: str) -> OperationFunction:
    def compute(step: Step, x: Sequence[Any]) -> Any:
        import tensorflow as tf

        o = step.options
        window = (o.filterHeight, o.filterWidth)
        strides = (o.strideH, o.strideW)
        return activate(step, getattr(tf.nn, reduce)(x[0], window, strides, PADDINGS[o.padding]))

    return compute


def _resize(operation: str) -> OperationFunction:
    def compute(step: Step, x: Sequence[Any]) -> Any:
        import tensorflow as tf

        o = step.options
        return getattr(tf.raw_ops, operation)(
            images=x[0],
            size=list(step.shape[1:3]),
            align_corners=bool(o.alignCorners),
            half_pixel_centers=bool(o.halfPixelCenters),
        )

    return compute


LAYERS: dict[str, OperationFunction] = {
    "CONV_2D": _convolution,
    "DEPTHWISE_CONV_2D": _depthwise,
    "TRANSPOSE_CONV": _transpose_convolution,
    "FULLY_CONNECTED": _dense,
    "BATCH_MATMUL": _matmul,
    "AVERAGE_POOL_2D": _pool("avg_pool2d"),
    "MAX_POOL_2D": _pool("max_pool2d"),
    "RESIZE_BILINEAR": _resize("ResizeBilinear"),
    "RESIZE_NEAREST_NEIGHBOR": _resize("ResizeNearestNeighbor"),
}
"""By the name of the kind in the schema."""
