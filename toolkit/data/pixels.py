"""Tell tensors that are probably images: they train as well, but no image file can be classified then."""

from __future__ import annotations

import numpy as np

from edgepress.toolkit.data.types import DataSet

LEAST_SIDE = 8
"""Height and width of an image at least, in pixels."""
LOOKED_AT = 64
"""Items that are looked at."""
NEAR = 0.1
"""How far a pixel may be from a whole number: half precision has eleven bits."""


def pixel_notes(data: DataSet) -> tuple[str, ...]:
    """What to say of tensors that have the shape and the numbers of images; nothing of all others."""
    shape = data.input.shape
    first = len(shape) == 3 and shape[0] in (1, 3) and shape[2] not in (1, 3)
    sides = shape[1:] if first else shape[:2]
    channels = shape[0] if first else (*shape, 1, 1)[2]
    if data.input.is_image or len(shape) not in (2, 3) or min(sides) < LEAST_SIDE or channels not in (1, 3):
        return ()
    x = data.train.read(slice(0, LOOKED_AT))
    most = float(x.max(initial=0))
    pixels = 255 * x if most <= 1 else x
    if x.min(initial=0) < 0 or most > 255 or len(np.unique(x)) < 3 or np.abs(pixels - np.rint(pixels)).max() > NEAR:
        return ()
    new = f"np.rint({'255 * ' if most <= 1 else ''}{'x.transpose(0, 2, 3, 1)' if first else 'x'}).astype(np.uint8)"
    return (
        f"The items are tensors of shape {'x'.join(map(str, shape))}, but their numbers are those of pixels. Files "
        f"made of this model take arrays and no images. If they are images, save x as {new}.",
    )
