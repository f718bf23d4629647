"""How TFLite's operations on images are written in ONNX, which takes channels first."""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np

from edgepress.converters.to_onnx.emission import IMAGE, Emission, Ends, Order, UnsupportedError, Write, channels_first

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


def _convolution(e: Emission, inputs: Ends, outputs: Ends, *, depthwise: bool) -> None:
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


def _transpose_convolution(e: Emission, inputs: Ends, outputs: Ends) -> None:
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


def _pool(kind: str, e: Emission, inputs: Ends, outputs: Ends) -> None:
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


def _pad(e: Emission, inputs: Ends, outputs: Ends, *, mode: str = "constant") -> None:
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


def _resize(e: Emission, inputs: Ends, outputs: Ends, *, linear: bool) -> None:
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


def _blocks(kind: str, e: Emission, inputs: Ends, outputs: Ends) -> None:
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
