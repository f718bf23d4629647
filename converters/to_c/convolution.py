"""CONV_2D and DEPTHWISE_CONV_2D, and the kernels that compute a convolution: which one fits."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from edgepress.converters.to_c.arithmetic import Integers, Range, scaling, sums
from edgepress.converters.to_c.graph import Operation, Tensor
from edgepress.converters.to_c.step import (
    SEPARATE,
    Channels,
    Step,
    check_scaling,
    checked_bias,
    fits_in_pairs,
    in_fours,
    optional_bias,
    paired,
    scaling_fields,
    weight_scales,
)
from edgepress.converters.to_c.window import Geometry, geometry

FEW = 254
"""Products up to which weights of four channels take less flash than those of one and the code of `conv_one`."""


@dataclass(frozen=True)
class _Kernel:
    """A kernel for a layer; see `Step` for its attributes.

    Attributes:
        name: Its name.
        layer: The fields of its struct.
        distance: The distance of its output to its input.
        scratch: Bytes that it needs while it runs; None: it has no such argument.
    """

    name: str
    layer: Mapping[str, Any]
    distance: int
    scratch: int | None = None


def with_kernel(step: Step, place: Geometry, numbers: Channels, zero_point: int) -> Step:
    """A step of a convolution with the fastest kernel, and one that takes less memory as `Step.smaller`.

    Args:
        step: The step, which may name any kernel.
        place: Its geometry.
        numbers: The numbers of its channels.
        zero_point: That of its input.
    """
    steps = [
        replace(step, kernel=each.name, layer=each.layer, distances=(each.distance,), scratch=each.scratch)
        for each in _kernels(place, numbers, numbers.folded(zero_point), zero_point)
    ]
    return replace(steps[0], smaller=steps[1]) if len(steps) > 1 else steps[0]


def _kernels(place: Geometry, numbers: Channels, folded: Channels, zero_point: int) -> tuple[_Kernel, ...]:
    """The kernels for a convolution, the fastest first; `folded`: `numbers` with its input's offset in the biases."""
    channels, products = numbers.weights.shape
    if _is_one_of_many_products(numbers.weights):
        return (_one(place, folded, zero_point),)
    if not fits_in_pairs(numbers.weights):
        layer = layer_of(place, numbers, zero_point) | {"weights": numbers.weights.astype(np.int8).ravel()}
        return (_Kernel("conv_any", layer, place.distance()),)
    if place.is_whole_image:  # it needs no copy of its window, which may be as large as all other tensors
        common = {name: value for name, value in layer_of(place, folded, 0).items() if name in ("scaling", "bias")}
        layer = common | {"weights": paired(folded.weights)}
        layer |= {"rows": 1, "inputs": products, "outputs": channels, "channel_mask": -1}
        return (_Kernel("dense", layer, SEPARATE),)
    window = -(-products // 8) * 8
    layer = layer_of(place, folded, zero_point) | {"weights": paired(folded.weights), "window": window}
    aligned = place.kernel_width * place.channels % 4 == 0 and place.dilation_y == place.dilation_x == 1
    direct = aligned and not place.padded
    in_place = place.is_in_one_piece and window == products
    return (
        _Kernel(
            "conv",
            layer | {"aligned": int(aligned), "direct": int(direct)},
            place.distance(pixels=2, together=channels),
            4 * window + (0 if direct else window),  # two windows of 16 bits, and a copy
        ),
        _Kernel(
            "conv_bytes",
            layer | {"in_place": int(in_place)},
            place.distance(together=4 if in_place else channels),
            0 if in_place else window,
        ),
    )


def is_unlike_dense(weights: Integers) -> bool:
    """Whether weights of shape (channels, products) are not weights for the kernel `dense`."""
    return _is_one_of_many_products(weights) or not fits_in_pairs(weights)


def _is_one_of_many_products(weights: Integers) -> bool:
    channels, products = weights.shape
    return bool(channels == 1 and products > FEW)


def _one(place: Geometry, folded: Channels, zero_point: int) -> _Kernel:
    layer = layer_of(place, folded, zero_point)
    layer |= {"weights": folded.weights.astype(np.int8).ravel(), "in_place": int(place.is_in_one_piece)}
    return _Kernel("conv_one", layer, place.distance(), 0 if place.is_in_one_piece else folded.weights.size)


def layer_of(place: Geometry, channels: Channels, zero_point: int) -> dict[str, Any]:
    """The fields that the kernels of convolutions share."""
    return {
        "geometry": place.fields(),
        "scaling": scaling_fields(channels.scaling, channels.sums),
        "bias": in_fours(channels.bias).astype(np.int32),
        "in_zero_point": zero_point,
    }


MAX_EXPANDED = 1 << 24
"""Most weights of a convolution of groups, as one without."""
MAX_TAPS = 256
"""Largest window of `depthwise`, whose offsets of pixels and rows lie on the stack."""


def without_groups(operation: Operation) -> Operation:
    """A CONV_2D of groups as one of all channels, whose weights for those of other groups are 0: the sums stay.

    It takes as many times the flash as there are groups, but no kernel of its own. Any other operation stays.
    """
    if operation.kind != "CONV_2D" or len(operation.inputs) < 2 or None in operation.inputs[:2]:
        return operation
    image, weights = operation.inputs[:2]
    if image is None or weights is None or weights.data is None or weights.data.ndim != 4 or not image.shape:
        return operation
    outputs, *window, depth = weights.shape
    groups = image.shape[-1] // depth
    if groups < 2 or groups * depth != image.shape[-1] or outputs % groups:
        return operation
    if weights.data.size * groups > MAX_EXPANDED:
        raise operation.refuse(f"its {groups} groups take more than {MAX_EXPANDED} weights as one")
    whole = np.zeros((groups, outputs // groups, *window, groups, depth), weights.data.dtype)
    for group, own in enumerate(weights.data.reshape(groups, -1, *window, depth)):
        whole[group, ..., group, :] = own
    data = whole.reshape(outputs, *window, image.shape[-1])
    return replace(operation, inputs=(image, replace(weights, data=data, shape=data.shape), *operation.inputs[2:]))


def windowed_weights(operation: Operation) -> Tensor:
    """The weights of a CONV_2D or TRANSPOSE_CONV, int8, shape (outputs, height, width, channels).

    Raises:
        ModelFileError: They are no such tensor.
    """
    weights = operation.constant(1, "int8")
    if weights.data is None or weights.data.ndim != 4:
        raise operation.refuse(f"its weights have the shape {list(weights.shape)}")
    return weights


def channels_of(operation: Operation, weights: Tensor, place: Geometry, inputs: Range, *, padded: bool) -> Channels:
    """The channels of a CONV_2D or TRANSPOSE_CONV.

    Args:
        operation: Its image is input 0, and its bias, if it has one, input 2.
        weights: Its weights, as `windowed_weights` gives them.
        place: Its geometry.
        inputs: What its image holds.
        padded: Whether some sums lack products, which count as those of the number that stands for 0.

    Raises:
        ModelFileError: Its sums need more than 32 bits, or its weights do not fit the geometry.
    """
    if weights.shape != (place.out_channels, place.kernel_height, place.kernel_width, place.channels):
        raise operation.refuse(f"its weights {list(weights.shape)} do not fit {place.channels} channels (groups?)")
    assert weights.data is not None
    image = operation.activation()
    output = operation.quantized(operation.output)
    rows = weights.data.astype(np.int64).reshape(place.out_channels, -1)
    bias = checked_bias(operation, optional_bias(operation), rows)
    scaled = scaling(operation, image.scale * weight_scales(operation, weights, place.out_channels, 0) / output.scale)
    values = inputs.minus(image.zero_point, padded=padded)
    accumulators = sums(rows.reshape(place.out_channels, place.taps, -1), values, bias)
    check_scaling(operation, scaled, accumulators)
    return Channels(rows, bias, scaled, accumulators)


def convolution(operation: Operation, inputs: Range) -> Step:
    """CONV_2D.

    Raises:
        ModelFileError: It can't be computed in 32 bits, or is no plain convolution.
    """
    image = operation.activation()
    output = operation.quantized(operation.output)
    weights = windowed_weights(operation)
    place = geometry(operation, image, (weights.shape[1], weights.shape[2]))
    channels = channels_of(operation, weights, place, inputs, padded=place.padded)
    tapped = channels.weights.reshape(place.out_channels, place.taps, place.channels)

    def answer(values: Integers) -> Any:
        total = np.broadcast_to(channels.bias, (place.out_height, place.out_width, place.out_channels)).astype(
            np.float64
        )
        for tap, pixels in place.patches(values[0] - image.zero_point, 0):
            total += pixels.astype(np.float64) @ tapped[:, tap].T.astype(np.float64)  # exact: sums are below 2^53
        return channels.scaling.outputs(total.astype(np.int64))[None]

    stored = channels.settled()
    step = Step(
        operation,
        "conv",
        (image,),
        output,
        {},
        (),
        stored.outputs,
        answer,
        macs=place.pixels * channels.weights.size,
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
