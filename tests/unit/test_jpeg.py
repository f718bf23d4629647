"""Small JPEGs are decoded sooner than by Pillow, to the same pixels."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import simplejpeg
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from edgepress.runtime.errors import InputError
from edgepress.runtime.image import load_image
from edgepress.runtime.input_spec import InputSpec
from edgepress.toolkit.data.decoding import load_bytes, load_file


def jpeg(seed: int, size: tuple[int, int], mode: str = "RGB", **options: Any) -> bytes:
    """A smooth picture with some noise."""
    rng = np.random.default_rng(seed)
    small = Image.fromarray(rng.integers(0, 256, (5, 4, 3), np.uint8)).resize(size)
    noisy = np.asarray(small) + rng.normal(0, 12, (size[1], size[0], 3))
    file = io.BytesIO()
    Image.fromarray(noisy.clip(0, 255).astype(np.uint8)).convert(mode).save(file, "JPEG", **options)
    return file.getvalue()


def answer(load: Any, image: Any, spec: InputSpec) -> Any:
    """The pixels, or the message of the error."""
    try:
        return load(image, spec).tolist()
    except InputError as e:
        return e.message


sides = st.integers(1, 70)
images = st.builds(
    jpeg,
    st.integers(0, 999),
    st.tuples(sides, sides),
    st.sampled_from(["RGB", "L", "CMYK"]),
    quality=st.integers(1, 100),
    subsampling=st.sampled_from([0, 1, 2]),
    progressive=st.booleans(),
    optimize=st.booleans(),
)
specs = st.builds(
    InputSpec.image,
    st.integers(8, 60),
    st.integers(8, 60),
    st.sampled_from(["rgb", "grey"]),
    resize=st.sampled_from(["stretch", "crop", "crop:0.875", "pad"]),
)


@settings(max_examples=100, deadline=None)
@given(images, specs)
def test_the_pixels_are_those_of_load_image(image: bytes, spec: InputSpec) -> None:
    assert answer(load_bytes, image, spec) == answer(load_image, image, spec)
    height, width = Image.open(io.BytesIO(image)).size[::-1]
    own = InputSpec.image(height, width, spec.color)
    assert answer(load_bytes, image, own) == answer(load_image, image, own)


@settings(max_examples=100, deadline=None)
@given(images, st.lists(st.tuples(st.floats(0, 1, exclude_max=True), st.integers(0, 255)), max_size=4), st.floats(0, 1))
def test_damaged_ones_are_read_or_refused_as_by_load_image(
    image: bytes, changes: list[tuple[float, int]], rest: float
) -> None:
    damaged = bytearray(image)
    for place, value in changes:
        damaged[int(place * len(damaged))] = value
    spec = InputSpec.image(24, 24, "rgb")
    for data in (bytes(damaged), bytes(damaged[: int(rest * len(damaged))])):
        assert answer(load_bytes, data, spec) == answer(load_image, data, spec)


def test_metadata_turn_it() -> None:
    spec = InputSpec.image(30, 20, "rgb")
    turned = Image.Exif()
    turned[0x0112] = 6
    xmp = b'<x:xmpmeta xmlns:x="adobe:ns:meta/"><tiff:Orientation>3</tiff:Orientation></x:xmpmeta>'
    for image in (jpeg(1, (20, 30), exif=turned), jpeg(2, (20, 30), xmp=xmp)):
        assert answer(load_bytes, image, spec) == answer(load_image, image, spec)
    upright = load_bytes(jpeg(1, (20, 30)), spec)
    assert not np.array_equal(upright, load_bytes(jpeg(1, (20, 30), exif=turned), spec))


@pytest.mark.parametrize("resize", ["stretch", "crop:0.875"])
def test_large_ones_are_decoded_at_a_part_of_their_size(resize: str) -> None:
    spec = InputSpec.image(20, 16, "rgb", resize=resize)
    for side in (39, 40, 79, 80, 81, 90, 91, 92, 93, 160, 300):
        for size in ((side, 2 * side), (2 * side, side)):
            assert answer(load_bytes, jpeg(side, size), spec) == answer(load_image, jpeg(side, size), spec)


@pytest.mark.parametrize("sampling", [0x11, 0x12, 0x14, 0x21, 0x22, 0x41, 0x42])
def test_every_sampling_of_color(sampling: int) -> None:
    """The header of a frame says how often brightness is sampled; `simplejpeg` has no name for 4:4:1."""
    image = bytearray(jpeg(1, (24, 24), subsampling=0))
    frame = image.index(b"\xff\xc0")
    assert image[frame + 11] == 0x11
    image[frame + 11] = sampling
    spec = InputSpec.image(24, 24, "rgb")
    assert answer(load_bytes, bytes(image), spec) == answer(load_image, bytes(image), spec)


@pytest.mark.parametrize(
    "segment",
    [
        b"\xff\x01",
        b"\xff\xe0\x00\x07JFIF\x00",
        b"\xff\xee\x00\x07Adobe",
        b"\xff\xe2\x00\x0eICC_PROFILE\x00",
        b"\xff\xe2\x00\x06MPF\x00",
        b"\xff\xfe\x00\x06note",
        b"\xff\xff\xfe\x00\x06note",
    ],
)
@pytest.mark.parametrize("jfif", [True, False])
@pytest.mark.filterwarnings("ignore:Image appears to be a malformed MPO")
def test_rare_segments_are_read_or_refused_as_by_load_image(segment: bytes, jfif: bool) -> None:
    image = jpeg(1, (24, 24))
    image = (image[:20] if jfif else image[:2]) + segment + image[20:]
    spec = InputSpec.image(24, 24, "rgb")
    assert answer(load_bytes, image, spec) == answer(load_image, image, spec)


@pytest.mark.parametrize("name", ["a.jpg", "a.JPEG", "a.png"])
def test_files(name: str, tmp_path: Path) -> None:
    spec = InputSpec.image(20, 30, "rgb")
    path = tmp_path / name
    assert "does not exist" in answer(load_file, str(path), spec)
    path.write_bytes(jpeg(4, (30, 20)))
    assert np.array_equal(load_file(str(path), spec), load_image(path, spec))
    path.write_bytes(jpeg(4, (30, 20))[:-80])
    assert str(path) in answer(load_file, str(path), spec)
    assert "can't be" in answer(load_file, f"{tmp_path}/\0{name}", spec)


def test_pillow_is_left_out_where_it_can_be(monkeypatch: pytest.MonkeyPatch) -> None:
    spec = InputSpec.image(20, 30, "rgb")
    image = jpeg(5, (30, 20))
    expected = load_image(image, spec)
    with monkeypatch.context() as patch:
        patch.setattr(Image, "open", None)
        assert np.array_equal(load_bytes(image, spec), expected)
    monkeypatch.setattr(simplejpeg, "decode_jpeg", None)
    assert np.array_equal(load_bytes(image, spec), expected)
