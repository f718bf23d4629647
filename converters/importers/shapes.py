"""Operations that arrange values anew: they move as little as the order in which axes are stored allows."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import onnx
import tensorflow as tf

from edgepress.converters.importers.node import Node, Operation, Value, constant, first, in_order, last, of_last, plain

Group = tuple[list[int], list[int]]
"""Axes before and after a Reshape that hold the same numbers."""


def with_shape(value: Value, shape: Sequence[int]) -> Value:
    """A value in another shape of as many numbers.

    Axes that are not joined or divided stay where they are stored. Those that are joined are moved beside each other,
    and nothing else: so a channel shuffle between convolutions moves channels, and not images.
    """
    if 0 in value.shape:
        return plain(tf.reshape(first(value), shape))
    sizes = value.shape
    groups = _groups(sizes, shape)
    places = {axis: place for place, axis in enumerate(value.order)}
    stored = sorted(groups, key=lambda group: _first_place(group, sizes, places))
    order = [axis for before, _ in stored for axis in before]
    moved = in_order(value, tuple(order))
    axes = tuple(axis for _, after in stored for axis in after)
    return Value(tf.reshape(moved, [shape[axis] for axis in axes]), axes)


def _first_place(group: Group, sizes: Sequence[int], places: dict[int, int]) -> tuple[int, int]:
    """Where a group is stored: axes of size 1 lie anywhere, so they stay in front of what follows them in ONNX."""
    before, after = group
    long = [places[axis] for axis in before if sizes[axis] != 1]
    return (min(long), 0) if long else (-1, after[0] if after else -1)


def _groups(before: Sequence[int], after: Sequence[int]) -> list[Group]:
    """The smallest runs of axes that hold the same numbers in two shapes."""
    groups: list[Group] = []
    i = j = 0
    while i < len(before) or j < len(after):
        axes: Group = ([], [])
        products = [1, 1]
        while not (axes[0] or axes[1]) or products[0] != products[1]:
            if i < len(before) and (products[0] < products[1] or not axes[0]):
                axes[0].append(i)
                products[0] *= before[i]
                i += 1
            if j < len(after) and (products[1] < products[0] or not axes[1]):
                axes[1].append(j)
                products[1] *= after[j]
                j += 1
        groups.append(axes)
    return groups


def reshape(node: Node, value: Value, shape: Value | None = None) -> Value:
    """Reshape (25): 0 keeps a size, unless `allowzero`, and -1 is what is left."""
    wanted = node.get("shape") if shape is None else node.numbers(shape, "shape")
    keeps = not node.get("allowzero", 0)
    sizes = [value.shape[axis] if size == 0 and keeps else size for axis, size in enumerate(wanted)]
    if -1 in sizes:
        others = math.prod(size for size in sizes if size != -1)
        sizes[sizes.index(-1)] = math.prod(value.shape) // max(others, 1)
    if math.prod(sizes) != math.prod(value.shape):
        raise node.refused(f"{list(value.shape)} can't have the shape {sizes}")
    return with_shape(value, sizes)


def flatten(node: Node, value: Value) -> Value:
    """Flatten (25)."""
    axis = node.get("axis", 1)
    axis += value.rank if axis < 0 else 0
    return with_shape(value, [math.prod(value.shape[:axis]), math.prod(value.shape[axis:])])


def squeeze(node: Node, value: Value, given: Value | None = None) -> Value:
    """Squeeze (25)."""
    axes = node.axes(given)
    gone = {axis for axis, n in enumerate(value.shape) if n == 1} if axes is None else {a % value.rank for a in axes}
    return with_shape(value, [size for axis, size in enumerate(value.shape) if axis not in gone])


def unsqueeze(node: Node, value: Value, given: Value | None = None) -> Value:
    """Unsqueeze (25)."""
    axes = node.axes(given) or []
    rank = value.rank + len(axes)
    added = {axis % rank for axis in axes}
    sizes = iter(value.shape)
    return with_shape(value, [1 if axis in added else next(sizes) for axis in range(rank)])


def transpose(node: Node, value: Value) -> Value:
    """Transpose (25): nothing is moved yet."""
    perm = list(node.get("perm") or reversed(range(value.rank)))
    return Value(value.stored, tuple(perm.index(axis) for axis in value.order))


def expand(node: Node, value: Value, shape: Value) -> Value:
    """Expand (13)."""
    wanted = node.numbers(shape, "shape")
    sizes = np.broadcast_shapes(value.shape, tuple(wanted))
    wide = with_shape(value, [1] * (len(sizes) - value.rank) + list(value.shape))
    if wide.shape == sizes:
        return wide
    return wide.like(tf.broadcast_to(wide.tensor, [sizes[axis] for axis in wide.order]))


def tile(node: Node, value: Value, repeats: Value) -> Value:
    """Tile (13)."""
    counts = node.numbers(repeats, "number of copies")
    return value.like(tf.tile(value.tensor, [counts[axis] for axis in value.order]))


def concat(node: Node, *values: Value) -> Value:
    """Concat (13)."""
    axis = node.get("axis", 1)
    held = [value for value in values if 0 not in value.shape] or list(values[:1])
    if len(held) == 1:
        return held[0]
    computed = [value for value in held if not value.is_constant] or held
    leader = max(computed, key=lambda value: math.prod(value.shape))
    parts = [in_order(value, leader.order) for value in held]
    return leader.like(tf.concat(parts, leader.place(axis)))


def split(node: Node, value: Value, sizes: Value | None = None) -> tuple[Value, ...]:
    """Split (18); parts of one size unless sizes are given, of which the last may be smaller."""
    axis = node.get("axis", 0)
    whole = value.shape[axis]
    parts = list(node.get("split") or []) if sizes is None else node.numbers(sizes, "sizes")
    if not parts:
        each = -(-whole // len(node.outputs))
        parts = [max(0, min(each, whole - begin)) for begin in range(0, each * len(node.outputs), each)]
    if sum(parts) != whole:
        raise node.refused(f"its parts {parts} do not add up to {whole}")
    return tuple(value.like(part) for part in tf.split(value.tensor, parts, value.place(axis)))


def shape_of(node: Node, value: Value) -> Value:
    """Shape (25), which is constant: each size is known."""
    return constant(np.array(value.shape[node.get("start", 0) : node.get("end")], np.int64))


def size_of(node: Node, value: Value) -> Value:
    """Size (25)."""
    return constant(np.array(math.prod(value.shape), np.int64))


def eye_like(node: Node, value: Value) -> Value:
    """EyeLike (22), which is constant."""
    kind = node.get("dtype")
    dtype = value.dtype if kind is None else onnx.helper.tensor_dtype_to_np_dtype(kind)
    rows, columns = value.shape
    return constant(np.eye(rows, columns, k=node.get("k", 0), dtype=dtype))


def depth_to_space(node: Node, value: Value) -> Value:
    """DepthToSpace (13); TFLite has its order of channels "DCR", for which those of "CRD" are moved."""
    block = node.get("blocksize")
    x = last(value)
    if node.get("mode", "DCR") == "CRD":
        x = _with_parts_swapped(x, x.shape[-1] // block**2)
    return of_last(tf.nn.depth_to_space(x, block))


def space_to_depth(node: Node, value: Value) -> Value:
    """SpaceToDepth (27), whose channels are in one of the same two orders."""
    block = node.get("blocksize")
    made = tf.nn.space_to_depth(last(value), block)
    return of_last(_with_parts_swapped(made, block**2) if node.get("mode", "DCR") == "CRD" else made)


def _with_parts_swapped(x: Any, parts: int) -> Any:
    """A tensor whose channels, so many parts of others, become those others of parts."""
    shape = x.shape.as_list()
    grid = tf.reshape(x, [*shape[:-1], parts, -1])
    rank = len(shape)
    return tf.reshape(tf.transpose(grid, [*range(rank - 1), rank, rank - 1]), shape)


SHAPES: dict[str, Operation] = {
    "Concat": concat,
    "DepthToSpace": depth_to_space,
    "Expand": expand,
    "EyeLike": eye_like,
    "Flatten": flatten,
    "Reshape": reshape,
    "Shape": shape_of,
    "Size": size_of,
    "SpaceToDepth": space_to_depth,
    "Split": split,
    "Squeeze": squeeze,
    "Tile": tile,
    "Transpose": transpose,
    "Unsqueeze": unsqueeze,
}
OF_SHAPES_ALONE: frozenset[str] = frozenset({"EyeLike", "Shape", "Size"})
"""Operations whose results follow from the shapes of what they read."""
