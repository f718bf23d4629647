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

if TYPE_CHECKING:
    import numpy.typing as npt
    from PIL import Image

    from edgepress.runtime.arrays import ImageLike
    from edgepress.runtime.input_spec import InputSpec

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
    """A part of a frame; `text` is what the user wrote."""

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
            problem = f"The crop {self.text} is not a part of an image of {width}x{height} pixels (width x height)."
            raise InputError(problem, f"Accepted: {EXAMPLE}.")
        return left, top, right - left, bottom - top

    def cut(self, image: ImageLike, spec: InputSpec) -> Image.Image | npt.NDArray[Any]:
        """The part of an image: a path, the bytes of a file, a Pillow image, or an array (height, width[, channels]).

        Args:
            image: The image.
            spec: What the model takes: of a large JPEG no more is decoded than it needs, and the bytes of an array of
                its size are refused, because a client prepared it from another part.

        Returns:
            An upright image, "L" or "RGB"; of an array a view.

        Raises:
            InputError: It can't be read, is not an image, or the part is not within it.
            MissingExtraError: Pillow is not installed.
        """
        pixels = _array(image)
        if pixels is None:
            from edgepress.runtime.image import load_part

            return load_part(image, self.box, spec)  # type: ignore[arg-type] # `_array` returns those of arrays
        if pixels.ndim not in (2, 3):
            problem = f"An array of shape {list(pixels.shape)} has no part to look at."
            raise InputError(problem, "Give an array of shape (height, width) or (height, width, channels).")
        if isinstance(image, bytes) and pixels.shape in (spec.shape, spec.shape[:2]):
            problem = (
                f"The array has the size that the model takes, so it is not clear whether it is the part {self.text}"
            )
            raise InputError(f"{problem} already.", "Send the whole picture.")
        x, y, width, height = self.box(*pixels.shape[:2])
        return pixels[y : y + height, x : x + width]

    def png_of(self, image: bytes, spec: InputSpec) -> bytes:
        """The part of an image as a file; ValueError or TypeError of an array that is not a picture."""
        from PIL import Image

        part = self.cut(image, spec)
        if isinstance(part, np.ndarray):
            part = Image.fromarray(part[:, :, 0] if part.shape[2:] == (1,) else part)
        written = io.BytesIO()
        part.save(written, "PNG")
        return written.getvalue()


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
    if _never_fits(*lengths[::2]) or _never_fits(*lengths[1::2]):
        raise ValueError(f"{text!r} is within no frame; accepted: {EXAMPLE}")
    return Crop(text, *lengths)


def _never_fits(start: Length, length: Length) -> bool:
    """Whether a part ends after the last pixel, whatever the side of the frame."""
    share = round(sum(each.value for each in (start, length) if each.is_share), 9)
    return share > 1 or (share == 1 and any(each.value for each in (start, length) if not each.is_share))


def _edges(start: Length, length: Length, side: int) -> tuple[int, int]:
    """First pixel and the one after the last; two shares are added before rounding, so that neighbours touch."""
    first = start.pixels(side)
    if start.is_share and length.is_share:
        return first, Length(round(start.value + length.value, 9), True).pixels(side)
    return first, first + length.pixels(side)


def _array(image: ImageLike) -> npt.NDArray[Any] | None:
    """The array that an image is, or its file; None of a picture."""
    from edgepress.runtime.arrays import load_array

    if isinstance(image, np.ndarray):
        return image
    if isinstance(image, (str, os.PathLike)) and os.fspath(image).lower().endswith(".npy"):
        return load_array(image, os.fspath(image))
    if isinstance(image, bytes) and image.startswith(b"\x93NUMPY"):
        return load_array(io.BytesIO(image), "The array")
    return None
