"""Decoding: whatever the file is, the model gets the shape, the colour and the side up that it expects."""

from __future__ import annotations

import contextlib
import io
import os
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from PIL import Image

from edgepress.runtime.arrays import MOST_BYTES, load_array
from edgepress.runtime.errors import InputError, MissingExtraError
from edgepress.runtime.image import MOST_FILE_BYTES, load_image, peek, resize_array
from edgepress.runtime.input_spec import InputSpec
from edgepress.runtime.resize import resize_rule

GREY = InputSpec.image(8, 8, "grey")
RGB = InputSpec.image(8, 8, "rgb")


def flat(mode: str, value: object, size: tuple[int, int] = (8, 8)) -> Image.Image:
    return Image.new(mode, size, value)  # type: ignore[arg-type]


def encoded(image: Image.Image, kind: str, **options: object) -> bytes:
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


def photo(width: int, height: int) -> Image.Image:
    """A smooth picture that looks different in each corner."""
    y, x = np.mgrid[0:height, 0:width]
    channels = [255 * x / width, 255 * y / height, 127 + 127 * np.sin(x / 40 + y / 60)]
    return Image.fromarray(np.stack(channels, axis=2).astype(np.uint8))


@pytest.mark.parametrize(("kind", "slack"), [("JPEG", 12), ("PNG", 0), ("BMP", 0), ("WEBP", 12)])
def test_each_format_is_decoded(kind: str, slack: int) -> None:
    picture = photo(64, 64)
    pixels = load_image(encoded(picture, kind), InputSpec.image(64, 64, "rgb"))
    assert pixels.dtype == np.uint8
    assert np.abs(pixels.astype(int) - np.asarray(picture)).max() <= slack


def test_path_bytes_and_open_image_give_the_same_pixels(tmp_path: Path) -> None:
    data = encoded(photo(40, 30), "JPEG")
    path = tmp_path / "photo.jpg"
    path.write_bytes(data)
    from_path = load_image(path, RGB)
    assert np.array_equal(from_path, load_image(str(path), RGB))
    assert np.array_equal(from_path, load_image(data, RGB))
    assert np.array_equal(from_path, load_image(Image.open(path), RGB))


@pytest.mark.parametrize(
    ("image", "expected"),
    [
        (flat("1", 1), 255),
        (flat("L", 100), 100),
        (flat("RGB", (100, 100, 100)), 100),
        (flat("LA", (100, 255)), 100),
        (flat("LA", (100, 0)), 255),  # transparent: white shows
        (flat("RGBA", (0, 0, 0, 128)), 127),
        (flat("RGB", (90, 90, 90)).quantize(4), 90),
        (Image.fromarray(np.full((8, 8), 0x64FF, np.uint16)), 0x64),  # scaled, not clipped
    ],
    ids=["1-bit", "grey", "rgb", "grey+alpha", "transparent", "half-transparent", "palette", "16-bit"],
)
@pytest.mark.parametrize("spec", [GREY, RGB], ids=["to-grey", "to-rgb"])
def test_every_png_mode_is_brought_to_the_models_colour(image: Image.Image, expected: int, spec: InputSpec) -> None:
    pixels = load_image(encoded(image, "PNG"), spec)
    assert pixels.shape == spec.shape
    assert np.all(pixels == expected)


def test_palette_with_a_transparent_colour() -> None:
    image = flat("P", 0)
    image.putpalette([10, 20, 30])
    assert np.all(load_image(encoded(image, "PNG"), RGB) == [10, 20, 30])
    assert np.all(load_image(encoded(image, "PNG", transparency=0), RGB) == 255)


def test_cmyk_jpeg_is_brought_to_rgb() -> None:
    pixels = load_image(encoded(flat("CMYK", (0, 255, 255, 0)), "JPEG", quality=95), RGB)  # red ink
    assert np.abs(pixels.astype(int) - [255, 0, 0]).max() <= 4


@pytest.mark.parametrize("kind", ["GIF", "PNG", "WEBP"])
def test_first_frame_of_an_animation(kind: str) -> None:
    frames = [flat("RGB", (255, 255, 255)), flat("RGB", (0, 0, 0))]
    data = encoded(frames[0], kind, save_all=True, append_images=frames[1:])
    assert load_image(data, GREY).min() >= 250


@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_orientation_is_applied(orientation: int) -> None:
    """Store an upright picture as a camera held in each of eight ways does; it must come out upright."""
    undo = {2: 0, 3: 3, 4: 1, 5: 5, 6: 2, 7: 6, 8: 4}  # transpositions that store what the tag brings back
    upright = photo(24, 16)
    stored = upright.transpose(Image.Transpose(undo[orientation])) if orientation > 1 else upright
    exif = Image.Exif()
    exif[0x0112] = orientation
    data = encoded(stored, "PNG", exif=exif)
    spec = InputSpec.image(16, 24, "rgb")
    assert np.array_equal(load_image(data, spec), np.asarray(upright))


