"""Decode and resize any image to a model's input, identically in training, calibration, evaluation and on the board.

The same file and `InputSpec` give the same pixels everywhere. The steps, in order: decode (a large JPEG at a half, a
quarter or an eighth of its size, but at least twice the target), drop the low byte of 16-bit grey, put transparency on
white, convert to grey (ITU-R 601 luma) or RGB, apply the EXIF orientation, resize with Pillow's bilinear filter,
antialiased when shrinking. The first frame of an animation is used. Colour profiles are ignored.

    >>> from edgepress.runtime.image import load_image
    >>> load_image("cat.jpg", InputSpec.image(96, 96, "rgb")).shape       # doctest: +SKIP
    (96, 96, 3)

Limits: a large JPEG already opened with Pillow is decoded at full size, so its pixels may differ by a few grey levels
from those of its path.
"""

from __future__ import annotations

import io
import os
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from edgepress.runtime.errors import InputError, MissingExtraError
from edgepress.runtime.input_spec import Color, InputSpec
from edgepress.runtime.resize import resize_rule

if TYPE_CHECKING:
    from PIL import Image

Pixels = npt.NDArray[np.uint8]

FORMATS = ("JPEG", "PNG", "BMP", "GIF", "WEBP")
"""Formats to decode, detected by content; Pillow's other decoders are disabled."""
IMAGE_SUFFIXES = frozenset({".jpg", ".jpeg", ".png", ".bmp", ".gif", ".webp"})
"""Lower-case suffixes of image files in a folder."""
_ORIENTATION = 0x0112
_TURNS = {2: "FLIP_LEFT_RIGHT", 3: "ROTATE_180", 4: "FLIP_TOP_BOTTOM", 5: "TRANSPOSE"}
_TURNS |= {6: "ROTATE_270", 7: "TRANSVERSE", 8: "ROTATE_90"}
"""The transposition that turns an image upright, by EXIF orientation (Exif 2.32, 4.6.4)."""
_GREY_MODES = ("1", "L", "LA", "La", "I", "I;16", "I;16B", "I;16L", "I;16N")


def load_image(image: str | os.PathLike[str] | bytes | Image.Image, spec: InputSpec) -> Pixels:
    """Decode an image (a path, the bytes of a file, or a Pillow image), and resize it to a model's input.

    Returns:
        Pixels 0-255, uint8, shape `spec.shape` (height, width, channels). May be read-only.

    Raises:
        InputError: The file is missing, truncated, not a JPEG, PNG, BMP, WebP or GIF, or larger than Pillow's limit
            against decompression bombs; or `spec` is not for images.
        MissingExtraError: Pillow is not installed.
    """
    _require_image(spec)
    pillow = _pillow()
    try:
        if isinstance(image, pillow.Image):
            return _pixels(image, spec)
        with _open(image) as opened:
            side = 2 * max(spec.shape[:2]) / resize_rule(spec.resize)[1]
            opened.draft(None, (round(side), round(side)))
            return _pixels(opened, spec)
    except Exception as e:  # on damaged files Pillow raises SyntaxError, struct.error and others
        raise _unreadable(image, e) from e


