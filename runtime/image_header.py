"""What an image file says of itself, read before a decoder believes it.

Some dozens of bytes can claim a picture that takes gigabytes or minutes to decode. So the sides, the memory that the
decoder will hold besides the picture, and the numbers of blocks and scans are found out here, cheaply, and
limited; `edgepress.runtime.image` limits the sum. Other damage is left to the decoder.
"""

from __future__ import annotations

import os
import re
import struct
from typing import BinaryIO, NamedTuple

from edgepress.runtime.exif import check_directory

MAX_SIDE = 1 << 15
"""Longest side of an image, pixels: the largest cameras make 20,000, a line of more is hardly a picture."""
MOST_BLOCKS = 10_000
"""Blocks of a file (segments, chunks, comments) before its pixels, which are read one by one; photos have below 100."""
MOST_EXIF = 20
"""Segments of EXIF in a JPEG, which Pillow joins one by one; one is usual, and it can have 64 KiB."""
BLOCK_BYTES = 1 << 10
"""Size of the blocks of a PNG on average, at least, if there are more than `MOST_BLOCKS`: encoders write 8 KiB."""
MOST_PACKED = 64
"""Packed texts and profiles in a PNG, each of which may become 1 MiB, Pillow's limit."""
TEXT_BYTES = 1 << 20
MOST_SCANS = 24
"""Scans of a JPEG of any size."""
MANY_SCANS = 100
"""Scans of a JPEG so small that together they visit at most `MOST_VISITS` blocks."""
MOST_VISITS = 1 << 22
"""Blocks of 8 x 8 pixels that scans visit: 40 ns each on the machine of the documentation's figures."""
MOST_RUNS = 1 << 21
"""Pixels of a BMP packed by runs, which Pillow decodes in Python: a screen of 1920 x 1080."""
_PROGRESSIVE = (0xC2, 0xC6, 0xCA, 0xCE)
_WEBP_BYTES = 12
"""Memory that libwebp and Pillow hold for each pixel: the coded picture, two canvases and a copy."""
_MARKER = re.compile(rb"\xff[^\x00\xd0-\xd7\xff]")


class ImageHeader(NamedTuple):
    """What an image file claims.

    Attributes:
        format: Pillow's name of it.
        width: As stored, pixels; 0 if only the decoder tells.
        height: The same.
        held: Memory that the decoder holds besides the picture, bytes.
        exif: The block of EXIF of a PNG, which may follow the pixels.
    """

    format: str
    width: int = 0
    height: int = 0
    held: int = 0
    exif: bytes = b""


def read_header(file: BinaryIO) -> ImageHeader | None:
    """What an image file claims; None if it is of no known format.

    Raises:
        ValueError: It claims more than a picture has, or ends within its header.
    """
    start = file.read(16)
    file.seek(0)
    for begins, read in _READERS:
        if re.match(begins, start, re.DOTALL):
            header = read(file)
            file.seek(0)
            check_sides(header.width, header.height)
            return header
    return None


def check_sides(width: int, height: int) -> None:
    """Raise ValueError if a side is longer than that of any picture."""
    if max(width, height) > MAX_SIDE:
        raise ValueError(f"it is {width} x {height} pixels large; accepted: up to {MAX_SIDE} on each side")


def _read(file: BinaryIO, size: int) -> bytes:
    content = file.read(size)
    if len(content) < size:
        raise ValueError("it ends within its header")
    return content


