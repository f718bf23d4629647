"""Small JPEGs without Pillow, whose Python around libjpeg takes most of their time and holds the GIL.

`simplejpeg` calls libjpeg-turbo, as Pillow does, so the pixels are the same. The rule remains `load_image`, which the
board has: it decodes every file of which the same pixels, or the same error, are not certain.
"""

from __future__ import annotations

import functools
import re

import simplejpeg

from edgepress.runtime.filetypes import open_regular
from edgepress.runtime.image import Pixels, load_image
from edgepress.runtime.image_header import MOST_SCANS
from edgepress.runtime.input_spec import InputSpec
from edgepress.runtime.resize import resize_rule
from edgepress.toolkit.data.decoding import load_anywhere

MOST_PIXELS = 1 << 17
"""Pixels of an image from which Pillow takes hardly longer."""
MOST_BYTES = 2 * MOST_PIXELS
"""Size of such an image, bytes, at most: what is larger is a large image, or hardly one."""
MODES = {"Gray": "GRAY", "YCbCr": "RGB"}
"""What Pillow decodes to, by the color space of the file; others are left to it."""
_START = b"\xff\xd8\xff"
_SCAN = b"\xff\xda"
_JFIF = b"\xff\xe0\x00\x10JFIF\x00"
_OTHER = re.compile(rb"\xff[^\x00\xc0-\xc2\xc4\xd0-\xdb\xdd]")
"""A marker that no plain JPEG has: of metadata, which may turn an image or give it other colors, or of a rare coding.

Plain are stuffed zeros, baseline, extended and progressive frames, tables, restarts, scans and the end (ITU-T T.81)."""


def load_file(path: str, spec: InputSpec) -> Pixels:
    """Decode an image file to a model's input: pixels and errors as of `load_image`, but sooner for small JPEGs."""
    pixels = None
    if path.lower().endswith((".jpg", ".jpeg")):
        try:
            with open_regular(path) as file:
                image = file.read(MOST_BYTES + 1)
        except (OSError, ValueError):  # `load_image` says why
            image = b""
        pixels = _jpeg(image, spec)
    return load_anywhere(path, spec) if pixels is None else pixels


def load_bytes(image: bytes, spec: InputSpec) -> Pixels:
    """Decode the bytes of an image file to a model's input: pixels and errors as of `load_image`, but sooner."""
    pixels = _jpeg(image, spec)
    return load_anywhere(image, spec) if pixels is None else pixels


def _jpeg(image: bytes, spec: InputSpec) -> Pixels | None:
    """The pixels of a small plain JPEG; None if `load_image` must decode it.

    Left to it are also those that it decodes at a part of their size, and those with a fault, for its message.
    """
    if not image.startswith(_START) or len(image) > MOST_BYTES or not spec.is_image or not _same_library():
        return None
    if _OTHER.search(image, 20 if image.startswith(_JFIF, 2) else 2):
        return None
    if image.count(_SCAN) > MOST_SCANS:
        return None
    share = resize_rule(spec.resize)[1]
    try:
        height, width, space, _ = simplejpeg.decode_jpeg_header(image)
        mode = MODES.get(space)
        reduced = min(height, width) >= 2 * round(2 * max(spec.shape[:2]) / share)
        if mode is None or height * width > MOST_PIXELS or reduced:
            return None
        pixels: Pixels = simplejpeg.decode_jpeg(image, mode)
    except Exception:  # not only ValueError: the header of a 4:4:1 file raises KeyError
        return None
    if pixels.shape == spec.shape and share == 1:
        return pixels
    from PIL import Image

    return load_image(Image.fromarray(pixels[:, :, 0] if mode == "GRAY" else pixels), spec)


@functools.cache
def _same_library() -> bool:
    """Whether Pillow decodes with libjpeg-turbo, too; versions may differ."""
    from PIL import features

    return bool(features.check("libjpeg_turbo"))
