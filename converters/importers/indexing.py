"""Parts of values, by their places: slices, pads, look-ups and scatters."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from edgepress.converters.arrays import Array
from edgepress.converters.importers.convolutions import filled_around
from edgepress.converters.importers.node import Node, Operation, Value, constant, first, in_order, own_order, plain
from edgepress.converters.importers.reductions import without_axes


def slice_(node: Node, value: Value, *given: Value | None) -> Value:
    """Slice (13); a negative step becomes a look-up of places, which quantizers know."""
    bounds = [None if each is None else node.numbers(each, "bounds") for each in given]
    if not bounds:
        bounds = [node.get("starts"), node.get("ends"), node.get("axes")]
    begins, ends, axes, steps = [*bounds, None, None, None][:4]
    if begins is None or ends is None:
        raise node.refused("it has no bounds")
    axes = list(range(len(begins))) if axes is None else axes
    slices = [slice(None)] * value.rank
    turned = {}
    for begin, end, axis, step in zip(begins, ends, axes, steps or [1] * len(begins), strict=True):
        size = value.shape[axis]
        places = range(*slice(max(begin, -size) if step < 0 else begin, end, step).indices(size))
        if step < 0:
            turned[value.place(axis)] = np.array(places, np.int32)
        else:
            slices[value.place(axis)] = slice(places.start, max(places.start, places.stop), step)
    x = value.tensor[tuple(slices)] if any(each != slice(None) for each in slices) else value.tensor
    for place, places_ in turned.items():
        x = tf.gather(x, places_, axis=place)
    return value.like(x)


def pad(node: Node, value: Value, *given: Value | None) -> Value:
    """Pad (25), with a constant, values of the edge, mirrored ones or those of the other side."""
    pads, number, axes = [*given, None, None, None][:3]
    flat = list(node.get("pads") or node.get("paddings")) if pads is None else node.numbers(pads, "pads")
    padded = list(range(value.rank)) if axes is None else node.numbers(axes, "axes")
    amounts = [(0, 0)] * value.rank
    for place, axis in enumerate(padded):
        amounts[value.place(axis)] = (flat[place], flat[place + len(padded)])
    x = value.tensor
    cut = tuple(slice(max(0, -before), min(0, after) or None) for before, after in amounts)
    x = x[cut] if min(map(min, amounts), default=0) < 0 else x
    amounts = [(max(0, before), max(0, after)) for before, after in amounts]
    match node.get("mode", "constant"):
        case "edge":
            return value.like(_join_around(x, amounts, _edge))
        case "wrap":
            return value.like(_join_around(x, amounts, _other_side))
        case "reflect":
            return value.like(tf.pad(x, amounts, "REFLECT"))
    filler = node.get("value", 0.0) if number is None else node.known(number, "value").stored
    if not any(map(any, amounts)):
        return value.like(x)
    return value.like(filled_around(x, amounts, np.asarray(filler, value.dtype).item()))


Around = Callable[[Any, int, int, int], tuple[list[Any], list[Any]]]
"""What lies before and behind a tensor, along an axis, of which there are so many places each."""


def _join_around(x: Any, amounts: Sequence[tuple[int, int]], around: Around) -> Any:
    for axis, (before, after) in enumerate(amounts):
        if before or after:
            left, right = around(x, axis, before, after)
            x = tf.concat([*left, x, *right], axis)
    return x


def _part(x: Any, axis: int, begin: int, end: int) -> Any:
    return x[(*[slice(None)] * axis, slice(begin, end))]


def _edge(x: Any, axis: int, before: int, after: int) -> tuple[list[Any], list[Any]]:
    size = x.shape[axis]
    return [_part(x, axis, 0, 1)] * before, [_part(x, axis, size - 1, size)] * after


def _other_side(x: Any, axis: int, before: int, after: int) -> tuple[list[Any], list[Any]]:
    size = x.shape[axis]
    whole, rest = divmod(before, size)
    left = [*([_part(x, axis, size - rest, size)] if rest else []), *[x] * whole]
    whole, rest = divmod(after, size)
    return left, [*[x] * whole, *([_part(x, axis, 0, rest)] if rest else [])]


def gather(node: Node, value: Value, places: Value) -> Value:
    """Gather (13)."""
    axis = node.get("axis", 0) % value.rank
    if not places.is_constant:
        # TFLite reads no places that count from the end; ONNX Runtime does.
        return plain(tf.gather(first(value), _indices(places), axis=axis))
    size = value.shape[axis]
    numbers = np.where(places.stored < 0, places.stored + size, places.stored).astype(np.int32)
    if numbers.size and not (numbers.min() >= 0 and numbers.max() < size):
        raise node.refused(f"it reads places {numbers.min()} to {numbers.max()} of {size}")
    if numbers.ndim > 1:
        return plain(tf.gather(first(value), numbers, axis=axis))
    place = value.place(axis)
    if numbers.ndim == 0:
        index = (*[slice(None)] * place, int(numbers))
        return Value(value.tensor[index], without_axes(value, [axis]))
    if np.array_equal(numbers, np.arange(size)):
        return value
    if numbers.size and np.array_equal(numbers, np.arange(numbers[0], numbers[0] + numbers.size)):
        return value.like(_part(value.tensor, place, int(numbers[0]), int(numbers[-1]) + 1))
    return value.like(tf.gather(value.tensor, numbers, axis=place))


def _indices(places: Value) -> Any:
    """Places in ONNX' order, int32: TFLite's look-ups have kernels for it alone."""
    whole = in_order(places, own_order(places.rank))
    return np.asarray(whole, np.int32) if places.is_constant else tf.cast(whole, tf.int32)


def _with_grid(numbers: Any, axis: int) -> Any:
    """Places along one axis as places in all, (*shape, rank), int32; constant if they are."""
    shape = tuple(numbers.shape)
    grid = list(np.indices(shape, np.int32))
    grid[axis] = numbers
    stack: Any = np.stack if isinstance(numbers, np.ndarray) else tf.stack
    return stack(grid, axis=-1)


def _from_first(places: Value, size: Any) -> Any:
    """Places that may count from the end, as ones that count from the first."""
    numbers = _indices(places)
    where = np.where if places.is_constant else tf.where
    return where(numbers < 0, numbers + size, numbers)


def gather_elements(node: Node, value: Value, places: Value) -> Value:
    """GatherElements (13)."""
    axis = node.get("axis", 0) % value.rank
    return plain(tf.gather_nd(first(value), _with_grid(_from_first(places, value.shape[axis]), axis)))


def _places_nd(value: Value, places: Value, batch_axes: int = 0) -> Any:
    """Places of a GatherND or ScatterND that count from the first, with those along the axes of batches."""
    count = places.shape[-1]
    sizes = np.array(value.shape[batch_axes : batch_axes + count], np.int32)
    numbers = _from_first(places, sizes)
    if not batch_axes:
        return numbers
    outer = tuple(numbers.shape[:-1])
    grid = np.moveaxis(np.indices(outer, np.int32)[:batch_axes], 0, -1)
    return np.concatenate([grid, numbers], -1) if places.is_constant else tf.concat([grid, numbers], -1)


def gather_nd(node: Node, value: Value, places: Value) -> Value:
    """GatherND (13)."""
    return plain(tf.gather_nd(first(value), _places_nd(value, places, node.get("batch_dims", 0))))


REDUCED: dict[str, Callable[[Any, Any], Any]] = {
    "none": lambda old, new: new,
    "mul": tf.multiply,
    "max": tf.maximum,
    "min": tf.minimum,
}
"""What a scatter makes of a value and its update; sums are made otherwise."""


def _scatter(node: Node, value: Value, places: Any, updates: Value) -> Value:
    """Values with updates at some places, which differ unless updates are added."""
    x, new = first(value), first(updates)
    way = node.get("reduction", "none")
    if way == "add":
        return plain(x + tf.scatter_nd(places, new, x.shape))
    if isinstance(places, np.ndarray):
        flat = places.reshape(-1, places.shape[-1])
        if len(np.unique(flat, axis=0)) < len(flat):
            raise node.refused("several updates are for one place")
        mask: Any = np.zeros(x.shape, bool)
        mask[tuple(np.moveaxis(places, -1, 0))] = True
    elif way == "none":
        mask = tf.scatter_nd(places, tf.ones_like(new, tf.int32), x.shape) > 0
    else:
        raise node.refused("its places are computed, and several may be one")
    if way != "none":
        new = REDUCED[way](tf.gather_nd(x, places), new)
    return plain(tf.where(mask, tf.scatter_nd(places, new, x.shape), x))


def scatter_nd(node: Node, value: Value, places: Value, updates: Value) -> Value:
    """ScatterND (18)."""
    return _scatter(node, value, _places_nd(value, places), updates)


def scatter_elements(node: Node, value: Value, places: Value, updates: Value) -> Value:
    """ScatterElements (18), and Scatter (9)."""
    axis = node.get("axis", 0) % value.rank
    return _scatter(node, value, _with_grid(_from_first(places, value.shape[axis]), axis), updates)


def one_hot(node: Node, places: Value, depth: Value, values: Value) -> Value:
    """OneHot (11)."""
    (count,) = node.numbers(depth, "depth")
    axis = node.get("axis", -1) % (places.rank + 1)
    off, on = tf.unstack(tf.reshape(values.tensor, [2]))
    return plain(tf.one_hot(_from_first(places, count), count, on, off, axis=axis, dtype=values.dtype))


def compress(node: Node, value: Value, condition: Value) -> Value:
    """Compress (11), of constant places."""
    chosen = np.flatnonzero(node.known(condition, "condition").stored).astype(np.int32)
    if node.get("axis") is None:
        return plain(tf.gather(tf.reshape(first(value), [-1]), chosen))
    return value.like(tf.gather(value.tensor, chosen, axis=value.place(node.get("axis"))))


def triangle(node: Node, value: Value, diagonal: Value | None = None) -> Value:
    """Trilu (14)."""
    (k,) = [0] if diagonal is None else node.numbers(diagonal, "diagonal")
    ones: Array = np.ones(value.shape, bool)
    mask = np.triu(ones, k) if node.get("upper", 1) else np.tril(ones, k)
    x = value.tensor
    return value.like(tf.where(in_order(constant(mask), value.order), x, tf.zeros_like(x)))


def reverse_sequence(node: Node, value: Value, lengths: Value) -> Value:
    """ReverseSequence (10)."""
    numbers = np.array(node.numbers(lengths, "lengths"), np.int32)
    axes = (value.place(node.get("time_axis", 0)), value.place(node.get("batch_axis", 1)))
    return value.like(tf.reverse_sequence(value.tensor, numbers, *axes))


INDEXING: dict[str, Operation] = {
    "Compress": compress,
    "Gather": gather,
    "GatherElements": gather_elements,
    "GatherND": gather_nd,
    "OneHot": one_hot,
    "Pad": pad,
    "ReverseSequence": reverse_sequence,
    "Scatter": scatter_elements,
    "ScatterElements": scatter_elements,
    "ScatterND": scatter_nd,
    "Slice": slice_,
    "Trilu": triangle,
}