def _jpeg(file: BinaryIO) -> ImageHeader:
    """Walk as libjpeg does (ITU-T T.81, annex B), to the first scan, or to the end if all coefficients are held."""
    _read(file, 2)
    exif: list[bytes] = []
    frame = b""
    progressive = False
    blocks = 0
    while blocks < MOST_BLOCKS:
        blocks += 1
        marker = _next_marker(file)
        if marker == 0x01 or 0xD0 <= marker <= 0xD8:
            continue
        if marker == 0xD9:
            raise ValueError("it ends before its picture")
        segment = _read(file, max(0, int.from_bytes(_read(file, 2), "big") - 2))
        if marker == 0xDA:
            check_directory(b"".join(exif))
            return _frame(file, frame, whole=not progressive and segment[:1] == frame[5:6])
        if 0xC0 <= marker <= 0xCF and marker not in (0xC4, 0xC8, 0xCC):
            if frame:
                raise ValueError("it has two frames")
            frame = segment
            progressive = marker in _PROGRESSIVE
        elif marker == 0xE1 and segment.startswith(b"Exif\0\0"):
            exif.append(segment[6:] if exif else segment)  # as Pillow joins them
            blocks += MOST_BLOCKS // MOST_EXIF
        elif marker == 0xE2 and segment.startswith(b"MPF\0"):
            check_directory(segment[4:])
        elif marker == 0xED:  # of Photoshop
            blocks += segment.count(b"8BIM")
    raise ValueError(f"it has more than {MOST_BLOCKS} segments, or {MOST_EXIF} of EXIF, before its picture")


