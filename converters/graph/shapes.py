"""Operations of a program that move values without changing them.

The first axis of a tensor holds the values of all items, one item after the other: what a file says of the whole of
this axis for one item is true of the whole of it for several.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from edgepress.converters.graph.step import OperationFunction, Step

REFLECT = 0
"""Of the schema's `MirrorPadMode`."""


def _first_size(step: Step, value: Any) -> Any:
    """Size of the output's first axis, from that of an input's."""
    import tensorflow as tf

    return tf.shape(value)[0] * step.shape[0] // max(step.input_shape[0], 1)


def _for_every_item(step: Step, x: Sequence[Any]) -> list[Any]:
    """The inputs, with constants repeated for each item."""
    import tensorflow as tf

    computed = next((i for i, shape in enumerate(step.input_shapes) if shape and i not in step.constants), None)
    if computed is None or not step.constants:
        return list(x)
    items = tf.shape(x[computed])[0] // step.input_shapes[computed][0]
    return [
        tf.tile(value, [items, *[1] * (len(shape) - 1)]) if place in step.constants and shape else value
        for place, (value, shape) in enumerate(zip(x, step.input_shapes, strict=True))
    ]


def _reshape(step: Step, x: Sequence[Any]) -> Any:
    """To the output's shape in the file, whether that is written as a constant there or computed."""
    import tensorflow as tf

    if not step.shape or not step.input_shape:
        return tf.reshape(x[0], step.shape)
    return tf.reshape(x[0], [_first_size(step, x[0]), *step.shape[1:]])


def _broadcast(step: Step, x: Sequence[Any]) -> Any:
    import tensorflow as tf

    if len(step.shape) != len(step.input_shape) or not step.shape:
        return tf.broadcast_to(x[0], step.shape)
    return tf.broadcast_to(x[0], [_first_size(step, x[0]), *step.shape[1:]])


def _slice(step: Step, x: Sequence[Any]) -> Any:
    import tensorflow as tf

    begin = step.constant_integers(1)
    size = step.constant_integers(2)
    if begin[0] == 0 and size[0] == step.input_shape[0]:
        size[0] = -1
    return tf.slice(x[0], begin, size)


def _strided_slice(step: Step, x: Sequence[Any]) -> Any:
    import tensorflow as tf

    (begin, end, strides), o = (step.constant_integers(i) for i in (1, 2, 3)), step.options
    begins = int(o.beginMask)
    ends = int(o.endMask)
    special = int(o.ellipsisMask) | int(o.newAxisMask) | int(o.shrinkAxisMask)
    from_start = begins & 1 or begin[0] == 0
    if from_start and strides[0] == 1 and not special & 1 and end[0] >= step.input_shape[0]:
        begins = begins | 1
        ends = ends | 1
    return tf.strided_slice(
        x[0],
        begin,
        end,
        strides,
        begin_mask=begins,
        end_mask=ends,
        ellipsis_mask=int(o.ellipsisMask),
        new_axis_mask=int(o.newAxisMask),
        shrink_axis_mask=int(o.shrinkAxisMask),
    )


def _split(step: Step, x: Sequence[Any]) -> Any:
    """Inputs are the axis and the tensor."""
    import tensorflow as tf

    return tuple(tf.split(x[1], step.options.numSplits, step.constant_integers(0)[0]))


def _split_by_sizes(step: Step, x: Sequence[Any]) -> Any:
    import tensorflow as tf

    return tuple(tf.split(x[0], step.constant_integers(1), step.constant_integers(2)[0]))


def _unpack(step: Step, x: Sequence[Any]) -> Any:
    import tensorflow as tf

    return tuple(tf.unstack(x[0], step.options.num, step.options.axis))


def _pack(step: Step, x: Sequence[Any]) -> Any:
    import tensorflow as tf

    return tf.stack(_for_every_item(step, x), step.options.axis)


