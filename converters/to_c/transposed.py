"""TRANSPOSE_CONV: each pixel of the input adds a window to the output."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from edgepress.converters.to_c.arithmetic import Integers, Range
from edgepress.converters.to_c.convolution import channels_of, layer_of, windowed_weights
from edgepress.converters.to_c.graph import Operation
from edgepress.converters.to_c.step import SEPARATE, Step
from edgepress.converters.to_c.window import Geometry, geometry


def like_convolution(operation: Operation) -> Operation:
    """A TRANSPOSE_CONV with its inputs in the order of CONV_2D; any other operation as it is.

    Raises:
        ModelFileError: It has other inputs, or its constant shape is not that of its output.
    """
    if operation.kind != "TRANSPOSE_CONV":
        return operation
    if len(operation.inputs) not in (3, 4):
        raise operation.refuse(f"it has {len(operation.inputs)} inputs; accepted: 3 or 4")
    shape = operation.constant(0, "int32").data
    if shape is None or tuple(shape.ravel().tolist()) != operation.output.shape:
        raise operation.refuse(f"its output is {list(operation.output.shape)}, but it is to have another shape")
    _, weights, image, *bias = operation.inputs
    return replace(operation, inputs=(image, weights, *bias))


def transposed(operation: Operation, inputs: Range) -> Step:
    """TRANSPOSE_CONV, its inputs in the order of CONV_2D.

    Raises:
        ModelFileError: It can't be computed in 32 bits, or the file contradicts itself.
    """
    image = operation.activation()
    output = operation.quantized(operation.output)
    weights = windowed_weights(operation)
    place = _geometry(operation, (weights.shape[1], weights.shape[2]))
    channels = channels_of(operation, weights, place, inputs, padded=True)
    tapped = channels.weights.reshape(weights.shape).astype(np.float64)
    rows_of = _landing(place.kernel_height, place.pad_y, place.stride_y, count=place.height, size=place.out_height)
    columns_of = _landing(place.kernel_width, place.pad_x, place.stride_x, count=place.width, size=place.out_width)

    def answer(values: Integers) -> Any:
        pixels = (values[0] - image.zero_point).astype(np.float64)
        total = np.zeros((place.out_height, place.out_width, place.out_channels))
        for ky, (source_y, target_y) in rows_of.items():
            for kx, (source_x, target_x) in columns_of.items():
                products = pixels[source_y, source_x] @ tapped[:, ky, kx].T
                total[target_y, target_x] += products  # exact: sums are below 2^53
        return channels.scaling.outputs(total.astype(np.int64) + channels.bias)[None]

    stored = channels.settled()
    layer = layer_of(place, stored, image.zero_point) | {"weights": stored.weights.astype(np.int8).ravel()}
    return Step(
        operation,
        "transpose_conv",
        (image,),
        output,
        layer,
        (_distance(place),),
        stored.outputs,
        answer,
        macs=place.height * place.width * channels.weights.size,
        constant_channels=stored.outputs.constant_channels,
        padded=True,
    )


def _geometry(operation: Operation, kernel: tuple[int, int]) -> Geometry:
    """The geometry: that of the convolution whose input has the output's shape, with both ends exchanged.

    Raises:
        ModelFileError: The input does not have the size of that convolution's output.
    """
    image = operation.activation()
    back = geometry(replace(operation, outputs=(image,)), operation.output, kernel)
    return replace(
        back,
        height=back.out_height,
        width=back.out_width,
        channels=back.out_channels,
        out_height=back.height,
        out_width=back.width,
        out_channels=back.channels,
    )


def _landing(kernel: int, pad: int, stride: int, *, count: int, size: int) -> dict[int, tuple[slice, slice]]:
    """For each row of the window, or column, that lands in the output: those of the input, and where they land."""
    landing = {}
    for tap in range(kernel):
        first = max(0, -((tap - pad) // stride))
        end = min(count, (size - 1 + pad - tap) // stride + 1)
        if first < end:
            begin = first * stride + tap - pad
            landing[tap] = slice(first, end), slice(begin, begin + (end - first - 1) * stride + 1, stride)
    return landing


def _distance(place: Geometry) -> int:
    """The distance (`Step.distances`): a pixel's inputs are read until its last channel is written."""
    rows = _first_reads(place.out_height, place.pad_y, place.kernel_height, place.stride_y, size=place.height)
    columns = _first_reads(place.out_width, place.pad_x, place.kernel_width, place.stride_x, size=place.width)
    first = rows[:, None] * place.width + columns[None]
    nothing = (rows[:, None] == place.height) | (columns[None] == place.width)
    return place.distance_of(np.where(nothing, SEPARATE, first))  # no place is too near for what reads nothing


def _first_reads(count: int, pad: int, kernel: int, stride: int, *, size: int) -> Integers:
    """The first row of the input, or column, whose window reaches each one of the output; `size` if none does."""
    last = np.arange(count) + pad
    first = np.maximum(-((kernel - 1 - last) // stride), 0)
    return np.where((first * stride <= last) & (first < size), first, size)
