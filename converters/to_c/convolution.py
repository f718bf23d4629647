"""CONV_2D and DEPTHWISE_CONV_2D."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from edgepress.converters.to_c.arithmetic import Integers, scaling
from edgepress.converters.to_c.bounds import Range, sums
from edgepress.converters.to_c.conv_kernels import with_kernel
from edgepress.converters.to_c.graph import Operation
from edgepress.converters.to_c.step import (
    Channels,
    Step,
    check_scaling,
    checked_bias,
    optional_bias,
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
    image = operation.activation()
    weights = operation.constant(1, "int8")
    output = operation.quantized(operation.output)
    if weights.data is None or weights.data.ndim != 4:
        raise operation.refuse(f"its weights have the shape {list(weights.shape)}")
    place = geometry(operation, image, weights.data.shape[1:3])
    if weights.shape != (place.out_channels, place.kernel_height, place.kernel_width, place.channels):
        raise operation.refuse(f"its weights {list(weights.shape)} do not fit {place.channels} channels (groups?)")
    rows = weights.data.astype(np.int64).reshape(place.out_channels, -1)
    bias = checked_bias(operation, optional_bias(operation), rows)
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

    stored = Channels(rows, bias, scaled, accumulators).settled()
    step = Step(
        operation,
        "conv",
        (image,),
        output,
        {},
        (),
        stored.outputs,
        answer,
        macs=place.pixels * rows.size,
        constant_channels=stored.outputs.constant_channels,
        padded=place.padded,
    )
    return with_kernel(step, place, stored, image.zero_point)


def depthwise(operation: Operation, inputs: Range) -> Step:
    """DEPTHWISE_CONV_2D.

    Raises:
        ModelFileError: As of `convolution`.
    """
    image = operation.activation()
    weights = operation.constant(1, "int8")
    output = operation.quantized(operation.output)
    if weights.data is None or weights.data.ndim != 4 or weights.shape[0] != 1:
        raise operation.refuse(f"its weights have the shape {list(weights.shape)}")
    place = geometry(operation, image, weights.data.shape[1:3])
    if weights.shape[3] != place.out_channels or place.out_channels % place.channels:
        raise operation.refuse(f"its weights {list(weights.shape)} do not fit {place.channels} channels")
    multiplier = place.out_channels // place.channels
    taps = weights.data.astype(np.int64).reshape(place.taps, -1)
    bias = checked_bias(operation, optional_bias(operation), taps.T)
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
    stored = Channels(taps.T, bias, scaled, accumulators).settled()
    if whole:
        stored = stored.folded(image.zero_point)
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
        scratch=place.channels if whole else None,
        macs=place.pixels * taps.size,
        constant_channels=outputs.constant_channels,
        padded=place.padded,
    )


def in_pairs(taps: npt.NDArray[np.int64]) -> npt.NDArray[np.int16]:
    """Weights of shape (taps, channels) as `kernels/depthwise.c` reads them: by fours, then by pairs of taps."""
    count, channels = taps.shape
    even = np.pad(taps, [(0, count % 2), (0, 0)]).reshape(-1, 2, channels // 4, 4)
    return np.ascontiguousarray(even.transpose(2, 0, 3, 1)).astype(np.int16)
