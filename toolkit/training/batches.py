"""Batches of a split, read in threads a few ahead, and augmented outside the exported graph.

Augment training items in the input pipeline, so that the exported graph contains none of it.

Random numbers are drawn for every item of an epoch in advance (`draw`), independent of the order of the items, so a
resumed run trains on the same images as an uninterrupted one. Uncovered areas are filled with the edge pixels.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import count, islice
from typing import Any

import numpy as np
import numpy.typing as npt

from edgepress.runtime.input_spec import InputSpec
from edgepress.toolkit.data.decoding import in_threads
from edgepress.toolkit.data.items import SMALL
from edgepress.toolkit.data.readers.sound import SoundSource
from edgepress.toolkit.data.types import Split
from edgepress.toolkit.errors import InputError, unknown

AUGMENTATIONS = {
    "auto": "affine for grey images, mix for recordings, none for other tensors; for colour images photo, or crops for "
    "a pre-trained net whose images are 64 pixels high and wide or more",
    "none": "items as they are",
    "affine": "rotation by up to 10 degrees, shift by up to 10 % of each side, zoom by up to 10 %",
    "photo": "affine, horizontal flip of half of the images, contrast by up to 15 %, brightness by up to 20 levels",
    "crops": "crops of half the area or more, horizontal flip of half of the images, other light and colors",
    "noise": "for tensors: Gaussian noise with a tenth of each feature's standard deviation",
    "mix": "for recordings: speed by up to 10 %, shift, level, noise of the class background or pink noise; then masks",
    "masks": "for windows (steps, channels): shift by up to 10 % of the time; some channels and steps become 0",
}
MIX = "mix"
"""The augmentation of recordings."""
OF_TENSORS = ("noise", "masks", MIX)
FLIPPING = ("photo", "crops")
"""Augmentations that mirror images from left to right."""
_DRAWS = 8
"""Random numbers of an item, enough for every augmentation but crops."""
_MORE_DRAWS = 3
"""Further ones for crops, drawn apart, so that the others are those of earlier versions."""
LEAST_AREA = 0.5
"""Area of a crop as a share of the image, at least."""
STRETCH = 0.22
"""Logarithm of the factor by which a crop is higher, and narrower, at most."""
CHANGE = 0.2
"""How much contrast, brightness and saturation of a crop change at most, as a share."""
MASKED = (0.2, 0.2, 0.15)
"""Share of a window that a mask covers at most: two of channels and one of steps (SpecAugment, Park et al. 2019,
arXiv:1904.08779)."""
SHIFT = 0.1
"""Share of a window by which it is shifted in time at most."""
TINT = 0.05
"""How much each channel of a crop changes at most, as a share."""


def resolve(name: str, input: InputSpec, *, pretrained: bool = False, sound: bool = False, mixes: bool = True) -> str:
    """Check an augmentation's name for this input, and resolve "auto".

    Args:
        name: A name in `AUGMENTATIONS`.
        input: The items.
        pretrained: Whether the net begins with weights of other data.
        sound: Whether the items are windows of sound.
        mixes: Whether their recordings can be read again.

    Raises:
        InputError: The name is unknown, or the augmentation does not apply to this kind of item.
    """
    if name not in AUGMENTATIONS:
        raise unknown("augmentation", name, AUGMENTATIONS)
    if name == "auto":
        tensors = ("mix" if mixes else "masks") if sound else "none"
        crops = pretrained and input.is_image and min(input.shape[:2]) >= SMALL  # parts of small images show little
        return {"grey": "affine", "rgb": "crops" if crops else "photo", None: tensors}[input.color]
    wrong = name != "none" and (name in OF_TENSORS) == input.is_image
    if wrong or (name in ("masks", "mix") and len(input.shape) != 2) or (name == "mix" and not (sound and mixes)):
        tensors = "auto, none, noise; masks for windows, mix for recordings"
        accepted = "auto, none, affine, photo, crops" if input.is_image else tensors
        raise InputError(f"The augmentation {name} does not apply to these items; accepted: {accepted}.")
    return name


def can_mix(split: Split) -> bool:
    """Whether the items of a split are windows of recordings that can be read again."""
    return isinstance(split.source, SoundSource)


def draw(count: int, *, seed: int, epoch: int) -> npt.NDArray[np.float32]:
    """Draw the random numbers of an epoch: float32 in [0, 1), shape (count, 11), row i for item i."""
    parts = [
        np.random.default_rng(source).random((count, columns), np.float32)
        for source, columns in (([seed, epoch], _DRAWS), ([seed, epoch, 2], _MORE_DRAWS))
    ]
    return np.concatenate(parts, axis=1)


def read_augmented(
    split: Split,
    rows: npt.NDArray[np.int64],
    draws: npt.NDArray[np.float32],
    *,
    name: str,
    scale: npt.NDArray[np.float32] | None = None,
) -> npt.NDArray[Any]:
    """Read items of a split and augment them; see `augment`."""
    if name != "mix":
        return augment(split.read(rows), draws, name=name, scale=scale)
    source = split.source
    assert isinstance(source, SoundSource), "resolve accepts it for recordings alone"
    x = source.mix(split.indices[rows], draws[:, -1], source.noises(split.indices))
    return augment(x, draws, name=name)


def augment(
    x: npt.NDArray[Any], draws: npt.NDArray[np.float32], *, name: str, scale: npt.NDArray[np.float32] | None = None
) -> npt.NDArray[Any]:
    """Augment a batch; the result has the same shape and dtype.

    Args:
        x: uint8 images, shape (n, height, width, 1 or 3); for "noise", float32 tensors, shape (n, ...), for "masks"
            (n, steps, channels).
        draws: The items' rows of `draw`, shape (n, 11).
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
    if name in ("masks", "mix"):
        return _masked(x, draws, shift=0.0 if name == "mix" else SHIFT)
    if name == "crops":
        return _tinted(_cropped(x, draws), draws)
    x = _affine(x, draws[:, :4], mirrored=(draws[:, 4] < 0.5) & (name == "photo"))
    return _light(x, draws[:, 5:7]) if name == "photo" else x


