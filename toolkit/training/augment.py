"""Augment training items in the input pipeline, so that the exported graph contains none of it.

Random numbers are drawn for every item of an epoch in advance (`draw`), independent of the order of the items, so a
resumed run trains on the same images as an uninterrupted one. Uncovered areas are filled with the edge pixels.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from edgepress.runtime.input_spec import InputSpec
from edgepress.toolkit.errors import InputError, unknown

AUGMENTATIONS = {
    "auto": "affine for grey images, photo for colour images, none for tensors",
    "none": "items as they are",
    "affine": "rotation by up to 10 degrees, shift by up to 10 % of each side, zoom by up to 10 %",
    "photo": "affine, horizontal flip of half of the images, contrast by up to 15 %, brightness by up to 20 levels",
    "noise": "for tensors: Gaussian noise with a tenth of each feature's standard deviation",
}
_DRAWS = 8
"""Random numbers of an item, enough for every augmentation."""


def resolve(name: str, input: InputSpec) -> str:
    """Check an augmentation's name for this input, and resolve "auto".

    Raises:
        InputError: The name is unknown, or the augmentation does not apply to this kind of item.
    """
    if name not in AUGMENTATIONS:
        raise unknown("augmentation", name, AUGMENTATIONS)
    if name == "auto":
        return {"grey": "affine", "rgb": "photo", None: "none"}[input.color]
    if name != "none" and (name == "noise") == input.is_image:
        accepted = "auto, none, affine, photo" if input.is_image else "auto, none, noise"
        raise InputError(f"The augmentation {name} does not apply to these items; accepted: {accepted}.")
    return name


def draw(count: int, *, seed: int, epoch: int) -> npt.NDArray[np.float32]:
    """Draw the random numbers of an epoch: float32 in [0, 1), shape (count, 8), row i for item i."""
    return np.random.default_rng([seed, epoch]).random((count, _DRAWS), np.float32)


def augment(
    x: npt.NDArray[Any], draws: npt.NDArray[np.float32], *, name: str, scale: npt.NDArray[np.float32] | None = None
) -> npt.NDArray[Any]:
    """Augment a batch; the result has the same shape and dtype.

    Args:
        x: uint8 images, shape (n, height, width, 1 or 3); for "noise", float32 tensors, shape (n, ...).
        draws: The items' rows of `draw`, shape (n, 8).
        name: The result of `resolve`.
        scale: For "noise": per-feature standard deviation (last axis).
    """
    if name == "noise":
        seeds = (draws[:, 0] * 2**24).astype(np.int64)
        noise = np.stack([np.random.default_rng(s).standard_normal(x.shape[1:], np.float32) for s in seeds])
        noisy: npt.NDArray[np.float32] = x + 0.1 * noise * (1.0 if scale is None else scale)
        return noisy
    if name == "none":
        return x
    x = _affine(x, draws[:, :4], mirrored=(draws[:, 4] < 0.5) & (name == "photo"))
    return _light(x, draws[:, 5:7]) if name == "photo" else x


def _affine(
    x: npt.NDArray[np.uint8], draws: npt.NDArray[np.float32], *, mirrored: npt.NDArray[np.bool_]
) -> npt.NDArray[np.uint8]:
    """Rotate, shift and zoom every image about its centre, with bilinear interpolation."""
    from PIL import Image

    height, width = x.shape[1:3]
    turn, right, down, zoom = (2 * draws.astype(np.float64) - 1).T
    angle = np.radians(10) * turn
    zoom = 1 + 0.1 * zoom
    flip = np.where(mirrored, -1, 1)
    cos = np.cos(angle) / zoom
    sin = np.sin(angle) / zoom
    pad = max(height, width) // 3  # the farthest that a corner can move
    cx = width / 2
    cy = height / 2
    a = flip * cos
    b = -sin
    d = flip * sin
    e = cos
    c = pad + cx + 0.1 * width * right - a * cx - b * cy
    f = pad + cy + 0.1 * height * down - d * cx - e * cy
    rows = np.stack([a, b, c, d, e, f], axis=1)  # as Pillow names them
    grey = x.shape[3] == 1
    padded = np.pad(x, ((0, 0), (pad, pad), (pad, pad), (0, 0)), mode="edge")
    out = np.empty_like(x)
    for i, row in enumerate(rows.tolist()):
        image = Image.fromarray(padded[i, :, :, 0] if grey else padded[i])
        moved = image.transform((width, height), Image.Transform.AFFINE, row, Image.Resampling.BILINEAR)
        out[i] = np.asarray(moved).reshape(out.shape[1:])
    return out


def _light(x: npt.NDArray[np.uint8], draws: npt.NDArray[np.float32]) -> npt.NDArray[np.uint8]:
    """Change contrast (about middle grey) and brightness."""
    contrast, brightness = (2 * draws - 1).T[:, :, None, None, None]
    changed = (x.astype(np.float32) - 128) * (1 + 0.15 * contrast) + (128 + 20 * brightness)
    result: npt.NDArray[np.uint8] = np.clip(np.rint(changed), 0, 255).astype(np.uint8)
    return result
