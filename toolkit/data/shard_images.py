"""Images as bytes, of any format that a tar shard may hold."""

from __future__ import annotations

import io
from typing import Any

from edgepress.runtime.image import Pixels, load_image, peek
from edgepress.runtime.input_spec import InputSpec
from edgepress.toolkit.data.jpeg import load_bytes
from edgepress.toolkit.errors import InputError

MOST_SLOW_PIXELS = 1 << 20
"""Pixels of a Netpbm image that Pillow decodes in Python, about two seconds: text, or other values than bytes."""
PNM_SUFFIXES = frozenset({".ppm", ".pgm", ".pbm", ".pnm"})
"""Lower-case suffixes of Netpbm images, which are common in shards because they need no decoder."""


def image_bytes_loaded(image: bytes, spec: InputSpec) -> Pixels:
    """Decode the bytes of an image of any format that a shard may hold; see `load_image`.

    Raises:
        InputError: They can't be decoded.
    """
    if image[:1] != b"P":
        return load_bytes(image, spec)
    return load_image(_netpbm(image), spec)


def image_size(image: bytes) -> tuple[int, int, bool]:
    """Height and width, upright, and whether an image is grey.

    Raises:
        InputError: It can't be read.
    """
    if image[:1] == b"P":
        opened = _netpbm(image)
        return opened.height, opened.width, opened.mode in ("1", "L", "I")
    height, width, color = peek(image)
    return height, width, color == "grey"


def _netpbm(image: bytes) -> Any:
    from PIL import Image

    try:
        opened = Image.open(io.BytesIO(image), formats=("PPM",))
        pixels = opened.width * opened.height
        if pixels > MOST_SLOW_PIXELS and any(tile[0] != "raw" for tile in opened.tile):
            raise ValueError(f"it has {pixels} pixels that are not plain bytes; accepted: up to {MOST_SLOW_PIXELS}")
        return opened
    except Exception as e:  # as `load_image`, whose formats are those that a board decodes
        raise InputError(f"The image of {len(image)} bytes can't be decoded: {e}.", "Replace or remove it.") from e
