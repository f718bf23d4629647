"""The kernels that compute a convolution, with their numbers: which one fits its weights, its window and the memory."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from edgepress.converters.to_c.arithmetic import Integers
from edgepress.converters.to_c.step import SEPARATE, Channels, Step, fits_in_pairs, in_fours, paired, scaling_fields
from edgepress.converters.to_c.window import Geometry

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
        layer = _layer(place, numbers, zero_point) | {"weights": numbers.weights.astype(np.int8).ravel()}
        return (_Kernel("conv_any", layer, place.distance()),)
    if place.is_whole_image:  # it needs no copy of its window, which may be as large as all other tensors
        common = {name: value for name, value in _layer(place, folded, 0).items() if name in ("scaling", "bias")}
        layer = common | {"weights": paired(folded.weights)}
        layer |= {"rows": 1, "inputs": products, "outputs": channels, "channel_mask": -1}
        return (_Kernel("dense", layer, SEPARATE),)
    window = -(-products // 8) * 8
    layer = _layer(place, folded, zero_point) | {"weights": paired(folded.weights), "window": window}
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
    layer = _layer(place, folded, zero_point)
    layer |= {"weights": folded.weights.astype(np.int8).ravel(), "in_place": int(place.is_in_one_piece)}
    return _Kernel("conv_one", layer, place.distance(), 0 if place.is_in_one_piece else folded.weights.size)


def _layer(place: Geometry, channels: Channels, zero_point: int) -> dict[str, Any]:
    return {
        "geometry": place.fields(),
        "scaling": scaling_fields(channels.scaling, channels.sums),
        "bias": in_fours(channels.bias).astype(np.int32),
        "in_zero_point": zero_point,
    }
