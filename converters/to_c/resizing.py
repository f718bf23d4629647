"""RESIZE_NEAREST_NEIGHBOR and RESIZE_BILINEAR."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from edgepress.converters.to_c.arithmetic import Integers, Range
from edgepress.converters.to_c.graph import Operation, Tensor
from edgepress.converters.to_c.step import SEPARATE, Step

MAX_SIDE = (1 << 15) - 1
"""Most rows and columns of an image: their numbers are stored in 16 bits."""
_ONE = 1 << 10
"""A row, or a weight of 1, in RESIZE_BILINEAR."""
Places = npt.NDArray[np.int64]


def nearest(operation: Operation, inputs: Range) -> Step:
    """RESIZE_NEAREST_NEIGHBOR: which row and column is nearest is stored, so that boards need no floats.

    Raises:
        ModelFileError: The sizes contradict each other or are too large, or the scale changes.
    """
    image, output = _images(operation)
    sizes = output.shape[1:3]
    width, channels = image.shape[2:]
    rows, columns = (_nearest_places(operation, *pair) for pair in zip(image.shape[1:3], sizes, strict=True))

    def answer(values: Integers) -> Integers:
        return values[:, rows][:, :, columns]

    # A pixel is read when all before it are written: the input must not lie before that place.
    ahead = np.max(np.arange(sizes[0]) * sizes[1] - rows * width) + np.max(np.arange(sizes[1]) - columns)
    layer = _sides(image, output) | {
        "rows": rows.astype(np.int16),
        "columns": columns.astype(np.int16),
    }
    return Step(operation, "resize_nearest", (image,), output, layer, (int(ahead) * channels,), inputs, answer)


def bilinear(operation: Operation, inputs: Range) -> Step:
    """RESIZE_BILINEAR, whose rows, columns and weights are stored.

    Raises:
        ModelFileError: As of `nearest`, or so many rows or columns are made that TFLM would read behind the image.
    """
    image, output = _images(operation)
    (rows, next_rows, row_parts), (columns, next_columns, column_parts) = (
        _neighbours(operation, *pair) for pair in zip(image.shape[1:3], output.shape[1:3], strict=True)
    )

    def answer(values: Integers) -> Any:
        down, on = row_parts[:, None, None], column_parts[:, None]
        lines = values[:, rows] * (_ONE - down) + values[:, next_rows] * down
        sums = lines[:, :, columns] * (_ONE - on) + lines[:, :, next_columns] * on
        return np.sign(sums) * ((np.abs(sums) + _ONE**2 // 2) // _ONE**2)

    layer = _sides(image, output) | {
        "rows": rows.astype(np.int16),
        "next_rows": next_rows.astype(np.int16),
        "row_parts": row_parts.astype(np.int16),
        "columns": columns.astype(np.int16),
        "next_columns": next_columns.astype(np.int16),
        "column_parts": column_parts.astype(np.int16),
    }
    return Step(operation, "resize_bilinear", (image,), output, layer, (SEPARATE,), inputs, answer)


def _images(operation: Operation) -> tuple[Tensor, Tensor]:
    """The image and the one of another size.

    Raises:
        ModelFileError: The sizes contradict each other or are too large, or the scale changes.
    """
    image = operation.activation()
    output = operation.quantized(operation.output)
    data = operation.constant(1, "int32").data
    sizes = () if data is None else tuple(data.ravel().tolist())
    if len(image.shape) != 4 or image.shape[0] != 1:
        raise operation.refuse(f"its input has the shape {list(image.shape)}; accepted: one image of 4 axes")
    if len(sizes) != 2 or output.shape != (1, *sizes, image.shape[3]):
        raise operation.refuse(f"its output is {list(output.shape)}; its sizes give {list(sizes[:2])}")
    if max(*image.shape[1:3], *sizes) > MAX_SIDE:
        raise operation.refuse(f"it resizes {list(image.shape[1:3])} to {list(sizes)}; accepted: up to {MAX_SIDE}")
    if (image.scale, image.zero_point) != (output.scale, output.zero_point):
        raise operation.refuse("its output has another scale than its input")
    return image, output


def _sides(image: Tensor, output: Tensor) -> dict[str, Any]:
    """The fields of both kernels' structs that say how large images are."""
    _, out_height, out_width, channels = output.shape
    return {"out_height": out_height, "out_width": out_width, "row": image.shape[2] * channels, "channels": channels}


def _alignment(operation: Operation) -> tuple[bool, bool]:
    """Whether corners are aligned, and whether pixels are seen from their centers."""
    return bool(operation.option("align_corners")), bool(operation.option("half_pixel_centers"))


def _nearest_places(operation: Operation, size: int, new_size: int) -> Places:
    """The row of the input, or its column, that each one of the output takes: GetNearestNeighbor.

    In float32, as TFLM computes it, because a quotient may be a little less than a whole number.
    """
    corners, centers = _alignment(operation)
    whole = corners and new_size > 1
    ratio = np.float32(size - 1 if whole else size) / np.float32(new_size - 1 if whole else new_size)
    places = (np.arange(new_size, dtype=np.float32) + np.float32(0.5 if centers else 0)) * ratio
    # halves away from zero; places are not negative
    rounded = np.floor(places.astype(np.float64) + 0.5) if corners else np.floor(places)
    return np.minimum(rounded.astype(np.int64), size - 1)


def _neighbours(operation: Operation, size: int, new_size: int) -> tuple[Places, Places, Places]:
    """For each row of the output, or column: the two of the input that it lies between, and the weight of the second.

    ComputeInterpolationValuesInteger, in 1/1024 of a row. In front of the first and behind the last row, both are the
    same one.

    Raises:
        ModelFileError: A row lies so far behind the last one, by rounding, that TFLM would read other memory.
    """
    corners, centers = _alignment(operation)
    if corners and centers:
        raise operation.refuse("it has align_corners and half_pixel_centers, of which TFLM accepts one")
    whole = corners and new_size > 1
    span, new_span = (size - 1, new_size - 1) if whole else (size, new_size)
    step = (_ONE * span + new_span // 2) // new_span
    places = np.arange(new_size) * step + (step // 2 - _ONE // 2 if centers else 0)
    first = np.maximum(places, 0) // _ONE
    second = np.minimum((places + _ONE - 1) // _ONE, size - 1)
    if first.max() >= size:
        raise operation.refuse(f"it makes {new_size} rows or columns of {size}: too many for TFLM's rounding")
    return first, second, places - _ONE * first
