"""Pictures of items for the page of `edgepress play`."""

from __future__ import annotations

import io

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from PIL import Image

from edgepress.toolkit.improvement.playing.drawing import HEIGHT, LINES, MARGIN, MAX_CHANNELS, WIDTH, draw_item


def drawn(item: np.ndarray) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(draw_item(item))).convert("RGB")).astype(int)


def rgb(color: str) -> list[int]:
    return [int(color[i : i + 2], 16) for i in (1, 3, 5)]


def rows_of(image: np.ndarray, color: str, column: int) -> np.ndarray:
    return np.nonzero((image[:, column] == rgb(color)).all(axis=1))[0]


@given(st.integers(20, 200), st.integers(1, MAX_CHANNELS), st.floats(-1e30, 1e30), st.floats(1e-3, 1e30))
def test_each_channel_is_a_line_at_its_height(steps: int, channels: int, low: float, span: float) -> None:
    levels = np.arange(channels) / max(1, channels - 1)
    window = np.broadcast_to((low + span * levels).astype(np.float32), (steps, channels)).copy()
    window[0, 0], window[-1, -1] = low, low + span  # the scale
    if channels > 1:  # float32 may hold large numbers so coarsely that channels are equal, or nearly
        wide = window.astype(np.float64)
        levels = (wide[1] - wide.min()) / max(np.ptp(wide), np.finfo(np.float64).tiny)
        assume(np.ptp(wide) == 0 or np.diff(levels).min() > 0.5 / (channels - 1))
    image = drawn(window)
    assert image.shape == (HEIGHT, WIDTH, 3)
    drawn_lines = [rows_of(image, color, WIDTH // 2) for color in LINES[:channels]]
    if np.ptp(window) == 0 or channels == 1:
        return
    for level, rows in zip(levels, drawn_lines, strict=True):
        assert abs(rows.mean() - (HEIGHT - 1 - MARGIN - level * (HEIGHT - 1 - 2 * MARGIN))) <= 2
    assert not any(len(rows_of(image, color, WIDTH // 2)) for color in LINES[channels:])


def test_time_goes_from_left_to_right_and_large_is_up() -> None:
    image = drawn(np.linspace(-3, 5, 50, dtype=np.float32)[:, np.newaxis])
    left, right = (rows_of(image, LINES[0], column).mean() for column in (MARGIN + 5, WIDTH - MARGIN - 5))
    assert left > HEIGHT - 30
    assert right < 30


def test_many_channels_are_shades_in_the_tensors_own_order() -> None:
    item = np.zeros((4, 20, 1), np.float32)
    item[0, 19] = 7
    image = drawn(item)
    assert image.shape == (HEIGHT, WIDTH, 3)
    assert image[5, WIDTH - 5].tolist() == [255] * 3
    assert image[5, 5].tolist() == image[-5, -5].tolist() == [0] * 3


def test_an_image_is_itself() -> None:
    item = np.random.default_rng(0).integers(0, 256, (9, 7, 3)).astype(np.uint8)
    np.testing.assert_array_equal(drawn(item), item)


@given(
    arrays.arrays(
        st.sampled_from([np.float32, np.int8, np.uint8, np.int32, np.float16]),
        arrays.array_shapes(min_dims=1, max_dims=4, max_side=9),
    )
)
def test_any_tensor_is_a_picture(item: np.ndarray) -> None:
    assert drawn(item).size


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("shape", [(30, 2), (30, 12)])
def test_what_is_not_finite_is_left_out(value: float, shape: tuple[int, int]) -> None:
    item = np.full(shape, 0.5, np.float32)
    item[10] = value
    item[0], item[-1] = 0, 1
    assert len(np.unique(drawn(item).reshape(-1, 3), axis=0)) > 1
    assert drawn(np.full(shape, value, np.float32)).size


@given(st.integers(2, 90), st.integers(2, 40), st.data())
def test_of_sound_time_goes_right_and_high_frequencies_are_up(frames: int, channels: int, data: st.DataObject) -> None:
    time, channel = data.draw(st.integers(0, frames - 1)), data.draw(st.integers(0, channels - 1))
    item = np.zeros((frames, channels, 1), np.float32)
    item[time, channel] = 9
    image = np.asarray(Image.open(io.BytesIO(draw_item(item, sound=True)))).astype(int)
    assert image.shape == (HEIGHT, WIDTH)
    row, column = int((channels - channel - 0.5) * HEIGHT / channels), int((time + 0.5) * WIDTH / frames)
    assert image[row, column] < 10, "loud is dark"
    assert image.mean() > 255 * (1 - 2 / (frames * channels))


def test_of_long_sound_each_column_is_the_mean_of_its_frames() -> None:
    frames = np.zeros((10 * WIDTH, 40), np.float32)
    frames[::2] = 1
    image = np.asarray(Image.open(io.BytesIO(draw_item(frames, sound=True)))).astype(int)
    assert abs(image - 127).max() <= 2
