"""How TFLite's operations on images, spectra and whole numbers are written in ONNX, which takes channels first.

How TFLite's Fourier transforms are written in ONNX: complex numbers are pairs along one more axis at the end.

The names of complex tensors are left out, because ONNX has no type for what they hold.
"""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np
from onnx import TensorProto, helper

from edgepress.converters.to_onnx.emission import (
    IMAGE,
    Emission,
    Order,
    TensorIndices,
    UnsupportedError,
    Write,
    channels_first,
    plain,
)

FIRST = channels_first(IMAGE)
_SAME = 0
"""Of the schema's `Padding`."""
_VALID = 1
"""Of the schema's `Padding`."""


def _image(e: Emission, index: int) -> str:
    if len(e.shape(index)) != IMAGE:
        raise UnsupportedError(f"{list(e.shape(index))} instead of an image")
    return e.in_order(index, FIRST)


def _pads(
    e: Emission,
    shape_before: tuple[int, ...],
    shape_behind: tuple[int, ...],
    *,
    kernel: Any,
    strides: Any,
    dilations: Any,
) -> Any:
    """Zeros in front of and behind each axis, as ONNX lists them, from sizes (N, H, W, C) in front and behind."""
    if e.option("padding", _SAME) == _VALID:
        return [0, 0, 0, 0]
    sides = zip(shape_before[1:3], shape_behind[1:3], kernel, strides, dilations, strict=True)
    totals = [max((after - 1) * s + (k - 1) * d + 1 - before, 0) for before, after, k, s, d in sides]
    return [*(t // 2 for t in totals), *(t - t // 2 for t in totals)]


def _strides(e: Emission) -> list[int]:
    return [int(e.option("strideH", 1)), int(e.option("strideW", 1))]


def _convolution(e: Emission, inputs: TensorIndices, outputs: TensorIndices, *, depthwise: bool) -> None:
    (source, weights, *rest), (target,) = inputs, outputs
    value = e.known(weights)
    kernel = e.known(weights).shape[1:3]
    channels = e.shape(source)[-1]
    turn = (3, 0, 1, 2) if depthwise else (0, 3, 1, 2)
    group = channels if depthwise else channels // value.shape[3]
    strides = _strides(e)
    dilations = [int(e.option("dilationHFactor", 1)), int(e.option("dilationWFactor", 1))]
    names = [_image(e, source), e.stored(weights, value.transpose(turn), turn)]
    if rest and rest[0] >= 0 and (bias := e.known(rest[0])).any():
        names.append(e.stored(rest[0], bias))
    attributes = {
        "dilations": dilations,
        "group": group,
        "kernel_shape": list(kernel),
        "pads": _pads(e, e.shape(source), e.shape(target), kernel=kernel, strides=strides, dilations=dilations),
        "strides": strides,
    }
    e.make(target, FIRST, lambda name: e.node("Conv", names, name, **attributes))


def _transpose_convolution(e: Emission, inputs: TensorIndices, outputs: TensorIndices) -> None:
    (_, weights, source, *rest), (target,) = inputs, outputs
    value = e.known(weights)
    strides = _strides(e)
    kernel = value.shape[1:3]
    input_shape = e.shape(source)
    output = e.shape(target)
    names = [_image(e, source), e.stored(weights, value.transpose(3, 0, 1, 2), (3, 0, 1, 2))]
    if rest and rest[0] >= 0:
        names.append(e.stored(rest[0], e.known(rest[0])))
    pads = _pads(e, output, input_shape, kernel=kernel, strides=strides, dilations=(1, 1))
    whole = [s * (n - 1) + k for s, n, k in zip(strides, input_shape[1:3], kernel, strict=True)]
    more = [out - full + pads[i] + pads[i + 2] for i, (out, full) in enumerate(zip(output[1:3], whole, strict=True))]
    if any(not 0 <= m < s for m, s in zip(more, strides, strict=True)):
        raise UnsupportedError("the size of TRANSPOSE_CONV")
    attributes = {"kernel_shape": list(kernel), "pads": pads, "strides": strides, "output_padding": more}
    e.make(target, FIRST, lambda name: e.node("ConvTranspose", names, name, **attributes))


def _pool(kind: str, e: Emission, inputs: TensorIndices, outputs: TensorIndices) -> None:
    (source,), (target,) = inputs, outputs
    value = _image(e, source)
    strides = _strides(e)
    kernel = [int(e.option("filterHeight", 1)), int(e.option("filterWidth", 1))]
    pads = _pads(e, e.shape(source), e.shape(target), kernel=kernel, strides=strides, dilations=(1, 1))
    attributes = {"kernel_shape": kernel, "pads": pads, "strides": strides}
    if kind == "AveragePool" and (1, 1) != tuple(kernel) == e.shape(source)[1:3] and e.shape(target)[1:3] == (1, 1):
        kind = "GlobalAveragePool"
        attributes = {}
    e.make(target, FIRST, lambda name: e.node(kind, [value], name, **attributes))


def _pad(e: Emission, inputs: TensorIndices, outputs: TensorIndices, *, mode: str = "constant") -> None:
    source, pads_tensor, *rest = inputs
    (target,) = outputs
    if mode == "reflect" and e.option("mode"):
        raise UnsupportedError("symmetric MIRROR_PAD")
    order: Order = FIRST if len(e.shape(source)) == IMAGE and e.read_first(target) else e.order(source)
    added = e.known(pads_tensor)[list(order)].astype(np.int64)
    names = [e.in_order(source, order), e.extra(added.T.ravel(), e.step(target, "pads"))]
    if rest:
        names.append(e.scalar(float(e.known(rest[0]).ravel()[0])))
    e.make(target, order, lambda name: e.node("Pad", names, name, mode=mode))


def _resize(e: Emission, inputs: TensorIndices, outputs: TensorIndices, *, linear: bool) -> None:
    source, (target,) = inputs[0], outputs
    value = _image(e, source)
    input_shape = e.shape(source)
    output = e.shape(target)
    factors = np.array([1, 1, output[1] / input_shape[1], output[2] / input_shape[2]], np.float32)
    if any(int(n * f) != m for n, f, m in zip(input_shape[1:3], factors[2:], output[1:3], strict=True)):
        raise UnsupportedError("a factor of resizing that is not a fraction of few digits")
    aligned = e.option("alignCorners")
    centers = e.option("halfPixelCenters")
    places = "align_corners" if aligned else "half_pixel" if centers else "asymmetric"
    attributes = {"mode": "linear" if linear else "nearest", "coordinate_transformation_mode": places}
    if not linear:
        attributes["nearest_mode"] = "round_prefer_ceil" if aligned or centers else "floor"
    names = [value, "", e.extra(factors, e.step(target, "factors"))]
    e.make(target, FIRST, lambda name: e.node("Resize", names, name, **attributes))


def _blocks(kind: str, e: Emission, inputs: TensorIndices, outputs: TensorIndices) -> None:
    (source,), (target,) = inputs, outputs
    value = _image(e, source)
    size = int(e.option("blockSize"))
    e.make(target, FIRST, lambda name: e.node(kind, [value], name, blocksize=size))


SPATIAL: dict[str, Write] = {
    "CONV_2D": partial(_convolution, depthwise=False),
    "DEPTHWISE_CONV_2D": partial(_convolution, depthwise=True),
    "TRANSPOSE_CONV": _transpose_convolution,
    "AVERAGE_POOL_2D": partial(_pool, "AveragePool"),
    "MAX_POOL_2D": partial(_pool, "MaxPool"),
    "PAD": _pad,
    "PADV2": _pad,
    "MIRROR_PAD": partial(_pad, mode="reflect"),
    "RESIZE_BILINEAR": partial(_resize, linear=True),
    "RESIZE_NEAREST_NEIGHBOR": partial(_resize, linear=False),
    "DEPTH_TO_SPACE": partial(_blocks, "DepthToSpace"),
    "SPACE_TO_DEPTH": partial(_blocks, "SpaceToDepth"),
}
"""Functions by the kind of operation."""


def _transform(e: Emission, inputs: TensorIndices, outputs: TensorIndices) -> None:
    """RFFT2D, over the last two axes; that of series has one row."""
    (source, lengths_tensor), (target,) = inputs, outputs
    lengths = [int(length) for length in e.known(lengths_tensor).ravel()]
    rank = len(e.shape(source))
    rows, columns = (e.extra(np.array(length, np.int64), e.step(target, "length")) for length in lengths)
    last = e.extra(np.array([-1], np.int64), e.step(target, "axis"))
    real = e.node("Unsqueeze", [e.in_order(source), last], e.step(target, "real"))
    pairs = e.node("DFT", [real, columns], e.step(target, "pairs"), axis=rank - 1, onesided=1)
    if (lengths[0], e.shape(source)[-2]) != (1, 1):
        pairs = e.node("DFT", [pairs, rows], e.step(target, "pairs_of_rows"), axis=rank - 2)
    e.alias(target, pairs)


def _half(place: int, e: Emission, inputs: TensorIndices, outputs: TensorIndices) -> None:
    """The real or the imaginary part."""
    (source,), (target,) = inputs, outputs
    words = {"starts": place, "ends": place + 1, "axes": -1}
    starts, ends, last = (e.extra(np.array([n], np.int64), e.step(target, word)) for word, n in words.items())
    half = e.node("Slice", [e.in_order(source), starts, ends, last], e.step(target, "half"))
    e.make(target, plain(len(e.shape(target))), lambda name: e.node("Squeeze", [half, last], name))


def _magnitude(e: Emission, inputs: TensorIndices, outputs: TensorIndices) -> None:
    (source,), (target,) = inputs, outputs
    pairs = e.in_order(source)
    order = plain(len(e.shape(target)))
    e.make(target, order, lambda name: e.node("ReduceL2", [pairs], name, axes=[-1], keepdims=0))


SPECTRA: dict[str, Write] = {
    "RFFT2D": _transform,
    "REAL": partial(_half, 0),
    "IMAG": partial(_half, 1),
    "COMPLEX_ABS": _magnitude,
}
"""Functions by the kind of operation."""


def _top_k(e: Emission, inputs: TensorIndices, outputs: TensorIndices) -> None:
    (source, count_tensor), (values, places) = inputs, outputs
    order = plain(len(e.shape(source)))
    count = e.extra(e.known(count_tensor).astype(np.int64).reshape(1), e.step(values, "count"))
    ranked = e.step(places, "ranked")
    e.nodes_of("TopK", [e.in_order(source), count], [e.reserve(values, order), ranked])
    _cast_to_own(e, ranked, places)


def _arg(kind: str, e: Emission, inputs: TensorIndices, outputs: TensorIndices) -> None:
    (source, axis_tensor), (target,) = inputs, outputs
    axis = int(e.known(axis_tensor).ravel()[0]) % len(e.shape(source))
    place = e.node(kind, [e.in_order(source)], e.step(target, "place"), axis=axis, keepdims=0)
    _cast_to_own(e, place, target)


def _cast_to_own(e: Emission, value: str, target: int) -> None:
    """What ONNX makes as 64-bit integers or as floats, in the tensor's own type."""
    to = helper.np_dtype_to_tensor_dtype(e.dtype(target))
    e.make(target, plain(len(e.shape(target))), lambda name: e.node("Cast", [value], name, to=to))


def _one_hot(e: Emission, inputs: TensorIndices, outputs: TensorIndices) -> None:
    """Compared with each class, because ONNX' OneHot counts negative numbers from the last class."""
    (source, depth, on, off), (target,) = inputs, outputs
    rank = len(e.shape(target))
    axis = e.option("axis", -1) % rank
    classes = np.arange(int(e.known(depth).ravel()[0]), dtype=e.dtype(source))
    where = e.extra(np.array([axis], np.int64), e.step(target, "axis"))
    column = e.node("Unsqueeze", [e.in_order(source), where], e.step(target, "column"))
    line = e.extra(classes.reshape([-1 if a == axis else 1 for a in range(rank)]), e.step(target, "classes"))
    equal = e.node("Equal", [column, line], e.step(target, "equal"))
    if (float(e.known(on).ravel()[0]), float(e.known(off).ravel()[0])) == (1, 0):
        _cast_to_own(e, equal, target)
    else:
        chosen = [equal, e.in_order(on), e.in_order(off)]
        e.make(target, plain(rank), lambda name: e.node("Where", chosen, name))


def _bucketize(e: Emission, inputs: TensorIndices, outputs: TensorIndices) -> None:
    """The number of bounds up to a value."""
    (source,), (target,) = inputs, outputs
    bounds = e.extra(np.array(e.option("boundaries", ()), np.float32), e.step(target, "bounds"))
    last = e.extra(np.array([-1], np.int64), e.step(target, "axis"))
    floats = e.node("Cast", [e.in_order(source)], e.step(target, "floats"), to=TensorProto.FLOAT)
    column = e.node("Unsqueeze", [floats, last], e.step(target, "column"))
    reached = e.node("GreaterOrEqual", [column, bounds], e.step(target, "reached"))
    ones = e.node("Cast", [reached], e.step(target, "ones"), to=TensorProto.FLOAT)
    _cast_to_own(e, e.node("ReduceSum", [ones, last], e.step(target, "sum"), keepdims=0), target)


def _running_sum(e: Emission, inputs: TensorIndices, outputs: TensorIndices) -> None:
    (source, axis_tensor), (target,) = inputs, outputs
    axis = e.extra(e.known(axis_tensor).astype(np.int64).reshape(()), e.step(target, "axis"))
    options = {word: int(e.option(word)) for word in ("exclusive", "reverse")}
    named = [e.in_order(source), axis]
    e.make(target, plain(len(e.shape(target))), lambda name: e.node("CumSum", named, name, **options))


def _gather_nd(e: Emission, inputs: TensorIndices, outputs: TensorIndices) -> None:
    (source, picked), (target,) = inputs, outputs
    if not e.shape(target):
        raise UnsupportedError("GATHER_ND of a single number")
    places = e.node("Cast", [e.in_order(picked)], e.step(target, "places"), to=TensorProto.INT64)
    named = [e.in_order(source), places]
    e.make(target, plain(len(e.shape(target))), lambda name: e.node("GatherND", named, name))


def _any_or_all(kind: str, e: Emission, inputs: TensorIndices, outputs: TensorIndices) -> None:
    (source, axes_tensor), (target,) = inputs, outputs
    rank = len(e.shape(source))
    axes = sorted({int(axis) % rank for axis in e.known(axes_tensor).ravel()})
    numbers = e.node("Cast", [e.in_order(source)], e.step(target, "numbers"), to=TensorProto.INT32)
    keeps = int(bool(e.option("keepDims")))
    _cast_to_own(e, e.node(kind, [numbers], e.step(target, "bound"), axes=axes, keepdims=keeps), target)


INDICES: dict[str, Write] = {
    "ARG_MAX": partial(_arg, "ArgMax"),
    "ARG_MIN": partial(_arg, "ArgMin"),
    "BUCKETIZE": _bucketize,
    "CUMSUM": _running_sum,
    "GATHER_ND": _gather_nd,
    "ONE_HOT": _one_hot,
    "REDUCE_ALL": partial(_any_or_all, "ReduceMin"),
    "REDUCE_ANY": partial(_any_or_all, "ReduceMax"),
    "TOPK_V2": _top_k,
}
"""Functions by the kind of operation."""
