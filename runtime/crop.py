"""The region of interest of a fixed camera: `--crop x,y,width,height`, in pixels or percent of the frame.

>>> crop = read_crop("25%,0,50%,100%")
>>> crop.box(480, 640)
(160, 0, 320, 480)
"""

from __future__ import annotations

import io
import os
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from edgepress.runtime.errors import InputError
from edgepress.runtime.input_spec import InputSpec

if TYPE_CHECKING:
    import numpy.typing as npt

    from edgepress.runtime.items import ImageLike

EXAMPLE = "x,y,width,height in pixels or percent of the frame, such as 64,0,320,480 or 25%,0,50%,100%"
"""What is accepted, for messages."""


@dataclass(frozen=True)
class Length:
    """A length in a frame: `value` pixels, or a share of the frame's side, 0-1, if `is_share`."""

    value: float
    is_share: bool

    def pixels(self, side: int) -> int:
        """The length in a frame with this side, pixels."""
        return round(self.value * side) if self.is_share else int(self.value)


@dataclass(frozen=True)
class Crop:
    """A part of a frame.

    Attributes:
        text: As the user wrote it.
        x: Left edge.
        y: Upper edge.
        width: Above 0.
        height: Above 0.
    """

    text: str
    x: Length
    y: Length
    width: Length
    height: Length

    def box(self, height: int, width: int) -> tuple[int, int, int, int]:
        """The part of a frame of this size as (x, y, width, height), pixels; edges in percent are rounded.

        Raises:
            InputError: It is not within the frame, or less than a pixel.
        """
        left, right = _edges(self.x, self.width, width)
        top, bottom = _edges(self.y, self.height, height)
        if right > width or bottom > height or right <= left or bottom <= top:
            what = f"The crop {self.text} is not a part of an image of {width}x{height} pixels (width x height)."
            raise InputError(what, f"Accepted: {EXAMPLE}.")
        return left, top, right - left, bottom - top

    def cut(self, image: ImageLike) -> npt.NDArray[Any]:
        """The part of an image: a path, the bytes of a file, a Pillow image, or an array (height, width[, channels]).

        Returns:
            Pixels 0-255, uint8, shape (height, width, 3), or of grey images (height, width[, 1]); of an array a view.

        Raises:
            InputError: It can't be read, is no image, or the part is not within it.
            MissingExtraError: Pillow is not installed.
        """
        pixels = _decode(image)
        if pixels.ndim not in (2, 3):
            what = f"An array of shape {list(pixels.shape)} has no part to look at."
            raise InputError(what, "Give an array of shape (height, width) or (height, width, channels).")
        x, y, width, height = self.box(*pixels.shape[:2])
        return pixels[y : y + height, x : x + width]


def read_crop(text: str) -> Crop:
    """Parse `x,y,width,height`, each in pixels or with % in percent of the frame.

    Raises:
        ValueError: It is not a crop; the message says what is accepted.
    """
    parts = [re.fullmatch(r"(\d{1,5})|(\d{1,3}(?:\.\d{1,4})?)%", part.strip()) for part in text.split(",")]
    lengths = [Length(int(m[1]), False) if m[1] else Length(float(m[2]) / 100, True) for m in parts if m]
    if len(lengths) != 4 or len(parts) != 4 or not all(length.value for length in lengths[2:]):
        raise ValueError(f"{text[:60]!r} is not a crop; accepted: {EXAMPLE}")
    if any(length.is_share and length.value > 1 for length in lengths):
        raise ValueError(f"{text!r} is more than the frame; accepted: {EXAMPLE}")
    return Crop(text, *lengths)


def _edges(start: Length, length: Length, side: int) -> tuple[int, int]:
    """First pixel and the one after the last; two shares are added before rounding, so that neighbours touch."""
    first = start.pixels(side)
    if start.is_share and length.is_share:
        return first, Length(round(start.value + length.value, 9), True).pixels(side)
    return first, first + length.pixels(side)


def _decode(image: ImageLike) -> npt.NDArray[Any]:
    """All pixels of an image."""
    from edgepress.runtime.items import load_array

    if isinstance(image, np.ndarray):
        return image
    if isinstance(image, (str, os.PathLike)) and os.fspath(image).lower().endswith(".npy"):
        return load_array(image, os.fspath(image))
    if isinstance(image, bytes) and image.startswith(b"\x93NUMPY"):
        return load_array(io.BytesIO(image), "The array")
    from edgepress.runtime.image import load_image, peek

    if isinstance(image, (str, os.PathLike, bytes)):
        height, width, color = peek(image)
    else:
        width, height = image.size
        color = "grey" if image.mode in ("1", "L") else "rgb"
    return load_image(image, InputSpec.image(height, width, color))
