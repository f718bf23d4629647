"""Pictures that claim more than they hold: refused, or decoded in little memory and time; photos stay as they were."""

from __future__ import annotations

import io
import json
import random
import struct
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from scripts import script

from edgepress.runtime import upright
from edgepress.runtime.errors import InputError
from edgepress.runtime.image import ImageTooLargeError, load_image, peek, resize_array
from edgepress.runtime.input_spec import InputSpec
from edgepress.runtime.serve import MAX_DECODING
from edgepress.toolkit.data import decoding
from edgepress.toolkit.data.decoding import load_bytes, load_file
from edgepress.toolkit.data.readers.folder import FolderSource

extremes = script("benchmarks/faults/extreme_pictures.py")
SPEC = InputSpec.image(96, 96, "rgb")
MOST_MEMORY = 200_000_000
MOST_CPU_S = 4.0
"""A few times of what the slowest takes on a machine that does nothing else."""
DECODE_ALL = """
import io, json, sys, time
from edgepress.runtime.errors import EdgepressError
from edgepress.runtime.image import Memory, load_image, resize_array
from edgepress.runtime.input_spec import InputSpec
from edgepress.runtime.arrays import load_array
spec = InputSpec.image(96, 96, "rgb")
Memory.most = int(sys.argv[1])
def status(name):
    return int(next(line for line in open("/proc/self/status") if line.startswith(name)).split()[1]) << 10
for path in sys.argv[2:]:
    data, answer = open(path, "rb").read(), "decoded"
    open("/proc/self/clear_refs", "w").write("5")
    before, began = status("VmRSS"), time.process_time()
    try:
        if data.startswith(bytes([0x93])):
            resize_array(load_array(io.BytesIO(data), "The array"), spec)
        else:
            load_image(data, spec)
    except EdgepressError as e:
        answer = e.message
    print(json.dumps([status("VmHWM") - before, time.process_time() - began, answer]))
"""


def encoded(image: Image.Image, kind: str = "PNG", **options: Any) -> bytes:
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


def noisy(width: int, height: int, mode: str = "RGB") -> Image.Image:
    """A smooth picture without symmetry, quickly made."""
    small = np.random.default_rng(width * height).integers(0, 256, (9, 7, 4), np.uint8)
    return Image.fromarray(small).convert(mode).resize((width, height), Image.Resampling.BILINEAR)


@pytest.fixture(scope="module")
def taken(tmp_path_factory: pytest.TempPathFactory) -> dict[str, tuple[int, float, str]]:
    """Memory, CPU time and answer of one picture of each kind, decoded one after another in one process."""
    if not Path("/proc/self/clear_refs").exists():
        pytest.skip("the peak of memory is read from /proc")
    folder = tmp_path_factory.mktemp("extreme")
    for kind in extremes.KINDS:
        (folder / kind).write_bytes(extremes.extreme(kind, random.Random(f"5 {kind}"), 1 << 21))
    paths = [str(folder / kind) for kind in extremes.KINDS]
    command = [sys.executable, "-W", "ignore", "-c", DECODE_ALL, str(MAX_DECODING), *paths]
    done = subprocess.run(command, capture_output=True, text=True, timeout=240)
    assert done.returncode == 0, done.stderr
    return dict(zip(extremes.KINDS, map(json.loads, done.stdout.splitlines()), strict=True))


@pytest.mark.parametrize("kind", extremes.KINDS)
def test_extreme_pictures_take_little_memory_and_time(kind: str, taken: dict[str, tuple[int, float, str]]) -> None:
    memory, seconds, answer = taken[kind]
    assert memory < MOST_MEMORY, answer
    assert seconds < MOST_CPU_S, answer


def refusal(read: Callable[[], Any]) -> str:
    """The message of the error that a reader raises, or returns."""
    try:
        answer = read()
    except InputError as e:
        answer = e
    assert isinstance(answer, InputError)
    return answer.message