def _frame(file: BinaryIO, frame: bytes, *, whole: bool) -> ImageHeader:
    """The header of a JPEG, from that of its frame; its coefficients are held if not `whole` in the first scan."""
    if len(frame) < 9:
        return ImageHeader("JPEG")  # the decoder says what it lacks
    height, width, parts = struct.unpack_from(">xHHB", frame)
    samplings = [divmod(byte, 16) for byte in frame[7 : 6 + 3 * parts : 3]]
    if whole or not all(1 <= n <= 4 for sampling in samplings for n in sampling):
        return ImageHeader("JPEG", width, height)
    units = -(-width // (8 * max(h for h, _ in samplings))) * -(-height // (8 * max(v for _, v in samplings)))
    blocks = [units * h * v for h, v in samplings]
    _check_scans(file, max(blocks))
    return ImageHeader("JPEG", width, height, 128 * sum(blocks))


def _next_marker(file: BinaryIO) -> int:
    """The next marker; a few bytes before it may be of no use, as some cameras write."""
    last = b""
    for _ in range(MOST_BLOCKS):
        byte = _read(file, 1)
        if last == b"\xff" and byte not in b"\0\xff":
            return byte[0]
        last = byte
    raise ValueError(f"it has {MOST_BLOCKS} bytes of no use in its header")


def _check_scans(file: BinaryIO, blocks: int) -> None:
    """Raise ValueError if a JPEG has so many scans after its first one that it is not a photo."""
    most = max(MOST_SCANS, min(MANY_SCANS, MOST_VISITS // max(blocks, 1)))
    scans = 1
    for _ in range(MOST_BLOCKS):
        marker = _marker_behind_scan(file)
        if marker == 0xD9:
            return
        scans += marker == 0xDA
        if scans > most:
            raise ValueError(f"it has more than {most} scans, which no photo has")
        file.seek(max(0, int.from_bytes(file.read(2), "big") - 2), os.SEEK_CUR)
    raise ValueError(f"it has more than {MOST_BLOCKS} segments")


def _marker_behind_scan(file: BinaryIO) -> int:
    """The next marker behind the codes of a scan; that of the end if there is none."""
    last = b""
    while piece := last + file.read(1 << 16):
        if marker := _MARKER.search(piece):
            file.seek(marker.end() - len(piece), os.SEEK_CUR)
            return piece[marker.end() - 1]
        if len(piece) == len(last):
            break
        last = piece[-1:]
    return 0xD9


def _png(file: BinaryIO) -> ImageHeader:
    """Walk over all chunks, because Pillow reads those behind the pixels, too."""
    most = MOST_BLOCKS + file.seek(0, os.SEEK_END) // BLOCK_BYTES
    file.seek(16)
    width, height = struct.unpack(">II", _read(file, 8))
    file.seek(8)
    held = 0
    packed = 0
    exif = b""
    for _ in range(most):
        start = file.read(8)
        size = int.from_bytes(start[:4], "big")
        name = start[4:]
        if len(start) < 8 or name == b"IEND":
            return ImageHeader("PNG", width, height, held, exif)
        if name in (b"zTXt", b"iCCP", b"iTXt"):
            text = file.read(min(size, 82))
            file.seek(-len(text), os.SEEK_CUR)
            small = name == b"iTXt" and text.partition(b"\0")[2][:1] == b"\0"
            packed += not small
            held += 5 * (size if small else TEXT_BYTES)  # bytes, and text of up to four bytes a letter
        elif name not in (b"IDAT", b"fdAT"):
            held += 2 * size + 100
        if name == b"eXIf" and size <= TEXT_BYTES:
            exif = file.read(size)
            file.seek(-len(exif), os.SEEK_CUR)
        if packed > MOST_PACKED:
            raise ValueError(f"it has more than {MOST_PACKED} packed texts and profiles")
        file.seek(size + 4, os.SEEK_CUR)
    raise ValueError(f"it has more than {most} chunks")


def _gif(file: BinaryIO) -> ImageHeader:
    """Walk as Pillow does, to the first frame, which may be larger than the screen."""
    width, height, flags = struct.unpack_from("<HHB", _read(file, 13), 6)
    file.seek((3 << (flags & 7) + 1) * (flags >> 7), os.SEEK_CUR)
    blocks = 0
    while blocks < MOST_BLOCKS:
        blocks += 1
        kind = _read(file, 1)
        if kind == b";":
            raise ValueError("it ends before its picture")
        if kind == b",":
            left, top, across, down = struct.unpack("<HHHH", _read(file, 8))
            width = max(width, left + across)
            height = max(height, top + down)
            return ImageHeader("GIF", width, height, width * height)
        if kind == b"!":
            blocks += _skip_extension(file, MOST_BLOCKS - blocks)
    raise ValueError(f"it has more than {MOST_BLOCKS} blocks before its picture")


def _skip_extension(file: BinaryIO, most: int) -> int:
    """Skip an extension, of which Pillow reads the first one to three blocks even if they are empty; their number."""
    label = _read(file, 1)
    ends_from = 1 if label == b"\xfe" else 2
    for number in range(1, most + 1):
        block = _read(file, _read(file, 1)[0])
        if number == 1 and label == b"\xff" and block.startswith(b"NETSCAPE2.0"):
            ends_from = 3
        if not block and number >= ends_from:
            return number
    return most


def _webp(file: BinaryIO) -> ImageHeader:
    size = file.seek(0, os.SEEK_END)
    file.seek(0)
    start = _read(file, 30)
    if start[12:16] == b"VP8X":
        width, height = (1 + int.from_bytes(start[i : i + 3], "little") for i in (24, 27))
    elif start[12:16] == b"VP8L":
        bits = int.from_bytes(start[21:25], "little")
        width = 1 + (bits & 0x3FFF)
        height = 1 + (bits >> 14 & 0x3FFF)
    else:
        width, height = (side & 0x3FFF for side in struct.unpack_from("<HH", start, 26))
    return ImageHeader("WEBP", width, height, _WEBP_BYTES * width * height + 2 * size)


def _bmp(file: BinaryIO) -> ImageHeader:
    size = file.seek(0, os.SEEK_END)
    file.seek(14)
    (length,) = struct.unpack("<I", _read(file, 4))
    if length == 12:
        return ImageHeader("BMP", *struct.unpack("<HH", _read(file, 4)))
    width, height, packing = struct.unpack("<II4xI", _read(file, 16))
    height = min(height, (1 << 32) - height)  # negative if the first row is the upper one
    if packing in (1, 2):
        if width * height > MOST_RUNS or size > 2 * MOST_RUNS:
            raise ValueError(f"it is packed by runs; accepted of those: up to {MOST_RUNS} pixels")
        return ImageHeader("BMP", width, height, 3 * width * height)
    return ImageHeader("BMP", width, height)


_READERS = (
    (rb"\xff\xd8\xff", _jpeg),
    (rb"\x89PNG\r\n\x1a\n", _png),
    (rb"GIF8[79]a", _gif),
    (rb"RIFF.{4}WEBPVP8[ LX]", _webp),
    (rb"BM", _bmp),
)
"""What reads the header, by the beginning of the file."""
