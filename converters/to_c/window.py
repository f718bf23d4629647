"""Windows that move over an image: their geometry and memory, and MAX_POOL_2D and AVERAGE_POOL_2D."""

from __future__ import annotations

import functools
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from edgepress.converters.to_c.arithmetic import Integers, Range, activation_range
from edgepress.converters.to_c.graph import Operation, Tensor
from edgepress.converters.to_c.step import Step

SAME = 0
"""Padding of TFLite that keeps the size; see schema.fbs."""
VALID = 1
"""No padding."""


@dataclass(frozen=True)
class Geometry:
    """The fields of a kernel's `ep_geometry`."""

    height: int
    width: int
    channels: int
    out_height: int
    out_width: int
    out_channels: int
    kernel_height: int
    kernel_width: int
    stride_y: int
    stride_x: int
    pad_y: int
    pad_x: int
    dilation_y: int
    dilation_x: int

    def fields(self) -> dict[str, int]:
        """The fields by name."""
        return asdict(self)

    @property
    def taps(self) -> int:
        """Pixels of a window."""
        return self.kernel_height * self.kernel_width

    @property
    def pixels(self) -> int:
        """Pixels of the output."""
        return self.out_height * self.out_width

    @property
    def padded(self) -> bool:
        """Whether a window leaves the image."""
        last_y = (self.out_height - 1) * self.stride_y + (self.kernel_height - 1) * self.dilation_y - self.pad_y
        last_x = (self.out_width - 1) * self.stride_x + (self.kernel_width - 1) * self.dilation_x - self.pad_x
        return self.pad_y > 0 or self.pad_x > 0 or last_y >= self.height or last_x >= self.width

    @property
    def is_whole_image(self) -> bool:
        """Whether the only window is the image, pixel after pixel."""
        whole = (self.kernel_height, self.kernel_width) == (self.height, self.width)
        return whole and self.pixels == 1 and not self.padded and self.dilation_y == self.dilation_x == 1

    @property
    def is_in_one_piece(self) -> bool:
        """Whether each window lies in the image without gaps."""
        whole_rows = self.kernel_height == 1 or self.kernel_width == self.width
        return whole_rows and not self.padded and self.dilation_y == self.dilation_x == 1

    def patches(self, image: Integers, filler: int) -> Iterator[tuple[int, Integers]]:
        """For each tap, its number and the values that it has at each pixel of the output; `filler` outside.

        Taps that are outside of the image for all pixels are left out: a window may be much larger than its image.
        """
        columns = _touching(
            self.kernel_width, self.dilation_x, self.stride_x, self.pad_x, count=self.out_width, size=self.width
        )
        for ky in _touching(
            self.kernel_height, self.dilation_y, self.stride_y, self.pad_y, count=self.out_height, size=self.height
        ):
            y = np.arange(self.out_height) * self.stride_y - self.pad_y + ky * self.dilation_y
            for kx in columns:
                x = np.arange(self.out_width) * self.stride_x - self.pad_x + kx * self.dilation_x
                inside = ((y >= 0) & (y < self.height))[:, None] & ((x >= 0) & (x < self.width))[None]
                pixels = image[np.clip(y, 0, self.height - 1)][:, np.clip(x, 0, self.width - 1)]
                yield ky * self.kernel_width + kx, np.where(inside[..., None], pixels, filler)

    def covered(self) -> Integers:
        """How many pixels of the image each window without gaps covers; shape (out_height, out_width)."""
        top = np.arange(self.out_height) * self.stride_y - self.pad_y
        left = np.arange(self.out_width) * self.stride_x - self.pad_x
        rows = np.minimum(top + self.kernel_height, self.height) - np.maximum(top, 0)
        columns = np.minimum(left + self.kernel_width, self.width) - np.maximum(left, 0)
        return np.outer(rows, columns)

    def distance(self, *, pixels: int = 1, together: int = 1, by_channel: bool = False) -> int:
        """The distance (`Step.distances`) of a kernel that writes pixel by pixel, row by row.

        Args:
            pixels: Pixels that are written while the windows of all of them are read; they may be of two rows.
            together: Channels of them that are computed before any of these is written.
            by_channel: Whether a channel of the output is made of the same one of the input alone.
        """
        y, x = np.mgrid[: self.out_height, : self.out_width]
        row = np.maximum(y * self.stride_y - self.pad_y, 0)
        column = np.maximum(x * self.stride_x - self.pad_x, 0)
        return self.distance_of(row * self.width + column, pixels=pixels, together=together, by_channel=by_channel)

    def distance_of(self, first_read: Integers, *, pixels: int = 1, together: int = 1, by_channel: bool = False) -> int:
        """The same, for each pixel of the output, of the first pixel of the input that it is made of."""
        reads = first_read.ravel() * self.channels
        later = np.minimum.accumulate(reads[::-1])[::-1]  # at or behind each pixel
        groups = np.arange(0, self.pixels, pixels)
        begins = groups * self.out_channels
        ends = np.minimum(groups + pixels, self.pixels) * self.out_channels
        distances = [-self.height * self.width * self.channels, *(ends[:-1] - later[groups[1:]])]
        if self.out_channels > together:  # its own windows are read after something is written
            before = (self.out_channels - 1) // together * together
            distances += [*(begins + (0 if by_channel else before) - np.minimum.reduceat(reads, groups))]
        return int(max(distances))


