"""`--crop`: a part of the frame, in pixels or percent, is within it and of the pixels that were meant."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image, ImageOps

from edgepress.runtime import upright
from edgepress.runtime.crop import read_crop
from edgepress.runtime.errors import InputError
from edgepress.runtime.image import Memory, load_image
from edgepress.runtime.input_spec import InputSpec
from edgepress.runtime.serve import MAX_DECODING

SPEC = InputSpec.image(8, 8, "rgb")
PIXELS = np.arange(40 * 60 * 3, dtype=np.uint32).reshape(40, 60, 3).astype(np.uint8)


@given(st.integers(0, 100), st.integers(1, 100), st.integers(1, 5000))
def test_parts_in_percent_lie_within_the_frame_and_touch(x: int, width: int, side: int) -> None:
    text = f"{x}%,0,{width}%,100%"
    if x + width > 100:
        with pytest.raises(ValueError, match="is within no frame"):
            read_crop(text)
        return
    crop = read_crop(text)
    try:
        left, _, wide, _ = crop.box(1, side)
    except InputError:
        assert round(side * x / 100) == round(side * (x + width) / 100)
        return
    assert 0 <= left < left + wide <= side
    assert abs(left - side * x / 100) <= 0.5 + 1e-6
    assert abs(left + wide - side * (x + width) / 100) <= 0.5 + 1e-6


@given(st.tuples(*[st.integers(0, 70)] * 4))
def test_pixels_are_as_given_or_refused(numbers: tuple[int, int, int, int]) -> None:
    x, y, width, height = numbers
    text = ",".join(map(str, numbers))
    if not width or not height:
        with pytest.raises(ValueError, match="is not a crop"):
            read_crop(text)
    elif x + width <= 60 and y + height <= 40:
        np.testing.assert_array_equal(read_crop(text).cut(PIXELS, SPEC), PIXELS[y : y + height, x : x + width])
    else:
        with pytest.raises(InputError, match="is not a part of an image of 60x40 pixels"):
            read_crop(text).cut(PIXELS, SPEC)


@pytest.mark.parametrize(
    "text", ["", "1,2,3", "1,2,3,4,5", "-1,0,3,4", "a,0,3,4", "0,0,0%,4", "0.5,0,3,4", "1,2,3,4px"]
)
def test_other_texts_are_refused(text: str) -> None:
    with pytest.raises(ValueError, match="is not a crop; accepted: x,y,width,height"):
        read_crop(text)


def test_more_than_the_frame_is_refused() -> None:
    with pytest.raises(ValueError, match="is more than the frame"):
        read_crop("0,0,101%,50%")


def test_every_kind_of_image_is_cut_alike(tmp_path: Path) -> None:
    crop = read_crop("50%,10,50%,50%")
    expected = PIXELS[10:30, 30:]
    picture = Image.fromarray(PIXELS)
    written = io.BytesIO()
    picture.save(written, "PNG")
    (tmp_path / "a.png").write_bytes(written.getvalue())
    np.save(tmp_path / "a.npy", PIXELS)
    images = [PIXELS, picture, written.getvalue(), tmp_path / "a.png", str(tmp_path / "a.npy")]
    images.append((tmp_path / "a.npy").read_bytes())
    for image in images:
        np.testing.assert_array_equal(crop.cut(image, SPEC), expected)
    np.testing.assert_array_equal(crop.cut(Image.fromarray(PIXELS[..., 0]), SPEC), expected[..., 0])
    np.testing.assert_array_equal(crop.cut(PIXELS[..., 0], SPEC), expected[..., 0])


def test_a_batch_has_no_part() -> None:
    with pytest.raises(InputError, match="has no part to look at"):
        read_crop("0,0,1,1").cut(PIXELS[np.newaxis], SPEC)


@pytest.mark.parametrize("text", ["60%,0,60%,100%", "0,1,50%,100%", "100%,0,1,1", "0,33.4%,1,66.7%"])
def test_what_fits_no_frame_is_refused_at_once(text: str) -> None:
    with pytest.raises(ValueError, match="is within no frame"):
        read_crop(text)


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("strip", [1 << 19, 90])
def test_a_part_is_of_the_upright_picture(orientation: int, strip: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(upright, "STRIP_PIXELS", strip)
    exif = Image.Exif()
    exif[0x112] = orientation
    written = io.BytesIO()
    Image.fromarray(PIXELS).save(written, "PNG", exif=exif.tobytes())
    turned = np.asarray(ImageOps.exif_transpose(Image.open(io.BytesIO(written.getvalue()))))
    for image in (written.getvalue(), Image.open(io.BytesIO(written.getvalue()))):
        np.testing.assert_array_equal(read_crop("5,10,20,25").cut(image, SPEC), turned[10:35, 5:25])


@pytest.mark.parametrize("size", [(4000, 3000), (4608, 3456), (6000, 4000)])
@pytest.mark.parametrize("orientation", [1, 6])
def test_a_server_takes_the_pictures_of_phones(
    size: tuple[int, int], orientation: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Baseline JPEGs; the part is what the same part of the whole picture is."""
    monkeypatch.setattr(Memory, "most", MAX_DECODING)
    ramp = Image.linear_gradient("L").resize(size)
    picture = Image.merge("RGB", (ramp, ramp.transpose(Image.Transpose.ROTATE_180), ramp))
    exif = Image.Exif()
    exif[0x112] = orientation
    written = io.BytesIO()
    picture.save(written, "JPEG", exif=exif.tobytes())
    spec = InputSpec.image(224, 224, "rgb")
    found = load_image(read_crop("25%,0,50%,100%").cut(written.getvalue(), spec), spec)
    whole = ImageOps.exif_transpose(Image.open(io.BytesIO(written.getvalue())))
    expected = load_image(whole.crop((whole.width // 4, 0, whole.width * 3 // 4, whole.height)), spec)
    assert np.abs(found.astype(int) - expected).max() <= 3


def test_bytes_of_an_array_that_a_client_prepared_are_refused() -> None:
    written = io.BytesIO()
    np.save(written, PIXELS[:8, :8])
    with pytest.raises(InputError, match="not clear whether it is the part 0,0,4,4 already"):
        read_crop("0,0,4,4").cut(written.getvalue(), SPEC)
    assert read_crop("0,0,4,4").cut(PIXELS[:8, :8], SPEC).shape == (4, 4, 3), "a camera's frame has any size"
