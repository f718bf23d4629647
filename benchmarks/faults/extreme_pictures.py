"""Pictures that are small as files and large, slow or endless to decode, for the fuzzers and the tests.

    python benchmarks/faults/extreme_pictures.py [--seed 0] [--most-bytes 8388608]

`KINDS` names the classes and makes one of each from a random generator; no two calls give the same picture. Nothing
here uses a library of images: most of these files could not be made with one. Run as a script, it decodes one of each
in a process of its own, as a board does, and prints the memory and the time that it took.
"""

from __future__ import annotations

import argparse
import json
import random
import struct
import subprocess
import sys
import zlib
from collections.abc import Callable

MOST_BYTES = 8 << 20
"""Size of a picture, bytes: what `serve` takes at most."""
COLORS = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}
"""Samples of a pixel, by the color type of PNG."""
DEPTHS = ((1, 0), (8, 0), (16, 0), (8, 2), (16, 2), (1, 3), (8, 3), (8, 4), (16, 4), (8, 6), (16, 6))
"""Bits of a sample and color types that PNG allows."""
AREA = 25_000_000
"""Pixels that `serve` takes at most."""


def chunk(name: bytes, content: bytes = b"") -> bytes:
    """A chunk of PNG."""
    return struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))


def zeros(count: int) -> bytes:
    """Many zero bytes, packed, without having them in memory."""
    packer = zlib.compressobj(9)
    packed = [packer.compress(bytes(min(1 << 20, count - done))) for done in range(0, count, 1 << 20)]
    return b"".join([*packed, packer.flush()])


def png(
    width: int, height: int, depth: int, color: int, *, before: bytes = b"", laced: int = 0, data: bytes | None = None
) -> bytes:
    """A PNG of zeros."""
    row = 1 + (width * depth * COLORS[color] + 7) // 8
    rows = zeros(row * height + 8 * (height + width) * laced) if data is None else data
    head = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, depth, color, 0, 0, laced))
    palette = chunk(b"PLTE", bytes(range(6))) if color == 3 else b""
    return b"\x89PNG\r\n\x1a\n" + head + palette + before + chunk(b"IDAT", rows) + chunk(b"IEND")


def overlapping(count: int, room: int) -> bytes:
    """A directory of TIFF, as in EXIF, whose entries all claim the same bytes."""
    entries = b"".join(struct.pack("<HHII", 1000 + i, 7, room, 8) for i in range(count))
    block = b"II*\0\x08\0\0\0" + struct.pack("<H", count) + entries + bytes(4)
    return block.ljust(room + 8, b"\0")


def segment(marker: int, content: bytes) -> bytes:
    """A segment of JPEG."""
    return bytes([0xFF, marker]) + struct.pack(">H", len(content) + 2) + content


def frame(marker: int, width: int, height: int, samplings: tuple[int, ...]) -> bytes:
    """The header of a JPEG's frame."""
    parts = b"".join(bytes([i + 1, sampling, 0]) for i, sampling in enumerate(samplings))
    return segment(marker, struct.pack(">BHHB", 8, height, width, len(samplings)) + parts)


HUFFMAN = segment(0xC4, bytes([0x00, 1, *[0] * 15, 0])) + segment(0xC4, bytes([0x10, 0, 2, *[0] * 14, 0, 0xE0]))
"""Codes: of a DC difference, 0; of AC coefficients, 00 for no more of a block and 01 for no more of many blocks."""
QUANTIZED = segment(0xDB, bytes([0, *[1] * 64]))


