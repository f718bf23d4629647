"""Child process: decode a picture, which anybody may have made, for each kind of input that the files take."""

from __future__ import annotations

from typing import NamedTuple

from edgepress.converters.worker import Emit
from edgepress.runtime.image import load_image
from edgepress.runtime.input_spec import InputSpec

MAX_PIXELS = 50_000_000
"""Pillow's limit; an image with more than twice as many pixels is refused before it is decoded."""


class Picture(NamedTuple):
    """The bytes of an image file, and the inputs to prepare it for."""

    content: bytes
    specs: tuple[InputSpec, ...]


def decode(picture: Picture, emit: Emit) -> None:
    """Emit the pixels for each input, uint8, shape `InputSpec.shape`, in their order.

    Raises:
        InputError: It is no image, damaged or too large.
    """
    from PIL import Image

    Image.MAX_IMAGE_PIXELS = MAX_PIXELS
    emit([load_image(picture.content, spec) for spec in picture.specs])
