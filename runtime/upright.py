"""Bring a decoded image upright and to grey or RGB, a strip of rows at a time; the steps are those of `image`."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import numpy as np

from edgepress.runtime.exif import orientation

if TYPE_CHECKING:
    from PIL import Image

    Box = tuple[int, int, int, int]

STRIP_PIXELS = 1 << 19
"""Pixels of a strip of rows, to which the steps after decoding are applied at a time."""
STRIP_BYTES = 24 * STRIP_PIXELS
"""Memory of the copies of a strip: up to six of four bytes a pixel."""
_TURNS = {2: "FLIP_LEFT_RIGHT", 3: "ROTATE_180", 4: "FLIP_TOP_BOTTOM", 5: "TRANSPOSE"}
_TURNS |= {6: "ROTATE_270", 7: "TRANSVERSE", 8: "ROTATE_90"}
"""The transposition that turns an image upright, by EXIF orientation (Exif 2.32, 4.6.4)."""
SIDEWAYS = (5, 6, 7, 8)
_MIRRORED = (2, 3, 7, 8)
_UPSIDE_DOWN = (3, 4, 6, 7)
"""Orientations whose upright rows are stored as columns; and those where x, and where y, of what is stored goes back.
"""


def differs(image: Image.Image, mode: str) -> bool:
    """Whether an image has to be converted or turned, and not only resized."""
    return image.mode != mode or "transparency" in image.info or orientation_of(image) in _TURNS


def upright_size(image: Image.Image) -> tuple[int, int]:
    """Width and height of an image when it is upright."""
    width, height = image.size
    return (height, width) if orientation_of(image) in SIDEWAYS else (width, height)


def converted(image: Image.Image, mode: str, box: Box | None = None) -> Image.Image:
    """An image upright and in "L" or "RGB", made by strips, because there are several copies of each.

    `box` is the part that is wanted of the upright image, (left, top, right, bottom); None: all of it.
    """
    upward = orientation_of(image)
    left, top, right, bottom = box or (0, 0, *upright_size(image))
    rows = max(1, STRIP_PIXELS // (right - left))
    if rows >= bottom - top:
        return _upright(image if box is None else _store_part(image, upward, box), upward, mode)
    from PIL import Image

    whole = Image.new(mode, (right - left, bottom - top))
    for row in range(top, bottom, rows):
        strip = _store_part(image, upward, (left, row, right, min(bottom, row + rows)))
        whole.paste(_upright(strip, upward, mode), (0, row - top))
    return whole


def _store_part(image: Image.Image, upward: int, box: Box) -> Image.Image:
    """A part of the upright image, as it is stored."""
    left, top, right, bottom = box
    if upward in SIDEWAYS:
        left, top, right, bottom = top, left, bottom, right
    if upward in _MIRRORED:
        left, right = image.width - right, image.width - left
    if upward in _UPSIDE_DOWN:
        top, bottom = image.height - bottom, image.height - top
    return image.crop((left, top, right, bottom))


def _upright(image: Image.Image, upward: int, mode: str) -> Image.Image:
    from PIL import Image

    image = _to_mode(image, mode)
    return image.transpose(Image.Transpose[_TURNS[upward]]) if upward in _TURNS else image


def orientation_of(image: Image.Image) -> int:
    """The orientation in EXIF, else in XMP, else 1; Pillow reads all other entries, too, however large they are."""
    exif = image.info.get("exif")
    raw = image.info.get("Raw profile type exif")
    xmp = image.info.get("XML:com.adobe.xmp") or image.info.get("xmp") or b""
    try:
        if exif is None and raw is not None:
            exif = bytes.fromhex("".join(raw.split("\n")[3:]))
        if (value := orientation(exif or b"")) is not None:
            return value
    except Exception:  # a damaged EXIF block is ignored, as by image viewers
        return 1
    match = re.search(rb'tiff:Orientation(?:="|>)([0-9])', xmp.encode() if isinstance(xmp, str) else xmp)
    return int(match[1]) if match else 1


def _to_mode(image: Image.Image, mode: str) -> Image.Image:
    """Convert an image of any mode to "L" or "RGB"."""
    from PIL import Image

    if image.mode.startswith("I"):
        deep = np.asarray(image)
        if deep.min() < 0 or deep.max() > 0xFFFF:
            raise ValueError(f"its grey values go from {deep.min()} to {deep.max()}; accepted: 0 to 65535")
        image = Image.fromarray((deep >> 8).astype(np.uint8))
    elif image.mode == "F":
        raise ValueError("its grey values are floating-point numbers, whose range is unknown")
    elif "transparency" in image.info or image.mode[-1] in "aA" or getattr(image.palette, "mode", "")[-1:] == "A":
        # `has_transparency_data` needs Pillow 10.1; Debian 12, the system of 32-bit boards, has 9.4.
        page = Image.new("RGBA", image.size, "white")
        image = Image.alpha_composite(page, image.convert("RGBA"))
    return image if image.mode == mode else image.convert(mode)
