"""Operations that TFLite's interpreters lack, written with those that they have.

A cumulative product is a scan: after steps of 1, 2, 4, ... each value is the product of all in front of it (W. D.
Hillis and G. L. Steele, "Data parallel algorithms", Communications of the ACM 29 (1986), 1170-1183). A bicubic resize
is linear along each axis, so it is a product with a matrix for each.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from edgepress.converters.arrays import Array
from edgepress.converters.freezing.forms import add_constant, add_float_node, become, nodes_of_known_sizes, value_of

LARGEST = 1 << 20
"""Most numbers in a matrix of a resize, 4 MB."""
KINDS = ("Cumprod", "ResizeBicubic")
"""The operations."""


def write_lacking(definition: Any) -> None:
    """Write cumulative products and bicubic resizes of float32 of known sizes, in place."""
    nodes = {node.name: node for node in definition.node}
    for node, source, _ in nodes_of_known_sizes(definition, KINDS):
        argument = value_of(nodes, node.input[1])
        if argument is None:
            continue
        sizes = [None, *source]
        if node.op == "Cumprod":
            _write_scan(definition, node, sizes, int(argument.item()) % len(sizes))
        elif all(a * b <= LARGEST for a, b in zip(source[:2], argument.tolist(), strict=True)):
            _write_resize(definition, node, sizes, argument.tolist())


def _write_scan(definition: Any, node: Any, sizes: list[int | None], axis: int) -> None:
    """Write a cumulative product along an axis of at least two values, in place."""
    import tensorflow as tf

    size = sizes[axis]
    if size is None or size < 2:
        return
    backwards = node.attr["reverse"].b
    product = node.input[0]
    if node.attr["exclusive"].b:
        product = _shift(definition, f"{node.name}/exclusive", product, sizes, axis, 1, backwards=backwards)
    step = 1
    while step < size:
        name = f"{node.name}/step{step}"
        shifted = _shift(definition, name, product, sizes, axis, step, backwards=backwards)
        product = add_float_node(definition, "Mul", name, [product, shifted]).name
        step *= 2
    become(definition, node, "Identity", [product], T=tf.float32)


def _shift(
    definition: Any, name: str, source: str, sizes: list[int | None], axis: int, step: int, *, backwards: bool
) -> str:
    """Name of the values moved along an axis, with ones in the places that become free."""
    size = sizes[axis]
    assert size is not None
    begin = [0] * len(sizes)
    begin[axis] = step if backwards else 0
    kept = [-1] * len(sizes)
    kept[axis] = size - step
    rest = add_float_node(definition, "Slice", f"{name}/rest", [source])
    add_constant(definition, rest, "Index", begin)
    add_constant(definition, rest, "Index", kept, place=2)
    margins = [[0, 0] for _ in sizes]
    margins[axis] = [0, step] if backwards else [step, 0]
    padded = add_float_node(definition, "PadV2", f"{name}/padded", [rest.name, np.float32(1)])
    add_constant(definition, padded, "Tpaddings", margins)
    return str(padded.name)


def _write_resize(definition: Any, node: Any, sizes: list[Any], new: list[int]) -> None:
    """Write a bicubic resize of images, shape (N, H, W, C), as a product with a matrix for each axis, in place."""
    import tensorflow as tf

    options = {name: node.attr[name].b for name in ("align_corners", "half_pixel_centers")}
    rows, columns = (matrix_of_resize(*each, **options) for each in zip(sizes[1:3], new, strict=True))
    turned = _turn(definition, f"{node.name}/rows", node.input[0], [0, 2, 3, 1])
    product = add_float_node(definition, "BatchMatMulV2", f"{node.name}/resized_rows", [turned, rows])
    turned = _turn(definition, f"{node.name}/columns", product.name, [0, 3, 2, 1])
    product = add_float_node(definition, "BatchMatMulV2", f"{node.name}/resized_columns", [turned, columns])
    become(definition, node, "Transpose", [product.name], T=tf.float32)
    add_constant(definition, node, "Tperm", [0, 1, 3, 2])


def _turn(definition: Any, name: str, source: str, order: list[int]) -> str:
    node = add_float_node(definition, "Transpose", name, [source])
    add_constant(definition, node, "Tperm", order)
    return str(node.name)


def matrix_of_resize(size: int, new: int, *, align_corners: bool, half_pixel_centers: bool) -> Array:
    """The matrix whose product with rows of `size` values are rows of `new` values, as TensorFlow resizes an axis.

    Args:
        size: Number of values.
        new: Number of values afterwards.
        align_corners: Whether the first and the last values stay where they are.
        half_pixel_centers: Whether values stand in the middle of their places.

    Returns:
        Shape (size, new), float32.
    """
    import tensorflow as tf

    each_alone = np.eye(size, dtype=np.float32).reshape(1, size, 1, size)
    resized = tf.raw_ops.ResizeBicubic(
        images=each_alone, size=[new, 1], align_corners=align_corners, half_pixel_centers=half_pixel_centers
    )
    matrix: Array = np.ascontiguousarray(resized.numpy()[0, :, 0, :].T)
    return matrix
