"""Refuse archives that unpack to far more than their size, in one part or in the sum of all, or than there is room for.

What is compared is what an archive claims: zipfile, h5py and NumPy stop reading where a part's claim ends.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

from edgepress.runtime.errors import EdgepressError, ModelFileError

FREE_BYTES = 64 << 20
"""What a part, and all parts together, may claim in any case."""
RATIO = 100
"""How many times as large as what is stored of it a part may be, and all parts together as the file."""
MEMORY_SHARE = 0.8
"""Share of the free memory that the parts may take."""


class ArchivePart(NamedTuple):
    """A part of an archive: its name, the bytes that it claims, and those that are stored of it."""

    name: str
    claimed: int
    stored: int


def refuse_bomb(
    path: Path,
    parts: Iterable[ArchivePart],
    hint: str,
    *,
    free_bytes: int = FREE_BYTES,
    error: type[EdgepressError] = ModelFileError,
) -> int:
    """Refuse an archive with a part, or a sum of parts, that claims much more than what is stored; return the sum.

    Raises:
        EdgepressError: Of the class `error`; it is such an archive.
    """
    size = path.stat().st_size
    total = 0
    bomb = f"{path} is a decompression bomb, or damaged:"
    for name, claimed, stored in parts:
        total += claimed
        if claimed > max(free_bytes, RATIO * stored):
            raise error(f"{bomb} {name} claims {claimed} bytes, of which {stored} are stored.", hint)
        if total > max(free_bytes, RATIO * size):
            raise error(f"{bomb} its parts claim {total} bytes or more together, and it has {size}.", hint)
    return total


def require_memory(path: Path, needed: int, hint: str, *, error: type[EdgepressError] = ModelFileError) -> None:
    """Refuse a file whose content takes more memory than is free.

    Raises:
        EdgepressError: Of the class `error`; it does.
    """
    import psutil

    available = psutil.virtual_memory().available
    if needed > MEMORY_SHARE * available:
        problem = (
            f"{path} takes {needed / 1e9:.1f} GB of memory when it is read, and {available / 1e9:.1f} GB are free."
        )
        raise error(f"{problem} Accepted: up to {MEMORY_SHARE:.0%} of these.", hint)


def require_disk(path: Path, needed: int, folder: str | Path) -> None:
    """Refuse an archive that does not fit on the disk of the folder where it is unpacked.

    Raises:
        ModelFileError: It does not.
    """
    free = shutil.disk_usage(folder).free
    if needed > free:
        raise ModelFileError(
            f"{path} unpacks to {needed / 1e9:.1f} GB, and {free / 1e9:.1f} GB are free in {folder}.",
            "Free some disk space, or name a folder on another disk with the variable TMPDIR.",
        )