def _touching(kernel: int, dilation: int, stride: int, pad: int, *, count: int, size: int) -> list[int]:
    """The taps along an axis that lie in the image for one of `count` pixels at least."""
    taps = np.arange(kernel) * dilation - pad
    pixel = np.maximum(-(taps // stride), 0)  # the first one for which it does not lie before the image
    numbers: list[int] = np.flatnonzero((pixel < count) & (pixel * stride + taps < size)).tolist()
    return numbers


def single_pixels(count: int, channels: int, out_channels: int) -> Geometry:
    """The geometry of a window of one pixel on a row of pixels."""
    return Geometry(1, count, channels, 1, count, out_channels, 1, 1, 1, 1, 0, 0, 1, 1)


def geometry(operation: Operation, image: Tensor, kernel: tuple[int, int]) -> Geometry:
    """The geometry of an operation with a window of `kernel` (height, width) on an image (1, height, width, channels).

    Raises:
        ModelFileError: The file contradicts itself, or the image is a batch.
    """
    output = operation.output
    if len(image.shape) != 4 or len(output.shape) != 4:
        raise operation.refuse(f"its shapes are {list(image.shape)} and {list(output.shape)}; accepted: 4 axes")
    if image.shape[0] != 1:
        raise operation.refuse(f"its batch is {image.shape[0]}; accepted: 1")
    strides = [operation.option(name) for name in ("stride_y", "stride_x")]
    dilations = [int(operation.options.get(name, 1)) for name in ("dilation_y", "dilation_x")]
    padding = operation.option("padding")
    if min(*strides, *dilations, *kernel) < 1 or max(*strides, *dilations, *kernel) > 1 << 15:
        raise operation.refuse(f"its strides are {strides}, its dilations {dilations}, its window {list(kernel)}")
    if padding not in (SAME, VALID):
        raise operation.refuse(f"its padding has the number {padding}; accepted: SAME and VALID")
    sizes = []
    pads = []
    for size, stride, dilation, width in zip(image.shape[1:3], strides, dilations, kernel, strict=True):
        reach = (width - 1) * dilation + 1
        count = -(-(size if padding == SAME else size - reach + 1) // stride)
        sizes.append(count)
        pads.append(max(0, (count - 1) * stride + reach - size) // 2)
    if output.shape[:3] != (1, *sizes):
        raise operation.refuse(f"its output is {list(output.shape)}; its geometry gives {sizes}")
    return Geometry(*image.shape[1:], *output.shape[1:], *kernel, *strides, *pads, *dilations)


_MOST_COVERED = 1 << 23
"""Values of a window from which on a sum of int8 may need more than 32 bits."""


def pool(operation: Operation, inputs: Range) -> Step:
    """MAX_POOL_2D or AVERAGE_POOL_2D; padding has no part in either.

    Raises:
        ModelFileError: It is not exactly supported.
    """
    image = operation.activation()
    output = operation.quantized(operation.output)
    place = geometry(operation, image, (operation.option("kernel_height"), operation.option("kernel_width")))
    if place.out_channels != place.channels:
        raise operation.refuse(f"it turns {place.channels} channels into {place.out_channels}")
    low, high = activation_range(operation, output)
    average = operation.kind == "AVERAGE_POOL_2D"
    covered = place.covered()
    most_covered = int(np.max(covered))
    if average and most_covered >= _MOST_COVERED:
        raise operation.refuse(f"its window covers {most_covered} values, whose sum may need more than 32 bits")

    def answer(values: Integers) -> Any:
        if not average:
            most = functools.reduce(np.maximum, (pixels for _, pixels in place.patches(values[0], -128)))
            return np.clip(most, low, high)[None]
        total = functools.reduce(np.add, (pixels for _, pixels in place.patches(values[0], 0)))
        return np.clip(_rounded(total, covered[..., None]), low, high)[None]

    return Step(
        operation,
        "average_pool" if average else "max_pool",
        (image,),
        output,
        {"geometry": place.fields(), "low": low, "high": high},
        (place.distance(by_channel=True),),
        inputs.through(lambda ends: np.clip(ends, low, high)),
        answer,
        reads=int(covered.sum()) * place.channels,
    )


def _rounded(total: Integers, count: Integers) -> Any:
    """The quotient, halves away from zero."""
    return np.sign(total) * ((np.abs(total) + count // 2) // count)
