"""Bring a decoded image upright and to grey or RGB, a strip of rows at a time; the steps are those of `image`."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import numpy as np

from edgepress.runtime.exif import orientation

if TYPE_CHECKING:
    from PIL import Image

STRIP_PIXELS = 1 << 19
"""Pixels of a strip of rows, to which the steps after decoding are applied at a time."""
STRIP_BYTES = 24 * STRIP_PIXELS
"""Memory of the copies of a strip: up to six of four bytes a pixel."""
_TURNS = {2: "FLIP_LEFT_RIGHT", 3: "ROTATE_180", 4: "FLIP_TOP_BOTTOM", 5: "TRANSPOSE"}
_TURNS |= {6: "ROTATE_270", 7: "TRANSVERSE", 8: "ROTATE_90"}
"""The transposition that turns an image upright, by EXIF orientation (Exif 2.32, 4.6.4)."""
SIDEWAYS = (5, 6, 7, 8)
_BACKWARDS = (3, 4, 7, 8)
"""Orientations whose upright rows are stored as columns, and those whose first one is stored last."""


def differs(image: Image.Image, mode: str) -> bool:
    """Whether an image has to be converted or turned, and not only resized."""
    return image.mode != mode or "transparency" in image.info or orientation_of(image) in _TURNS


def converted(image: Image.Image, mode: str) -> Image.Image:
    """An image upright and in "L" or "RGB", made by strips, because there are several copies of each."""
    upward = orientation_of(image)
    width, height = image.size if upward not in SIDEWAYS else image.size[::-1]
    rows = max(1, STRIP_PIXELS // width)
    if rows >= height:
        return _upright(image, upward, mode)
    from PIL import Image

    whole = Image.new(mode, (width, height))
    for top in range(0, height, rows):
        strip = _strip(image, upward, top, min(height, top + rows))
        whole.paste(_upright(strip, upward, mode), (0, top))
    return whole


def _strip(image: Image.Image, upward: int, top: int, bottom: int) -> Image.Image:
    """Some upright rows of an image, as they are stored."""
    length = image.size[upward not in SIDEWAYS]
    if upward in _BACKWARDS:
        top, bottom = length - bottom, length - top
    return image.crop((top, 0, bottom, image.height) if upward in SIDEWAYS else (0, top, image.width, bottom))


def _upright(image: Image.Image, upward: int, mode: str) -> Image.Image:
    from PIL import Image

    image = _to_mode(image, mode)
    return image.transpose(Image.Transpose[_TURNS[upward]]) if upward in _TURNS else image


def orientation_of(image: Image.Image) -> int:
    """The orientation in EXIF, else in XMP, else 1; Pillow reads all other entries, too, however large they are."""
    exif, raw = image.info.get("exif"), image.info.get("Raw profile type exif")
    xmp = image.info.get("XML:com.adobe.xmp") or image.info.get("xmp") or b""
    try:
        if exif is None and raw is not None:
            exif = bytes.fromhex("".join(raw.split("\n")[3:]))
        if (value := orientation(exif or b"")) is not None:
            return value
    except Exception:  # a damaged EXIF block is ignored, as by image viewers
        return 1
    found = re.search(rb'tiff:Orientation(?:="|>)([0-9])', xmp.encode() if isinstance(xmp, str) else xmp)
    return int(found[1]) if found else 1


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
