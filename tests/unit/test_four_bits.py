"""Which layers keep four bits."""

from __future__ import annotations

import numpy as np
import pytest

from edgepress.converters.ptq.four_bits import choose_by_noise
from edgepress.converters.to_tflite.grids import LEVELS, is_on_grid, mostly_rounded

RANDOM = np.random.default_rng(0)


@pytest.mark.parametrize(
    ("budget", "few"),
    [(0, ["a", "b", "c"]), (9, ["a", "b", "c"]), (10, ["a", "c"]), (40, ["c"]), (1000, ["a", "b", "c"])],
)
def test_layers_with_most_noise_a_byte_get_eight_bits_if_they_fit(budget: int, few: list[str]) -> None:
    """If all fit, none is worth a file of four bits, and it is made as if none did."""
    found = choose_by_noise({"a": 3.0, "b": 2.0, "c": 9.0}, {"a": 30, "b": 10, "c": 300}, budget)
    assert found == few


@pytest.mark.parametrize("axis", [0, 1, -1])
def test_rounded_weights_are_known_by_their_grid(axis: int) -> None:
    steps = RANDOM.integers(-LEVELS, LEVELS + 1, (6, 40)).astype(np.float32)
    steps[:, 0] = LEVELS
    steps[0] = 0
    values = steps * RANDOM.uniform(0.01, 3, (6, 1)).astype(np.float32)
    rounded = values if axis == 0 else values.T.copy()
    assert is_on_grid(rounded, axis)
    other = RANDOM.normal(size=rounded.shape).astype(np.float32)
    assert not is_on_grid(other, axis)
    assert mostly_rounded([rounded, rounded, other], [axis] * 3) == [True, True, False]
    assert mostly_rounded([rounded, other], [axis] * 2) == []
