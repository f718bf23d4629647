"""CONV_2D and DEPTHWISE_CONV_2D."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from edgepress.converters.to_c.arithmetic import Integers, scaling
from edgepress.converters.to_c.bounds import Range, sums
from edgepress.converters.to_c.graph import Operation
from edgepress.converters.to_c.step import (
    SEPARATE,
    Channels,
    Step,
    check_scaling,
    fits_in_pairs,
    folded_bias,
    in_fours,
    optional_bias,
    paired,
    scaling_fields,
    weight_scales,
)
from edgepress.converters.to_c.window import geometry

MAX_TAPS = 256
"""Largest window of `depthwise`, whose offsets of pixels and rows lie on the stack."""


def convolution(operation: Operation, inputs: Range) -> Step:
    """CONV_2D.

    Raises:
        ModelFileError: It can't be computed in 32 bits, or is no plain convolution.
    """
    image, weights = operation.activation(), operation.constant(1, "int8")
    output = operation.quantized(operation.output)
    if weights.data is None or weights.data.ndim != 4:
        raise operation.refuse(f"its weights have the shape {list(weights.shape)}")
    place = geometry(operation, image, weights.data.shape[1:3])
    if weights.shape != (place.out_channels, place.kernel_height, place.kernel_width, place.channels):
        raise operation.refuse(f"its weights {list(weights.shape)} do not fit {place.channels} channels (groups?)")
    rows = weights.data.astype(np.int64).reshape(place.out_channels, -1)
    bias, folded = folded_bias(operation, optional_bias(operation), rows, image.zero_point)
    factors = image.scale * weight_scales(operation, weights, place.out_channels, 0) / output.scale
    scaled = scaling(operation, factors)
    accumulators = sums(
        rows.reshape(place.out_channels, place.taps, -1), inputs.minus(image.zero_point, padded=place.padded), bias
    )
    check_scaling(operation, scaled, accumulators)
    tapped = weights.data.reshape(place.out_channels, place.taps, place.channels)

    def answer(values: Integers) -> Any:
        total = np.broadcast_to(bias, (place.out_height, place.out_width, place.out_channels)).astype(np.float64)
        for tap, pixels in place.patches(values[0] - image.zero_point, 0):
            total += pixels.astype(np.float64) @ tapped[:, tap].T.astype(np.float64)  # exact: sums are below 2^53
        return scaled.outputs(total.astype(np.int64))[None]

    fits = fits_in_pairs(rows)
    stored = Channels(rows, folded if fits else bias, scaled, accumulators).settled()
    layer: dict[str, Any] = {
        "scaling": scaling_fields(stored.scaling, stored.sums),
        "weights": paired(stored.weights) if fits else stored.weights.astype(np.int8).ravel(),
        "bias": in_fours(stored.bias).astype(np.int32),
    }
    kernel, scratch = "conv" if fits else "conv_any", 0
    distance = place.distance(pixels=2, together=place.out_channels) if fits else place.distance()
    if fits and place.is_whole_image:  # it needs no copy of its window, which may be as large as all other tensors
        kernel, distance = "dense", SEPARATE
        layer |= {"rows": 1, "inputs": rows.shape[1], "outputs": place.out_channels, "channel_mask": -1}
    else:
        layer = {"geometry": place.fields(), **layer, "in_zero_point": image.zero_point}
    if kernel == "conv":
        window = -(-rows.shape[1] // 8) * 8
        aligned = place.kernel_width * place.channels % 4 == 0 and place.dilation_y == place.dilation_x == 1
        direct = aligned and not place.padded
        layer |= {"window": window, "aligned": int(aligned), "direct": int(direct)}
        scratch = 4 * window + (0 if direct else window)  # two windows of 16 bits, and a copy
    outputs = stored.outputs
    return Step(
        operation,
        kernel,
        (image,),
        output,
        layer,
        (distance,),
        outputs,
        answer,
        scratch=scratch,
        macs=place.pixels * rows.size,
        constant_channels=outputs.constant_channels,
        padded=place.padded,
    )


def depthwise(operation: Operation, inputs: Range) -> Step:
    """DEPTHWISE_CONV_2D.

    Raises:
        ModelFileError: As of `convolution`.
    """
    image, weights = operation.activation(), operation.constant(1, "int8")
    output = operation.quantized(operation.output)
    if weights.data is None or weights.data.ndim != 4 or weights.shape[0] != 1:
        raise operation.refuse(f"its weights have the shape {list(weights.shape)}")
    place = geometry(operation, image, weights.data.shape[1:3])
    if weights.shape[3] != place.out_channels or place.out_channels % place.channels:
        raise operation.refuse(f"its weights {list(weights.shape)} do not fit {place.channels} channels")
    multiplier = place.out_channels // place.channels
    taps = weights.data.astype(np.int64).reshape(place.taps, -1)
    bias, folded = folded_bias(operation, optional_bias(operation), taps.T, image.zero_point)
    scaled = scaling(operation, image.scale * weight_scales(operation, weights, place.out_channels, 3) / output.scale)
    repeated = inputs.through(lambda ends: np.repeat(ends, multiplier)).minus(image.zero_point, padded=place.padded)
    accumulators = sums(taps.T[:, :, None], Range(repeated.low[:, None, None], repeated.high[:, None, None]), bias)
    check_scaling(operation, scaled, accumulators)

    def answer(values: Integers) -> Any:
        total = np.broadcast_to(bias, (place.out_height, place.out_width, place.out_channels)).copy()
        for tap, pixels in place.patches(values[0] - image.zero_point, 0):
            total += np.repeat(pixels, multiplier, axis=-1) * taps[tap]
        return scaled.outputs(total)[None]

    whole = multiplier == 1 and place.channels % 4 == 0 and place.taps <= MAX_TAPS
    stored = Channels(taps.T, folded if whole else bias, scaled, accumulators).settled()
    layer = {
        "geometry": place.fields(),
        "scaling": scaling_fields(stored.scaling, stored.sums),
        "weights": in_pairs(stored.weights.T) if whole else stored.weights.T.astype(np.int8),
        "bias": stored.bias.astype(np.int32),
        "in_zero_point": image.zero_point,
    }
    outputs = stored.outputs
    return Step(
        operation,
        "depthwise" if whole else "depthwise_any",
        (image,),
        output,
        layer,
        (place.distance(by_channel=multiplier == 1, together=4 if whole else 1),),
        outputs,
        answer,
        scratch=place.channels if whole else 0,
        macs=place.pixels * taps.size,
        constant_channels=outputs.constant_channels,
        padded=place.padded,
    )


def in_pairs(taps: npt.NDArray[np.int64]) -> npt.NDArray[np.int16]:
    """Weights of shape (taps, channels) as `kernels/depthwise.c` reads them: by fours, then by pairs of taps."""
    count, channels = taps.shape
    even = np.pad(taps, [(0, count % 2), (0, 0)]).reshape(-1, 2, channels // 4, 4)
    return np.ascontiguousarray(even.transpose(2, 0, 3, 1)).astype(np.int16)
