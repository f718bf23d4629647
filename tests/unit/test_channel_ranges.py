"""Ranges of tensors from those of their channels, and how factors and shifts move them."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from edgepress.converters.numeric.statistics import SMALLEST
from edgepress.converters.ptq.channel_scales import move_ranges, tensor_ranges

RANGES: Any = {"x": (np.array([-3.0, 1.0]), np.array([2.0, 4.0])), "a": (np.array([5.0]), np.array([5.0]))}


@pytest.mark.parametrize("given", [None, (0.0, 255.0)])
def test_a_tensor_reaches_from_the_least_to_the_largest_of_its_channels(given: Any) -> None:
    found = tensor_ranges(RANGES, "x", given)
    assert found == {"x": given or (-3.0, 4.0), "a": (5.0, 5.0 + SMALLEST)}


def test_channels_are_divided_by_factors_and_then_shifted() -> None:
    factors, shifts = {"x": np.array([2.0, 4.0])}, {"x": np.array([10.0, -1.0]), "a": np.array([1.0])}
    for by, less, x, a in (
        (None, None, ([-3, 1], [2, 4]), ([5], [5])),
        (factors, None, ([-1.5, 0.25], [1, 1]), ([5], [5])),
        (None, shifts, ([-13, 2], [-8, 5]), ([4], [4])),
        (factors, shifts, ([-11.5, 1.25], [-9, 2]), ([4], [4])),
    ):
        found = move_ranges(RANGES, factors=by, shifts=less)
        assert [side.tolist() for side in found["x"]] == [*x]
        assert [side.tolist() for side in found["a"]] == [*a]