def _concatenation(step: Step, x: Sequence[Any]) -> Any:
    import tensorflow as tf

    return tf.concat(_for_every_item(step, x), step.options.axis)


def _transpose(step: Step, x: Sequence[Any]) -> Any:
    import tensorflow as tf

    return tf.transpose(x[0], step.constant_integers(1))


def _pad(step: Step, x: Sequence[Any]) -> Any:
    """With zeros, or with the third input."""
    import tensorflow as tf

    value = tf.reshape(x[2], []) if len(x) > 2 else 0
    return tf.pad(x[0], step.constants[1].tolist(), constant_values=value)


def _mirror_pad(step: Step, x: Sequence[Any]) -> Any:
    import tensorflow as tf

    return tf.pad(x[0], step.constants[1].tolist(), "REFLECT" if step.options.mode == REFLECT else "SYMMETRIC")


def _tile(step: Step, x: Sequence[Any]) -> Any:
    import tensorflow as tf

    return tf.tile(x[0], step.constant_integers(1))


def _gather(step: Step, x: Sequence[Any]) -> Any:
    import tensorflow as tf

    return tf.gather(x[0], x[1], axis=step.options.axis, batch_dims=step.options.batchDims or 0)


def _gather_nd(step: Step, x: Sequence[Any]) -> Any:
    import tensorflow as tf

    return tf.gather_nd(x[0], x[1])


def _embedding(step: Step, x: Sequence[Any]) -> Any:
    import tensorflow as tf

    return tf.gather(x[1], x[0])


def _reverse(step: Step, x: Sequence[Any]) -> Any:
    import tensorflow as tf

    return tf.reverse(x[0], step.constant_integers(1))


def _shape(step: Step, x: Sequence[Any]) -> Any:
    import tensorflow as tf

    return tf.shape(x[0], step.dtype)


def _fill(step: Step, x: Sequence[Any]) -> Any:
    import tensorflow as tf

    return tf.fill(x[0], x[1])


def _space_to_depth(step: Step, x: Sequence[Any]) -> Any:
    import tensorflow as tf

    return tf.nn.space_to_depth(x[0], step.options.blockSize)


def _depth_to_space(step: Step, x: Sequence[Any]) -> Any:
    import tensorflow as tf

    return tf.nn.depth_to_space(x[0], step.options.blockSize)


def _space_to_batch(step: Step, x: Sequence[Any]) -> Any:
    import tensorflow as tf

    return tf.space_to_batch(x[0], step.constant_integers(1), step.constants[2].tolist())


def _batch_to_space(step: Step, x: Sequence[Any]) -> Any:
    import tensorflow as tf

    return tf.raw_ops.BatchToSpaceND(
        input=x[0], block_shape=step.constant_integers(1), crops=step.constants[2].tolist()
    )


SHAPES: dict[str, OperationFunction] = {
    "RESHAPE": _reshape,
    "SQUEEZE": _reshape,
    "EXPAND_DIMS": _reshape,
    "BROADCAST_TO": _broadcast,
    "SLICE": _slice,
    "STRIDED_SLICE": _strided_slice,
    "SPLIT": _split,
    "SPLIT_V": _split_by_sizes,
    "PACK": _pack,
    "UNPACK": _unpack,
    "CONCATENATION": _concatenation,
    "TRANSPOSE": _transpose,
    "PAD": _pad,
    "PADV2": _pad,
    "MIRROR_PAD": _mirror_pad,
    "TILE": _tile,
    "GATHER": _gather,
    "GATHER_ND": _gather_nd,
    "EMBEDDING_LOOKUP": _embedding,
    "REVERSE_V2": _reverse,
    "SHAPE": _shape,
    "FILL": _fill,
    "SPACE_TO_DEPTH": _space_to_depth,
    "DEPTH_TO_SPACE": _depth_to_space,
    "SPACE_TO_BATCH_ND": _space_to_batch,
    "BATCH_TO_SPACE_ND": _batch_to_space,
}
"""By the name of the kind in the schema."""
