"""Small JPEGs without Pillow, whose Python around libjpeg takes most of their time and holds the GIL.

`simplejpeg` calls the same library, so the pixels are the same; `load_image`, which the board has, remains the rule.
"""

from __future__ import annotations

import simplejpeg

from edgepress.runtime.image import Pixels, load_image
from edgepress.runtime.input_spec import InputSpec
from edgepress.runtime.resize import resize_rule

START = b"\xff\xd8\xff"
"""First bytes of a JPEG."""
MOST_PIXELS = 1 << 17
"""Pixels of an image from which Pillow takes hardly longer."""
MOST_BYTES = 2 * MOST_PIXELS
"""Size of such an image, bytes, at most: what is larger is a large image, or hardly one."""
MODES = {"Gray": "GRAY", "YCbCr": "RGB"}
"""What Pillow decodes to, by the color space of the file; others are left to it."""


def load_file(path: str, spec: InputSpec) -> Pixels:
    """Decode an image file to a model's input: pixels and errors as of `load_image`, but sooner for small JPEGs."""
    pixels = None
    if path.lower().endswith((".jpg", ".jpeg")):
        try:
            with open(path, "rb") as file:
                image = file.read(MOST_BYTES + 1)
        except OSError:  # `load_image` says why
            image = b""
        pixels = _jpeg(image, spec)
    return load_image(path, spec) if pixels is None else pixels


def load_bytes(image: bytes, spec: InputSpec) -> Pixels:
    """Decode the bytes of an image file to a model's input: pixels and errors as of `load_image`, but sooner."""
    pixels = _jpeg(image, spec)
    return load_image(image, spec) if pixels is None else pixels


def _jpeg(image: bytes, spec: InputSpec) -> Pixels | None:
    """The pixels of a small JPEG; None if `load_image` must decode it.

    That is one with metadata, which may turn it; one that it decodes at a part of its size; and one with a fault, for
    its message.
    """
    if not image.startswith(START) or len(image) > MOST_BYTES or not spec.is_image:
        return None
    if b"Exif" in image or b"Orientation" in image:
        return None
    share = resize_rule(spec.resize)[1]
    try:
        height, width, space, _ = simplejpeg.decode_jpeg_header(image)
        mode = MODES.get(space)
        if mode is None or height * width > MOST_PIXELS or min(height, width) >= 2 * max(spec.shape[:2]) / share:
            return None
        pixels: Pixels = simplejpeg.decode_jpeg(image, mode)
    except ValueError:
        return None
    if pixels.shape == spec.shape and share == 1:
        return pixels
    from PIL import Image

    return load_image(Image.fromarray(pixels[:, :, 0] if mode == "GRAY" else pixels), spec)
