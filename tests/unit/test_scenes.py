"""Scenes: thumbnails are exact means, and what is another scene depends on level, pattern and contrast."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgepress.runtime.scenes import is_other_scene, other_scene, parts_of, thumbnail


def test_thumbnails_are_means_of_parts() -> None:
    image = np.zeros((16, 24, 3), np.uint8)
    image[:8] = 90
    small = thumbnail(image)
    assert small.shape == (8, 8)
    assert small[:4] == pytest.approx(90)
    assert small[4:] == pytest.approx(0)
    assert thumbnail(np.full((5, 40, 1), 7, np.uint8)) == pytest.approx(np.full((5, 8), 7))


@pytest.mark.parametrize(
    "shape", [(28, 30, 1), (96, 96, 3), (5, 40, 1), (1, 1, 1), (8, 12, 4), (2056, 3, 1), (2064, 3, 1)]
)
@pytest.mark.parametrize("dtype", [np.uint8, np.float32])
def test_thumbnails_are_exact_for_all_sizes(shape: tuple[int, int, int], dtype: Any) -> None:
    """Parts of unlike sizes, few pixels, and so many rows of white ones that 16 bits do not hold their sum."""
    image = np.random.default_rng(0).integers(0, 256, shape).astype(dtype)
    image[:, 0] = 255
    height, width, _ = shape
    rows, columns = ([n * size // min(8, size) for n in range(min(8, size) + 1)] for size in (height, width))
    expected = [
        [image[rows[i] : rows[i + 1], columns[k] : columns[k + 1]].mean(dtype=np.float64) for k in range(min(8, width))]
        for i in range(min(8, height))
    ]
    assert thumbnail(image) == pytest.approx(np.array(expected), rel=1e-12)
    assert parts_of(image) == thumbnail(image).ravel().tolist()


@given(st.integers(0, 10_000), st.floats(0, 60), st.floats(0, 60), st.floats(-40, 40))
def test_one_pair_of_thumbnails_is_compared_as_many_are(seed: int, noise: float, contrast: float, shift: float) -> None:
    rng = np.random.default_rng(seed)
    last = 128 + contrast * rng.normal(size=64)
    small = last + shift + noise * rng.normal(size=64)
    assert is_other_scene(small.tolist(), last.tolist()) == bool(other_scene(small, last))
    assert not is_other_scene(last.tolist(), last.tolist())


@pytest.mark.parametrize(
    ("change", "contrast", "new"), [(24.9, 0.0, False), (25.1, 0.0, True), (24.9, 60.0, False), (25.1, 60.0, True)]
)
def test_another_level_from_a_limit_on_is_another_scene(change: float, contrast: float, new: bool) -> None:
    last = [100.0 + contrast * (-1) ** n for n in range(64)]
    assert is_other_scene([level + change for level in last], last) == new


@pytest.mark.parametrize(
    ("pattern", "contrast", "new"), [(3.9, 1.0, False), (4.1, 1.0, True), (14.9, 20.0, False), (15.1, 20.0, True)]
)
def test_another_pattern_is_another_scene_relative_to_the_contrast(pattern: float, contrast: float, new: bool) -> None:
    """The change has nothing of the pattern that was there, so the larger contrast is the root of both squares."""
    last = [100.0 + contrast * (-1) ** n for n in range(64)]
    small = [level + pattern * (-1) ** (n // 2) for n, level in enumerate(last)]
    assert is_other_scene(small, last) == is_other_scene(last, small) == new
