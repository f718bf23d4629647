"""Types of arrays."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]
Floats = npt.NDArray[np.float32]
Doubles = npt.NDArray[np.float64]


def each_input(batch: Array) -> list[Array]:
    """The arrays of a batch, one an input of the model: of records in their order, of plain items themselves."""
    return [batch] if batch.dtype.names is None else [np.ascontiguousarray(batch[name]) for name in batch.dtype.names]


def in_float(batch: Array) -> Array:
    """A batch with all numbers as float32."""
    if batch.dtype.names is None:
        return batch.astype(np.float32)
    return batch.astype([(name, np.float32, batch.dtype[name].shape) for name in batch.dtype.names])
