"""An item as a picture: images as they are, sensors as lines over time, frames of sound and other tensors as shades."""

from __future__ import annotations

import base64
import io
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    from PIL.Image import Image

MAX_SIDE = 512
"""Longest side of a picture, pixels; larger images are made smaller."""
WIDTH = 480
"""Width of a drawing of a tensor, pixels."""
HEIGHT = 240
"""Its height, pixels."""
MARGIN = 8
"""Pixels around the lines of a drawing."""
MAX_CHANNELS = 8
"""Most lines in a drawing; tensors with more channels are drawn as shades."""
LINES = ("#3b5bdb", "#d9480f", "#0b7285", "#9c36b5", "#2b8a3e", "#5c3c10", "#c2255c", "#495057")
"""Colours of the lines, each with a contrast of at least 3:1 on white."""

Array = npt.NDArray[np.generic]


def draw_item(item: Array, *, sound: bool = False) -> bytes:
    """A PNG file of an item.

    Args:
        item: An image, uint8, shape (height, width, 1 or 3), or a tensor of any dtype and shape. A tensor of shape
            (steps,) or (steps, channels) with at most `MAX_CHANNELS` channels is drawn as lines, any other as shades.
            All lines share one scale. Values that are not finite are left out.
        sound: Whether it is frames of sound, shape (frames, channels) or (frames, channels, 1): drawn as a spectrogram,
            in which time goes from left to right, low frequencies are below, and loud is dark.
    """
    if item.dtype == np.uint8 and item.ndim == 3 and item.shape[2] in (1, 3):
        return _png(item)
    values = np.asarray(item, np.float64)
    while values.ndim > 1 and values.shape[-1] == 1:
        values = values[..., 0]
    finite = values[np.isfinite(values)]
    low, high = (float(np.min(finite)), float(np.max(finite))) if finite.size else (0.0, 1.0)
    shares = (values - low) / (high - low) if high > low else np.full(values.shape, 0.5)
    if shares.ndim == 1:
        shares = shares[:, np.newaxis]
    if sound:
        shares = 1 - shares.reshape(len(shares), -1).T[::-1]
    elif shares.ndim == 2 and shares.shape[1] <= MAX_CHANNELS and len(shares) > 1:
        return _draw_lines(shares)
    shades = 255 * np.nan_to_num(shares.reshape(len(shares), -1), nan=0.5, posinf=1.0, neginf=0.0)
    return _png(shades.astype(np.uint8)[..., np.newaxis], (WIDTH, HEIGHT), blend=sound)


def png_url(png: bytes) -> str:
    """A PNG file as a data URL."""
    return f"data:image/png;base64,{base64.b64encode(png).decode()}"


def _draw_lines(shares: npt.NDArray[np.float64]) -> bytes:
    """Lines of values between 0 and 1, shape (steps, channels)."""
    from PIL import Image, ImageDraw

    image = Image.new("RGB", (WIDTH, HEIGHT), "white")
    pen = ImageDraw.Draw(image)
    steps = np.linspace(MARGIN, WIDTH - 1 - MARGIN, len(shares))
    heights = HEIGHT - 1 - MARGIN - shares * (HEIGHT - 1 - 2 * MARGIN)
    for channel, color in zip(range(shares.shape[1]), LINES, strict=False):
        known = np.isfinite(heights[:, channel])
        pen.line([*zip(steps[known], heights[known, channel], strict=True)], fill=color, width=2)
    return _encode(image)


def _png(item: Array, size: tuple[int, int] | None = None, *, blend: bool = False) -> bytes:
    """An image, perhaps of another size, whose pixels are each one of the item's, or the mean of several."""
    from PIL import Image

    image = Image.fromarray(np.asarray(item[:, :, 0] if item.shape[2] == 1 else item))
    if size is not None:
        image = image.resize(size, Image.Resampling.BOX if blend else Image.Resampling.NEAREST)
    image.thumbnail((MAX_SIDE, MAX_SIDE))
    return _encode(image)


def _encode(image: Image) -> bytes:
    encoded = io.BytesIO()
    image.save(encoded, "PNG", compress_level=1)
    return encoded.getvalue()
