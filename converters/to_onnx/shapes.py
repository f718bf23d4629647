"""How TFLite's operations that move values are written in ONNX: shapes, turns, parts and copies."""

from __future__ import annotations

from functools import partial

import numpy as np
from onnx import helper

from edgepress.converters.to_onnx.emission import (
    IMAGE,
    MATRIX,
    Emission,
    Ends,
    UnsupportedError,
    Write,
    channels_first,
    common_order,
    plain,
    same_memory,
)


def _reshape(e: Emission, inputs: Ends, outputs: Ends) -> None:
    source, (target,) = inputs[0], outputs
    old = e.shape(source)
    new = e.shape(target)
    if (value := e.constant(source)) is not None:
        e.fold(target, value.reshape(new))
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


def _transpose(e: Emission, inputs: Ends, outputs: Ends) -> None:
    (source, given), (target,) = inputs, outputs
    perm = [int(a) for a in e.known(given)]
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


def _concatenate(e: Emission, inputs: Ends, outputs: Ends) -> None:
    (target,) = outputs
    rank = len(e.shape(target))
    order = common_order(e, inputs, rank)
    values = [e.in_order(i, order) for i in inputs]
    axis = order.index(e.option("axis") % rank)
    e.make(target, order, lambda name: e.node("Concat", values, name, axis=axis))


def _split(kind: str, e: Emission, inputs: Ends, outputs: Ends) -> None:
    source, axis = (inputs[1], inputs[0]) if kind == "SPLIT" else (inputs[0], inputs[2])
    order = e.order(source)
    at = int(e.known(axis).ravel()[0]) % len(order)
    lengths = e.extra(np.array([e.shape(i)[at] for i in outputs], np.int64), e.step(outputs[0], "lengths"))
    value = e.in_order(source, order)
    e.nodes_of("Split", [value, lengths], [e.reserve(i, order) for i in outputs], axis=order.index(at))


def _slice(e: Emission, inputs: Ends, outputs: Ends) -> None:
    source, begins, sizes = inputs
    starts = [int(b) for b in e.known(begins)]
    ends = [
        b + n if n >= 0 else size for b, n, size in zip(starts, map(int, e.known(sizes)), e.shape(source), strict=True)
    ]
    _cut(e, source, outputs[0], starts=starts, ends=ends, strides=[1] * len(starts))


def _strided_slice(e: Emission, inputs: Ends, outputs: Ends) -> None:
    source, (target,) = inputs[0], outputs
    starts, ends, strides = ([int(v) for v in e.known(i)] for i in inputs[1:4])
    shape = e.shape(source)
    masks = [e.option(n) for n in ("ellipsisMask", "newAxisMask", "shrinkAxisMask")]
    if any(masks) or min(strides) < 1 or len(starts) != len(shape) or e.option("offset", False):
        raise UnsupportedError("STRIDED_SLICE with masks")
    starts = [0 if e.option("beginMask") >> i & 1 else s for i, s in enumerate(starts)]
    ends = [shape[i] if e.option("endMask") >> i & 1 else s for i, s in enumerate(ends)]
    _cut(e, source, target, starts=starts, ends=ends, strides=strides)


def _cut(e: Emission, source: int, target: int, *, starts: list[int], ends: list[int], strides: list[int]) -> None:
    """Part of a tensor; a whole axis is not named, so that the batch may be a free one."""
    order = e.order(source)
    shape = e.shape(source)
    bounds = [(s % n if s < 0 else s, n + t if t < 0 else t) for s, t, n in zip(starts, ends, shape, strict=True)]
    cut = [a for a, (s, t) in enumerate(bounds) if (s, strides[a]) != (0, 1) or t < shape[a]]
    if not cut:
        e.alias(target, e.in_order(source, order), order)
        return
    columns = ([bounds[a][0] for a in cut], [bounds[a][1] for a in cut], [order.index(a) for a in cut])
    parts = (*columns, [strides[a] for a in cut])
    words = ("starts", "ends", "axes", "steps")
    names = [e.extra(np.array(p, np.int64), e.step(target, w)) for p, w in zip(parts, words, strict=True)]
    value = e.in_order(source, order)
    e.make(target, order, lambda name: e.node("Slice", [value, *names], name))


def _gather(e: Emission, inputs: Ends, outputs: Ends) -> None:
    (source, picked), (target,) = inputs, outputs
    if e.option("batchDims"):
        raise UnsupportedError("GATHER in batches")
    axis = e.option("axis")
    indices = e.constant(picked)
    order = e.order(source) if indices is not None and indices.ndim == 1 else plain(len(e.shape(source)))
    axis = order.index(axis % len(order))
    values = [e.in_order(source, order), e.in_order(picked)]
    stored = order if indices is not None and indices.ndim == 1 else plain(len(e.shape(target)))
    e.make(target, stored, lambda name: e.node("Gather", values, name, axis=axis))


def _cast(e: Emission, inputs: Ends, outputs: Ends) -> None:
    (source,), (target,) = inputs, outputs
    if (value := e.constant(source)) is not None:  # float16 weights
        e.fold(target, value.astype(e.dtype(target)))
        return
    order = e.order(source)
    to = helper.np_dtype_to_tensor_dtype(e.dtype(target))
    named = e.in_order(source, order)
    e.make(target, order, lambda name: e.node("Cast", [named], name, to=to))


def _pack(e: Emission, inputs: Ends, outputs: Ends) -> None:
    (target,) = outputs
    axis = e.option("axis") % len(e.shape(target))
    where = e.extra(np.array([axis], np.int64), e.step(target, "axis"))
    parts = [e.node("Unsqueeze", [e.in_order(i), where], e.step(target, "part")) for i in inputs]
    e.make(target, plain(len(e.shape(target))), lambda name: e.node("Concat", parts, name, axis=axis))


def _tile(e: Emission, inputs: Ends, outputs: Ends) -> None:
    (source, given), (target,) = inputs, outputs
    order = e.order(source)
    value = e.in_order(source, order)
    repeats = e.extra(e.known(given).ravel()[list(order)].astype(np.int64), e.step(target, "repeats"))
    e.make(target, order, lambda name: e.node("Tile", [value, repeats], name))


_PARTS: dict[str, Write] = {kind: partial(_split, kind) for kind in ("SPLIT", "SPLIT_V")}
SHAPES: dict[str, Write] = (
    _PARTS
    | dict.fromkeys(("RESHAPE", "SQUEEZE", "EXPAND_DIMS"), _reshape)
    | dict.fromkeys(("CAST", "DEQUANTIZE"), _cast)
    | {"CONCATENATION": _concatenate, "GATHER": _gather, "PACK": _pack}
    | {"SLICE": _slice, "STRIDED_SLICE": _strided_slice, "TILE": _tile, "TRANSPOSE": _transpose}
)
"""Functions by the kind of operation."""