def test_a_line_of_pixels_is_refused_wherever_images_are_read(tmp_path: Path) -> None:
    """The file of 68 bytes and some thousands of zeros, which took 1.2 GB."""
    line = extremes.png(1, 24_999_999, 8, 0, data=b"")
    path = tmp_path / "line.png"
    path.write_bytes(line)
    source = FolderSource(str(tmp_path), [path.name], SPEC)
    for read in (
        lambda: load_image(line, SPEC),
        lambda: load_bytes(line, SPEC),
        lambda: load_file(str(path), SPEC),
        lambda: peek(line),
        lambda: source.hash(0, decode=True),
        lambda: resize_array(np.zeros((8 << 20, 1), np.uint8), SPEC),
        lambda: resize_array(np.zeros((1, 40_000, 3), np.uint8), SPEC),
        lambda: load_image(Image.new("L", (1, 40_000)), SPEC),
    ):
        began = time.process_time()
        assert "accepted: up to 32768 on each side" in refusal(read)
        assert time.process_time() - began < 1


@pytest.mark.parametrize(("width", "height"), [(8000, 6000), (20_000, 2000), (1500, 16_000)])
def test_photos_and_panoramas_have_the_pixels_that_pillow_gives(width: int, height: int, tmp_path: Path) -> None:
    path = tmp_path / "photo.jpg"
    path.write_bytes(encoded(noisy(width, height), "JPEG"))
    with Image.open(path) as photo:
        photo.draft(None, (192, 192))
        expected = np.asarray(photo.resize((96, 96), Image.Resampling.BILINEAR))
    assert np.array_equal(load_image(path, SPEC, most_bytes=decoding.HERE_BYTES), expected)
    assert np.array_equal(load_file(str(path), SPEC), expected)


@settings(max_examples=30, deadline=None)
@given(
    mode=st.sampled_from(["1", "L", "LA", "RGB", "RGBA", "P", "CMYK"]),
    sides=st.tuples(st.integers(1, 60), st.integers(1, 60)),
    orientation=st.integers(1, 8),
    color=st.sampled_from(["rgb", "grey"]),
    rule=st.sampled_from(["stretch", "crop", "crop:0.5", "pad"]),
    strip=st.integers(1, 500),
)
def test_pixels_do_not_depend_on_the_height_of_strips(
    mode: str, sides: tuple[int, int], orientation: int, color: Any, rule: str, strip: int
) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    data = encoded(noisy(*sides, mode), "JPEG" if mode == "CMYK" else "PNG", exif=exif)
    spec = InputSpec.image(13, 11, color, rule)
    whole = load_image(data, spec)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(upright, "STRIP_PIXELS", strip)
        assert np.array_equal(load_image(data, spec), whole)


def test_orientation_behind_the_pixels_of_a_png_counts() -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    plain, block = encoded(noisy(24, 16)), exif.tobytes().removeprefix(b"Exif\0\0")
    end = plain.rindex(b"IEND") - 4
    behind = plain[:end] + extremes.chunk(b"eXIf", block) + plain[end:]
    assert peek(behind) == (24, 16, "rgb")
    spec = InputSpec.image(24, 16, "rgb")
    assert np.array_equal(load_image(behind, spec), np.asarray(noisy(24, 16).transpose(Image.Transpose.ROTATE_270)))


def test_orientation_is_found_in_exif_and_xmp_and_damage_is_ignored() -> None:
    exif = Image.Exif()
    exif[0x010F], exif[0x0112] = "a camera's maker", 3
    upside_down = np.asarray(noisy(8, 8).transpose(Image.Transpose.ROTATE_180))
    spec, xmp = InputSpec.image(8, 8, "rgb"), b'<x tiff:Orientation="3"/>'
    assert np.array_equal(load_image(encoded(noisy(8, 8), exif=exif), spec), upside_down)
    webp = encoded(noisy(8, 8), "WEBP", lossless=True, xmp=xmp)
    assert np.array_equal(load_image(webp, spec), upside_down)
    for block in (b"", b"II*\0", b"MM\0*\xff\xff\xff\xff", b"II*\0\x08\0\0\0\xff\xff", b"nothing"):
        assert np.array_equal(load_image(encoded(noisy(8, 8), exif=b"Exif\0\0" + block), spec), np.asarray(noisy(8, 8)))