def _masked(x: npt.NDArray[np.float32], draws: npt.NDArray[np.float32], *, shift: float) -> npt.NDArray[np.float32]:
    """Shift every window in time, its ends repeated, and set two bands of channels and one of steps to 0."""
    steps = np.arange(x.shape[1])
    by = np.rint(shift * x.shape[1] * (2 * draws[:, 0] - 1)).astype(np.int64)
    rows = np.clip(steps + by[:, None], 0, x.shape[1] - 1)
    out = np.take_along_axis(x, rows[:, :, None], axis=1)
    for place, (axis, share) in enumerate(zip((2, 2, 1), MASKED, strict=True)):
        length, begin = draws[:, 1 + 2 * place : 3 + 2 * place].T[:, :, None]
        size = x.shape[axis]
        width = share * size * length
        start = begin * (size - width)
        at = np.arange(size)
        covered = (at >= start) & (at + 1 <= start + width)
        out[np.broadcast_to(np.expand_dims(covered, 3 - axis), out.shape)] = 0
    return out


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


def _cropped(x: npt.NDArray[np.uint8], draws: npt.NDArray[np.float32]) -> npt.NDArray[np.uint8]:
    """A random part of every image, in its size, mirrored or not (Szegedy et al. 2014, arXiv:1409.4842)."""
    from PIL import Image

    area, stretch, right, down, mirror = draws[:, :5].astype(np.float64).T
    side = np.sqrt(LEAST_AREA + (1 - LEAST_AREA) * area)
    factor = np.exp(STRETCH * (2 * stretch - 1))
    height, width = x.shape[1:3]
    rows = height * np.minimum(side * factor, 1)
    columns = width * np.minimum(side / factor, 1)
    top = (height - rows) * down
    left = (width - columns) * right
    boxes = np.stack([left, top, left + columns, top + rows], axis=1)
    grey = x.shape[3] == 1
    out = np.empty_like(x)
    for i, (x0, y0, x1, y1) in enumerate(boxes.tolist()):
        image = Image.fromarray(x[i, :, :, 0] if grey else x[i])
        box = (x0, y0, min(x1, width), min(y1, height))  # Pillow refuses what rounding moves beyond the edge
        part = image.resize((width, height), Image.Resampling.BILINEAR, box)
        out[i] = np.asarray(part).reshape(out.shape[1:])
    out[mirror < 0.5] = out[mirror < 0.5, :, ::-1]
    return out


def _tinted(x: npt.NDArray[np.uint8], draws: npt.NDArray[np.float32]) -> npt.NDArray[np.uint8]:
    """Change contrast and brightness about the mean of each channel, saturation, and each channel a little."""
    contrast, brightness, saturation = (1 + CHANGE * (2 * draws[:, 5:8] - 1)).T[:, :, None, None, None]
    channels = (1 + TINT * (2 * draws[:, 8:11] - 1))[:, None, None, : x.shape[3]]
    pixels = x.astype(np.float32)
    mean = pixels.mean(axis=(1, 2), keepdims=True)
    pixels = (pixels - mean) * contrast + mean * brightness
    light = pixels.mean(axis=3, keepdims=True)
    pixels = ((pixels - light) * saturation + light) * channels
    result: npt.NDArray[np.uint8] = np.clip(np.rint(pixels), 0, 255).astype(np.uint8)
    return result


