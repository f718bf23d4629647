"""How TFLite's operations that move values are written in ONNX: shapes, turns, parts and copies."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

import numpy as np
from onnx import helper

from edgepress.converters.to_onnx.emission import (
    IMAGE,
    MATRIX,
    Emission,
    TensorIndices,
    UnsupportedError,
    Write,
    channels_first,
    common_order,
    plain,
    same_memory,
)


def _reshape(e: Emission, inputs: TensorIndices, outputs: TensorIndices) -> None:
    source, (target,) = inputs[0], outputs
    old = e.shape(source)
    new = e.shape(target)
    if (value := e.constant(source)) is not None:
        e.fold(target, value.reshape(new))
        return
    if e.is_complex(source):
        pairs = e.sizes([*new, 2])
        e.alias(target, e.node("Reshape", [e.in_order(source), pairs], e.step(target, "pairs")))
        return
    order = e.order(source)
    e.note_view(target, source)
    if old == new:
        e.alias(target, e.in_order(source, order), order)
        return
    stored = plain(len(new))
    first = channels_first(len(new))
    if not e.has(source, plain(len(old))) and not same_memory(order, plain(len(old)), old):
        if _spread(old) == _spread(new) and min(len(old), len(new)) > MATRIX:
            stored = first
        else:
            order = plain(len(old))
    elif e.has(source, plain(len(old))):
        order = plain(len(old))
    if stored != first and len(new) == IMAGE and same_memory(stored, first, new):
        stored = first  # a line of channels, for the convolutions of squeeze and excitation
    value_name = e.in_order(source, order)
    sizes = e.sizes([new[axis] for axis in stored])
    e.make(target, stored, lambda name: e.node("Reshape", [value_name, sizes], name))


def _spread(shape: tuple[int, ...]) -> tuple[list[int], int, int]:
    """The axes that are not batch or channels, where they are not 1; the batch; the channels."""
    return [size for size in shape[1:-1] if size != 1], shape[0], shape[-1]


def _transpose(e: Emission, inputs: TensorIndices, outputs: TensorIndices) -> None:
    (source, order_tensor), (target,) = inputs, outputs
    perm = [int(a) for a in e.known(order_tensor)]
    if (value := e.constant(source)) is not None:
        e.fold(target, value.transpose(perm))
        return
    old = e.order(source)
    rank = len(perm)
    for new in (plain(rank), channels_first(rank)):
        if [old.index(perm[axis]) for axis in new] == list(range(rank)):  # the values lie as they should
            e.alias(target, e.in_order(source, old), new)
            return
    new = channels_first(rank) if e.read_first(target) else plain(rank)
    places = [old.index(perm[axis]) for axis in new]
    value_name = e.in_order(source, old)
    e.make(target, new, lambda name: e.node("Transpose", [value_name], name, perm=places))


def _concatenate(e: Emission, inputs: TensorIndices, outputs: TensorIndices) -> None:
    (target,) = outputs
    rank = len(e.shape(target))
    order = common_order(e, inputs, rank)
    values = [e.in_order(i, order) for i in inputs]
    axis = order.index(e.option("axis") % rank)
    e.make(target, order, lambda name: e.node("Concat", values, name, axis=axis))


def _split(kind: str, e: Emission, inputs: TensorIndices, outputs: TensorIndices) -> None:
    source, axis = (inputs[1], inputs[0]) if kind == "SPLIT" else (inputs[0], inputs[2])
    order = e.order(source)
    at = int(e.known(axis).ravel()[0]) % len(order)
    lengths = e.extra(np.array([e.shape(i)[at] for i in outputs], np.int64), e.step(outputs[0], "lengths"))
    value = e.in_order(source, order)
    e.nodes_of("Split", [value, lengths], [e.reserve(i, order) for i in outputs], axis=order.index(at))


def _slice(e: Emission, inputs: TensorIndices, outputs: TensorIndices) -> None:
    source, begins, sizes = inputs
    both = zip(map(int, e.known(begins)), map(int, e.known(sizes)), strict=True)
    _cut(e, source, outputs[0], [slice(begin, begin + size if size >= 0 else None) for begin, size in both])


def _strided_slice(e: Emission, inputs: TensorIndices, outputs: TensorIndices) -> None:
    source, (target,) = inputs[0], outputs
    starts, ends, strides = ([int(v) for v in e.known(i)] for i in inputs[1:4])
    names = ("beginMask", "endMask", "newAxisMask", "shrinkAxisMask")
    begin, end, new, shrink = (e.option(name) for name in names)
    if e.option("ellipsisMask") or e.option("offset", False):
        raise UnsupportedError("STRIDED_SLICE with an ellipsis or offsets")
    parts = []
    for place, (start, stop, stride) in enumerate(zip(starts, ends, strides, strict=True)):
        bit = 1 << place
        if new & bit:
            continue
        if shrink & bit:  # one value, whose axis is dropped
            parts.append(slice(start, start + 1 or None))
        else:
            parts.append(slice(None if begin & bit else start, None if end & bit else stop, stride))
    _cut(e, source, target, parts, drops_axes=bool(new or shrink))


def _reverse(e: Emission, inputs: TensorIndices, outputs: TensorIndices) -> None:
    source, axes_tensor = inputs
    rank = len(e.shape(source))
    axes = {int(axis) % rank for axis in e.known(axes_tensor).ravel()}
    _cut(e, source, outputs[0], [slice(None, None, -1 if axis in axes else 1) for axis in range(rank)])


def _cut(e: Emission, source: int, target: int, parts: Sequence[slice], *, drops_axes: bool = False) -> None:
    """Parts of the first axes of a tensor; a whole axis is not named, so that the batch may be a free one."""
    shape = e.shape(source)
    order = plain(len(shape)) if drops_axes else e.order(source)
    value = e.in_order(source, order)
    bounds = {axis: part.indices(shape[axis]) for axis, part in enumerate(parts)}
    bounds = {axis: bound for axis, bound in bounds.items() if bound != (0, shape[axis], 1)}
    named = [value]
    if bounds:
        starts, stops, steps = zip(*bounds.values(), strict=True)
        last = [-shape[axis] - 1 if stop < 0 else stop for axis, stop in zip(bounds, stops, strict=True)]
        columns = {"starts": starts, "ends": last, "axes": [order.index(axis) for axis in bounds], "steps": steps}
        named += [e.extra(np.array(column, np.int64), e.step(target, word)) for word, column in columns.items()]
    if not drops_axes:
        if bounds:
            e.make(target, order, lambda name: e.node("Slice", named, name))
        else:
            e.alias(target, value, order)
        return
    left = e.shape(target)
    if not left:
        raise UnsupportedError("a part that is a single number")
    part = e.node("Slice", named, e.step(target, "part")) if bounds else value
    e.make(target, plain(len(left)), lambda name: e.node("Reshape", [part, e.sizes(left)], name))


def _gather(e: Emission, inputs: TensorIndices, outputs: TensorIndices) -> None:
    (source, picked), (target,) = inputs, outputs
    axis = e.option("axis")
    if (batch := e.option("batchDims")) != 0:
        if not batch == axis == len(e.shape(source)) - 1 == len(e.shape(picked)) - 1:
            raise UnsupportedError("GATHER in batches")
        named = [e.in_order(source), e.in_order(picked)]
        e.make(target, plain(batch + 1), lambda name: e.node("GatherElements", named, name, axis=axis))
        return
    indices = e.constant(picked)
    order = e.order(source) if indices is not None and indices.ndim == 1 else plain(len(e.shape(source)))
    axis = order.index(axis % len(order))
    values = [e.in_order(source, order), e.in_order(picked)]
    stored = order if indices is not None and indices.ndim == 1 else plain(len(e.shape(target)))
    e.make(target, stored, lambda name: e.node("Gather", values, name, axis=axis))


def _cast(e: Emission, inputs: TensorIndices, outputs: TensorIndices) -> None:
    (source,), (target,) = inputs, outputs
    if (value := e.constant(source)) is not None:  # float16 weights
        e.fold(target, value.astype(e.dtype(target)))
        return
    order = e.order(source)
    to = helper.np_dtype_to_tensor_dtype(e.dtype(target))
    named = e.in_order(source, order)
    e.make(target, order, lambda name: e.node("Cast", [named], name, to=to))


def _pack(e: Emission, inputs: TensorIndices, outputs: TensorIndices) -> None:
    (target,) = outputs
    axis = e.option("axis") % len(e.shape(target))
    where = e.extra(np.array([axis], np.int64), e.step(target, "axis"))
    parts = [e.node("Unsqueeze", [e.in_order(i), where], e.step(target, "part")) for i in inputs]
    e.make(target, plain(len(e.shape(target))), lambda name: e.node("Concat", parts, name, axis=axis))


def _tile(e: Emission, inputs: TensorIndices, outputs: TensorIndices) -> None:
    (source, repeats_tensor), (target,) = inputs, outputs
    order = e.order(source)
    value = e.in_order(source, order)
    repeats = e.extra(e.known(repeats_tensor).ravel()[list(order)].astype(np.int64), e.step(target, "repeats"))
    e.make(target, order, lambda name: e.node("Tile", [value, repeats], name))


def _broadcast(e: Emission, inputs: TensorIndices, outputs: TensorIndices) -> None:
    source, (target,) = inputs[0], outputs
    shape = e.shape(target)
    if (value := e.constant(source)) is not None:
        e.fold(target, np.broadcast_to(value, shape))
        return
    sizes = e.extra(np.array(shape, np.int64), e.step(target, "sizes"))  # 1 keeps a free batch
    named = [e.in_order(source), sizes]
    e.make(target, plain(len(shape)), lambda name: e.node("Expand", named, name))


def _unpack(e: Emission, inputs: TensorIndices, outputs: TensorIndices) -> None:
    (source,) = inputs
    order = plain(len(e.shape(source)))
    axis = e.option("axis") % len(order)
    value = e.in_order(source, order)
    for number, target in enumerate(outputs):
        place = e.extra(np.array(number, np.int64), e.step(target, "place"))
        e.make(target, order[:-1], partial(e.node, "Gather", [value, place], axis=axis))


_PARTS: dict[str, Write] = {kind: partial(_split, kind) for kind in ("SPLIT", "SPLIT_V")}
SHAPES: dict[str, Write] = (
    _PARTS
    | dict.fromkeys(("RESHAPE", "SQUEEZE", "EXPAND_DIMS"), _reshape)
    | dict.fromkeys(("CAST", "DEQUANTIZE"), _cast)
    | {"BROADCAST_TO": _broadcast, "CONCATENATION": _concatenate, "GATHER": _gather}
    | {"PACK": _pack, "REVERSE_V2": _reverse, "SLICE": _slice, "STRIDED_SLICE": _strided_slice}
    | {"TILE": _tile, "TRANSPOSE": _transpose, "UNPACK": _unpack}
)
"""Functions by the kind of operation."""