def test_peek_tells_the_upright_size_and_the_colour(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    photo(24, 16).save(tmp_path / "a.jpg", exif=exif)
    flat("L", 3).save(tmp_path / "b.png")
    assert peek(tmp_path / "a.jpg") == (24, 16, "rgb")
    assert peek(tmp_path / "b.png") == (8, 8, "grey")


@pytest.mark.filterwarnings("ignore:Corrupt EXIF")
def test_damaged_exif_leaves_the_image_as_stored() -> None:
    assert load_image(encoded(photo(8, 8), "JPEG", exif=b"Exif\0\0MM\0*garbage"), RGB).shape == (8, 8, 3)


def test_resize_rules() -> None:
    wide = np.zeros((10, 30, 3), np.uint8)
    wide[:, 10:20] = 200  # the middle third
    stretch, crop, pad = (resize_array(wide, InputSpec.image(12, 12, "rgb", r)) for r in ("stretch", "crop", "pad"))
    assert stretch[6, 6, 0] == 200
    assert stretch[6, 1, 0] == 0
    assert crop.min() > 100  # only the middle is left
    assert np.all(pad[:4] == 0)
    assert np.all(pad[8:] == 0)
    assert np.array_equal(pad[4:8], resize_array(wide, InputSpec.image(4, 12, "rgb")))


@pytest.mark.parametrize(("height", "width"), [(40, 60), (60, 40), (40, 40), (33, 71)])
def test_crop_to_a_share_is_the_middle_of_the_shorter_side(height: int, width: int) -> None:
    """As ImageNet models are evaluated: the shorter side becomes size / share, then the middle is cut out."""
    gradient = np.linspace(0, 255, height)[:, None] / 2 + np.linspace(0, 255, width) / 2
    picture, side, larger = Image.fromarray(gradient.astype(np.uint8)), 28, 32
    scale = larger / min(height, width)
    resized = picture.resize((round(width * scale), round(height * scale)), Image.Resampling.BILINEAR)
    left, top = ((length - side) / 2 for length in resized.size)
    expected = resized.crop((round(left), round(top), round(left) + side, round(top) + side))
    found = load_image(encoded(picture, "PNG"), InputSpec.image(side, side, "grey", "crop:0.875"))
    assert np.abs(found[:, :, 0].astype(int) - np.asarray(expected)).max() <= 3


def test_crop_to_a_share_decodes_a_large_jpeg_at_twice_what_it_shows_and_leaves_prepared_arrays() -> None:
    data = encoded(photo(1000, 800), "JPEG", quality=95)
    spec = InputSpec.image(8, 8, "rgb", "crop:0.25")
    difference = load_image(data, spec).astype(int) - load_image(Image.open(io.BytesIO(data)), spec)
    assert np.abs(difference).max() <= 4
    array = np.zeros((8, 8, 3), np.uint8)
    assert resize_array(array, spec) is array
    assert not np.array_equal(load_image(photo(8, 8), spec), np.asarray(photo(8, 8))), "a file of that size is cropped"


@pytest.mark.parametrize("wrong", ["crop:0", "crop:1.01", "crop:", "crop:nan", "crop:F", "pad:0.5", "", "zoom", None])
def test_a_rule_that_does_not_exist_is_refused(wrong: str | None) -> None:
    with pytest.raises(ValueError, match="crop:F"):
        resize_rule(wrong)


def test_shrinking_is_antialiased() -> None:
    checks = np.indices((64, 64)).sum(axis=0).astype(np.uint8) % 2 * 255
    assert np.abs(resize_array(checks, GREY).astype(int) - 127).max() <= 2


def test_large_jpeg_decoded_small_looks_as_if_decoded_whole() -> None:
    picture = photo(1000, 800)
    data = encoded(picture, "JPEG", quality=95)
    difference = load_image(data, RGB).astype(int) - load_image(Image.open(io.BytesIO(data)), RGB)
    assert np.abs(difference).max() <= 3


@given(
    height=st.integers(1, 70),
    width=st.integers(1, 70),
    target=st.tuples(st.integers(1, 40), st.integers(1, 40)),
    rule=st.sampled_from(["stretch", "crop", "crop:0.3", "pad"]),
    color=st.sampled_from(["grey", "rgb"]),
    channels=st.sampled_from([None, 1, 3]),
)
@example(height=3, width=31, target=(1, 15), rule="crop", color="grey", channels=None)  # 31 / 15 * 15 > 31
def test_any_size_fits_any_input(height, width, target, rule, color, channels) -> None:  # type: ignore[no-untyped-def]
    spec = InputSpec.image(*target, color, rule)
    array = np.full((height, width) if channels is None else (height, width, channels), 77, np.uint8)
    pixels = resize_array(array, spec)
    assert pixels.shape == spec.shape
    assert pixels.max() == 77
    assert rule == "pad" or pixels.min() == 77


def test_array_of_the_right_size_is_not_copied() -> None:
    array = np.zeros((8, 8, 1), np.uint8)
    assert resize_array(array, GREY) is array


@pytest.mark.parametrize("array", [np.zeros((8, 8)), np.zeros((8, 8, 2), np.uint8), np.zeros((0, 8), np.uint8)])
def test_an_array_that_is_no_image_is_refused(array: np.ndarray) -> None:
    with pytest.raises(InputError, match="not an image"):
        resize_array(array, GREY)


def test_missing_file_and_folder(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"no\.jpg does not exist"):
        load_image(tmp_path / "no.jpg", RGB)
    with pytest.raises(InputError, match="Is a directory"):
        load_image(tmp_path, RGB)


def test_another_kind_of_file_is_named(tmp_path: Path) -> None:
    path = tmp_path / "notes.jpg"
    path.write_text("not an image")
    with pytest.raises(InputError, match=r"notes\.jpg is not a JPEG"):
        load_image(path, RGB)
    path.write_bytes(encoded(photo(8, 8), "TIFF"))  # Pillow could, but its rarer decoders are kept out of reach
    with pytest.raises(InputError, match=r"notes\.jpg is not a JPEG"):
        load_image(path, RGB)


def test_a_damaged_header_is_not_called_another_format(tmp_path: Path) -> None:
    whole = encoded(photo(8, 8), "PNG")
    (tmp_path / "empty.png").write_bytes(whole[:16] + bytes(4) + whole[20:])
    whole = encoded(photo(8, 8), "JPEG")
    (tmp_path / "12-bits.jpg").write_bytes(whole.replace(b"\xff\xc0\0\x11\x08", b"\xff\xc0\0\x11\x0c"))
    for name, kind in (("empty.png", "PNG"), ("12-bits.jpg", "JPEG")):
        with pytest.raises(InputError, match=f"{name} can't be decoded: it begins as a {kind} file, but its header is"):
            load_image(tmp_path / name, RGB)
        with pytest.raises(InputError, match=f"it begins as a {kind} file"):
            peek(tmp_path / name)


def test_a_file_larger_than_any_picture_is_not_read(tmp_path: Path) -> None:
    path = tmp_path / "large.png"
    path.write_bytes(encoded(photo(8, 8), "PNG"))
    assert load_image(path, RGB).shape == RGB.shape
    os.truncate(path, MOST_FILE_BYTES + 1)  # zeros that take no room on the disk
    for read in (lambda: load_image(path, RGB), lambda: peek(path)):
        with pytest.raises(InputError, match=r"large\.png can't be read: it has 1073741825 bytes"):
            read()


def test_a_file_larger_than_any_item_is_not_read(tmp_path: Path) -> None:
    path = tmp_path / "large.npy"
    np.save(path, np.zeros(3))
    assert load_array(path, "large.npy").shape == (3,)
    os.truncate(path, MOST_BYTES + 1)
    with pytest.raises(InputError, match="it has 268435457 bytes; accepted: up to 268435456"):
        load_array(path, "large.npy")


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "BMP", "WEBP"])
def test_truncated_file_is_an_input_error(kind: str, tmp_path: Path) -> None:
    data = encoded(photo(60, 60), kind)
    path = tmp_path / "cut.img"
    path.write_bytes(data[: len(data) * 2 // 3])
    with pytest.raises(InputError, match=r"cut\.img"):
        load_image(path, RGB)


@given(st.binary(max_size=64), st.sampled_from(["JPEG", "PNG", "BMP", "WEBP", "GIF"]), st.data())
def test_damaged_bytes_never_raise_anything_else(noise: bytes, kind: str, data: st.DataObject) -> None:
    whole = encoded(photo(20, 20), kind)
    at = data.draw(st.integers(0, len(whole)))
    with contextlib.suppress(InputError):
        assert load_image(whole[:at] + noise + whole[at + len(noise) :], RGB).shape == RGB.shape


def test_decompression_bomb_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    data = encoded(flat("L", 0, (100, 100)), "PNG")
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 1000)
    with pytest.raises(InputError, match="too large"):
        load_image(data, RGB)


def test_floating_point_and_deep_images_are_refused() -> None:
    with pytest.raises(InputError, match="floating-point"):
        load_image(flat("F", 0.5), RGB)
    with pytest.raises(InputError, match="70000"):
        load_image(flat("I", 70000), RGB)


def test_what_is_no_image_at_all() -> None:
    with pytest.raises(InputError, match="given as int"):
        load_image(5, RGB)  # type: ignore[arg-type]
    with pytest.raises(InputError, match="tensors"):
        load_image(b"", InputSpec(shape=(3,), dtype="float32"))


def test_without_pillow_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "PIL", None)
    with pytest.raises(MissingExtraError, match=r"edgepress\[image\]"):
        load_image("x.jpg", RGB)
