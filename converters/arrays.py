"""Types of arrays."""

from __future__ import annotations

import zipfile
from collections.abc import Mapping
from typing import IO, Any

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


def save_arrays(file: IO[bytes], arrays: Mapping[str, Array]) -> None:
    """Write an `.npz` whose arrays may have any name: `numpy.savez` takes none that is called `file`."""
    with zipfile.ZipFile(file, "w") as archive:
        for name, array in arrays.items():
            with archive.open(f"{name}.npy", "w", force_zip64=True) as member:
                np.lib.format.write_array(member, np.asanyarray(array), allow_pickle=False)
