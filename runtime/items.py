"""Bring what a caller gives to the items that a model takes: images, arrays and their files."""

from __future__ import annotations

import io
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from edgepress.runtime.adapted import quantized
from edgepress.runtime.arrays import load_array
from edgepress.runtime.contract import Contract
from edgepress.runtime.errors import InputError
from edgepress.runtime.input_spec import InputSpec
from edgepress.runtime.sessions import Session

if TYPE_CHECKING:
    import numpy.typing as npt
    from PIL import Image

    from edgepress.runtime.arrays import ImageLike, Run
    from edgepress.runtime.crop import Crop


class ItemReader:
    """The items of an opened model file; `path` is for messages."""

    def __init__(self, path: Path, session: Session) -> None:
        self._path = path
        self._contract = session.contract
        self._shape = session.shape
        self._dtype = session.dtype
        self._scale = session.scale
        self._batch = 1 if session.contract and session.contract.item_by_item else session.batch

    def prepare(self, image: ImageLike, /, **others: ImageLike) -> npt.NDArray[Any]:
        """One item as the model takes it, from anything that `Model.classify` accepts."""
        if others:
            problem = f"{self._path.name} has one input, so {', '.join(others)} can't be given."
            raise InputError(problem, "Give the item alone.")
        if isinstance(image, np.ndarray):
            return self._fit_array(image)
        if isinstance(image, (str, os.PathLike)) and os.fspath(image).lower().endswith(".npy"):
            return self._fit_array(load_array(image, os.fspath(image)))
        if isinstance(image, bytes) and image.startswith(b"\x93NUMPY"):
            return self._fit_array(load_array(io.BytesIO(image), "The array"))
        spec = self._image_spec()
        from edgepress.runtime.image import load_image

        return load_image(image, spec)

    def prepare_part(self, image: ImageLike, crop: Crop) -> tuple[npt.NDArray[Any], Image.Image | npt.NDArray[Any]]:
        """The item of a part of an image, and the part itself; `resize` of the contract applies to the part."""
        from edgepress.runtime.image import load_image, resize_array

        spec = self._image_spec()
        part = crop.cut(image, spec)
        item = resize_array(part, spec, prepared=False) if isinstance(part, np.ndarray) else load_image(part, spec)
        return item, part

    def _image_spec(self) -> InputSpec:
        if self._contract is not None and self._contract.input.is_image:
            return self._contract.input
        problem = "has no contract" if self._contract is None else "takes tensors, not images"
        if self._contract is not None and self._contract.sound is not None:
            raise InputError(
                f"{self._path} takes sound, not images.", "Give a .wav file, or a .npy array of its frames."
            )
        raise InputError(
            f"{self._path} {problem}, so an image can't be prepared for it.",
            f"Give an array of shape {list(self._shape)}"
            + (", or describe it: --contract, or edgepress annotate." if self._contract is None else "."),
        )

    def _fit_array(self, array: npt.NDArray[Any]) -> npt.NDArray[Any]:
        as_image = self._contract is not None and self._contract.input.is_image and array.dtype == np.uint8
        if as_image and array.ndim in (2, 3) and array.shape not in (self._shape, self._shape[:-1]):
            from edgepress.runtime.image import resize_array

            return resize_array(array, self._image_spec())
        batch = self.batched(array)
        if len(batch) != 1:
            problem = f"The array holds {len(batch)} items; only one can be classified at a time."
            raise InputError(problem, "Give one of them.")
        return np.asarray(batch[0])

    def batched(self, array: npt.NDArray[Any]) -> npt.NDArray[Any]:
        """The array with a batch dimension, and with the channel of grey images if it was left out."""
        array = np.asarray(array)
        if array.shape[1:] == self._shape:
            return array
        if array.shape == self._shape:
            return array[np.newaxis]
        if self._shape[-1:] == (1,) and array.shape == self._shape[:-1]:
            return array[np.newaxis, ..., np.newaxis]
        if self._shape[-1:] == (1,) and array.shape[1:] == self._shape[:-1]:
            return array[..., np.newaxis]
        raise InputError(
            f"{self._path.name} takes items of shape {list(self._shape)}; the array has shape {list(array.shape)}.",
            f"Accepted: {list(self._shape)} or (N, {', '.join(map(str, self._shape))}).",
        )

    def stored(self, items: npt.NDArray[Any]) -> npt.NDArray[Any]:
        """Items in the type that the file takes, quantized by the file's parameters."""
        if items.dtype == self._dtype:
            return items
        if items.dtype.kind not in "uifb":
            raise InputError(f"The array is of type {items.dtype}; accepted: uint8, other integers, and floats.")
        with np.errstate(over="ignore"):
            values = items.astype(np.float32)
        if not np.isfinite(values).all():
            raise InputError("The array holds NaN or infinite values.", "Check how it was made.")
        if self._dtype.kind == "f":
            return values
        pixels = self._contract is not None and self._contract.input.value_range == (0.0, 255.0)
        if pixels and values.size and np.max(values) <= 1 and (values != np.rint(values)).any():
            problem = "The array holds values between 0 and 1; the model takes pixels from 0 to 255."
            raise InputError(problem, "Multiply by 255.")
        whole = self._contract.input.is_integer if self._contract is not None else items.dtype.kind in "ui"
        if whole and self._scale == (1.0, 0):
            stored: npt.NDArray[Any] = items.astype(self._dtype)
            if (stored != items).any():
                problem = f"The array of {items.dtype} holds values that are not of type {self._dtype}"
                raise InputError(f"{problem}, which {self._path.name} takes.", "Give whole numbers in its range.")
            return stored
        return quantized(values, self._scale, self._dtype)

    def answers(self, run: Run, batch: npt.NDArray[Any], columns: int) -> npt.NDArray[np.float32]:
        """Answers, shape (N, columns), to items of any accepted type, in calls of the size that the file takes."""
        items = self.stored(self.batched(batch))
        size = self._batch
        if size is None:
            return run(items)
        parts = []
        for start in range(0, len(items), size):
            part = items[start : start + size]
            if missing := size - len(part):
                part = np.concatenate([part, np.zeros((missing, *self._shape), part.dtype)])
            parts.append(run(part)[: len(items) - start])
        return np.concatenate(parts) if parts else np.empty((0, columns), np.float32)


def random_items(contract: Contract | None, shape: tuple[int, ...], dtype: np.dtype[Any]) -> npt.NDArray[Any]:
    """Random whole numbers for timing: pixels 0-255, or what the contract of a model of integers allows.

    Args:
        contract: That of the file; None if it has none.
        shape: Shape of the items.
        dtype: Their type; one of records is filled input by input.
    """
    spec = contract.input if contract is not None and contract.input.is_integer else None
    low, high = map(int, spec.limits) if spec else (0, 255)
    rng = np.random.default_rng(0)
    if not dtype.names:
        return rng.integers(low, high + 1, shape).astype(dtype)
    items = np.empty(shape, dtype)
    for name in dtype.names:
        items[name] = rng.integers(low, high + 1, items[name].shape)
    return items
