"""Decode and resize any image to a model's input, identically in training, calibration, evaluation and on the board.

The same file and `InputSpec` give the same pixels everywhere. The steps, in order: decode (a large JPEG at a half, a
quarter or an eighth of its size, but at least twice the target), drop the low byte of 16-bit grey, put transparency on
white, convert to grey (ITU-R 601 luma) or RGB, apply the EXIF orientation, resize with Pillow's bilinear filter,
antialiased when shrinking. The first frame of an animation is used. Colour profiles are ignored.

    >>> from edgepress.runtime.image import load_image
    >>> load_image("cat.jpg", InputSpec.image(96, 96, "rgb")).shape       # doctest: +SKIP
    (96, 96, 3)

Limits: a large JPEG already opened with Pillow is decoded at full size, so its pixels may differ by a few grey levels
from those of its path. What a file claims is read before it is decoded (`image_header`), and what would take more
memory than `Memory.most` is refused.
"""

from __future__ import annotations

import importlib
import io
import os
from typing import TYPE_CHECKING, Any, BinaryIO

import numpy as np
import numpy.typing as npt

from edgepress.runtime.errors import EdgepressError, InputError, MissingExtraError
from edgepress.runtime.filetypes import open_regular
from edgepress.runtime.image_header import ImageHeader, check_sides, read_header
from edgepress.runtime.input_spec import Color, InputSpec
from edgepress.runtime.resize import resize_rule
from edgepress.runtime.upright import STRIP_BYTES, STRIP_PIXELS, converted, differs, upright_size

if TYPE_CHECKING:
    from collections.abc import Callable

    from PIL import Image

Pixels = npt.NDArray[np.uint8]

PLUGINS = {"JPEG": "Jpeg", "PNG": "Png", "BMP": "Bmp", "GIF": "Gif", "WEBP": "WebP"}
"""Formats to decode, detected by content, and the names of their modules; Pillow's other decoders are disabled."""
IMAGE_SUFFIXES = frozenset({".jpg", ".jpeg", ".png", ".bmp", ".gif", ".webp"})
"""Lower-case suffixes of image files in a folder."""
MOST_FILE_BYTES = 1 << 30
"""Bytes of a file at most: more than Pillow's limit on pixels, not compressed."""
_GREY_MODES = ("1", "L", "LA", "La", "I", "I;16", "I;16B", "I;16L", "I;16N")


class Memory:
    """A limit of this process.

    Attributes:
        most: Memory that decoding and resizing one image may take, bytes: a photo of 48 million pixels, as PNG.
    """

    most = 256 << 20


class ImageTooLargeError(InputError):
    """Decoding takes more memory than it may; `needed` bytes at most."""

    def __init__(self, message: str, hint: str, needed: int) -> None:
        super().__init__(message, hint)
        self.args = (message, hint, needed)  # so that the error survives pickling between processes
        self.needed = needed


class _TooLarge(Exception):  # noqa: N818 - `_unreadable` makes an error of it
    def __init__(self, needed: int, most: int) -> None:
        super().__init__(needed, most)
        self.needed = needed
        self.most = most


def load_image(
    image: str | os.PathLike[str] | bytes | Image.Image, spec: InputSpec, *, most_bytes: int | None = None
) -> Pixels:
    """Decode an image (a path, the bytes of a file, or a Pillow image), and resize it to a model's input.

    Args:
        image: What to decode.
        spec: The model's input.
        most_bytes: Memory that this may take; None: `Memory.most`.

    Returns:
        Pixels 0-255, uint8, shape `spec.shape` (height, width, channels). May be read-only.

    Raises:
        InputError: The file is missing, truncated, not a JPEG, PNG, BMP, WebP or GIF, has more pixels than Pillow's
            limit against decompression bombs, or is another kind of bomb; or `spec` is not for images.
        ImageTooLargeError: It takes more memory.
        MissingExtraError: Pillow is not installed.
    """
    _require_image(spec)
    pillow = _pillow()
    try:
        if isinstance(image, pillow.Image):
            check_sides(*image.size)
            _check_memory(image, 0, spec, most_bytes)
            image.load()
            return _pixels(image, spec)
        with _stream(image) as file:
            header, opened = _open(file, most_bytes)
            side = _least_side(spec)
            opened.draft(None, (round(side), round(side)))
            _check_memory(opened, header.held, spec, most_bytes)
            opened.load()
            _check_memory(opened, header.held, spec, most_bytes)  # transparency may follow the pixels of a PNG
            return _pixels(opened, spec)
    except Exception as e:  # on damaged files Pillow raises SyntaxError, struct.error and others
        raise _unreadable(image, e) from e