def _light(x: npt.NDArray[np.uint8], draws: npt.NDArray[np.float32]) -> npt.NDArray[np.uint8]:
    """Change contrast (about middle grey) and brightness."""
    contrast, brightness = (2 * draws - 1).T[:, :, None, None, None]
    changed = (x.astype(np.float32) - 128) * (1 + 0.15 * contrast) + (128 + 20 * brightness)
    result: npt.NDArray[np.uint8] = np.clip(np.rint(changed), 0, 255).astype(np.uint8)
    return result


Batch = tuple[npt.NDArray[np.float32], npt.NDArray[Any]]
Targets = Callable[[npt.NDArray[Any], npt.NDArray[np.int64], npt.NDArray[np.float32]], npt.NDArray[Any]]
"""What to learn from a batch: called with its augmented items, their rows in the split and their draws."""
WORKERS = 4
"""Maximum number of threads that read batches."""


def training_batches(
    split: Split,
    *,
    batch_size: int,
    augmentation: str,
    seed: int,
    epoch: int,
    deviation: npt.NDArray[np.float32] | None = None,
    targets: Targets | None = None,
) -> Iterator[Batch]:
    """The batches of one epoch, shuffled and augmented; both depend only on seed, epoch and item.

    Batch sizes differ by at most one item: a last batch of an item or two would disturb batch normalization.

    Args:
        split: The items.
        batch_size: Maximum size of a batch.
        augmentation: The result of `augment.resolve`.
        seed: Seed of the run.
        epoch: Number of the epoch, from 0.
        deviation: Per-feature standard deviation (last axis), for "noise".
        targets: What the items' labels are replaced by; called in the threads that read the batches.
    """
    order = np.random.default_rng([seed, epoch, 1]).permutation(len(split))
    draws = draw(len(split), seed=seed, epoch=epoch)

    def prepare(rows: npt.NDArray[np.int64]) -> Batch:
        x = read_augmented(split, rows, draws[rows], name=augmentation, scale=deviation)
        y = split.y[rows] if targets is None else targets(x, rows, draws[rows])
        return x.astype(np.float32), y

    return in_threads(prepare, np.array_split(order, steps(len(split), batch_size)), most=WORKERS)


def endless(split: Split, *, batch_size: int, augmentation: str, seed: int, done: int = 0) -> Iterator[Batch]:
    """The batches of all epochs from a step on, without an end; they depend only on the seed and the step.

    Args:
        split: The items.
        batch_size: Maximum size of a batch.
        augmentation: The result of `augment.resolve`.
        seed: Seed of the run.
        done: Number of the first step.
    """
    each = steps(len(split), batch_size)
    deviation = np.sqrt(moments(split)[1]) if augmentation == "noise" else None
    for epoch in count(done // each):
        batches = training_batches(
            split, batch_size=batch_size, augmentation=augmentation, seed=seed, epoch=epoch, deviation=deviation
        )
        yield from islice(batches, max(done - epoch * each, 0), None)


def steps(items: int, batch_size: int) -> int:
    """Number of batches in an epoch."""
    return -(-items // batch_size)


def balanced_weights(y: npt.NDArray[np.int64], classes: int) -> npt.NDArray[np.float32]:
    """Class weights, shape (classes,), that give every class the same total weight, for labels of shape (N,)."""
    counts = np.bincount(y, minlength=classes)
    return (len(y) / (classes * np.maximum(counts, 1))).astype(np.float32)


def predict_scores(model: Any, split: Split, *, batch_size: int = 64) -> npt.NDArray[np.float32]:
    """A Keras model's outputs for all items of a split, in order: float32, shape (len(split), classes)."""

    def read(rows: slice) -> npt.NDArray[np.float32]:
        return split.read(rows).astype(np.float32)

    rows = [slice(start, start + batch_size) for start in range(0, len(split), batch_size)]
    batches = in_threads(read, rows, most=WORKERS)
    return np.concatenate([np.asarray(model.predict_on_batch(x), np.float32) for x in batches])


def moments(split: Split, *, batch_size: int = 256) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]]:
    """Per-feature mean and variance of float32 tensors, in one pass in float64: two arrays of shape (last axis,)."""
    items = 0
    mean = np.zeros(())
    square = np.zeros(())
    for x, _ in split.batches(batch_size):
        flat = x.reshape(-1, x.shape[-1]).astype(np.float64)
        total = items + len(flat)
        delta = flat.mean(axis=0) - mean
        square = square + ((flat - flat.mean(axis=0)) ** 2).sum(axis=0) + delta**2 * items * len(flat) / total
        mean = mean + delta * len(flat) / total
        items = total
    with np.errstate(over="ignore"):  # the caller checks for infinity
        return mean.astype(np.float32), (square / items).astype(np.float32)