def test_progressive_photos_are_read_and_thousands_of_scans_are_not() -> None:
    photo = encoded(noisy(640, 480), "JPEG", progressive=True)
    assert photo.count(b"\xff\xda") > 5
    assert load_image(photo, SPEC).shape == SPEC.shape
    rng = random.Random(0)
    for count, side in ((200, 64), (30, 3000)):
        with pytest.raises(InputError, match="scans, which no photo has"):
            load_image(extremes.scans(rng, side, side, count, 1 << 20), SPEC)
    small = extremes.scans(rng, 64, 64, 1000, 200_000)
    with pytest.raises(InputError, match="scans, which no photo has"):
        load_bytes(small, SPEC)  # not by simplejpeg either, whose libjpeg visits all of them


@pytest.mark.parametrize(
    "start",
    [
        extremes.segment(0xE1, b"Exif\0\0" + extremes.overlapping(4000, 60_000)),
        extremes.segment(0xE1, b"Exif\0\0Exif\0\0" + extremes.overlapping(4000, 60_000)),
        extremes.segment(0xE1, b"Exif\0\0II")
        + extremes.segment(0xE1, b"Exif\0\0" + extremes.overlapping(4000, 60_000)[2:]),
        extremes.segment(0xE1, b"Exif\0\0II+\0\x08\0\0\0" + bytes(99)),
        extremes.segment(0xE2, b"MPF\0" + extremes.overlapping(4000, 60_000)),
    ],
    ids=["exif", "named twice", "in two segments", "bigtiff", "mpf"],
)
def test_metadata_that_claim_the_same_bytes_are_refused(start: bytes) -> None:
    photo = encoded(noisy(64, 64), "JPEG")
    with pytest.raises(InputError, match="its metadata"):
        load_image(photo[:2] + start + photo[2:], SPEC)


def test_what_takes_too_much_is_an_error_that_says_so() -> None:
    for data in (encoded(noisy(700, 500, "RGBA")), encoded(noisy(700, 500), "JPEG", progressive=True, subsampling=0)):
        with pytest.raises(ImageTooLargeError, match=r"takes up to \d+ MB to decode; accepted: 1 MB") as caught:
            load_image(data, InputSpec.image(600, 600, "rgb"), most_bytes=1_000_000)
        assert caught.value.needed > 1_000_000
    assert load_image(encoded(noisy(70, 50)), SPEC, most_bytes=1_000_000).shape == SPEC.shape


def test_large_pictures_of_data_sets_are_decoded_in_a_child(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    path.write_bytes(encoded(noisy(300, 200, "RGBA")))
    expected = load_image(path, SPEC)
    monkeypatch.setattr(decoding, "HERE_BYTES", 1000)
    try:
        assert np.array_equal(load_file(str(path), SPEC), expected)
        assert np.array_equal(load_bytes(path.read_bytes(), SPEC), expected)
        worker = decoding._child._worker
        assert worker is not None
        worker._process.kill()
        worker._process.wait()
        with pytest.raises(InputError, match=r"a\.png ended the process that decoded it"):
            load_file(str(path), SPEC)
        assert np.array_equal(load_file(str(path), SPEC), expected), "the next one gets another process"
    finally:
        decoding._child.close()
    monkeypatch.setattr(decoding, "MOST_BYTES", 2000)
    with pytest.raises(ImageTooLargeError):
        load_file(str(path), SPEC)


def test_a_png_whose_pixels_are_damaged_is_refused() -> None:
    """It was decoded up to the damage, because the first error was taken for one of EXIF."""
    data = bytearray(encoded(noisy(64, 64)))
    start = data.index(b"IDAT") + 4
    (size,) = struct.unpack(">I", data[start - 8 : start - 4])
    data[start + size // 2 : start + size // 2 + 40] = bytes(40)
    with pytest.raises(InputError, match="can't be decoded"):
        load_image(bytes(data), SPEC)