def load_part(
    image: str | os.PathLike[str] | bytes | Image.Image,
    box_in: Callable[[int, int], tuple[int, int, int, int]],
    spec: InputSpec,
) -> Image.Image:
    """Decode a part of an image, upright and in grey or RGB as it is itself, to be resized by `load_image`.

    Args:
        image: What to decode, as for `load_image`.
        box_in: The part of an image of a height and a width, as (x, y, width, height), pixels; it may raise.
        spec: The model's input: of a large JPEG whose part has many times its size, fewer pixels are decoded.

    Raises:
        EdgepressError: As by `load_image`, and what `box_in` raises.
    """
    pillow = _pillow()
    try:
        if isinstance(image, pillow.Image):
            check_sides(*image.size)
            return _part(image, 0, box_in, None)
        with _stream(image) as file:
            header, opened = _open(file)
            return _part(opened, header.held, box_in, _least_side(spec))
    except EdgepressError:
        raise
    except Exception as e:  # as above
        raise _unreadable(image, e) from e


def _part(
    image: Image.Image, held: int, box_in: Callable[[int, int], tuple[int, int, int, int]], least_side: float | None
) -> Image.Image:
    width, height = upright_size(image)
    left, top, wide, high = box_in(height, width)
    if least_side is not None:
        scale = least_side / min(wide, high)
        image.draft(None, (round(scale * image.width), round(scale * image.height)))
    x, y = (now / full for now, full in zip(upright_size(image), (width, height), strict=True))
    left, right, top, bottom = round(x * left), round(x * (left + wide)), round(y * top), round(y * (top + high))
    mode = "L" if image.mode in _GREY_MODES else "RGB"
    needed = held + (right - left) * (bottom - top) * (1 if mode == "L" else 4)
    _check_sum(needed + _decoded_size(image), None)
    image.load()
    _check_sum(needed + _decoded_size(image), None)  # as above
    return converted(image, mode, (left, top, right, bottom))


def _least_side(spec: InputSpec) -> float:
    """Pixels that the shorter side of what is resized must have, so that a JPEG decoded smaller looks the same."""
    return 2 * max(spec.shape[:2]) / resize_rule(spec.resize)[1]


def resize_array(array: npt.NDArray[Any], spec: InputSpec, *, prepared: bool = True) -> Pixels:
    """Resize pixels 0-255, uint8, shape (height, width), (height, width, 1) or (..., 3), like those of a file.

    Returns:
        Pixels 0-255, uint8, shape `spec.shape`. If `prepared`, an array of this shape is returned as it is: it is taken
        for one that was prepared already, and "crop:F" does not crop it again.

    Raises:
        InputError: The array is not such an image, or `spec` is not for images.
        MissingExtraError: Pillow is needed and not installed.
    """
    _require_image(spec)
    if array.dtype != np.uint8 or not array.size or (*array.shape, 1)[2:3] not in ((1,), (3,)) or array.ndim > 3:
        raise InputError(
            f"An array of {array.dtype} with shape {array.shape} is not an image.",
            "Give uint8 pixels 0-255 of shape (height, width), (height, width, 1) or (height, width, 3).",
        )
    if prepared and array.shape == spec.shape:
        return array
    try:
        check_sides(array.shape[1], array.shape[0])
    except ValueError as e:
        raise InputError(f"An array of shape {array.shape} is not an image: {e}.", "Make it smaller.") from e
    if array.ndim == 3 and array.shape[2] == 1:
        array = array[:, :, 0]
    return _pixels(_pillow().fromarray(array), spec)


def peek(path: str | os.PathLike[str] | bytes) -> tuple[int, int, Color]:
    """Read height, width (upright, in pixels) and colour of an image from its header; errors as above."""
    _pillow()
    try:
        with _stream(path) as file:
            image = _open(file)[1]
            width, height = upright_size(image)
            return height, width, "grey" if image.mode in _GREY_MODES else "rgb"
    except Exception as e:
        raise _unreadable(path, e) from e


def _pillow() -> Any:
    try:
        from PIL import Image
    except ImportError as e:
        raise MissingExtraError("Decoding an image", "pillow", "image") from e
    return Image


def _require_image(spec: InputSpec) -> None:
    if not spec.is_image:
        raise InputError(f"The model takes tensors of shape {spec.shape}, not images.")


def _stream(image: Any) -> BinaryIO:
    if isinstance(image, bytes):
        return io.BytesIO(image)
    if isinstance(image, (str, os.PathLike)):
        return open_regular(image, MOST_FILE_BYTES)
    raise TypeError(type(image).__name__)


