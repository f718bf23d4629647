"""Arrays as callers give them: what stands for an image, and `.npy` and `.npz` files."""

from __future__ import annotations

import io
import os
import zipfile
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np

from edgepress.runtime.errors import InputError, parsing
from edgepress.runtime.filetypes import open_regular

if TYPE_CHECKING:
    import numpy.typing as npt
    from PIL import Image

    ImageLike = str | os.PathLike[str] | bytes | Image.Image | npt.NDArray[Any]
    Run = Callable[[npt.NDArray[Any]], npt.NDArray[np.float32]]
    """The call of an engine: a batch of the file's type, the outputs for it."""

MOST_BYTES = 256 << 20
"""Most bytes of a file of an array, which holds one item."""


def load_array(file: Any, name: str) -> npt.NDArray[Any]:
    """The array in a `.npy` file: a path, or a `BytesIO` of its bytes; `name` is for messages.

    Raises:
        InputError: It is damaged, of another kind, or too large.
    """
    with parsing(name, "Save it with numpy.save.", failed="can't be read as an array", error=InputError):
        with file if isinstance(file, io.BytesIO) else open_regular(file, MOST_BYTES) as opened:
            array: npt.NDArray[Any] = np.load(opened, allow_pickle=False)
        if not isinstance(array, np.ndarray):
            raise ValueError("it is an archive of arrays, .npz")
    return array


def load_arrays(file: str | os.PathLike[str], name: str) -> dict[str, npt.NDArray[Any]]:
    """The arrays in a `.npz` file, by their names; `name` is for messages.

    Raises:
        InputError: It is damaged, of another kind, or too large.
    """
    with parsing(name, "Save it with numpy.savez.", failed="can't be read as arrays", error=InputError):
        with open_regular(file, MOST_BYTES) as opened, zipfile.ZipFile(opened) as archive:
            if sum(member.file_size for member in archive.infolist()) > MOST_BYTES:
                raise ValueError(f"its arrays take more than {MOST_BYTES >> 20} MiB")
        with open_regular(file, MOST_BYTES) as opened, np.load(opened, allow_pickle=False) as arrays:
            return dict(arrays)
