"""Scales of weights that suit a bias."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from edgepress.converters.numeric.grids import scales_for_bias

LARGEST = 2.0**30
SCALES = st.floats(1e-12, 1.0, width=64)


@given(
    weights=arrays.arrays(np.int8, (4, 3), elements=st.integers(-127, 127)),
    scales=arrays.arrays(np.float64, (4,), elements=SCALES),
    bias=arrays.arrays(np.float64, (4,), elements=st.floats(-1e3, 1e3)),
    source=SCALES,
)
def test_every_bias_fits_and_what_fitted_is_unchanged(
    weights: np.ndarray, scales: np.ndarray, bias: np.ndarray, source: float
) -> None:
    scales = scales.astype(np.float32)
    integers, suitable = scales_for_bias(weights, scales, bias, source, largest=LARGEST)
    assert suitable.dtype == np.float32
    assert integers.dtype == np.int8
    assert np.all(np.abs(bias / (source * suitable.astype(np.float64))) <= LARGEST * (1 + 1e-6))
    fits = (np.abs(bias) <= LARGEST * source * scales.astype(np.float64)) & weights.any(axis=1)
    np.testing.assert_array_equal(suitable[fits], scales[fits])
    np.testing.assert_array_equal(integers[fits], weights[fits])
    real, rounded = (w * s[:, np.newaxis] for w, s in ((weights, scales), (integers, suitable)))
    assert np.all(np.abs(real - rounded) <= 0.5001 * suitable[:, np.newaxis]), (
        "no weight moves by more than half a step"
    )


def test_channels_of_zeros_get_the_scale_that_holds_the_bias_best() -> None:
    weights = np.array([[0, 0], [3, 0], [0, 0]], np.int8)
    scales = np.ones(3, np.float32)
    integers, suitable = scales_for_bias(weights, scales, np.array([1.5, 1.5, 0.0]), 0.5, largest=LARGEST)
    np.testing.assert_allclose(suitable, [3 / LARGEST, 1, 1], rtol=1e-6)
    np.testing.assert_array_equal(integers, weights)


def test_one_scale_for_all_channels_suits_the_largest_bias() -> None:
    weights = np.array([[100, 4], [3, 0]], np.int8)
    bias = np.array([4.0, -8.0])
    integers, suitable = scales_for_bias(weights, np.float32([1e-9]), bias, 1.0, largest=LARGEST)
    np.testing.assert_allclose(suitable, [8 / LARGEST], rtol=1e-6)
    np.testing.assert_array_equal(integers, np.rint(weights * 1e-9 / (8 / LARGEST)))


def test_a_kernel_s_least_scale_and_the_axis_of_the_channels() -> None:
    weights = np.array([[[[100, 100]]]], np.int8)
    scales = np.float32([1e-6, 1e-3])
    integers, suitable = scales_for_bias(weights, scales, np.zeros(2), 1.0, largest=LARGEST, least=1e-4, axis=3)
    np.testing.assert_allclose(suitable, [1e-4, 1e-3])
    np.testing.assert_array_equal(integers.ravel(), [1, 100])
