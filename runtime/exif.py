"""Read directories of TIFF, as in EXIF: the orientation of an image, and whether they are bombs.

Pillow reads all entries of a directory to find one, however large they are.
"""

from __future__ import annotations

import struct
from typing import Literal


def orientation(exif: bytes) -> int | None:
    """The orientation that a block of EXIF tells, None if it tells none (Exif 2.32, 4.6.4)."""
    block = _without_name(exif)
    order: Literal["little", "big"] = "big" if block[:2] == b"MM" else "little"
    rows = [(size, field) for tag, size, field in entries(block) if tag == 0x0112]
    return int.from_bytes(rows[0][1][: rows[0][0]], order) if rows else None


def _without_name(exif: bytes) -> bytes:
    for _ in range(2):
        exif = exif.removeprefix(b"Exif\0\0")
    return exif


def check_directory(block: bytes) -> None:
    """Raise ValueError if the entries of a directory of TIFF claim the same bytes again and again.

    Pillow copies what each entry claims: of EXIF for the resolution, of MPF for the number of pictures.
    """
    block = _without_name(block)
    if b"+" in block[2:4]:  # BigTIFF
        raise ValueError("its metadata are of an unknown kind")
    if sum(min(size, len(block)) for _, size, _ in entries(block) if size > 4) > 2 * len(block):
        raise ValueError("its metadata claim the same bytes again and again")


def entries(block: bytes) -> list[tuple[int, int, bytes]]:
    """The entries of a TIFF directory: tag, size of the value in bytes, and the field that holds it or its place.

    The list is that of the first directory, and empty if there is none (TIFF 6.0, section 2).
    """
    order = {b"II": "<", b"MM": ">"}.get(block[:2])
    if order is None or b"*" not in block[2:4] or len(block) < 8:
        return []
    (place,) = struct.unpack_from(f"{order}I", block, 4)
    if place + 2 > len(block):
        return []
    (count,) = struct.unpack_from(f"{order}H", block, place)
    count = min(count, (len(block) - place - 2) // 12)
    rows = struct.iter_unpack(f"{order}HHI4s", block[place + 2 : place + 2 + 12 * count])
    return [(tag, _UNITS.get(kind, 0) * number, field) for tag, kind, number, field in rows]


_UNITS = {1: 1, 2: 1, 3: 2, 4: 4, 5: 8, 6: 1, 7: 1, 8: 2, 9: 4, 10: 8, 11: 4, 12: 8, 13: 4, 16: 8}
"""Bytes of a value, by the number of its type in TIFF."""
