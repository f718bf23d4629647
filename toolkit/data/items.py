"""What every kind of data set is read into: items in memory or on disk, with their hashes, classes and given parts.

A reader of a kind (`folder.py`, `idx.py`, `npz.py`, `builtin.py`) takes a path and a `Wish`, and returns `Items`;
`open_data` makes the three splits of them.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, get_args

import numpy as np
import numpy.typing as npt

from edgepress.runtime.contract import Color, InputSpec, Resize
from edgepress.runtime.image import resize_array
from edgepress.toolkit.data.splits import Ints, Names
from edgepress.toolkit.data.types import Source
from edgepress.toolkit.errors import DataError, InputError, unknown

MAX_SIDE = 4096


@dataclass(frozen=True, kw_only=True)
class Wish:
    """What the items shall be brought to.

    Attributes:
        size: Height and width of images; None for the natural one.
        color: Colour of images; None for the natural one.
        resize: How images come to that size.
        input: A model's input, which replaces all of the above.
        skip_unreadable: Leave unreadable files out and list them, instead of an error.
    """

    size: tuple[int, int] | None = None
    color: Color | None = None
    resize: Resize = "stretch"
    input: InputSpec | None = None
    skip_unreadable: bool = False

    def __post_init__(self) -> None:
        if self.size and not all(1 <= side <= MAX_SIDE for side in self.size):
            raise InputError(
                f"Images of {self.size[0]} x {self.size[1]} pixels can't be made; accepted: 1 to {MAX_SIDE} a side."
            )
        if self.color not in (None, *get_args(Color)):
            raise unknown("color", str(self.color), get_args(Color))
        if self.resize not in get_args(Resize):
            raise unknown("resize rule", self.resize, get_args(Resize))

    def image(self, height: int, width: int, color: Color) -> InputSpec:
        """The input for images whose natural size and colour are these."""
        if self.input is None:
            return InputSpec.image(*(self.size or (height, width)), self.color or color, self.resize)
        if not self.input.is_image or self.input.dtype != "uint8":
            raise DataError(
                f"The data are images, and the model takes {self.input.dtype} tensors of shape {self.input.shape}.",
                "Give it an .npz of float32 arrays, prepared as the model expects them.",
            )
        return self.input

    def tensor(self, shape: tuple[int, ...]) -> InputSpec:
        """The input for float32 tensors of this shape."""
        found = f"The data are float32 tensors of shape {shape}"
        if self.input is None:
            if self.size or self.color:
                raise DataError(f"{found}; only images have a size and a colour.", "Leave out --size and --color.")
            return InputSpec(shape=shape, dtype="float32")
        if self.input.is_image:
            raise DataError(
                f"{found}, and the model takes images of {self.input.shape}.",
                "In an .npz, images are uint8 arrays of shape (N, height, width[, 1 or 3]).",
            )
        if self.input.dtype != "float32" or _core(self.input.shape) != _core(shape):
            raise DataError(f"{found}, and the model takes {self.input.dtype} tensors of shape {self.input.shape}.")
        return self.input


@dataclass(frozen=True)
class ArraySource:
    """Items that are held in memory as they came, and brought to the input when they are read.

    Attributes:
        x: The items, uint8 images or float32 tensors, shape (N, ...).
        names: What each is called.
        spec: What they are brought to.
    """

    x: npt.NDArray[Any]
    names: Sequence[str]
    spec: InputSpec

    def __len__(self) -> int:
        return len(self.x)

    def read(self, indices: Ints) -> npt.NDArray[Any]:
        """The items as one array, shape (len(indices), *spec.shape)."""
        x = self.x[indices]
        if not self.spec.is_image or _core(x.shape[1:]) == _core(self.spec.shape):
            return x.reshape(-1, *self.spec.shape)
        out = np.empty((len(x), *self.spec.shape), np.uint8)
        for i, item in enumerate(x):
            out[i] = resize_array(item, self.spec)
        return out

    def name(self, index: int) -> str:
        """An item's number, and the part it came in if there are several: "item 17", "test 17"."""
        return self.names[index]

    def part(self, indices: Ints) -> ArraySource:
        """A source of these items alone."""
        return ArraySource(self.x[indices], [self.names[i] for i in indices], self.spec)


@dataclass(frozen=True)
class Items:
    """What a reader returns.

    Attributes:
        source: The items.
        hashes: Content hash of each, SHA-256 as hexadecimal, shape (N,); independent of size and colour asked for.
        y: Class of each, indices into `labels`, shape (N,).
        labels: Class names.
        given: The part that each came in, shape (N,): "train" where there are no parts, "val", "test", "" if left out.
        spec: What the source brings items to.
        skipped: Unreadable files and why.
    """

    source: Source
    hashes: npt.NDArray[np.bytes_]
    y: Ints
    labels: tuple[str, ...]
    given: Names
    spec: InputSpec
    skipped: tuple[tuple[str, str], ...] = ()


def array_items(parts: Mapping[str, tuple[npt.NDArray[Any], Ints]], *, labels: tuple[str, ...], wish: Wish) -> Items:
    """Items from arrays.

    Args:
        parts: By "train", "val" or "test": x and y. x: uint8 images (N, H, W), (N, H, W, 1 or 3), or float32 tensors
            (N, ...), the same but for N in all parts; y: classes, int64, shape (N,).
        labels: Class names.
        wish: What to bring them to.
    """
    x = np.concatenate([np.ascontiguousarray(x) for x, _ in parts.values()])
    if x.dtype == np.uint8:
        spec = wish.image(x.shape[1], x.shape[2], "rgb" if x.shape[3:] == (3,) else "grey")
    else:
        spec = wish.tensor(x.shape[1:])
    one = len(parts) == 1  # "train 17" would mislead where there is no official split
    names = [f"item {i}" if one else f"{part} {i}" for part, (_, y) in parts.items() for i in range(len(y))]
    return Items(
        source=ArraySource(x, names, spec),
        hashes=np.array([hashlib.sha256(row).hexdigest() for row in x], np.bytes_),
        y=np.concatenate([y for _, y in parts.values()]).astype(np.int64),
        labels=labels,
        given=np.repeat(list(parts), [len(y) for _, y in parts.values()]),
        spec=spec,
    )


def in_order(labels: Sequence[str]) -> list[str]:
    """Distinct class names in their order: by value if all are whole numbers, else alphabetically."""
    numeric = all(label.isdecimal() for label in labels)
    return sorted(set(labels), key=lambda label: (int(label) if numeric else 0, label))


def _core(shape: tuple[int, ...]) -> tuple[int, ...]:
    """A shape without the channel of a single-channel item, which may be left out."""
    return shape[:-1] if len(shape) > 1 and shape[-1] == 1 else shape
