"""Refuse Keras files that take far more memory than their size: bombs of deflate in a zip or in HDF5, and false sizes.

Keras reads every weight into memory. What it saves is not compressed; other programs compress weights by a few times.
"""

from __future__ import annotations

import io
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from edgepress.runtime.errors import ModelFileError

FREE_BYTES, RATIO = 64 << 20, 100
"""A part of more than `FREE_BYTES` may not be more than `RATIO` times as large as what is stored of it."""


def refuse_bomb(path: Path) -> None:
    """Refuse a `.keras` or `.h5` file with a part that claims to be much larger than what is stored.

    Raises:
        ModelFileError: There is such a part. Other exceptions of zipfile and h5py pass.
    """
    for name, claimed, stored in _parts(path):
        if claimed > max(FREE_BYTES, RATIO * stored):
            raise ModelFileError(
                f"{path} is a decompression bomb, or damaged: {name} claims {claimed} bytes, of which {stored} are "
                "stored.",
                "Save the model again with Keras.",
            )


def _parts(path: Path) -> Iterator[tuple[str, int, int]]:
    """The parts of a file: name, bytes claimed, bytes stored."""
    with path.open("rb") as file:
        archived = file.read(2) == b"PK"
    if not archived:
        yield from _datasets(path)
        return
    with zipfile.ZipFile(path) as archive:
        size = path.stat().st_size
        for member in archive.infolist():
            yield member.filename, member.file_size, min(member.compress_size, size)
        for name in archive.namelist():  # after all are known to be small enough to unpack
            if name.endswith(".h5"):
                yield from _datasets(io.BytesIO(archive.read(name)))


def _datasets(file: Path | io.BytesIO) -> list[tuple[str, int, int]]:
    import h5py

    found = []

    def visit(name: str | bytes, item: Any) -> None:
        if isinstance(item, h5py.Dataset):
            found.append((str(name), int(item.nbytes), int(item.id.get_storage_size())))

    with h5py.File(file) as opened:
        opened.visititems(visit)
    return found