def _open(file: BinaryIO, most: int | None = None) -> tuple[ImageHeader, Image.Image]:
    """What a file claims, and the image, not yet decoded, which is closed with the file."""
    pillow = _pillow()
    header = read_header(file)
    if header is None:
        raise pillow.UnidentifiedImageError
    importlib.import_module(f"PIL.{PLUGINS[header.format]}ImagePlugin")  # or Pillow would import all of them
    pixels = header.width * header.height
    bomb = pillow.MAX_IMAGE_PIXELS  # some decoders take memory at once
    if bomb is not None and pixels > 2 * bomb:
        raise pillow.DecompressionBombError(f"it has {pixels} pixels; accepted: {2 * bomb}")
    _check_sum(header.held, most)
    try:
        opened: Image.Image = pillow.open(file, formats=(header.format,))
    except pillow.UnidentifiedImageError as e:
        problem = f"it begins as a {header.format} file, but its header is damaged, or of a kind that is not decoded"
        raise ValueError(problem) from e
    check_sides(*opened.size)
    if header.exif:
        opened.info.setdefault("exif", header.exif)
    return header, opened


def _check_memory(opened: Image.Image, held: int, spec: InputSpec, most: int | None) -> None:
    """Raise _TooLarge if all that is in memory at the same time takes more than it may."""
    width, height = opened.size
    final = 1 if spec.color == "grey" else 4
    whole = width * height * final if differs(opened, "L" if spec.color == "grey" else "RGB") else 0
    _check_sum(held + _decoded_size(opened) + whole + max(width, height) * max(spec.shape[:2]) * final, most)


def _decoded_size(image: Image.Image) -> int:
    """Bytes that an image takes when it is decoded, with the copies of a strip."""
    pixels = image.width * image.height
    each = {"1": 1, "L": 1, "P": 1}.get(image.mode, 2 if image.mode.startswith("I;16") else 4)
    return pixels * each + (STRIP_BYTES if pixels > STRIP_PIXELS else 24 * pixels)


def _check_sum(needed: int, most: int | None) -> None:
    most = Memory.most if most is None else most
    if needed > most:
        raise _TooLarge(needed, most)


def _pixels(image: Image.Image, spec: InputSpec) -> Pixels:
    """Apply the steps after decoding."""
    mode = "L" if spec.color == "grey" else "RGB"
    if differs(image, mode):
        image = converted(image, mode)
    box, size = _visible_part(image.size, spec)
    return _on_black(image.resize(size, _pillow().Resampling.BILINEAR, box=box), spec)


def _visible_part(whole: tuple[int, int], spec: InputSpec) -> tuple[tuple[float, float, float, float], tuple[int, int]]:
    """The part of an image that the rule of the spec shows, (left, top, right, bottom), and its size."""
    size = (spec.shape[1], spec.shape[0])
    rule, share = resize_rule(spec.resize)
    ratios = (whole[0] / size[0], whole[1] / size[1])
    if rule == "crop" and (whole != size or share != 1):
        # Limit to the image, because 31 / 15 * 15 rounds to more than 31.
        width, height = (min(share * min(ratios) * side, length) for side, length in zip(size, whole, strict=True))
        left = (whole[0] - width) / 2
        top = (whole[1] - height) / 2
        return (left, top, left + width, top + height), size
    if rule == "pad":
        size = (max(1, round(whole[0] / max(ratios))), max(1, round(whole[1] / max(ratios))))
    return (0, 0, *whole), size


def _on_black(image: Image.Image, spec: InputSpec) -> Pixels:
    """The pixels of an image, on black if it is smaller than the spec says."""
    height, width = spec.shape[:2]
    if image.size != (width, height):
        frame = _pillow().new(image.mode, (width, height))
        frame.paste(image, ((width - image.width) // 2, (height - image.height) // 2))
        image = frame
    return np.asarray(image).reshape(spec.shape)


def _unreadable(image: object, error: Exception) -> InputError:
    """The error for an image that can't be read, with the reason."""
    from PIL import Image, UnidentifiedImageError

    subject = f"The image of {len(image)} bytes" if isinstance(image, bytes) else f"The image {image}"
    if isinstance(image, Image.Image):
        subject = "The image"
    hint = "Replace or remove it."
    if isinstance(error, _TooLarge):
        reason = f"takes up to {error.needed / 1e6:.0f} MB to decode; accepted: {error.most / 1e6:.0f} MB"
        hint = "Make it smaller, or save it as a JPEG that is not progressive."
        return ImageTooLargeError(f"{subject} {reason}.", hint, error.needed)
    if isinstance(error, FileNotFoundError):
        reason = "does not exist"
        hint = "Check the path."
    elif isinstance(error, UnidentifiedImageError):
        reason = "is not a JPEG, PNG, BMP, WebP or GIF file"
    elif isinstance(error, Image.DecompressionBombError):
        reason = f"is too large: {error}"
        hint = "Make it smaller."
    elif isinstance(error, OSError) and error.strerror:
        reason = f"can't be read: {error.strerror}"
        hint = "Check the path."
    elif not isinstance(image, (str, bytes, os.PathLike)) and not isinstance(image, Image.Image):
        subject = f"An image given as {type(image).__name__}"
        reason = "can't be read"
        hint = "Give a path, the file's bytes, or a Pillow image."
    else:
        reason = f"can't be decoded: {error}"
    return InputError(f"{subject} {reason}.", hint)
