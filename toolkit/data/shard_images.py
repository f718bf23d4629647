"""Images as bytes, of any format that a tar shard may hold."""

from __future__ import annotations

import io
from typing import Any

from edgepress.runtime.image import Pixels, load_image, peek
from edgepress.runtime.input_spec import InputSpec
from edgepress.toolkit.data.jpeg import load_bytes
from edgepress.toolkit.errors import InputError

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
        return Image.open(io.BytesIO(image), formats=("PPM",))
    except Exception as e:  # as `load_image`, whose formats are those that a board decodes
        raise InputError(f"The image of {len(image)} bytes can't be decoded: {e}.", "Replace or remove it.") from e