def scans(rng: random.Random, width: int, height: int, count: int, most: int) -> bytes:
    """A progressive JPEG of many scans that say hardly anything, each of which visits all blocks."""
    parts = 3 if rng.random() < 0.7 else 1
    blocks = -(-width // 8) * -(-height // 8)
    head = b"\xff\xd8" + QUANTIZED + HUFFMAN + frame(0xC2, width, height, (0x11,) * parts)
    first = segment(0xDA, bytes([parts, *[n for i in range(parts) for n in (i + 1, 0)], 0, 0, 0x01]))
    pieces, size = [head, first + bytes(parts * blocks // 8 + 1)], len(head) + len(first) + parts * blocks // 8
    nothing = b"\x7f\xfe" * (blocks // 32766 + 1)  # each says that 32766 blocks have no more coefficients
    for i in range(count):
        pieces.append(segment(0xDA, bytes([1, 1 + i % parts, 0, 1, 63, 0x10 if i >= parts else 0x01])) + nothing)
        size += len(pieces[-1])
        if size > most:
            break
    return b"".join(pieces)[: most - 2] + b"\xff\xd9"


def gif(width: int, height: int, before: bytes = b"", box: tuple[int, int, int, int] | None = None) -> bytes:
    """A GIF whose only frame ends soon."""
    screen = struct.pack("<HHBBB", width, height, 0x80, 0, 0) + bytes(6)
    extent = struct.pack("<HHHHB", *(box or (0, 0, width, height)), 0)
    return b"GIF89a" + screen + before + b"," + extent + b"\x02\x02\x44\x01\x00;"


def webp(kind: bytes, content: bytes, *more: bytes) -> bytes:
    """A WebP of one or several chunks."""
    body = b"WEBP" + kind + struct.pack("<I", len(content)) + content + bytes(len(content) % 2) + b"".join(more)
    return b"RIFF" + struct.pack("<I", len(body)) + body


def lossless(width: int, height: int) -> bytes:
    """A VP8L stream of one color: five Huffman codes of one symbol each take no bits for the pixels."""
    bits = f"{width - 1:014b}"[::-1] + f"{height - 1:014b}"[::-1] + "0" + "000" + "000" + "10" * 0
    codes = "1" + "0" + "0" + "0"  # simple, one symbol, of one bit, zero
    bits += codes * 5
    value = int(bits[::-1], 2)
    return b"\x2f" + value.to_bytes((len(bits) + 7) // 8 + 4, "little")


def canvas(width: int, height: int, flags: int) -> bytes:
    """The content of a VP8X chunk."""
    return bytes([flags, 0, 0, 0]) + struct.pack("<I", width - 1)[:3] + struct.pack("<I", height - 1)[:3]


def bmp(width: int, height: int, bits: int, packing: int, data: bytes, colors: int = 0) -> bytes:
    """A BMP file."""
    info = struct.pack("<IiiHHIIiiII", 40, width, height, 1, bits, packing, len(data), 0, 0, colors, 0)
    table = bytes(4 * (colors or (1 << bits if bits <= 8 else 0)))
    return b"BM" + struct.pack("<IHHI", 54 + len(table) + len(data), 0, 0, 54 + len(table)) + info + table + data


def array(shape: tuple[int, ...], kind: str, size: int) -> bytes:
    """A `.npy` file with so many bytes of values, whatever its shape claims."""
    text = f"{{'descr': '{kind}', 'fortran_order': False, 'shape': {shape}, }}"
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", 118) + text.ljust(117).encode() + b"\n" + bytes(size)


def _sides(rng: random.Random, most: int = AREA) -> tuple[int, int]:
    """Two sides of about `most` pixels: a line, or anything else."""
    long = rng.choice([most, most // 2, 65_535, 60_000, 40_000, 30_000, 16_383, int(most**0.5)])
    short = max(1, min(most // long, 65_535) if rng.random() < 0.7 else 1)
    return (long, short) if rng.random() < 0.5 else (short, long)


def _small_sides(rng: random.Random, most_side: int) -> tuple[int, int]:
    width = rng.randrange(1, most_side)
    height = max(1, min(most_side, AREA // width))
    return (width, height) if rng.random() < 0.5 else (height, width)


def _png_extent(rng: random.Random, most: int) -> bytes:
    return png(*_sides(rng), *rng.choice(DEPTHS))[:most]


def _png_area(rng: random.Random, most: int) -> bytes:
    side = rng.randrange(3000, 5000)
    return png(side, AREA // side, *rng.choice(DEPTHS), laced=rng.randrange(2))[:most]


def _png_clear(rng: random.Random, most: int) -> bytes:
    kind = rng.choice([(8, 3, bytes([0, 128])), (8, 2, bytes(6)), (8, 0, bytes(2)), (16, 0, bytes(2))])
    return png(5000, 5000, kind[0], kind[1], before=chunk(b"tRNS", kind[2]))[:most]


def _png_chunks(rng: random.Random, most: int) -> bytes:
    name = rng.choice([b"abCd", b"tEXt", b"IDAT", b"tIME", b"acTL"])
    return png(9, 9, 8, 0, before=chunk(name, rng.choice([b"", b"k\0v"])) * (most // 16))[:most]


def _png_text(rng: random.Random, most: int) -> bytes:
    packed = zeros((1 << 20) - 1)
    smile = zlib.compress(b"\xf0\x9f\x98\x80" + bytes((1 << 20) - 9), 9)
    texts = {
        b"zTXt": [b"%d\0\0" % i + packed for i in range(60)],
        b"iTXt": [b"%d\0\1\0\0\0" % i + smile for i in range(60)],
        b"iCCP": [b"name\0\0" + packed] * (most // (len(packed) + 30)),
    }
    name = rng.choice(list(texts))
    return png(9, 9, 8, 0, before=b"".join(chunk(name, text) for text in texts[name]))[:most]


def _png_exif(rng: random.Random, most: int) -> bytes:
    return png(9, 9, 8, 2, before=chunk(b"eXIf", overlapping(rng.randrange(200, 4000), most - 60_000)))[:most]


def _png_frames(rng: random.Random, most: int) -> bytes:
    control = struct.pack(">IIIIIHHBB", 0, 4000, 4000, 0, 0, 1, 1, rng.randrange(3), rng.randrange(2))
    before = chunk(b"acTL", struct.pack(">II", 4000, 0)) + chunk(b"fcTL", control)
    return png(4000, 4000, 8, 6, before=before)[:most]


def _png_cut(rng: random.Random, most: int) -> bytes:
    whole = _png_area(rng, most)
    return whole[: rng.randrange(20, len(whole))]


def _jpeg_scans(rng: random.Random, most: int) -> bytes:
    side = rng.choice([64, 1000, 4000, 5000])
    return scans(rng, side, side, rng.choice([150, 1000, 10**6]), rng.choice([most, most // 8, 30_000]))


def _jpeg_extent(rng: random.Random, most: int) -> bytes:
    width, height = (min(side, 65_500) for side in _sides(rng, rng.choice([AREA, 4_000_000_000])))
    marker, samplings = (
        rng.choice([0xC0, 0xC2, 0xC9, 0xCA]),
        rng.choice([(0x11,), (0x11,) * 3, (0x22, 0x11, 0x11), (0x11,) * 4]),
    )
    parts = len(samplings) if rng.random() < 0.7 else 1  # one part a scan is kept as progressive ones are
    scan = segment(
        0xDA, bytes([parts, *[n for i in range(parts) for n in (i + 1, 0)], 0, 63 * (marker in (0xC0, 0xC9)), 0])
    )
    return (
        b"\xff\xd8"
        + QUANTIZED
        + HUFFMAN
        + frame(marker, width, height, samplings)
        + scan
        + bytes(rng.randrange(1 << 16))
    )


def _jpeg_segments(rng: random.Random, most: int) -> bytes:
    rest = scans(rng, 64, 64, 3, 10_000)
    photoshop = b"Photoshop 3.0\0" + (b"8BIM\x04\x04\0\0" + bytes(4)) * 5400
    filler = rng.choice(
        [
            segment(0xFE, b""),
            segment(0xE5, b"x"),
            b"\xff",
            b"\xff\xd0",
            b"\0",
            segment(0xED, photoshop),
            segment(0xE2, b"ICC_PROFILE\0\1\1"),
        ]
    )
    return b"\xff\xd8" + filler * ((most - len(rest)) // len(filler)) + rest[2:]


def _jpeg_directory(rng: random.Random, most: int) -> bytes:
    block = overlapping(rng.randrange(1000, 5000), 65_000)
    start = rng.choice([segment(0xE1, b"Exif\0\0" + block), segment(0xE2, b"MPF\0" + block)])
    return b"\xff\xd8" + start + scans(rng, 64, 64, 3, 10_000)[2:]


def _gif_extent(rng: random.Random, most: int) -> bytes:
    clear = b"!\xf9\x04" + bytes([rng.choice([0x01, 0x09, 0x0D]), 0, 0, 0, 0])
    width, height = (min(side, 65_535) for side in _sides(rng))
    box = rng.choice([None, (60_000, 60_000, 5000, 5000), (0, 0, 65_535, 65_535)])
    return gif(width, height, clear * rng.randrange(2), box)


def _gif_blocks(rng: random.Random, most: int) -> bytes:
    block = rng.choice([b"!\xfe\x01x\0", b"!\x01\0\0", b"!\xff\x01x\0", b"\0", b"!\xfe" + b"\x01x" * 1000 + b"\0"])
    return gif(9, 9, block * ((most - 100) // len(block)))


def _webp_extent(rng: random.Random, most: int) -> bytes:
    width, height = _small_sides(rng, 16_383)
    return webp(b"VP8L", lossless(width, height))


def _webp_canvas(rng: random.Random, most: int) -> bytes:
    width, height = rng.choice([(1 << 24, 1), (5000, 5000), (60_000, 60_000), (16_384, 1500), (1, 1 << 24)])
    still = lossless(rng.randrange(1, 50), 9)
    inner = b"VP8L" + struct.pack("<I", len(still)) + still + bytes(len(still) % 2)
    shown = bytes(6) + struct.pack("<I", 49)[:3] + struct.pack("<I", 8)[:3] + bytes(4) + inner
    parts = [b"ANIM" + struct.pack("<I", 6) + bytes(6)]
    parts += [b"ANMF" + struct.pack("<I", len(shown)) + shown] * rng.choice([1, 100, 50_000])
    return webp(b"VP8X", canvas(width, height, 0x02), *parts)[:most]


def _bmp_extent(rng: random.Random, most: int) -> bytes:
    width, height = _sides(rng)
    return bmp(width, rng.choice([1, -1]) * height, rng.choice([1, 4, 8, 16, 24, 32]), 0, bytes(rng.randrange(1 << 16)))


def _bmp_runs(rng: random.Random, most: int) -> bytes:
    packing = rng.choice([1, 2])
    pairs = rng.choice([b"\0\0", b"\xff\x12", b"\x01\x12", b"\0\x02\0\x01", b"\0\x06abcdef"])
    width, height = rng.choice([(5000, 5000), (25_000, 1000), (1000, 25_000), (25_000_000, 1), (4000, 500)])
    return bmp(width, height, {1: 8, 2: 4}[packing], packing, pairs * rng.choice([1000, 100_000, most // 8 - 1000]))


def _array_line(rng: random.Random, most: int) -> bytes:
    size = most - 128
    shape = rng.choice(
        [(size, 1), (1, size), (size // 3, 1, 3), (60_000, size // 60_000), (size, 1, 1), (2, size // 2)]
    )
    count = 1
    for side in shape:
        count *= side
    return array(shape, "|u1", count)


def _array_claim(rng: random.Random, most: int) -> bytes:
    shape = rng.choice([(10**11,), (1 << 20, 1 << 10, 3), (3, 10**9), (0, 10**15)])
    return array(shape, rng.choice(["|u1", "<f8", "|S1000000", "<c16", "|b1"]), rng.randrange(4000))


KINDS: dict[str, Callable[[random.Random, int], bytes]] = {
    "png-extent": _png_extent,
    "png-area": _png_area,
    "png-clear": _png_clear,
    "png-chunks": _png_chunks,
    "png-text": _png_text,
    "png-exif": _png_exif,
    "png-frames": _png_frames,
    "png-cut": _png_cut,
    "jpeg-scans": _jpeg_scans,
    "jpeg-extent": _jpeg_extent,
    "jpeg-segments": _jpeg_segments,
    "jpeg-directory": _jpeg_directory,
    "gif-extent": _gif_extent,
    "gif-blocks": _gif_blocks,
    "webp-extent": _webp_extent,
    "webp-canvas": _webp_canvas,
    "bmp-extent": _bmp_extent,
    "bmp-runs": _bmp_runs,
    "array-line": _array_line,
    "array-claim": _array_claim,
}
"""What makes each kind, from a random generator and the size of the largest file."""


def extreme(kind: str, rng: random.Random, most: int = MOST_BYTES) -> bytes:
    """A picture of one of `KINDS`, at most `most` bytes."""
    made = KINDS[kind](rng, most)
    return made if len(made) <= most else made[:most]


DECODE = """
import io, json, sys, time
from edgepress.runtime.errors import EdgepressError
from edgepress.runtime.image import load_image, resize_array
from edgepress.runtime.input_spec import InputSpec
from edgepress.runtime.arrays import load_array
spec, data = InputSpec.image(96, 96, "rgb"), sys.stdin.buffer.read()
load_image(bytes.fromhex("{warm}"), spec)
def peak():
    return int(next(line for line in open("/proc/self/status") if line.startswith("VmHWM")).split()[1]) << 10
before, began, answer = peak(), time.process_time(), "answered"
try:
    if data.startswith(bytes([0x93])):
        resize_array(load_array(io.BytesIO(data), "The array"), spec)
    else:
        load_image(data, spec)
except EdgepressError as e:
    answer = e.message
print(json.dumps([peak() - before, time.process_time() - began, answer]))
"""
"""Decodes what comes from standard input, and says how much memory and CPU time that took."""


def taken(data: bytes, limit_s: float = 120) -> tuple[int, float, str]:
    """Memory (bytes) and CPU time (s) that decoding took in a process of its own, and its answer."""
    code = DECODE.replace("{warm}", png(2, 2, 8, 2).hex())
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", code], input=data, capture_output=True, timeout=limit_s
    )
    if done.returncode:
        return 0, 0.0, f"exit code {done.returncode}: {done.stderr.decode()[-300:]}"
    memory, seconds, answer = json.loads(done.stdout)
    return memory, seconds, answer


def main() -> None:
    """Decode one of each, report."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("kinds", nargs="*", default=list(KINDS))
    args = parser.parse_args()
    for round_ in range(args.rounds):
        for kind in args.kinds:
            rng = random.Random(f"{args.seed} {round_} {kind}")
            data = extreme(kind, rng)
            memory, seconds, answer = taken(data)
            print(
                f"{kind:15} {len(data):9,} bytes  {memory / 1e6:7.0f} MB  {seconds:6.2f} s  {answer[:100]}", flush=True
            )


if __name__ == "__main__":
    main()
