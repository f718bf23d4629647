"""The adapter of a contract: how the runtime prepares items and outputs of a file that others made (`adapted` does)."""

from __future__ import annotations

import dataclasses
import math
from typing import Any, Literal, get_args

from edgepress.runtime.input_spec import record

PerImage = Literal["standardize", "minmax"]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Adapter:
    """How an item of the contract becomes what the file of others takes, in this order.

    Channels are reversed if `bgr`; each image is scaled by its own values if `per_image`; then (x - mean) / std; then
    channels move first if `channels_first`; then the item is reshaped to `shape`, and quantized if the file's input is
    quantized. `sigmoid` is applied to the outputs.

    Attributes:
        shape: Shape of one item as the file takes it.
        bgr: Whether the file takes blue first.
        mean: One number or one per channel, in the order that the file takes.
        std: See `mean`.
        channels_first: Whether the file takes channels x height x width.
        sigmoid: Whether the file's outputs are logits of independent labels, such as a single one.
        per_image: "standardize": (x - mean) / max(standard deviation, 1 / sqrt(N)) over all N numbers of an image, as
            `tf.image.per_image_standardization`; "minmax": (x - min) / max(max - min, 1), which is 0 to 1 for pixels.
    """

    shape: tuple[int, ...]
    bgr: bool = False
    mean: tuple[float, ...] = (0.0,)
    std: tuple[float, ...] = (1.0,)
    channels_first: bool = False
    sigmoid: bool = False
    per_image: PerImage | None = None


def adapter_from(raw: Any, item: list[int]) -> Adapter:
    """Parse and check the adapter in a contract whose items have the shape `item`.

    Raises:
        Exception: Of any kind; it is damaged.
    """
    adapter: Adapter = record(Adapter, raw, shape=tuple, mean=_numbers, std=_numbers)
    shape = adapter.shape
    mean = adapter.mean
    std = adapter.std
    counts = {len(mean), len(std)}
    if not all(type(n) is int and n > 0 for n in shape) or math.prod(shape) != math.prod(item):
        raise ValueError(f"its adapter makes items of shape {list(shape)} of {item}")
    if not (all(map(math.isfinite, (*mean, *std))) and all(std) and counts <= {1, item[-1]}):
        raise ValueError(f"its adapter has mean {list(mean)} and std {list(std)}")
    if adapter.per_image not in (*get_args(PerImage), None):
        raise ValueError(f"its adapter has per_image {adapter.per_image!r}")
    if (adapter.bgr or adapter.channels_first) and len(item) != 3:
        raise ValueError("its adapter is for images")
    return adapter


def _numbers(values: Any) -> tuple[float, ...]:
    return tuple(map(float, values))
