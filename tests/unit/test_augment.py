import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgepress.runtime.input_spec import InputSpec
from edgepress.toolkit.errors import InputError
from edgepress.toolkit.training.batches import augment, draw, resolve

GREY, RGB = InputSpec.image(28, 28, "grey"), InputSpec.image(28, 28, "rgb")
TENSOR = InputSpec(shape=(12,), dtype="float32")
WINDOWS = InputSpec(shape=(98, 40), dtype="float32")


def disc(side: int, channels: int) -> np.ndarray:
    """A bright disc on black, shape (1, side, side, channels)."""
    rows, columns = np.mgrid[:side, :side] - (side - 1) / 2
    image = np.where(rows**2 + columns**2 < (side / 5) ** 2, 200, 0).astype(np.uint8)
    return np.repeat(image[None, :, :, None], channels, axis=3)


def test_auto_fits_the_kind_of_item():
    assert [resolve("auto", spec) for spec in (GREY, RGB, TENSOR)] == ["affine", "photo", "none"]


@pytest.mark.parametrize(("height", "width", "name"), [(64, 64, "crops"), (63, 96, "photo"), (160, 32, "photo")])
def test_parts_of_small_images_show_too_little_for_a_pretrained_net(height, width, name):
    assert resolve("auto", InputSpec.image(height, width, "rgb"), pretrained=True) == name
    assert resolve("auto", InputSpec.image(height, width, "rgb")) == "photo"


def test_an_unknown_or_unfit_augmentation_is_an_error():
    with pytest.raises(InputError, match=r"affin.*affine"):
        resolve("affin", GREY)
    with pytest.raises(InputError, match=r"noise .* accepted: auto, none, affine, photo"):
        resolve("noise", GREY)
    with pytest.raises(InputError, match=r"photo .* accepted: auto, none, noise"):
        resolve("photo", TENSOR)


@settings(deadline=None, max_examples=30)
@given(st.integers(8, 40), st.integers(8, 40), st.sampled_from([1, 3]), st.sampled_from(["affine", "photo", "none"]))
def test_shape_and_type_stay_and_an_item_does_not_depend_on_its_batch(height, width, channels, name):
    x = np.random.default_rng(0).integers(0, 256, (5, height, width, channels), np.uint8)
    draws = draw(5, seed=1, epoch=2)
    together = augment(x, draws, name=name)
    assert together.shape == x.shape
    assert together.dtype == np.uint8
    assert np.array_equal(together[3:4], augment(x[3:4], draws[3:4], name=name))


def test_draws_differ_by_epoch_and_by_seed_only():
    assert np.array_equal(draw(9, seed=1, epoch=2), draw(9, seed=1, epoch=2))
    assert not np.array_equal(draw(9, seed=1, epoch=2), draw(9, seed=1, epoch=3))
    assert not np.array_equal(draw(9, seed=1, epoch=2), draw(9, seed=2, epoch=2))


@pytest.mark.parametrize("channels", [1, 3])
def test_without_a_change_drawn_the_image_stays(channels):
    x = disc(29, channels)
    still = np.full((1, 8), 0.5, np.float32)
    assert np.array_equal(augment(x, still, name="affine"), x)
    assert np.array_equal(augment(x, still, name="photo"), x)


def test_the_object_stays_in_the_frame():
    x = np.repeat(disc(30, 1), 200, axis=0)
    mass = augment(x, draw(200, seed=0, epoch=0), name="affine").sum(axis=(1, 2, 3)) / x[0].sum()
    assert mass.min() > 0.75
    assert mass.max() < 1.3
    assert mass.std() > 0.02


def test_affine_uncovers_the_images_own_edge_not_black():
    x = np.full((50, 28, 28, 3), 240, np.uint8)
    assert augment(x, draw(50, seed=0, epoch=0), name="affine").min() == 240


def test_photo_mirrors_and_affine_does_not():
    x = np.zeros((1, 31, 31, 3), np.uint8)
    x[:, :, :10] = 255
    mirrored = np.full((1, 8), 0.5, np.float32)
    mirrored[0, 4] = 0.0
    assert np.array_equal(augment(x, mirrored, name="photo"), x[:, :, ::-1])
    assert np.array_equal(augment(x, mirrored, name="affine"), x)


def test_noise_follows_the_scale_of_each_feature():
    x = np.zeros((500, 2), np.float32)
    noisy = augment(x, draw(500, seed=0, epoch=0), name="noise", scale=np.array([1.0, 10.0], np.float32))
    assert noisy.dtype == np.float32
    assert noisy.std(axis=0) == pytest.approx([0.1, 1.0], rel=0.15)


def test_masks_shift_a_window_and_empty_some_of_it() -> None:
    assert resolve("auto", WINDOWS, sound=True) == "mix"
    assert resolve("auto", WINDOWS, sound=True, mixes=False) == "masks"
    assert resolve("auto", WINDOWS) == "none"
    for how in ({}, {"sound": True, "mixes": False}):
        with pytest.raises(InputError, match="mix for recordings"):
            resolve("mix", WINDOWS, **how)
    with pytest.raises(InputError, match="masks for windows"):
        resolve("masks", TENSOR)
    x = np.random.default_rng(0).uniform(1, 26, (40, 98, 40)).astype(np.float32)
    draws = draw(40, seed=1, epoch=2)
    y = augment(x, draws, name="masks")
    assert (y.shape, y.dtype) == (x.shape, x.dtype)
    assert augment(x, draws, name="masks").tolist() == y.tolist()
    mixed = augment(x, draws, name="mix")
    assert (mixed == 0).any(axis=(1, 2)).mean() > 0.5
    assert (mixed[mixed != 0] == x[mixed != 0]).all(), "recordings are moved before their frames are computed"
    whole_rows = (y == 0).all(axis=2).mean(axis=1)
    whole_columns = (y == 0).all(axis=1).mean(axis=1)
    assert whole_rows.max() <= 0.15
    assert 0 < whole_columns.max() <= 0.4
    assert 0.05 < (y == 0).mean() < 0.4
    for item, masked, first in zip(x, y, draws[:, 0], strict=True):
        shift = int(np.rint(0.1 * 98 * (2 * float(first) - 1)))
        moved = item[np.clip(np.arange(98) + shift, 0, 97)]
        assert (masked == np.where(masked == 0, 0, moved)).all()
