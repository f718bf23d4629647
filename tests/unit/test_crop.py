"""`--crop`: a part of the frame, in pixels or percent, is within it and of the pixels that were meant."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from edgepress.runtime.crop import read_crop
from edgepress.runtime.errors import InputError

PIXELS = np.arange(40 * 60 * 3, dtype=np.uint32).reshape(40, 60, 3).astype(np.uint8)


@given(st.integers(0, 100), st.integers(1, 100), st.integers(1, 5000))
def test_parts_in_percent_lie_within_the_frame_and_touch(x: int, width: int, side: int) -> None:
    crop = read_crop(f"{x}%,0,{width}%,100%")
    try:
        left, _, wide, _ = crop.box(1, side)
    except InputError:
        assert x + width > 100 or round(side * x / 100) == round(side * (x + width) / 100)
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
        np.testing.assert_array_equal(read_crop(text).cut(PIXELS), PIXELS[y : y + height, x : x + width])
    else:
        with pytest.raises(InputError, match="is not a part of an image of 60x40 pixels"):
            read_crop(text).cut(PIXELS)


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
        np.testing.assert_array_equal(crop.cut(image), expected)
    np.testing.assert_array_equal(crop.cut(Image.fromarray(PIXELS[..., 0]))[..., 0], expected[..., 0])
    np.testing.assert_array_equal(crop.cut(PIXELS[..., 0]), expected[..., 0])


def test_a_batch_has_no_part() -> None:
    with pytest.raises(InputError, match="has no part to look at"):
        read_crop("0,0,1,1").cut(PIXELS[np.newaxis])