def resize_array(array: npt.NDArray[Any], spec: InputSpec) -> Pixels:
    """Resize pixels 0-255, uint8, shape (height, width), (height, width, 1) or (..., 3), like those of a file.

    Returns:
        Pixels 0-255, uint8, shape `spec.shape`. An array of this shape is returned as it is: it is taken for one that
        was prepared already, and "crop:F" does not crop it again.

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
    if array.shape == spec.shape:
        return array
    if array.ndim == 3 and array.shape[2] == 1:
        array = array[:, :, 0]
    return _pixels(_pillow().fromarray(array), spec)


def peek(path: str | os.PathLike[str] | bytes) -> tuple[int, int, Color]:
    """Read height, width (upright, in pixels) and colour of an image from its header; errors as above."""
    _pillow()
    try:
        with _open(path) as image:
            sideways = _orientation(image) >= 5
            height, width = image.size if sideways else image.size[::-1]
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


def _open(image: Any) -> Image.Image:
    opened: Image.Image = _pillow().open(io.BytesIO(image) if isinstance(image, bytes) else image, formats=FORMATS)
    return opened


def _pixels(image: Image.Image, spec: InputSpec) -> Pixels:
    """Apply the steps after opening."""
    turn = _TURNS.get(_orientation(image))  # read first, because the steps below drop the EXIF block
    image = _to_mode(image, "L" if spec.color == "grey" else "RGB")
    if turn is not None:
        image = image.transpose(_pillow().Transpose[turn])
    return np.asarray(_fit(image, spec)).reshape(spec.shape)


def _orientation(image: Image.Image) -> int:
    try:
        value = image.getexif().get(_ORIENTATION, 1)
    except Exception:  # a damaged EXIF block is ignored, as by image viewers
        return 1
    return value if isinstance(value, int) else 1


def _to_mode(image: Image.Image, mode: str) -> Image.Image:
    """Convert an image of any mode to "L" or "RGB"."""
    if image.mode.startswith("I"):
        deep = np.asarray(image)
        if deep.min() < 0 or deep.max() > 0xFFFF:
            raise ValueError(f"its grey values go from {deep.min()} to {deep.max()}; accepted: 0 to 65535")
        image = _pillow().fromarray((deep >> 8).astype(np.uint8))
    elif image.mode == "F":
        raise ValueError("its grey values are floating-point numbers, whose range is unknown")
    elif "transparency" in image.info or image.mode[-1] in "aA" or getattr(image.palette, "mode", "")[-1:] == "A":
        # `has_transparency_data` needs Pillow 10.1; Debian 12, the system of 32-bit boards, has 9.4.
        page = _pillow().new("RGBA", image.size, "white")
        image = _pillow().alpha_composite(page, image.convert("RGBA"))
    return image if image.mode == mode else image.convert(mode)


def _fit(image: Image.Image, spec: InputSpec) -> Image.Image:
    """Resize by the rule of the spec; sizes are (width, height)."""
    pillow = _pillow()
    size = (spec.shape[1], spec.shape[0])
    rule, share = resize_rule(spec.resize)
    if image.size == size and share == 1:
        return image
    if rule == "stretch":
        return image.resize(size, pillow.Resampling.BILINEAR)
    ratios = (image.width / size[0], image.height / size[1])
    if rule == "crop":
        # Limit to the image, because 31 / 15 * 15 rounds to more than 31.
        width, height = (min(share * min(ratios) * side, whole) for side, whole in zip(size, image.size, strict=True))
        left, top = (image.width - width) / 2, (image.height - height) / 2
        return image.resize(size, pillow.Resampling.BILINEAR, box=(left, top, left + width, top + height))
    width, height = (max(1, round(side / max(ratios))) for side in image.size)
    frame: Image.Image = pillow.new(image.mode, size)
    shown = image.resize((width, height), pillow.Resampling.BILINEAR)
    frame.paste(shown, ((size[0] - width) // 2, (size[1] - height) // 2))
    return frame


def _unreadable(image: object, error: Exception) -> InputError:
    """The error for an image that can't be read, with the reason."""
    from PIL import Image, UnidentifiedImageError

    what = f"The image of {len(image)} bytes" if isinstance(image, bytes) else f"The image {image}"
    hint = "Replace or remove it."
    if isinstance(error, FileNotFoundError):
        reason, hint = "does not exist", "Check the path."
    elif isinstance(error, UnidentifiedImageError):
        reason = "is not a JPEG, PNG, BMP, WebP or GIF file"
    elif isinstance(error, Image.DecompressionBombError):
        reason, hint = f"is too large: {error}", "Make it smaller."
    elif isinstance(error, OSError) and error.strerror:
        reason, hint = f"can't be read: {error.strerror}", "Check the path."
    elif not isinstance(image, (str, bytes, os.PathLike)) and not isinstance(image, Image.Image):
        what, reason = f"An image given as {type(image).__name__}", "can't be read"
        hint = "Give a path, the file's bytes, or a Pillow image."
    else:
        reason = f"can't be decoded: {error}"
    return InputError(f"{what} {reason}.", hint)
